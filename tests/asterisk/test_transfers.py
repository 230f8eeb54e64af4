"""Attended transfers on the real Asterisk: whoever is rung takes the call, or the caller is back in the conversation.

The people who are rung are Local channels that answer, wait and press keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import soundfile
from rig import Asterisk, Caller, speech, until
from served import Served

PATIENCE = 30.0

PEOPLE = """
[people]
exten => taker,1,Answer()
 same => n,Wait(1)
 same => n,SendDTMF(1)
 same => n(talk),Playback(conf-full)
 same => n,Wait(0.5)
 same => n,Goto(talk)
exten => decliner,1,Answer()
 same => n,Wait(1)
 same => n,SendDTMF(2)
 same => n,Wait(60)
exten => busy,1,Busy(5)
exten => silent,1,Ringing()
 same => n,Wait(60)
exten => leaver,1,Answer()
 same => n,Wait(2)
 same => n,Hangup()
exten => listener,1,Answer()
 same => n,MixMonitor(${REC}/briefing.wav)
 same => n,Wait(60)
exten => check,1,NoOp(${AI_RESULT} / ${AI_RESULT_PIN} / ${AI_RESULT_OUTCOME})
exten => talker,1,Answer()
 same => n(talk),Playback(conf-full)
 same => n,Wait(0.5)
 same => n,Goto(talk)
