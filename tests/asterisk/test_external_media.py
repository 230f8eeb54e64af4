"""Calls over ARI's ExternalMedia that the regression does not make: its conversation is in test_regress.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from desk import WEASELS, desk
from rig import Asterisk, free_port, speech, until
from served import Served

PASSWORD = "not-a-secret"


@pytest.fixture(scope="module")
def pbx(tmp_path_factory: pytest.TempPathFactory, prompts: dict[str, str]) -> Iterator[tuple[Asterisk, Served]]:
    agi_port = free_port()
    globals_ = {"AI_STASIS": "asterisk-ai"}
    with Asterisk(server=f"127.0.0.1:{agi_port}", globals_=globals_, ari_password=PASSWORD) as asterisk:
        settings = {
            "fastagi": {"port": agi_port},
            "ari": {
                "url": asterisk.ari_url,
                "password": PASSWORD,
                "rtp_first_port": 42_000,
                "rtp_last_port": 48_999,
            },
        }
        with Served(tmp_path_factory.mktemp("served"), {"desk": desk(prompts)}, settings) as served:
            until(lambda: served.health()["ari"] == "connected", 40, "connected to ARI")
            yield asterisk, served


def nothing_is_left(asterisk: Asterisk) -> None:
    until(lambda: not asterisk.channels(), 20, "no channel in Asterisk")
    assert "0 active" in asterisk.rx("bridge show all") or "asterisk-ai" not in asterisk.rx("bridge show all")


def test_a_killed_server_comes_back_to_its_callers(pbx: tuple[Asterisk, Served]) -> None:
    asterisk, served = pbx
    with asterisk.call(record=False) as caller:
        caller.hear()
        served.kill()
        served.start()
        until(lambda: "left by an earlier server" in served.log(), 20, "the sweep")
        caller.hear()
        caller.dial("2")
        until(caller.landed, 20, "landed")
    served.no_calls()
    nothing_is_left(asterisk)


def test_a_tone_for_those_who_look_for_a_fault(pbx: tuple[Asterisk, Served]) -> None:
    asterisk, served = pbx
    with asterisk.call(variables={"AI_AGENT": "milliwatt"}) as caller:
        caller.say(WEASELS)
    served.no_calls()
    nothing_is_left(asterisk)
    said, heard = (sum(end - begin for begin, end in speech(track)) for track in (caller.spoken(), caller.heard()))
    assert heard > 0.8 * said > 0
