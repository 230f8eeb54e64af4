"""What every agent says and understands of itself, by language: yes and no, digits, hours, and its own few words."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml

from asterisk_ai.providers.grammar import DIGITS


@dataclass(frozen=True, slots=True)
class Basics:
    """Of one language. Words are phrases as the rules have them."""

    code: str
    yes: Sequence[str]
    no: Sequence[str]
    digits: Mapping[str, tuple[str, ...]]
    declined: str
    unclear: str
    unreachable: str
    on_days: Sequence[str]
    """Monday to Sunday, as one says when: on Monday."""
    today: str
    tomorrow: str
    at: str
    until: str
    conjunction: str
    closed: str


@functools.cache
def basics(tag: str) -> Basics:
    """Those of a language tag's language; English ones where we have none."""
    known = yaml.safe_load((files(__package__) / "words" / "basics.yaml").read_text("utf-8"))
    code = tag.replace("_", "-").partition("-")[0].lower()
    code = code if code in known else "en"
    read = known[code]
    said = read.get("digits")
    digits = {digit: tuple(said[int(digit)].split()) for digit in DIGITS} if said else DIGITS
    same = {name: read[name] for name in ("yes", "no", "declined", "unclear", "unreachable", "on_days", "today",
                                          "tomorrow", "at", "until", "closed")}  # fmt: skip
    return Basics(code=code, digits=digits, conjunction=read["and"], **same)
