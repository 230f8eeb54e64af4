"""Whole calls over chan_websocket: the same dialplan and the same agents, whoever opens the connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from desk import FULL, NUMBER, SAVED, WEASELS, desk
from ports import free_port
from rig import Asterisk, Hangup, speech, until
from served import Served


@contextmanager
def started(
    folder: Path, prompts: dict[str, str], connection: str, **globals_: str
) -> Iterator[tuple[Asterisk, Served]]:
    agi_port, port = free_port(), free_port()
    with Asterisk(
        server=f"127.0.0.1:{agi_port}",
        globals_={"AI_WEBSOCKET": connection, "AI_PATIENCE": "60", **globals_},
        websocket_port=port,
    ) as asterisk:
        settings = {
            "fastagi": {"port": agi_port},
            "websocket": {"port": port, "asterisk": f"ws://127.0.0.1:{asterisk.http_port}/media"},
        }
        with Served(folder, {"desk": desk(prompts)}, settings) as served:
            yield asterisk, served


@pytest.fixture(scope="module", params=["asterisk-ai", "INCOMING"])
def pbx(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prompts: dict[str, str]
) -> Iterator[tuple[Asterisk, Served]]:
    with started(tmp_path_factory.mktemp("served"), prompts, request.param) as running:
        yield running


def nothing_is_left(asterisk: Asterisk) -> None:
    until(lambda: not asterisk.channels(), 20, "no channel in Asterisk")
    assert "WebSocket" not in asterisk.rx("bridge show all")


def test_words_digits_and_a_transfer(pbx: tuple[Asterisk, Served]) -> None:
    asterisk, served = pbx
    with asterisk.call() as caller:
        caller.hear()
        caller.say(NUMBER)
        caller.hear()
        caller.dial("4711")
        caller.hear()
        caller.dial("2")
        until(caller.landed, 25, "landed")
        assert caller.landed() == ["602"]
    served.no_calls()
    nothing_is_left(asterisk)
    said = [begin for begin, _ in speech(caller.spoken())]
    assert [begin for begin, _ in speech(caller.heard()) if begin < said[0]], "the greeting came first"
    assert "I have noted your account" in served.log()
    assert "command unknown" not in asterisk.log()


def test_an_interruption_and_the_agents_goodbye(pbx: tuple[Asterisk, Served]) -> None:
    asterisk, served = pbx
    with asterisk.call() as caller:
        caller.hear()
        caller.say(WEASELS)
        caller.exec("WaitForNoise", "120,1,25")
        caller.wait(2)
        caller.say(FULL)  # in the middle of a long answer
        caller.hear()
        caller.say(SAVED)
        with pytest.raises(Hangup):
            caller.wait(25)
    served.no_calls()
    nothing_is_left(asterisk)
    agent, person = speech(caller.heard()), speech(caller.spoken())
    interruption = person[1][0]
    talking = [(begin, end) for begin, end in agent if begin < interruption]
    assert talking[-1][1] > interruption, "it was speaking when it was interrupted"
    assert talking[-1][1] - interruption < 1.5, (agent, person)


def test_who_hangs_up_leaves_nothing(pbx: tuple[Asterisk, Served]) -> None:
    asterisk, served = pbx
    with asterisk.call(record=False) as caller:
        caller.hear()
    served.no_calls()
    nothing_is_left(asterisk)


def test_a_killed_server_comes_back_to_its_callers(pbx: tuple[Asterisk, Served]) -> None:
    asterisk, served = pbx
    with asterisk.call(record=False) as caller:
        caller.hear()
        served.kill()
        served.start()
        caller.hear()
        caller.dial("2")
        until(caller.landed, 25, "landed")
    served.no_calls()
    nothing_is_left(asterisk)
