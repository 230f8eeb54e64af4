"""ExternalMedia where something fails: the line to ARI, the server, a module, ports; and calls that are pulled away.

Agents that need no engine, ``echo`` and ``milliwatt``, do the talking.
"""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cable import Cable
from desk import WEASELS
from ports import free_port
from rig import Asterisk, Caller, speech, until
from served import Served

from asterisk_ai.transport.rtp.formats import FORMATS

PASSWORD = "not-a-secret"
DELAY = {
    stage: f"asterisk_ai.providers.engines.delay:Delay{kind}"
    for stage, kind in (("stt", "SpeechToText"), ("llm", "LanguageModel"), ("tts", "TextToSpeech"))
}


@contextmanager
def running(folder: Path, *, url: str, agi_port: int, **ari: Any) -> Iterator[Served]:
    settings = {
        "fastagi": {"port": agi_port},
        "pipelines": {"delay": DELAY},
        "pipeline": "delay",
        "server": {"max_lateness_ms": 0, "drain_seconds": 0.2},
        "ari": {"url": url, "password": PASSWORD, "rtp_first_port": 42_000, "rtp_last_port": 48_999, **ari},
    }
    with Served(folder, {"desk": {"greeting": "Hello."}}, settings) as served:
        connected(served)
        yield served


def connected(served: Served) -> None:
    until(lambda: served.health().get("ari") == "connected", 40, "connected to ARI")


@pytest.fixture(scope="module")
def agi_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def asterisk(agi_port: int) -> Iterator[Asterisk]:
    globals_ = {"AI_STASIS": "asterisk-ai", "AI_AGENT": "echo"}
    with Asterisk(server=f"127.0.0.1:{agi_port}", globals_=globals_, ari_password=PASSWORD) as running_:
        yield running_


@pytest.fixture(scope="module")
def cable(asterisk: Asterisk) -> Iterator[Cable]:
    with Cable(asterisk.http_port).laid() as laid:
        yield laid


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, asterisk: Asterisk, cable: Cable, agi_port: int
) -> Iterator[Served]:
    url = f"http://127.0.0.1:{cable.port}/ari"
    with running(tmp_path_factory.mktemp("served"), url=url, agi_port=agi_port) as server:
        yield server


def nothing_is_left(asterisk: Asterisk, served: Served) -> None:
    until(lambda: served.health().get("active_calls") == 0, 20, "zero active calls")
    until(lambda: not asterisk.channels() and not asterisk.bridges(), 20, "no channel and no bridge in Asterisk")


