"""What the dialplan has to do next, and how a call's record ends."""

from __future__ import annotations

import asyncio

import pytest

from asterisk_ai.dialog.dialplan import FALL_BACK, HANG_UP, ActionKind, DialplanAction
from asterisk_ai.pbx.registry import Admission, CallRegistry
from asterisk_ai.session.backends.memory import MemoryBackend
from asterisk_ai.session.model import Away, CallSession, Outcome
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.metrics import Metrics

PLAY = DialplanAction(ActionKind.PLAY, {"file": "terms"})
QUEUE = DialplanAction(ActionKind.QUEUE, {"queue": "sales"})


def registered() -> tuple[CallRegistry, CallSession]:
    registry = CallRegistry(SessionStore(MemoryBackend()), Metrics(), Admission(["a"], "a", 10), overload=lambda: "")
    return registry, registry.register("a", rate=8000, caller={})


def test_a_file_is_played_and_the_call_comes_back() -> None:
    async def work() -> None:
        registry, session = registered()
        session.pending = PLAY
        assert registry.next_action(session) == PLAY
        registry.handed_over(session, ActionKind.PLAY)
        assert (session.pending, session.away, session.was_played_to) == (None, Away.PLAY, True)
        assert registry.next_action(session).kind is ActionKind.TALK
        registry.handed_over(session, ActionKind.TALK)
        assert (session.away, session.was_played_to, session.ended) == (Away.PLAYED, True, False)

    asyncio.run(work())


@pytest.mark.parametrize(
    ("pending", "outcome"),
    [
        (None, Outcome.HANGUP),
        (PLAY, Outcome.HANGUP),
        (QUEUE, Outcome.QUEUE),
        (HANG_UP, Outcome.AGENT_HANGUP),
        (FALL_BACK, Outcome.FALLBACK),
    ],
)
def test_a_caller_who_hangs_up_before_the_dialplan_has_asked(pending: DialplanAction | None, outcome: Outcome) -> None:
    async def work() -> None:
        registry, session = registered()
        session.pending = pending
        registry.end(session, Outcome.HANGUP)
        assert (session.outcome, session.ended) == (outcome, True)

    asyncio.run(work())


def test_what_the_dialplan_does_at_last_ends_the_record() -> None:
    async def work() -> None:
        registry, session = registered()
        session.pending = QUEUE
        registry.handed_over(session, registry.next_action(session).kind)
        assert session.outcome is Outcome.QUEUE
        registry.end(session, Outcome.FALLBACK)
        assert session.outcome is Outcome.FALLBACK, "the queue was not there"

    asyncio.run(work())
