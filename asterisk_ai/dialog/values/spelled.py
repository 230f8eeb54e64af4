"""Names that are spelled, and e-mail addresses, as they are dictated."""

from __future__ import annotations

import re
from collections.abc import Sequence

from asterisk_ai.dialog.values.numbers import runs, tokens
from asterisk_ai.dialog.values.words import Words, of

_EMAIL = re.compile(r"[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}")
_WRITTEN = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def spelled(text: str, language: str = "en") -> str:
    """The word that letters make: "m i double l", "m as in mike, i, l, l", "mike india lima"; empty where other words
    are among them."""
    known = of(language)
    if known is None:
        return ""
    words = tokens(text)
    out, at = "", 0
    while at < len(words):
        taken, letters = _letter(words, at, known)
        if not taken:
            return ""
        out, at = out + letters, at + taken
    return out if len(out) > 1 else ""


def email(text: str, language: str = "en") -> str:
    """The address in "john dot smith at example dot com", or one that is written already; empty where there is none."""
    written = _WRITTEN.search(text)
    if written:
        return written[0].lower().rstrip(".")
    known = of(language)
    if known is None:
        return ""
    words = tokens(text)
    signs = [known.signs.get(word, "") for word in words]
    if "@" not in signs:
        return ""
    middle = signs.index("@")
    before, after = _joined(words[:middle], known, language), _joined(words[middle + 1 :], known, language)
    for skip in range(len(before)):  # what leads up to it: "my e-mail is"
        found = _EMAIL.fullmatch("".join(before[skip:]) + "@" + "".join(after))
        if found and not _leads(before, skip):
            return found[0]
    return ""


def _leads(before: Sequence[str], skip: int) -> bool:
    """Whether a lead-in word would still be part of the address."""
    return any(word in ("is", "it's", "address", "mail", "email") for word in before[skip:])


def _joined(words: Sequence[str], known: Words, language: str) -> list[str]:
    """Parts of one side of an address; letters one by one and words as they are."""
    numbers = {run.start: run for run in runs(words, language)}
    out: list[str] = []
    at = 0
    while at < len(words):
        taken, letters = _letter(words, at, known)
        if words[at] in known.signs:
            out.append(known.signs[words[at]])
            at += 1
        elif at in numbers and not (taken and words[at] in ("o", "oh")):
            out.append(numbers[at].digits)
            at = numbers[at].end
        elif taken > 1 or (taken and len(words[at]) == 1):
            out.append(letters)
            at += taken
        else:
            out.append(words[at])
            at += 1
    return out


def _letter(words: Sequence[str], at: int, known: Words) -> tuple[int, str]:
    """How many words from ``at`` on name a letter, and that letter (twice where it is a double one)."""
    two = " ".join(words[at : at + 2])
    if two in known.letters or two in known.spelling:
        return 2, known.letters.get(two) or known.spelling[two]
    if words[at] in known.repeats and at + 1 < len(words):
        taken, letter = _letter(words, at + 1, known)
        return (taken + 1, letter * known.repeats[words[at]]) if taken else (0, "")
    letter = known.letters.get(words[at], "")
    if letter:
        for link in known.as_in:
            length = len(link.split())
            example = words[at + 1 + length] if at + 1 + length < len(words) else ""
            if " ".join(words[at + 1 : at + 1 + length]) == link and example[:1] == letter and len(example) > 1:
                return 2 + length, letter
        return 1, letter
    return (1, known.spelling[words[at]]) if words[at] in known.spelling else (0, "")