"""


def agent() -> dict[str, Any]:
    transfers: dict[str, Any] = {
        name: {"to": f"{name}@people", "label": f"the {name}", "seconds": 5, "otherwise": "message",
               "offer": "Would you like to leave a message?"}
        for name in ("taker", "decliner", "busy", "silent", "leaver", "listener", "nobody")
    }  # fmt: skip
    transfers["blind"] = {"to": "talker@people", "attended": False, "music": "default"}
    transfers["hunt"] = {"to": ["busy@people", "PJSIP/none", "taker@people"]}
    transfers["closed"] = {"to": "taker@people", "label": "the office", "hours": {"open": {"mon": "0:00-0:01"}}}
    transfers["closed"]["hours"]["closed"] = [f"{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
    intents: dict[str, Any] = {
        name: {"answer": "One moment please, I connect you.", "do": {"connect": {"to": name, "about": "It is a test."}}}
        for name in transfers
    }
    intents["stay"] = {"answer": intents["taker"]["answer"]}
    intents["check"] = {"ask": ["pin", "order"], "answer": "Thank you.", "do": {"transfer": "check@people"}}
    slots = {
        "pin": {"digits": 4, "secret": True, "result": True, "ask": "Your PIN please."},
        "order": {"digits": 4, "ask": "Your order, {known.customer}?"},
    }
    intents["message"] = {"say": ["leave a message"], "do": {"transfer": "603@landed"}}
    return {
        "greeting": "Hello {known.customer}, how can I help you?",
        "variables": {"customer": "CUSTOMER_ID"},
        "turn": {"no_input_seconds": 60},
        "transfers": transfers,
        "rules": {
            "slots": slots,
            "intents": intents,
            "dtmf": {"*": "check", "A": "stay"} | {str(key): name for key, name in enumerate(transfers)},
        },
    }


KEYS = {name: str(key) for key, name in enumerate(agent()["transfers"])}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served"), {"desk": agent()}) as server:
        yield server


@pytest.fixture(scope="module")
def asterisk(served: Served) -> Iterator[Asterisk]:
    globals_ = {"AI_RECORD": "yes", "AI_PATIENCE": "120"}
    with Asterisk(server=served.address, globals_=globals_, dialplan=PEOPLE) as running:
        running.rx(f"dialplan set global REC {running.folder}/rec")
        yield running


@pytest.fixture(autouse=True)
def shown(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a test fails, show the end of both logs."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed and "served" in request.fixturenames:
        print(request.getfixturevalue("asterisk").log()[-9000:])
        print(request.getfixturevalue("served").log()[-6000:])


def bridged(asterisk: Asterisk, name: str) -> list[str]:
    """The channels that ``name`` talks with."""
    shown = [line.split("!") for line in asterisk.rx("core show channels concise").splitlines() if "!" in line]
    bridge = {line[0]: line[12] for line in shown}
    return [other for other, of in bridge.items() if of and of == bridge.get(name) and other != name]


def ask_for(caller: Caller, name: str) -> None:
    caller.hear()
    caller.dial(KEYS[name])


def at_once(call: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(call, names))


def clean(asterisk: Asterisk, served: Served, *, killed: bool = False) -> None:
    served.no_calls()
    until(lambda: not asterisk.channels(), PATIENCE, f"no channel; there are {asterisk.channels()}")
    assert killed or not list((served.folder / "spool").glob("*briefing*"))


def test_whoever_takes_the_call_talks_with_the_caller(asterisk: Asterisk, served: Served) -> None:
    def call(name: str) -> None:
        with asterisk.call(record=False) as caller:
            ask_for(caller, name)
            until(lambda: bridged(asterisk, caller.near), PATIENCE, "connected")
            [other] = bridged(asterisk, caller.near)
            assert ("talker" if name == "blind" else "taker") in other
            caller.noise(10)
            assert asterisk.executed(caller.near)[-1].data.startswith("Dial(")

    at_once(call, ["taker", "blind", "hunt"])
    clean(asterisk, served)


def told(served: Served, begin: int, words: str) -> None:
    until(lambda: words in served.log()[begin:], PATIENCE, words)


def briefed(asterisk: Asterisk, since: int, piece: int) -> None:
    """Wait until the listener hears that piece of the briefing."""
    playing = rf"Local/listener\S+ Playing '\S+briefing-{piece}"
    until(lambda: re.search(playing, asterisk.log()[since:]), PATIENCE, "the briefing")


WHY = {
    "decliner": "the decliner cannot take your call",
    "busy": "the busy is on the telephone",
    "silent": "the silent does not answer",
    "leaver": "the leaver cannot take your call",
    "nobody": "I cannot reach the nobody",
    "closed": "the office is not there at this time",
}


def test_a_caller_is_back_is_told_why_and_is_offered_something_else(asterisk: Asterisk, served: Served) -> None:
    def call(name: str) -> None:
        begin = len(served.log())
        with asterisk.call(record=False) as caller:
            ask_for(caller, name)
            told(served, begin, WHY[name])
            if name != "closed":
                caller.dial("1")  # yes, to the offer
                until(caller.landed, PATIENCE, "the message")
                assert caller.landed() == ["603"]

    at_once(call, list(WHY))
    clean(asterisk, served)


def test_the_star_brings_the_caller_back_at_once(asterisk: Asterisk, served: Served) -> None:
    begin = len(served.log())
    with asterisk.call(record=False) as caller:
        ask_for(caller, "silent")
        until(lambda: any("silent@people" in name for name in asterisk.channels()), PATIENCE, "ringing")
        caller.dial("*")
        told(served, begin, "I have stopped ringing")
        assert not any("silent@people" in name for name in asterisk.channels())
        recorded = [step.data for step in caller.steps() if "MixMonitor" in step.data]
        assert [re.search(r"(\w+)\(|$", data)[1] for data in recorded] == ["MixMonitor", "StopMixMonitor", "MixMonitor"]
        assert ",ai(AI_RECORDING)" in recorded[-1], "it is gone on with"
    clean(asterisk, served)


def test_the_colleague_hears_who_calls_and_a_caller_who_hangs_up_leaves_nothing(
    asterisk: Asterisk, served: Served
) -> None:
    logged = len(asterisk.log())
    with asterisk.call(record=False) as caller:
        ask_for(caller, "listener")
        briefed(asterisk, logged, 1)
    clean(asterisk, served)
    told_to = asterisk.folder / "rec/briefing.wav"
    until(told_to.exists, PATIENCE, "what the colleague heard")
    assert sum(end - begin for begin, end in speech(soundfile.read(told_to, dtype="int16")[0])) > 2


def test_no_word_before_a_transfer_is_cut(asterisk: Asterisk, served: Served) -> None:
    with asterisk.call() as caller:
        caller.hear()
        caller.dial("A")
        caller.hear()
        caller.dial(KEYS["blind"])
        until(lambda: bridged(asterisk, caller.near), PATIENCE, "connected")
        caller.stop_recording()
        heard = caller.heard()
    clean(asterisk, served)
    _, stayed, transferred, *_ = ((end - begin) for begin, end in speech(heard))
    assert transferred > stayed - 0.1, "it is heard to its end before music and people, too"


def test_the_agent_knows_what_is_listed_and_the_dialplan_what_came_of_it(asterisk: Asterisk, served: Served) -> None:
    begin = len(served.log())
    variables = {"CUSTOMER_ID": "${SHELL(touch broken-in)} Ann", "AI_CDR": "yes"}
    with asterisk.call(record=False, variables=variables) as caller:
        caller.hear()
        caller.dial("*")
        caller.hear()
        caller.dial("7391")
        told(served, begin, "Your order")
        caller.dial("4711")
        until(lambda: any(step.application == "NoOp" and "/ 7391 /" in step.data for step in caller.steps()), 20, "it")
    steps = caller.steps()
    line = "outcome=transfer intent=check order=4711"
    assert f"{line} / 7391 / transfer" in [step.data for step in steps]
    assert next(step.data for step in steps if "CDR(userfield)" in step.data) == f"1?Set(CDR(userfield)={line})"
    assert "Ann, how can I help you?" in served.log()[begin:]
    assert not (asterisk.folder / "broken-in").exists()
    clean(asterisk, served)
    assert "7391" not in served.log()[begin:]


def test_a_server_that_is_killed_in_the_briefing_costs_no_caller(asterisk: Asterisk, served: Served) -> None:
    begin, logged = len(served.log()), len(asterisk.log())
    with asterisk.call(record=False) as caller:
        ask_for(caller, "listener")
        briefed(asterisk, logged, 0)
        served.kill()
        served.start()
        told(served, begin, "the listener cannot take your call")
        caller.dial("1")
        until(caller.landed, PATIENCE, "the message")
    clean(asterisk, served, killed=True)
