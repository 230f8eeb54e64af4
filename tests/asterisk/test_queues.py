"""An agent in front of a queue, which knows how many wait in it, and an agent behind it, as one of its members."""

from __future__ import annotations

import pytest
from rig import Asterisk, until
from served import Served

from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteReader

PATIENCE = 40.0
DIALPLAN = """
[front]
exten => s,1,Set(KNOWN=${QUEUE_VARIABLES(support)})
 same => n,Set(AI_AGENT=front)
 same => n,Goto(asterisk-ai,s,1)
[member]
exten => helper,1,Set(AI_AGENT=helper)
 same => n,Goto(asterisk-ai,s,1)
"""
FRONT = {
    "greeting": (
        "There are {known.waiting} callers before you, who wait {known.seconds} seconds. {known.ready} are ready."
    ),
    "variables": {
        "waiting": "QUEUE_WAITING_COUNT(support)",
        "ready": "QUEUE_MEMBER(support,ready)",
        "seconds": "QUEUEHOLDTIME",
    },
    "turn": {"no_input_seconds": 60},
    "rules": {
        "intents": {"wait": {"say": ["i will wait"], "answer": "One moment.", "do": {"queue": "support"}}},
        "dtmf": {"1": "wait"},
    },
}
HELPER = {
    "greeting": "Hello, this is the helper.",
    "turn": {"no_input_seconds": 60},
    "rules": {"intents": {"bye": {"say": ["goodbye"], "do": "hangup"}}},
}


def waiting(asterisk: Asterisk) -> int:
    return asterisk.rx("queue show support").count("(wait:")


def said(served: Served) -> list[str]:
    """By agents, as callers heard it."""
    reader = SqliteReader(served.folder / "sessions.db")
    try:
        return [turn.text for call in reader.search(CallFilter()) for turn in call.history if turn.role == "agent"]
    finally:
        reader.close()


def test_in_front_of_a_queue_and_behind_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    agents = {"front": FRONT, "helper": HELPER}
    with (
        Served(tmp_path_factory.mktemp("served"), agents) as served,
        Asterisk(server=served.address, dialplan=DIALPLAN) as asterisk,
        asterisk.call("front,s,1") as first,
    ):
        first.hear()
        first.dial("1")
        until(lambda: waiting(asterisk) == 1, PATIENCE, "one waits")
        with asterisk.call("front,s,1") as second:
            second.hear()
            second.dial("1")
            until(lambda: waiting(asterisk) == 2, PATIENCE, "two wait")
        until(lambda: waiting(asterisk) == 1, PATIENCE, "one has hung up")
        asterisk.rx("queue add member Local/helper@member/n to support")
        until(lambda: waiting(asterisk) == 0, PATIENCE, "the agent has taken the call")
        until(lambda: HELPER["greeting"] in said(served), PATIENCE, "the caller has heard the agent")
        heard = said(served)
    assert "There are 0 callers before you, who wait 0 seconds. 0 are ready." in heard
    assert "There are 1 callers before you, who wait 0 seconds. 0 are ready." in heard
