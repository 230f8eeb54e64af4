"""How many calls there were, how they ended, what was not understood in them, and how quickly they were answered."""

from __future__ import annotations

import itertools
import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from asterisk_ai.session.backends.call_index import readable
from asterisk_ai.session.model import STEPS, CallSession, Outcome

MOST_READ = 500
"""So many of the newest calls are looked into; the others are counted only."""
MOST_PHRASES = 1000


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """Something that a caller said and no agent understood."""

    agent: str
    text: str
    call_id: str
    at: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the calls that began within a time."""

    per_slot: Sequence[int]
    """Calls that began within each slot of it."""
    outcomes: dict[str, int]
    """Of those that have ended."""
    looked_into: int = 0
    """The newest calls, so many of which the following is known of."""
    answers: Sequence[float] = ()
    """Seconds from callers' last sounds to the first frame of the answer, in their order."""
    steps: dict[str, float] = field(default_factory=dict)
    """What the steps of an answer took at the median, in seconds, by their names in :data:`STEPS`."""
    not_understood: Sequence[NotUnderstood] = ()

    @property
    def calls(self) -> int:
        return sum(self.per_slot)


def figures(database: sqlite3.Connection, edges: Sequence[float]) -> Figures:
    """Those of the calls from the first of ``edges`` (Unix times, in their order) to the last, in slots between them.

    Raises sqlite3.Error.
    """
    first, last = edges[0], edges[-1]
    within = [first, last]
    count = "SELECT count(*) FROM calls WHERE started_at >= ? AND started_at < ?"
    per_slot = [database.execute(count, slot).fetchone()[0] for slot in itertools.pairwise(edges)]
    outcomes: dict[str, int] = {}
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'ended'").fetchone():
        # One by one: so the index is enough.
        of_one = "SELECT count(*) FROM ended WHERE outcome = ? AND started_at >= ? AND started_at < ?"
        counts = {outcome: database.execute(of_one, (outcome, *within)).fetchone()[0] for outcome in Outcome if outcome}
        outcomes = {str(outcome): count for outcome, count in counts.items() if count}
    newest = "SELECT record FROM calls WHERE started_at >= ? AND started_at < ? ORDER BY started_at DESC LIMIT ?"
    calls = readable(database.execute(newest, (*within, MOST_READ)))
    timings = [turn.timings for call in calls for turn in call.history if "first_frame" in turn.timings]
    answers = sorted(one["first_frame"] for one in timings)
    return Figures(per_slot, outcomes, len(calls), answers, _steps(timings), _not_understood(calls))


def _steps(timings: Sequence[dict[str, float]]) -> dict[str, float]:
    added: dict[str, list[float]] = {}
    for one in timings:
        before = 0.0
        for name in STEPS:
            if name in one:
                added.setdefault(name, []).append(max(0.0, one[name] - before))
                before = max(before, one[name])
    return {name: statistics.median(added[name]) for name in STEPS if name in added}


def _not_understood(calls: Sequence[CallSession]) -> list[NotUnderstood]:
    found = [
        NotUnderstood(call.agent, turn.text, call.call_id, turn.at)
        for call in calls
        for turn in call.history
        if turn.role == "caller" and not turn.understood and turn.text.strip()
    ]
    return found[:MOST_PHRASES]


def percentile(values: Sequence[float], share: float) -> float:
    """That of values in their order; 0 where there are none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0
