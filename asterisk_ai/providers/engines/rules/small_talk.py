"""What is said to every agent, by language: greetings, "hold on", "are you a robot?" and the like; common wishes."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

_TEXTS = ("today", "tomorrow", "until", "date", "asks_until", "asks_from", "asks_again", "denies")
TALK, FOREIGN = "~", "~~"
"""Begin the names of meanings that are not the agent's: small talk, and what is no agent's business."""


@dataclass(frozen=True, slots=True)
class Language:
    """The sentences of one language. ``talk`` has ``yes`` and ``no``, too."""

    code: str
    talk: Mapping[str, Sequence[str]]
    about: Mapping[str, str]
    """Words by which an intent is known to be about the same as some small talk."""
    foreign: Mapping[str, Sequence[str]]
    common: Mapping[str, tuple[str, Sequence[str]]]
    """What many businesses offer: words by which an intent is known to be about it, and ways to ask for it."""
    answers: Mapping[str, str]
    fillers: Sequence[str]
    negations: frozenset[str]
    first: frozenset[str]
    second: frozenset[str]
    conjunction: str
    weekdays: Sequence[str]
    weekend: str
    holidays: Mapping[str, str]
    today: str
    tomorrow: str
    until: str
    months: Sequence[str]
    date: str
    """How a day of another week is said: {weekday}, {month}, {day}."""
    asks_until: str
    """Ways to ask when one closes; ``asks_from``: when one opens; ``asks_again``: when next."""
    denies: str
    """What stands before a value that is wrong: "4712, *not* 4217"."""
    asks_from: str
    asks_again: str
    asks_whether: re.Pattern[str]
    """How a question begins that wants a yes or a no."""
    hold_seconds: float
    """How long a caller who says "hold on" is waited for without a word."""

    def listed(self, labels: Sequence[str]) -> str:
        """``a, b and c``."""
        *rest, last = labels or ("",)
        return f"{', '.join(rest)} {self.conjunction} {last}" if rest else last


@functools.cache
def language(tag: str) -> Language | None:
    """The sentences of a language tag's language; None where we have none."""
    code = tag.partition("-")[0].lower()
    talk, common = _read(f"small_talk.{code}.yaml"), _read(f"common.{code}.yaml")
    if not talk:
        return None
    said = {name: tuple(entry["say"]) for name, entry in talk["intents"].items()}
    return Language(
        code=code,
        talk=said | {"yes": tuple(talk["agreeing"]), "no": tuple(talk["refusing"])},
        about={name: entry["about"] for name, entry in talk["intents"].items() if "about" in entry},
        foreign={"other": tuple(talk["other"])},
        common={name: (entry["about"], tuple(entry["say"])) for name, entry in common.items()},
        answers=talk["answers"],
        fillers=tuple(talk["fillers"]),
        negations=frozenset(talk["negations"]),
        first=frozenset(talk["first"]),
        second=frozenset(talk["second"]),
        conjunction=talk["and"],
        weekdays=tuple(talk["weekdays"]),
        weekend=talk["weekend"],
        holidays=talk["holidays"],
        months=tuple(talk["months"]),
        asks_whether=re.compile(rf"^(?:.*\b)?(?:{talk['asks_whether']})\b"),
        **{name: talk[name].replace("| ", "|") for name in _TEXTS},
        hold_seconds=float(talk["hold_seconds"]),
    )


def _read(name: str) -> dict[str, Any]:
    file = files(__package__) / "words" / name
    return dict(yaml.safe_load(file.read_text("utf-8"))) if file.is_file() else {}
