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

from asterisk_ai.providers.grammar import words
from asterisk_ai.providers.knowledge.vectors import Floats, Vectors

_LETTERS = 0.25  # what likeness in letters counts beside that in meaning; both were tried on sentences of our own
_LEARNED = 0.35  # what the line that is learned between the meanings counts beside the nearest example
_STRENGTH = 1.0  # of the pull towards short weights: the more, the smoother that line
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
        self._line: Floats | None = None
        self.sure, self.weak = self._fit()

    def core(self, text: str) -> str:
        """The words that carry the meaning."""
        spoken = " ".join(words(text)[:MAX_WORDS])
        return (self._fillers.sub("", spoken).strip() if self._fillers else spoken) or spoken

    def rank(self, text: str, among: Collection[str] = ()) -> list[Likeness]:
        """All meanings, or those of ``among``, the likest first."""
        core = self.core(text)
        rows = self._vectors.of([core]) if self._vectors else None
        learned = rows @ self._line if rows is not None and self._line is not None else None
        scores = self._mixed(self._alike([core], rows), learned)[0]
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

    def _fit(self) -> tuple[float, float]:
        """Learn the line between the meanings; returns the thresholds.

        The line is least squares from vectors to meanings, each meaning with a say of its own however many examples it
        has. The thresholds come from asking each foreign example, as if it were none of them, for what it would be
        taken. Of least squares that is known without doing it again: f(i) without i is (f - h y) / (1 - h), where h is
        what the example has to say about itself.
        """
        foreign = np.array([self._kind[name] is Kind.FOREIGN for name in self.meanings])
        own = np.array([self._kind[name] is Kind.OWN for name in self.meanings])
        asked = np.flatnonzero(foreign[self._of])
        learned: Floats | None = None
        if self._rows is not None:
            weight = 1 / np.sqrt(np.bincount(self._of))[self._of]
            weighted = self._rows * weight[:, None].astype(np.float32)
            square = weighted.T @ self._rows + _STRENGTH * weight.mean() * np.eye(self._rows.shape[1])
            inverse = np.linalg.inv(square).astype(np.float32)
            wanted = np.eye(len(self.meanings), dtype=np.float32)[self._of]
            self._line = inverse @ (weighted.T @ wanted)
            self_said = np.einsum("ij,ij->i", weighted @ inverse, self._rows)[asked, None]
            learned = (self._rows[asked] @ self._line - self_said * wanted[asked]) / np.maximum(1 - self_said, 0.05)
        if not len(asked) or not own.any():
            return _SURE[0], _WEAK[0]
        alike = self._alike([self._texts[one] for one in asked], None if self._rows is None else self._rows[asked])
        alike[np.arange(len(asked)), asked] = -1  # itself
        scores = self._mixed(alike, learned)
        best = scores[:, own].max(axis=1)
        lead = best - scores[:, ~own].max(axis=1)
        taken = np.where(lead >= 0, best + _LEAD * lead, 0.0)
        sure, weak = (float(np.quantile(taken, 1 - part)) for part in (_WRONG_SURE, _WRONG_WEAK))
        return float(np.clip(sure, *_SURE)), float(np.clip(weak, *_WEAK))

    def _alike(self, cores: list[str], rows: Floats | None) -> Floats:
        """Of each text with each example; ``rows`` are the texts' vectors."""
        letters: Floats = (
            process.cdist(cores, self._texts, scorer=fuzz.token_sort_ratio, dtype=np.float32)
            + process.cdist(cores, self._texts, scorer=fuzz.ratio, dtype=np.float32)
        ) / 200
        if rows is None or self._rows is None:
            return letters
        return np.asarray((1 - _LETTERS) * (rows @ self._rows.T) + _LETTERS * letters, np.float32)

    def _mixed(self, alike: Floats, learned: Floats | None) -> Floats:
        """For each text and meaning: the nearest example, and what the line says."""
        nearest = np.stack([alike[:, self._of == one].max(axis=1) for one in range(len(self.meanings))], axis=1)
        return nearest if learned is None else np.asarray((1 - _LEARNED) * nearest + _LEARNED * learned, np.float32)


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
