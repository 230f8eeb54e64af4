"""What the pages call things, and how they write times."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from asterisk_ai.session.model import CallSession
from asterisk_ai.session.telling import told_marks, told_steps
from asterisk_ai.telemetry.printable import printable

OUTCOMES = {
    "": ("in progress", "live"),
    "hangup": ("caller hung up", "good"),
    "agent_hangup": ("ended by agent", "good"),
    "transfer": ("transferred", "good"),
    "queue": ("to a queue", "good"),
    "voicemail": ("to voicemail", "good"),
    "fallback": ("fallback", "bad"),
    "lost": ("lost", "bad"),
    "refused": ("refused", "bad"),
    "other": ("other", "plain"),
}
"""How a call has ended: in words, and whether that is well."""


def outcome_words(outcome: str) -> str:
    return OUTCOMES.get(outcome, (outcome, "plain"))[0]


def outcome_tone(outcome: str) -> str:
    return OUTCOMES.get(outcome, (outcome, "plain"))[1]


def date(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at))


def clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def length(seconds: float) -> str:
    """``1:05``, ``1:01:00``."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def number(call: CallSession) -> str:
    return call.caller.get("number", "") or "unknown"


def slowest(call: CallSession) -> float:
    """The longest that the caller waited for an answer; 0 where there was none."""
    return max((turn.timings.get("first_frame", 0.0) for turn in call.history), default=0.0)


def first_words(call: CallSession) -> str:
    """The first thing that the caller said."""
    return next((turn.text for turn in call.history if turn.role == "caller" and turn.text), "")


FILTERS: dict[str, Callable[..., Any]] = {
    "outcome_words": outcome_words,
    "outcome_tone": outcome_tone,
    "date": date,
    "clock": clock,
    "length": length,
    "ms": milliseconds,
    "number": number,
    "slowest": slowest,
    "first_words": first_words,
    "steps": lambda timings: told_steps(timings).replace("->", "→"),
    "marks": told_marks,
}
"""For the templates."""


def visible(value: Any) -> Any:
    """What is put into a page: of callers' and engines' texts, what is not to be seen and what turns the direction of
    writing is shown escaped. Markup is escaped after this, by the templates' own rule."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value if value.isprintable() else "\n".join(map(printable, value.split("\n")))
    return value
