"""What a caller means, by what is alike in meaning and in words, and how certain that is.

Each thing that callers may want (a *meaning*) has examples. A sentence is compared with all of them; beside the
agent's own there are those of small talk, of what other businesses do, and of talk that concerns no agent at all, so
that "none of these" has a face, too. How much likeness is enough is found for each agent by asking each example, when
it is left out, for what it would have been taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np
from rapidfuzz import fuzz, process

from asterisk_ai.providers.engines.rules.vectors import Floats, Vectors
from asterisk_ai.providers.grammar import words

_LETTERS = 0.25  # what likeness in letters counts beside that in meaning; both were tried on sentences of our own
_LEARNED = 0.35  # what the line that is learned between the meanings counts beside the nearest example
_STRENGTH = 1.0  # of the pull towards short weights: the more, the smoother that line
_FOLDS = 5
_SAME = 90  # likeness in letters of what is the same but for a letter
_LEAD = 0.5
_WRONG_SURE, _WRONG_WEAK = 0.01, 0.06  # parts of foreign sentences that may pass the two thresholds
_SURE, _WEAK = (0.6, 0.7), (0.42, 0.5)  # within these the thresholds are fitted
CLOSE = 0.06
"""Two meanings that are no further apart are both possible."""
MAX_WORDS = 40


class Kind(Enum):
    """Whose a meaning is."""

    OWN = auto()
    TALK = auto()
    FOREIGN = auto()


@dataclass(frozen=True, slots=True)
class Example:
    meaning: str
    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Likeness:
    """How like a meaning a sentence is, 0 to 1; ``lead`` is what it is more than to any other meaning."""

    meaning: str
    score: float
    lead: float = 0.0

    @property
    def certainty(self) -> float:
        """What is like nothing else needs less likeness."""
        return self.score + _LEAD * self.lead


class Meanings:
    """Of one agent. Immutable after it was made; takes some 1 ms a sentence.

    :param fillers: what is said around a wish and means nothing: "I was wondering", "please".
    """

    def __init__(self, examples: Iterable[Example], fillers: Sequence[str], vectors: Vectors | None) -> None:
        self._vectors = vectors
        said = "|".join(re.escape(filler) for filler in sorted(fillers, key=len, reverse=True))
        self._fillers = re.compile(rf"^(?:(?:{said})\b ?)+|(?: (?:{said}))+$") if said else None
        kept = {(example.meaning, self.core(example.text)): example for example in examples}
        self._examples = list(kept.values())
        self._texts = [text for _, text in kept]
        self.meanings = tuple(dict.fromkeys(example.meaning for example in self._examples))
        self._of = np.array([self.meanings.index(example.meaning) for example in self._examples], np.intp)
        self._kind = {example.meaning: example.kind for example in self._examples}
        self._rows = vectors.of(self._texts) if vectors else None
        self._line = self._learned(np.ones(len(self._texts), bool))
        self.sure, self.weak = self._thresholds()

    def core(self, text: str) -> str:
        """The words that carry the meaning."""
        spoken = " ".join(words(text)[:MAX_WORDS])
        return (self._fillers.sub("", spoken).strip() if self._fillers else spoken) or spoken

    def rank(self, text: str, among: Collection[str] = ()) -> list[Likeness]:
        """All meanings, or those of ``among``, the likest first."""
        core = self.core(text)
        scores = self._scores([core], self._line, np.ones((1, len(self._texts)), bool))[0]
        ranked = [Likeness(name, float(score)) for name, score in zip(self.meanings, scores, strict=True)]
        return self.led([one for one in ranked if not among or one.meaning in among])

    def led(self, likenesses: Iterable[Likeness]) -> list[Likeness]:
        """The likest first, each with its lead before what is not the agent's business."""
        ranked = sorted(likenesses, key=lambda one: -one.score)
        other = max((one.score for one in ranked if self._kind[one.meaning] is not Kind.OWN), default=0.0)
        return [replace(one, lead=max(one.score - other, 0.0)) for one in ranked]

    def has(self, meaning: str, core: str) -> bool:
        """Whether that is an example of the meaning, up to a letter or two."""
        number = self.meanings.index(meaning)
        return any(
            of == number and fuzz.ratio(text, core) >= _SAME for text, of in zip(self._texts, self._of, strict=True)
        )

    def any_has(self, meaning: str, said: Collection[str]) -> bool:
        """Whether an example of the meaning has one of these words."""
        number = self.meanings.index(meaning)
        return any(
            set(said) & set(text.split()) for text, of in zip(self._texts, self._of, strict=True) if of == number
        )

    def _scores(self, cores: list[str], line: Floats | None, allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
                rows: Floats | None = None) -> Floats:  # fmt: skip
        """For each text and meaning. ``allowed``: which examples each text is compared with."""
        letters = (
            process.cdist(cores, self._texts, scorer=fuzz.token_sort_ratio, dtype=np.float32)
            + process.cdist(cores, self._texts, scorer=fuzz.ratio, dtype=np.float32)
        ) / 200
        alike, learned = letters, None
        if self._vectors is not None and self._rows is not None and line is not None:
            mine = self._vectors.of(cores) if rows is None else rows
            alike = (1 - _LETTERS) * (mine @ self._rows.T) + _LETTERS * letters
            learned = mine @ line
        alike = np.where(allowed, alike, -1)
        nearest = np.full((len(cores), len(self.meanings)), -1, np.float32)
        for number in range(len(self.meanings)):
            nearest[:, number] = alike[:, self._of == number].max(axis=1)
        return nearest if learned is None else (1 - _LEARNED) * nearest + _LEARNED * learned

    def _learned(self, used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats | None:
        """Least squares from vectors to meanings, each meaning with a say of its own however many examples it has."""
        if self._rows is None:
            return None
        rows, of = self._rows[used], self._of[used]
        weight = 1 / np.sqrt(np.bincount(of, minlength=len(self.meanings)))[of]
        weighted = rows * weight[:, None]
        square = weighted.T @ rows + _STRENGTH * weight.mean() * np.eye(rows.shape[1])
        wanted = np.eye(len(self.meanings))[of]
        return np.asarray(np.linalg.solve(square, weighted.T @ wanted), np.float32)

    def _thresholds(self) -> tuple[float, float]:
        """From which certainty on a sentence has one of the agent's own meanings, and from which on it may have it."""
        taken: list[float] = []
        foreign = np.array([self._kind[name] is Kind.FOREIGN for name in self.meanings])[self._of]
        own = np.array([self._kind[name] is Kind.OWN for name in self.meanings])
        fold = np.arange(len(self._texts)) % _FOLDS
        for number in range(_FOLDS):
            asked = np.flatnonzero((fold == number) & foreign)
            if not len(asked):
                continue
            line = self._learned(fold != number)
            allowed = np.tile(fold != number, (len(asked), 1))
            rows = self._rows[asked] if self._rows is not None else None
            scores = self._scores([self._texts[one] for one in asked], line, allowed, rows)
            best = scores[:, own].max(axis=1)
            lead = best - scores[:, ~own].max(axis=1)
            taken += list(np.where(lead >= 0, best + _LEAD * lead, 0.0))
        self.taken = taken
        sure, weak = (float(np.quantile(taken or [0.0], 1 - part)) for part in (_WRONG_SURE, _WRONG_WEAK))
        return float(np.clip(sure, *_SURE)), float(np.clip(weak, *_WEAK))


def learned_from(own: Mapping[str, Sequence[str]], common: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Which of the agent's meanings is about the same as a common one: its examples have the common one's key words.

    :param own: meaning to examples; ``common``: name to a pattern of key words and examples.
    :returns: name of the common one to the agent's.
    """
    found = {}
    for name, (pattern, _) in common.items():
        key = re.compile(rf"\b(?:{pattern})\b")
        parts = {meaning: np.mean([bool(key.search(text)) for text in texts]) for meaning, texts in own.items()}
        best = max(parts, key=lambda meaning: parts[meaning], default="")
        if best and parts[best] >= 0.5:
            found[name] = best
    return found
