"""Who looks on at live calls is told the newest state of each, and holds nobody up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asterisk_ai.session import feed
from asterisk_ai.session.feed import LiveFeed, Shown
from asterisk_ai.session.model import CallSession, TurnRecord


def one(lines: Iterator[Shown | None]) -> Shown:
    return next(line for line in lines if line is not None)


def test_nothing_is_kept_where_nobody_looks_on() -> None:
    told = LiveFeed()
    told.tell(CallSession("a", "x"))
    assert not told.listened
    lines = told.listen(list, pause=lambda seconds: None)
    assert not told.listened  # not before it is asked for
    assert one(lines) == {"all": []}
    assert told.listened
    lines.close()  # type: ignore[attr-defined]
    assert not told.listened


def test_changes_of_one_call_are_told_at_once() -> None:
    told = LiveFeed()
    session = CallSession("a", "x", caller={"number": "1"})
    lines = told.listen(lambda: [(session, "greeting")], pause=lambda seconds: None)
    assert one(lines) == {"all": ["a"]}
    assert one(lines)["phase"] == "greeting"
    told.tell(session, "phase", "listening")
    told.tell(session, "hearing", "what are")
    told.tell(session, "hearing", "what are your")
    line = one(lines)
    assert (line["phase"], line["hearing"]) == ("listening", "what are your")
    session.history.append(TurnRecord("caller", "what are your opening hours", 1.0))
    told.tell(session)
    line = one(lines)
    assert (line["hearing"], line["turns"][-1]["text"]) == ("", "what are your opening hours")
    told.tell(session, "phase", "speaking")
    told.tell(session, "saying", "We are open")
    assert one(lines)["saying"] == "We are open"
    session.history.append(TurnRecord("agent", "", 2.0))  # it has begun, and is heard from its end on
    told.tell(session)
    line = one(lines)
    assert (line["saying"], len(line["turns"])) == ("We are open", 1)
    session.history[-1].text = "We are open"
    told.tell(session)
    assert one(lines)["saying"] == ""
    session.ended_at = 3.0
    told.tell(session)
    assert one(lines)["ended"]


def test_who_is_too_slow_is_told_everything_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_WAITING", 3)
    told = LiveFeed()
    sessions = [CallSession(name, "x") for name in "abcde"]
    lines = told.listen(lambda: [(session, "listening") for session in sessions], pause=lambda seconds: None)
    assert len(one(lines)["all"]) == 5
    for _ in sessions:
        one(lines)
    for session in sessions:
        told.tell(session, "phase", "thinking")
    assert told.lost == 2
    assert one(lines) == {"all": ["a", "b", "c", "d", "e"]}
    assert [one(lines)["id"] for _ in sessions] == ["a", "b", "c", "d", "e"]
