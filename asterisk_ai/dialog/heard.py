"""What of a reply the caller heard when it was cut off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SECONDS_PER_LETTER = 0.065
"""Length of speech not synthesised yet, for guessing how much of a piece was heard; slow speech is 0.08."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One piece of a reply and how many samples of audio it became."""

    text: str
    samples: int
    words: tuple[tuple[int, int], ...] = ()
    """Where the engine tells it: after how many samples how many of the words were spoken, both growing."""


def heard_text(pieces: Iterable[Spoken], played: int) -> str:
    """The words of ``pieces`` that ``played`` samples of audio hold.

    A word that was begun is not counted as heard. Without word times from the
    engine a piece's words share its samples by their length in letters.
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


def unheard_text(pieces: Iterable[Spoken], played: int) -> str:
    """The pieces that ``played`` samples of audio do not hold to their end; those of no known length are among them."""
    unheard: list[str] = []
    for piece in pieces:
        if unheard or played < piece.samples or not piece.samples:
            unheard.append(piece.text)
        played -= piece.samples
    return " ".join(unheard)


def _first_words(piece: Spoken, played: int) -> list[str]:
    words = piece.text.split()
    if piece.words:
        known = [count for samples, count in piece.words if samples <= played]
        return words[: known[-1] if known else 0]
    total = sum(len(word) + 1 for word in words)
    budget = total * played / piece.samples
    heard: list[str] = []
    for word in words:
        budget -= len(word) + 1
        if budget < 0:
            break
        heard.append(word)
    return heard
