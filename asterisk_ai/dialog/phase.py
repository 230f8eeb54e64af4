"""Where a conversation is, the same for every kind of it."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Of a conversation, of whatever kind. What may follow upon what: :data:`TRANSITIONS`."""

    NEW = "new"
    GREETING = "greeting"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    INTERRUPTED = "interrupted"
    CLOSING = "closing"
    ENDED = "ended"


_P = Phase
TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    _P.NEW: frozenset((_P.GREETING, _P.THINKING, _P.SPEAKING, _P.LISTENING, _P.ENDED)),
    _P.GREETING: frozenset((_P.LISTENING, _P.THINKING, _P.SPEAKING, _P.INTERRUPTED, _P.CLOSING, _P.ENDED)),
    _P.LISTENING: frozenset((_P.THINKING, _P.SPEAKING, _P.CLOSING, _P.ENDED)),
    _P.THINKING: frozenset((_P.LISTENING, _P.SPEAKING, _P.INTERRUPTED, _P.CLOSING, _P.ENDED)),
    _P.SPEAKING: frozenset((_P.LISTENING, _P.THINKING, _P.INTERRUPTED, _P.CLOSING, _P.ENDED)),
    _P.INTERRUPTED: frozenset(
        (_P.GREETING, _P.LISTENING, _P.THINKING, _P.SPEAKING, _P.CLOSING, _P.ENDED),
    ),
    _P.CLOSING: frozenset((_P.ENDED,)),
    _P.ENDED: frozenset(),
}
"""From a phase to those that may follow it; of both machines. A step never leaves this table."""


def may_follow(before: Phase, after: Phase) -> bool:
    """Whether a step may lead from one phase to the other, by :data:`TRANSITIONS`."""
    return before is after or after in TRANSITIONS[before]


AUDIBLE = (Phase.GREETING, Phase.SPEAKING, Phase.CLOSING)
"""The phases in which the agent may be heard."""


def gated(phase: Phase, *, interruptible: bool, barge_in: bool) -> bool:
    """Whether the agent's own voice keeps the caller's audio from being captured."""
    return phase in AUDIBLE and not (barge_in and interruptible)
