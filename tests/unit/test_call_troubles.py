"""What is kept of engines that fail a call."""

from __future__ import annotations

from asterisk_ai.call.troubles import MAX_TROUBLES, Troubles
from asterisk_ai.providers.chain import Trouble, TroubleKind
from asterisk_ai.session.model import CallSession


def trouble(stage: str, kind: str) -> Trouble:
    return Trouble(stage, "a", "b", TroubleKind(kind), "why", 0.0)


def test_an_engine_that_is_not_ready_is_told_once() -> None:
    session = CallSession("c", "a")
    troubles = Troubles(session)
    for kind in ("unready", "unready", "timeout", "timeout"):
        troubles(trouble("stt", kind))
    assert [kept["kind"] for kept in session.troubles] == ["unready", "timeout", "timeout"]
    assert not session.service_failed


def test_a_service_that_failed_is_known_by_more_than_the_log() -> None:
    session = CallSession("c", "a")
    troubles = Troubles(session)
    troubles(trouble("realtime", "unready"))
    assert not session.service_failed
    troubles(trouble("realtime", "timeout"))
    for _ in range(MAX_TROUBLES + 5):
        troubles(trouble("tts", "error"))
    assert len(session.troubles) == MAX_TROUBLES
    assert session.service_failed
    assert CallSession.from_json(session.to_json()).service_failed


def test_nothing_is_kept_after_the_call() -> None:
    session = CallSession("c", "a")
    troubles = Troubles(session)
    troubles.close()
    troubles(trouble("stt", "timeout"))
    troubles.note({"text": "late"})
    assert session.troubles == []
