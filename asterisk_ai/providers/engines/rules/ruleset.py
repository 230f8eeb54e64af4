"""What an agent's rules hold, once they were checked: all of it can be carried out without a missing name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from asterisk_ai.dialog.dialplan import ActionKind, DialplanAction
from asterisk_ai.providers.engines.rules import hours as opening
from asterisk_ai.providers.grammar import Phrase, SlotGrammar


def _luhn(digits: str) -> int:
    """0 where the last digit is right. Source: ISO/IEC 7812-1, annex B."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(number // 10 + number % 10 for number in doubled) % 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the agent says, and then does."""

    answer: str = ""
    do: DialplanAction | None = None
    """Its arguments are templates."""
    then: str = ""
    """The intent that it goes on with."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Something to be learned from the caller."""

    grammar: SlotGrammar
    say: tuple[Phrase, ...]
    ask: str = ""
    again: str = ""
    confirm: str = ""
    keep: bool = False
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    words: bool = False
    """Whatever the caller says, in their own words."""
    luhn: bool = False
    """The last digit is a check of the others, as on credit cards."""
    like: str = ""
    """A regular expression that digits must match as a whole; empty: any will do."""
    pause_seconds: float = 0.0
    """So long a pause ends what is dialled; 0: as everywhere."""
    secret: bool = False
    """It is dialled, and nobody but who asked for it may know."""
    result: bool = False
    """The dialplan is given it all the same."""
    tries: int = 0
    """After so many wrong ones in a row it is given up; 0: never."""
    failed: str = ""
    """What is done then: an intent; empty: whatever is done for who is not understood."""

    def accepts(self, value: str) -> bool:
        """Whether a value of the right length passes the checks."""
        return not (self.like and not re.fullmatch(self.like, value)) and not (self.luhn and _luhn(value))


@dataclass(frozen=True, slots=True)
class Intent:
    """Something the caller may want. ``needs`` are the slots to be asked for, in order."""

    say: tuple[Phrase, ...]
    needs: tuple[str, ...]
    confirm: str
    outcome: Outcome
    if_open: Outcome | None = None
    if_closed: Outcome | None = None
    if_no: Outcome | None = None
    label: str = ""
    """What it is called in a question or a list: "our opening hours"."""

    @property
    def acts(self) -> bool:
        """Whether it does something beside answering."""
        return any(one is not None and one.do for one in (self.outcome, self.if_open, self.if_closed))

    @property
    def ends(self) -> bool:
        """Whether it hangs up."""
        return self.outcome.do is not None and self.outcome.do.kind is ActionKind.HANGUP


@dataclass(frozen=True, slots=True)
class Unknown:
    """``say`` one after the other; then ``offer`` (a yes/no question) and ``handoff`` (an intent).

    Without a ``say`` the agent tells what it can do.
    """

    say: tuple[str, ...] = ()
    offer: str = ""
    handoff: str = ""


@dataclass(frozen=True, slots=True)
class RuleSet:
    intents: Mapping[str, Intent]
    slots: Mapping[str, Slot]
    menu: Mapping[str, str]
    unknown: Unknown
    declined: str
    hours: opening.Hours | None
    yes: tuple[Phrase, ...]
    no: tuple[Phrase, ...]
    digits: Mapping[str, tuple[str, ...]]
