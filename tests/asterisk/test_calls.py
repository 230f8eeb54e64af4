"""Whole calls on the real Asterisk, through the sample dialplan as it is shipped, on the embedded default.

The caller's words are human recordings. What is judged is what Asterisk did
(its log) and what the caller heard (its recording).
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from desk import CONNECT, FULL, NOBODY, NUMBER, SAVED, WEASELS, WRONG, desk
from ports import free_port
from rig import Asterisk, Caller, Hangup, Sentence, sentences, speech, until
from served import Served

from asterisk_ai.config import load
from asterisk_ai.config.private import made_control_token

PATIENCE = 25.0
"""Seconds for what is to happen at once: how busy the machine is, is not what is tested."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, prompts: dict[str, str]) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served"), {"desk": desk(prompts)}) as server:
        yield server


@pytest.fixture(scope="module")
def asterisk(served: Served) -> Iterator[Asterisk]:
    dialplan = f"""
[bare]
exten => s,1,Answer()
 same => n,Wait(1)
 same => n,AudioSocket(${{UUID()}},127.0.0.1:{served.audio_port})
"""
    with Asterisk(server=served.address, globals_={"AI_RECORD": "yes"}, dialplan=dialplan) as running:
        yield running


@pytest.fixture(autouse=True)
def shown(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a test fails, show the end of the server's log."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed and "served" in request.fixturenames:
        print(request.getfixturevalue("served").log()[-6000:])


def did(caller: Caller, application: str) -> list[str]:
    return [step.data for step in caller.steps() if step.application == application]


def test_a_transfer_lands_in_another_context(asterisk: Asterisk, served: Served) -> None:
    with asterisk.call() as caller:
        caller.hear()
        caller.say(NUMBER)
        caller.hear()
        caller.dial("4711")
        caller.hear()
        caller.say(CONNECT)
        until(caller.landed, PATIENCE, "landed")
        assert caller.landed() == ["4711"]
        assert served.health()["active_calls"] == 0  # the agent's part ends with the transfer
    served.no_calls()
    assert len(did(caller, "Answer")) == 2
    assert list((asterisk.folder / "spool/monitor").glob("asterisk-ai-*.wav"))
    said = [begin for begin, _ in speech(caller.spoken())]
    assert len([begin for begin, _ in speech(caller.heard()) if begin < said[0]]) >= 1  # the greeting came first


def asked(served: Served, call_id: str, what: str, **fields: str) -> str:
    """Ask the server from outside for something to be done with a call, as the page does; why it was not."""
    token = made_control_token(load(str(served.file)))
    request = urllib.request.Request(
        f"http://127.0.0.1:{served.http_port}/calls/{call_id}/{what}", urllib.parse.urlencode(fields).encode(),
        {"Authorization": f"Bearer {token}"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=10) as reply:
        return str(json.load(reply)["problem"])


def test_what_an_operator_asks_for_is_done(asterisk: Asterisk, served: Served) -> None:
    """Another agent has the call (here the same one, from its greeting on), then it is transferred."""
    with asterisk.call() as caller:
        caller.hear()
        call_id = re.findall(r"\[(\S{36})\] call registered", served.log())[-1]
        assert asked(served, call_id, "agent", agent="desk") == ""
        caller.hear()
        assert f"[{call_id}] audio connected (connection 2 of the call)" in served.log()
        assert asked(served, call_id, "transfer", exten="4711", context="landed") == ""
        until(caller.landed, PATIENCE, "landed")
        assert caller.landed() == ["4711"]
    served.no_calls()


def test_recording_ends_at_the_transfer_and_never_costs_a_call(asterisk: Asterisk, served: Served) -> None:
    def ended(caller: Caller) -> bool:
        return f"End MixMonitor Recording {caller.near}" in asterisk.log()

    with asterisk.call(record=False) as caller:
        caller.hear()
        caller.dial("2")
        until(caller.landed, PATIENCE, "landed")
        until(lambda: ended(caller), 3, "the recording's end while the call goes on")
        assert caller.near in asterisk.channels()
    assert "Unloaded" in asterisk.rx("module unload app_mixmonitor.so")
    try:
        with asterisk.call(record=False) as caller:
            caller.hear()
            caller.dial("2")
            until(caller.landed, PATIENCE, "landed without app_mixmonitor")
    finally:
        asterisk.rx("module load app_mixmonitor.so")
    served.no_calls()


def test_dialled_digits_are_an_answer(asterisk: Asterisk, served: Served) -> None:
    with asterisk.call(record=False) as caller:
        caller.hear()
        caller.dial("2")
        until(caller.landed, PATIENCE, "landed")
    assert caller.landed() == ["602"]
    served.no_calls()


def test_barge_in_stops_the_agent(asterisk: Asterisk, served: Served) -> None:
    before = served.health()["conversation"]["barge_in_total"]
    with asterisk.call() as caller:
        caller.hear()
        caller.say(WEASELS)
        caller.exec("WaitForNoise", "120,1,10")
        caller.wait(1.5)
        caller.say(FULL)  # into the middle of the long answer
        caller.hear()
        caller.stop_recording()
        agent, person = speech(caller.heard()), speech(caller.spoken())
    served.no_calls()
    assert served.health()["conversation"]["barge_in_total"] == before + 1
    interruption = person[1][0]
    talking = [(begin, end) for begin, end in agent if begin < interruption]
    assert talking[-1][1] - interruption < 1.0, (agent, person)
    assert talking[-1][1] > interruption, "it was speaking when it was interrupted"
    answer = [(begin, end) for begin, end in agent if begin > person[1][1]]
    assert answer, "what was said into the agent's speech is answered"
    assert answer[0][1] - answer[0][0] < 3, "and it is the short answer, not the rest of the long one"


def test_queue_voicemail_and_hangup(asterisk: Asterisk, served: Served) -> None:
    # "default" is the context that VoiceMail takes where none is named.
    for prompt, application, data in ((WRONG, "Queue", "support"), (NOBODY, "VoiceMail", "100,u")):
        with asterisk.call(record=False) as caller:
            caller.hear()
            caller.say(prompt)
            step = f"{application}({data})"
            until(
                lambda caller=caller, step=step: (
                    step in [given.replace("@default", "") for given in did(caller, "TryExec")]
                ),
                PATIENCE,
                step,
            )
    with asterisk.call() as caller:
        caller.hear()
        caller.say(SAVED)
        with pytest.raises(Hangup):
            caller.wait(20)
    assert caller.steps()[-1].exten == "h"
    last_word, closing = speech(caller.spoken())[-1], speech(caller.heard())[-1]
    assert closing[0] > last_word[0]
    served.no_calls()


def record_of(served: Served) -> dict[str, Any]:
    """The newest call's record, as ``asterisk-ai calls --json`` shows it."""
    command = [sys.executable, "-m", "asterisk_ai", "calls", "--json", "--limit", "1", "--config", str(served.file)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(shown.stdout))


@pytest.mark.parametrize(
    ("key", "outcome"), [("2", "transfer"), ("7", "fallback"), ("8", "fallback"), ("9", "fallback")]
)
def test_the_record_tells_what_really_happened(asterisk: Asterisk, served: Served, key: str, outcome: str) -> None:
    with asterisk.call(record=False) as caller:
        caller.hear()
        caller.dial(key)
        until(caller.landed, PATIENCE, "landed")
    assert caller.landed() == [{"transfer": "602", "fallback": "fallback"}[outcome]]
    served.no_calls()
    until(lambda: record_of(served)["outcome"] == outcome, 3, f"the outcome {outcome}")


@pytest.mark.parametrize(
    ("caller_id", "presentation"), [('"Ann Example" <5551234>', "prohib"), ('"Anonymous" <anonymous>', "allowed")]
)
def test_a_withheld_number_is_known_to_nobody(
    asterisk: Asterisk, served: Served, caller_id: str, presentation: str
) -> None:
    before = len(served.log())
    with asterisk.call(record=False, caller_id=caller_id, variables={"CALLERID(pres)": presentation}) as caller:
        caller.hear()
        caller.dial("5")
        caller.hear()
    served.no_calls()
    record = record_of(served)
    assert not {"number", "name"} & record["caller"].keys()
    told = str(record) + served.log()[before:]
    assert not re.search("5551234|5 5 5 1|Ann Ex|nonymous", told)
    assert "You are" in told


HOSTILE = r"${SHELL(touch broken-in)}\",')(&|$[1/0]"


@pytest.mark.parametrize(
    ("caller_id", "agent", "answered"),
    [
        (f'"{HOSTILE}" <{HOSTILE}>', "", True),
        ('"" <>', "desk", True),
        ('"Ann" <5551234>', "none-such", False),
        ('"Ann" <5551234>', HOSTILE, False),
    ],
)
def test_names_that_mean_harm(asterisk: Asterisk, served: Served, caller_id: str, agent: str, answered: bool) -> None:
    with asterisk.call(record=False, caller_id=caller_id, variables={"AI_AGENT": agent}) as caller:
        if answered:
            caller.hear()
        else:
            until(caller.landed, 5, "landed")
    assert bool(did(caller, "TryExec")) is answered
    assert not (asterisk.folder / "broken-in").exists()
    served.no_calls()


def test_a_hang_up_in_the_middle_leaves_nothing(asterisk: Asterisk, served: Served) -> None:
    with asterisk.call(record=False) as caller:
        caller.hear()
        caller.say(WEASELS)
        caller.exec("WaitForNoise", "120,1,10")
        assert served.health()["active_calls"] == 1
    served.no_calls()
    assert any(step.application == "AGI" and "/call/end" in step.data for step in caller.steps())


@pytest.mark.parametrize("agent", ["echo", "milliwatt"])
def test_a_line_that_carries_nothing_keeps_its_connection(asterisk: Asterisk, served: Served, agent: str) -> None:
    """A muted telephone: it is not gone, and Asterisk ends a call that is silent both ways for 2 s."""
    begin = len(served.log())
    with asterisk.call(record=False, variables={"AI_AGENT": agent}) as caller:
        caller.wait(14)
        assert served.health()["active_calls"] == 1
    served.no_calls()
    until(lambda: "call ended" in served.log()[begin:], 5, "the call's end in the log")
    assert served.log()[begin:].count("audio connected") == 1


def test_the_log_tells_the_story_of_a_call(asterisk: Asterisk, served: Served) -> None:
    begin = len(served.log())
    with asterisk.call(record=False) as caller:
        caller.hear()
        caller.say(FULL)
        caller.hear()
    served.no_calls()
    until(lambda: "call ended" in served.log()[begin:], 5, "the call's end in the log")
    log = served.log()[begin:]
    for moment in (
        f"channel {re.escape(caller.near)}", "audio connected", "playback started", "playback finished",
        "audio to the recogniser", "call cleaned up", "call ended",
    ):  # fmt: skip
        assert re.search(moment, log), f"{moment!r} is not in\n{log}"


def test_an_unregistered_connection_is_refused(asterisk: Asterisk, served: Served) -> None:
    with asterisk.call(to="bare,s,1", record=False) as caller, pytest.raises(Hangup):
        caller.wait(5)
    assert served.health()["active_calls"] == 0


def test_two_lines_of_dialplan_are_enough_where_allowed(tmp_path: Path, prompts: dict[str, str]) -> None:
    port = free_port()
    settings = {"audiosocket": {"port": port, "require_registration": False}}
    dialplan = f"[bare]\nexten => s,1,Answer()\n same => n,AudioSocket(${{UUID()}},127.0.0.1:{port})\n"
    with (
        Served(tmp_path, {"desk": desk(prompts)}, settings) as server,
        Asterisk(server.address, dialplan=dialplan) as asterisk,
    ):
        with asterisk.call(to="bare,s,1") as caller:
            caller.hear()
            caller.say(FULL)
            caller.hear()
        assert len(speech(caller.heard())) >= 2
        server.no_calls()


def test_a_full_server_leads_to_the_fallback(tmp_path: Path, prompts: dict[str, str]) -> None:
    settings = {"server": {"max_calls": 1}}
    with Served(tmp_path, {"desk": desk(prompts)}, settings) as server, Asterisk(server.address) as asterisk:
        with asterisk.call(record=False) as first:
            first.hear()
            with asterisk.call(record=False) as second:
                until(second.landed, 5, "landed")
                assert second.landed() == ["fallback"]
            assert first.landed() == []
        server.no_calls()


def test_a_blocked_audio_port_leads_to_the_fallback(tmp_path: Path, prompts: dict[str, str]) -> None:
    settings = {"audiosocket": {"port": free_port(), "advertise": f"127.0.0.1:{free_port()}"}}
    with Served(tmp_path, {"desk": desk(prompts)}, settings) as server, Asterisk(server.address) as asterisk:
        with asterisk.call(record=False) as caller:
            until(caller.landed, 30, "landed")
            assert caller.landed() == ["fallback"]
        assert 1 < len(did(caller, "TryExec")) < 12
        server.no_calls()


def test_a_killed_server_comes_back_to_the_same_conversation(tmp_path: Path, prompts: dict[str, str]) -> None:
    with Served(tmp_path, {"desk": desk(prompts)}) as server, Asterisk(server.address) as asterisk:
        with asterisk.call() as caller:
            caller.hear()
            caller.say(NUMBER)
            caller.hear()
            caller.dial("4711")
            caller.hear()
            server.kill()
            until(lambda: did(caller, "StartMusicOnHold"), 5, "music while the server is away")
            server.start()
            until(lambda: len(did(caller, "TryExec")) == 2, PATIENCE, "back in the conversation")
            caller.listen(1500)  # whatever the agent says to that
            caller.say(CONNECT)
            until(caller.landed, PATIENCE, "landed")
        # The number was dialled before the kill: nobody asked for it again.
        assert caller.landed() == ["4711"]
        first, second = did(caller, "TryExec")
        assert first == second, "the same call id"
        assert "1?StopMusicOnHold()" in did(caller, "ExecIf")
        server.no_calls()


def test_a_server_that_stays_away_leads_to_the_fallback(tmp_path: Path, prompts: dict[str, str]) -> None:
    with (
        Served(tmp_path, {"desk": desk(prompts)}) as server,
        Asterisk(server.address, globals_={"AI_PATIENCE": "3"}) as asterisk,
        asterisk.call(record=False) as caller,
    ):
        caller.hear()
        server.kill()
        killed = time.monotonic()
        until(caller.landed, 15, "landed")
        assert caller.landed() == ["fallback"]
        assert 2 < time.monotonic() - killed < 10


@pytest.mark.slow
def test_fifty_calls_at_once_end_clean(tmp_path: Path, prompts: dict[str, str]) -> None:
    """Recognition is faked, all else is real; nothing is left of the calls: session, descriptor, channel."""
    settings = {"pipelines": {"offline": {"stt": "engines:ScriptedSpeechToText", "llm": "rules", "tts": "espeak"}}}
    agent = desk(prompts)
    agent["rules"]["intents"]["goodbye"]["say"] = ["what are your opening hours"]  # what the fake hears
    with Served(tmp_path, {"desk": agent}, settings) as server, Asterisk(server.address) as asterisk:

        def one(_: int) -> str:
            with asterisk.call(record=False, seconds=40) as caller:
                caller.hear()
                caller.say(FULL)
                with contextlib.suppress(Hangup):
                    caller.wait(20)
            return "".join(step.exten for step in caller.steps()[-1:])

        assert one(0) == "h"
        server.no_calls()
        descriptors = server.descriptors()
        with ThreadPoolExecutor(50) as threads:
            assert list(threads.map(one, range(50))) == ["h"] * 50
        server.no_calls()
        assert asterisk.channels() == []
        until(lambda: server.descriptors() <= descriptors, 5, f"{descriptors} descriptors again")
        assert "Traceback" not in server.log()
        assert server.log().count("call ended: agent_hangup") == 51
        assert server.stop() == 0


# -- how well callers are understood

IN_GRAMMAR, OUTSIDE, AT_ONCE = 60, 60, 8


def catalogue(inside: list[Sentence]) -> dict[str, Any]:
    """An agent that knows these sentences, each with a transfer of its own: 1000, 1001, ..."""
    return {
        "greeting": "Hello.",
        "turn": {"no_input_seconds": 30},
        "rules": {
            "intents": {
                f"sentence_{number}": {"say": [sentence.words], "do": {"transfer": f"{1000 + number}@landed"}}
                for number, sentence in enumerate(inside)
            },
            "unknown": {"say": ["Sorry?"]},
        },
    }


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixty_callers(tmp_path: Path, prompts: dict[str, str]) -> None:
    """Each says something the agent cannot know, and then something it can.

    At least 90 % of the former are asked again, at least 95 % of the latter
    land where that sentence leads.
    """
    pool = sentences(prompts)
    inside, outside = pool[:IN_GRAMMAR], pool[IN_GRAMMAR : IN_GRAMMAR + OUTSIDE]

    with Served(tmp_path, {"desk": catalogue(inside)}) as server, Asterisk(server.address) as asterisk:

        def refused(number: int, caller: Caller) -> bool:
            caller.say(outside[number].prompt)
            with contextlib.suppress(Hangup, AssertionError):  # it may have been taken for something
                caller.hear(quiet_ms=600)
            return not caller.landed()

        def arrival(number: int, caller: Caller) -> str:
            caller.say(inside[number].prompt)
            with contextlib.suppress(TimeoutError):
                until(caller.landed, PATIENCE, "landed")
            return (caller.landed() or ["nowhere"])[0]

        def one(number: int) -> tuple[bool, str]:
            """Whether the sentence from outside was refused, and where the one from inside led."""
            with asterisk.call(record=False) as caller:
                caller.hear(quiet_ms=600)
                if refused(number, caller):
                    return True, arrival(number, caller)
            with asterisk.call(record=False) as caller:  # the first call is gone; this one says the rest
                caller.hear(quiet_ms=600)
                return False, arrival(number, caller)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            results = list(threads.map(one, range(IN_GRAMMAR)))
        server.no_calls()
    taken = [outside[number].words for number, (was_refused, _) in enumerate(results) if not was_refused]
    missed = [(inside[number].words, where) for number, (_, where) in enumerate(results) if where != str(1000 + number)]
    print(f"in-grammar understood: {IN_GRAMMAR - len(missed)} of {IN_GRAMMAR}; missed: {missed}")
    print(f"out-of-grammar refused: {OUTSIDE - len(taken)} of {OUTSIDE}; taken: {taken}")
    assert len(missed) <= 0.05 * IN_GRAMMAR, missed
    assert len(taken) <= 0.10 * OUTSIDE, taken