def ari(asterisk: Asterisk, method: str, path: str) -> Any:
    """What another program asks of ARI."""
    secret = base64.b64encode(f"asterisk-ai:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(
        asterisk.ari_url + path, method=method, headers={"Authorization": f"Basic {secret}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")


def hears_itself(caller: Caller) -> None:
    """While the caller speaks, its own words come back."""
    caller.exec("StopMixMonitor")
    caller.exec("SendDTMF", "5")
    caller.record()
    caller.say(WEASELS)
    caller.stop_recording()
    assert sum(end - begin for begin, end in speech(caller.heard())) > 1


@contextmanager
def another(asterisk: Asterisk, folder: Path, **ari: Any) -> Iterator[tuple[Served, dict[str, str]]]:
    """A server beside the first one, with an application of its own; and the variables of calls that go to it."""
    port = free_port()
    with running(folder, url=asterisk.ari_url, agi_port=port, app="another", **ari) as served:
        yield served, {"AI_SERVER": f"127.0.0.1:{port}", "AI_STASIS": "another"}


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_call_in_every_format(asterisk: Asterisk, tmp_path: Path, name: str) -> None:
    with another(asterisk, tmp_path, format=name) as (served, variables):
        with asterisk.call(variables=variables) as caller:
            caller.say(WEASELS)
        nothing_is_left(asterisk, served)
    said, heard = (sum(end - begin for begin, end in speech(track)) for track in (caller.spoken(), caller.heard()))
    assert heard > 0.8 * said > 0


def test_who_comes_while_the_line_is_made_is_not_taken_for_left_over(
    asterisk: Asterisk, served: Served, cable: Cable
) -> None:
    """They ask every second, so that all of them are there before the server has looked at what there is."""
    cable.cut()
    until(lambda: served.health()["ari"] != "connected", 20, "the line is gone")
    before = len(served.log())
    with ExitStack() as callers:
        for _ in range(8):
            callers.enter_context(asterisk.call(record=False))
        cable.mend()
        until(lambda: served.health()["talking"] == 8, 20, "all of them talk")
        told = served.log()[before:]
    assert "left by an earlier server" not in told
    assert told.count("ExternalMedia channel created") == 8, "none had to come twice"
    nothing_is_left(asterisk, served)


def test_a_call_outlives_the_line_to_ari(asterisk: Asterisk, served: Served, cable: Cable) -> None:
    with asterisk.call() as caller:
        caller.say(WEASELS)
        cable.cut()
        until(lambda: served.health()["ari"] != "connected", 20, "the line is gone")
        hears_itself(caller)
        cable.mend()
        connected(served)
        hears_itself(caller)
    nothing_is_left(asterisk, served)


def test_who_hangs_up_while_the_line_is_gone_is_found_out(asterisk: Asterisk, served: Served, cable: Cable) -> None:
    with asterisk.call(record=False) as caller:
        caller.say(WEASELS)
        cable.cut()
        until(lambda: served.health()["ari"] != "connected", 20, "the line is gone")
    cable.mend()
    connected(served)
    nothing_is_left(asterisk, served)


def test_who_comes_while_the_line_is_gone_waits_for_it(asterisk: Asterisk, served: Served, cable: Cable) -> None:
    cable.cut()
    until(lambda: served.health()["ari"] != "connected", 20, "the line is gone")
    with asterisk.call() as caller:
        until(lambda: [step for step in caller.steps() if "Stasis(" in step.data], 20, "Stasis()")
        cable.mend()
        connected(served)
        until(asterisk.bridges, 30, "a bridge for the call")
        hears_itself(caller)
    nothing_is_left(asterisk, served)


def test_a_call_that_is_pulled_away_leaves_nothing_behind(asterisk: Asterisk, served: Served) -> None:
    with asterisk.call(record=False) as caller:
        caller.say(WEASELS)
        (near,) = [each["id"] for each in ari(asterisk, "GET", "/channels") if each["name"] == caller.near]
        ari(asterisk, "POST", f"/channels/{near}/continue?context=landed&extension=602&priority=1")
        until(caller.landed, 20, "landed")
        until(lambda: served.health().get("talking") == 0, 20, "nobody talks")
        until(lambda: not any("UnicastRTP" in name for name in asterisk.channels()), 20, "the media channel is gone")
        assert not [line for line in asterisk.bridges() if "asterisk-ai" in line]


def test_where_no_channel_can_be_made_callers_reach_people(asterisk: Asterisk, served: Served) -> None:
    assert "Unloaded" in asterisk.rx("module unload chan_rtp.so")
    try:
        with asterisk.call(record=False) as caller:
            until(caller.landed, 40, "landed")
            assert caller.landed() == ["fallback"]
    finally:
        asterisk.rx("module load chan_rtp.so")
    assert "ExternalMedia failed: ARI POST /channels/externalMedia: " in served.log()
    nothing_is_left(asterisk, served)


def test_where_no_port_is_free_callers_reach_people(asterisk: Asterisk, tmp_path: Path) -> None:
    port = free_port() // 2 * 2
    with another(asterisk, tmp_path, rtp_first_port=port, rtp_last_port=port) as (served, variables):
        with (
            asterisk.call(record=False, variables=variables) as first,
            asterisk.call(record=False, variables=variables) as second,
        ):
            first.say(WEASELS)
            until(second.landed, 40, "the second caller landed")
            assert not first.landed()
        nothing_is_left(asterisk, served)
        assert "no RTP port for the call" in served.log()


def test_a_server_that_stops_takes_its_channels_along(asterisk: Asterisk, tmp_path: Path) -> None:
    with another(asterisk, tmp_path) as (served, variables):
        with asterisk.call(record=False, variables=variables) as caller:
            caller.say(WEASELS)
            assert [name for name in asterisk.channels() if name.startswith("UnicastRTP/")]
            assert served.stop() == 0
            assert not [name for name in asterisk.channels() if name.startswith("UnicastRTP/")]
            assert not [line for line in asterisk.bridges() if "another" in line]
            assert caller.near in asterisk.channels(), "the caller is the dialplan's"
        assert "Traceback" not in served.log()


def test_a_wrong_password_is_told_and_mended_by_a_right_one(asterisk: Asterisk, tmp_path: Path) -> None:
    settings = {"ari": {"url": asterisk.ari_url, "password": "another", "app": "other"}, "pipelines": {"delay": DELAY}}
    with Served(tmp_path, {"desk": {}}, {**settings, "pipeline": "delay"}) as served:
        until(lambda: "compare `ari` with ari.conf" in str(served.health().get("ari")), 20, "told")


def test_what_a_crash_left_is_found_at_the_start(asterisk: Asterisk, served: Served) -> None:
    """The last one: the server waits a minute for a caller who was in the call when it was killed."""
    with asterisk.call(record=False) as caller:
        caller.say(WEASELS)
        served.kill()
    assert [name for name in asterisk.channels() if name.startswith("UnicastRTP/")]
    assert asterisk.bridges()
    served.start()
    connected(served)
    until(lambda: not asterisk.channels() and not asterisk.bridges(), 20, "no channel and no bridge in Asterisk")
    assert "left by an earlier server: 1 media channels, 1 bridges" in served.log()


@pytest.fixture(autouse=True)
def whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test cut is whole for the next one."""
    yield
    if "cable" in request.fixturenames:
        request.getfixturevalue("cable").mend()
