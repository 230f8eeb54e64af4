"""Cutting a reply into sentences, and what of it the caller heard when it was cut off."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A full stop inside a number or an abbreviation of one letter is no end: "3.5", "e.g. this" (lower case follows).
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(\s+)(?=\S)")


@dataclass(frozen=True, slots=True)
class Spoken:
    """One piece of a reply and how many samples of audio it became."""

    text: str
    samples: int


def sentences(text: str) -> list[str]:
    """Cut ``text`` where a speaker would pause; joined by blanks it is the text again, white space aside."""
    pieces, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        if not text[end.end()].islower():
            pieces.append(text[start : end.start(1)].strip())
            start = end.end()
    last = text[start:].strip()
    return [*pieces, last] if last else pieces


def heard_text(pieces: Iterable[Spoken], played: int) -> str:
    """The words of ``pieces`` that ``played`` samples of audio hold.

    Without word times from the engine a piece's words share its samples by
    their length in letters; a word that was begun is not counted as heard.
    """
    heard: list[str] = []
    for piece in pieces:
        if played <= 0:
            break
        if played >= piece.samples:
            heard.append(piece.text)
        else:
            heard.extend(_first_words(piece, played))
        played -= piece.samples
    return " ".join(heard)


def _first_words(piece: Spoken, played: int) -> list[str]:
    words = piece.text.split()
    total = sum(len(word) + 1 for word in words)
    budget = total * played / piece.samples
    heard: list[str] = []
    for word in words:
        budget -= len(word) + 1
        if budget < 0:
            break
        heard.append(word)
    return heard
