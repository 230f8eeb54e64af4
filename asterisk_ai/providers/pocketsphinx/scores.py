"""Whether an utterance was of the grammar: three searches compared, no judgement by one score.

A decoder that knows a grammar alone finds some sentence of it in any sound.
So a phone loop, which may put any phones after one another, hears the same
audio: where the sentence explains the sound much worse than free phones do,
overall or in its worst word, where it leaves much of the speech to silence, or
where its phones are far from those of the loop, it is not what was said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FILLERS = frozenset({"<s>", "</s>", "<sil>", "SIL", "[NOISE]", "[SPEECH]", "+SPN+", "+NSN+", "(NULL)"})
WORST_WORD_FRAMES = 9
"""A word shorter than this (90 ms) has no score of its own worth telling."""

VOWELS = frozenset("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
NEAR = tuple(
    frozenset(group.split())
    for group in (
        "P B", "T D", "K G", "F V TH DH", "S Z", "SH ZH CH JH", "M N NG", "L R W", "Y IY IH", "AA AO AH OW",
        "AE EH", "IH EH AH", "UW UH", "AY AA AE", "EY EH IY", "ER R AH", "AW AA AE",
    )
)  # fmt: skip
"""Phones that the telephone and speakers confuse."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A word or phone in frames of 10 ms, ``end`` inclusive; ``score`` is its natural log likelihood."""

    name: str
    start: int
    end: int
    score: float

    @property
    def speech(self) -> bool:
        return self.name not in FILLERS


@dataclass(frozen=True, slots=True)
class Evidence:
    """What tells an utterance of the grammar from any other."""

    deficit: float
    """Log likelihood a frame that the sentence lacks against the phone loop, over its words."""
    worst: float
    """The same for its worst word."""
    covered: float
    """Frames in its words to frames in which the phone loop hears speech."""
    distance: float
    """Its phones to those of the loop with a phone language model: weighted edits a phone."""


# Fitted by logistic regression on one half of the utterances of scripts/measure_recognition.py.
WEIGHTS = (0.9, 0.3, -2.5, 4.0)
BIAS = -3.0
THRESHOLDS = {"normal": 0.0, "strict": -1.0, "off": math.inf}


def evidence(
    sentence: Sequence[Segment], phones: Sequence[str], loop: Sequence[Segment], heard: Sequence[Segment]
) -> Evidence:
    """Compare the three searches.

    :param sentence: the grammar's path; :param phones: its words' phones.
    :param loop: the path of the free phone loop.
    :param heard: that of the loop with a phone language model.
    """
    frames = 1 + max((part.end for part in (*sentence, *loop, *heard)), default=0)
    gap = _per_frame(loop, frames) - _per_frame(sentence, frames)
    words = [part for part in sentence if part.speech]
    speech = np.zeros(frames, dtype=np.bool_)
    for part in words:
        speech[part.start : part.end + 1] = True
    means = [float(gap[w.start : w.end + 1].mean()) for w in words if w.end - w.start + 1 >= WORST_WORD_FRAMES]
    overall = float(gap[speech].mean()) if words else 9.0
    voiced = sum(part.end - part.start + 1 for part in heard if part.speech)
    return Evidence(
        deficit=overall,
        worst=max(means, default=overall),
        covered=min(float(speech.sum()) / max(1, voiced), 1.5),
        distance=distance(phones, [part.name for part in heard if part.speech]),
    )


def suspicion(found: Evidence) -> float:
    """Log odds, give or take, that the utterance was not of the grammar."""
    values = (found.deficit, found.worst, found.covered, found.distance)
    return BIAS + sum(weight * value for weight, value in zip(WEIGHTS, values, strict=True))


def confidence(suspected: float) -> float:
    """0 to 1."""
    return 1.0 / (1.0 + math.exp(min(max(suspected, -30.0), 30.0)))


def distance(wanted: Sequence[str], heard: Sequence[str]) -> float:
    """Weighted edits that turn the phones ``heard`` into those ``wanted``, by phone wanted."""
    if not wanted:
        return 1.0
    row = [0.7 * i for i in range(len(heard) + 1)]
    for phone in wanted:
        before, row = row, [row[0] + 0.8]
        for i, other in enumerate(heard):
            row.append(min(before[i] + _substitution(phone, other), before[i + 1] + 0.8, row[i] + 0.7))
    return row[-1] / len(wanted)


def _substitution(one: str, other: str) -> float:
    if one == other:
        return 0.0
    if any(one in group and other in group for group in NEAR):
        return 0.4
    return 0.7 if (one in VOWELS) == (other in VOWELS) else 1.0


def _per_frame(parts: Iterable[Segment], frames: int) -> npt.NDArray[np.float64]:
    scores = np.zeros(frames)
    for part in parts:
        if part.end >= part.start:
            scores[part.start : part.end + 1] = part.score / (part.end - part.start + 1)
    return scores
