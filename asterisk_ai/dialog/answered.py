"""Who has answered a call of ours, a person or a machine? Decided by what is heard. Pure: time is an argument.

Asterisk's AMD() has heard the beginning, and was not sure that it is a person: a short greeting and then silence. What
is said from there on decides. A person is never hung up on for a long greeting alone: a machine is one by its words, by
its beep, or by talking on and on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from asterisk_ai.dialog.turn_words import turn_words

SILENT_SECONDS = 1.5
"""So long after the beginning nobody has spoken: a person, who waits for us to speak."""
PAUSE_SECONDS = 0.9
"""So long after some words nothing more is said: a person's."""
LONG_SECONDS = 6.0
"""No person answers a telephone with so many words, and AMD() heard others before."""
QUIET_SECONDS = 2.0
"""After a machine's greeting: no beep comes any more, and it records."""
GREETING_SECONDS = 45.0
"""No greeting is longer."""


class Who(StrEnum):
    PERSON = "person"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Answered:
    """What was heard so far. Times are those of one clock.

    :param voice_since: somebody speaks since then; None: nobody does.
    :param quiet_since: nobody does since then.
    """

    since: float
    quiet_since: float
    voice_since: float | None = None
    spoke: bool = False
    words: str = ""
    beeped: bool = False


def begun(now: float) -> Answered:
    return Answered(now, now)


def onset(heard: Answered, at: float) -> Answered:
    return replace(heard, voice_since=at, spoke=True)


def offset(heard: Answered, at: float) -> Answered:
    return replace(heard, voice_since=None, quiet_since=at)


def heard_words(heard: Answered, words: str) -> Answered:
    """:param words: all so far."""
    return replace(heard, words=words)


def beep(heard: Answered) -> Answered:
    return replace(heard, beeped=True)


def who(heard: Answered, now: float, language: str) -> Who | None:
    """None: not certain yet."""
    if heard.beeped or says_machine(heard.words, language):
        return Who.MACHINE
    if now - heard.since >= LONG_SECONDS and heard.spoke:
        return Who.MACHINE
    if (
        heard.voice_since is None
        and now - heard.quiet_since >= (PAUSE_SECONDS if heard.spoke else SILENT_SECONDS) - 1e-6
    ):
        return Who.PERSON
    return None


def records(heard: Answered, now: float) -> bool:
    """Whether a machine's greeting is over: it has beeped, or says nothing more."""
    quiet = heard.voice_since is None and now - heard.quiet_since >= QUIET_SECONDS
    return heard.beeped or quiet or now - heard.since >= GREETING_SECONDS


def says_machine(words: str, language: str) -> bool:
    """Whether these are words of a machine's greeting, as "leave a message after the tone"."""
    said = " ".join(re.sub(r"[^\w' ]", " ", words.lower()).split())
    return any(f" {phrase} " in f" {said} " for phrase in turn_words(language).machine)
