"""Numbers as they are spoken: "double one", "forty-seven twelve", "two hundred and five", numerals among words.

What was not said is never made up: the digits of a text are those of its words, in their order, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from asterisk_ai.dialog.values.words import Words, of

_TOKEN = re.compile(r"[0-9]+|[^\W\d_]+(?:'[^\W\d_]+)*")


@dataclass(frozen=True, slots=True)
class Run:
    """Words ``start`` to ``end`` (exclusive) of a text are these digits."""

    start: int
    end: int
    digits: str


def tokens(text: str) -> list[str]:
    """Words in lower case and numerals, without marks; "47-12" is two numerals, "x-ray" two words."""
    return _TOKEN.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def runs(words: Sequence[str], language: str = "en") -> list[Run]:
    """All stretches of ``words`` that are numbers. Words that only sound like one count between numbers."""
    known = of(language)
    found: list[Run] = []
    at = 0
    while at < len(words):
        run = _run(words, at, known) if known else _numerals(words, at)
        if run is not None:
            found.append(run)
            at = run.end
        else:
            at += 1
    return found


def digits(text: str, language: str = "en") -> str:
    """The digits of a text, whatever else is in it: "my number is double four one" is 441."""
    return "".join(run.digits for run in runs(tokens(text), language))


def in_digits(text: str, language: str = "en") -> str:
    """The text in lower case without marks, each number in it as one numeral: "call 441 please"."""
    words = tokens(text)
    out: list[str] = []
    at = 0
    for run in runs(words, language):
        out += [*words[at : run.start], run.digits]
        at = run.end
    return " ".join([*out, *words[at:]])


def _numerals(words: Sequence[str], start: int) -> Run | None:
    at = start
    while at < len(words) and words[at].isdigit():
        at += 1
    return Run(start, at, "".join(words[start:at])) if at > start else None


def _run(words: Sequence[str], start: int, known: Words) -> Run | None:
    at = start
    parts: list[str] = []
    while at < len(words):
        taken, said = _item(words, at, known)
        if not taken and parts and words[at] in known.alike:  # "one to three for"
            last = at + 1 == len(words)
            if (last and len(parts) > 1) or (not last and _item(words, at + 1, known)[0]):
                taken, said = 1, str(known.alike[words[at]])
        if not taken:
            break
        parts.append(said)
        at += taken
    return Run(start, at, "".join(parts)) if parts else None


def _item(words: Sequence[str], at: int, known: Words) -> tuple[int, str]:
    """How many words from ``at`` on are one number, and its digits; 0 where it is none."""
    word = words[at]
    if word in known.repeats and at + 1 < len(words):
        times, following = known.repeats[word], words[at + 1]
        if following in known.units or (following.isdigit() and len(following) == 1):
            return 2, str(known.units.get(following, following)) * times
        return 0, ""
    if word.isdigit():
        return 1, word
    taken, value = _below_hundred(words, at, known)
    if not taken or at + taken >= len(words) or words[at + taken] not in known.multiples:
        return taken, str(value) if taken else ""
    return _cardinal(words, at, known)


def _cardinal(words: Sequence[str], start: int, known: Words) -> tuple[int, str]:
    """One with hundreds or thousands: two thousand three hundred and five."""
    at, total, part = start, 0, 0
    while at < len(words):
        taken, value = _below_hundred(words, at, known)
        if taken and (part == 0 or (part % 100 == 0 and value > 0)):
            part, at = part + value, at + taken
        elif words[at] in known.multiples and part:
            times = known.multiples[words[at]]
            total, part = (total, part * times) if times == 100 else (total + part * times, 0)
            at += 1
        elif words[at] in known.joins and at + 1 < len(words) and _below_hundred(words, at + 1, known)[0]:
            at += 1
        else:
            break
    return at - start, str(total + part)


def _below_hundred(words: Sequence[str], at: int, known: Words) -> tuple[int, int]:
    word = words[at]
    if word in known.tens:
        following = known.units.get(words[at + 1], 0) if at + 1 < len(words) else 0
        return (2, known.tens[word] + following) if following else (1, known.tens[word])
    value = known.teens.get(word, known.units.get(word))
    return (0, 0) if value is None else (1, value)
