"""What a caller means, by what is alike in meaning and in words, and how certain that is.

Each thing that callers may want (a *meaning*) has examples. A sentence is compared with all of them; beside the
agent's own there are those of small talk, of what other businesses do, and of talk that concerns no agent at all, so
that "none of these" has a face, too. What the likenesses are worth together is one logistic rule for every agent,
fitted on many of them (``words/fitted.yaml``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from importlib.resources import files

import numpy as np
import yaml
from rapidfuzz import fuzz

from asterisk_ai.providers.engines.rules.likeness import NAMES, Likenesses
from asterisk_ai.providers.grammar import words
from asterisk_ai.providers.knowledge.vectors import Floats, Vectors

_SAME = 90  # likeness in letters of what is the same but for a letter
_CACHED = 64  # sentences: what is asked whether it is complete is answered next
CLOSE = 0.8
"""Two meanings whose certainties are no further apart (in logits) are both possible."""
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
class Likely:
    """A meaning that a sentence may have. ``value`` is the logit of ``certainty``, the probability that it has it."""

    meaning: str
    value: float

    @property
    def certainty(self) -> float:
        return float(1 / (1 + np.exp(-self.value)))


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the likenesses are worth. ``sure``: certainty from which it is acted upon; ``weak``: from which it may have
    been meant."""

    weights: Floats
    sure: float
    weak: float


@functools.cache
def fitted(*, vectors: bool) -> Fitted:
    """The rule for a machine with vectors, or without."""
    read = yaml.safe_load((files(__package__) / "words" / "fitted.yaml").read_text("utf-8"))
    rule = read["vectors" if vectors else "letters"]
    weights = np.array([rule["weights"].get(name, 0.0) for name in NAMES], np.float32)
    return Fitted(weights, float(rule["sure"]), float(rule["weak"]))


class Meanings:
    """Of one agent. Takes some 2 ms a sentence.

    :param fillers: what is said around a wish and means nothing: "I was wondering", "please".
    :param about: what else describes a meaning: its label, its answer.
    :param alike: words of which one means as much as another, such as weekdays, where no vectors tell that.
    """

    def __init__(
        self,
        examples: Iterable[Example],
        fillers: Sequence[str],
        vectors: Vectors | None,
        *,
        about: Mapping[str, str],
        language: str = "en",
        alike: Sequence[str] = (),
    ) -> None:
        said = "|".join(re.escape(filler) for filler in sorted(fillers, key=len, reverse=True))
        self._fillers = re.compile(rf"^(?:(?:{said})\b ?)+|(?: (?:{said}))+$") if said else None
        self._alike = re.compile(rf"\b(?:{'|'.join(alike)})\b") if alike and vectors is None else None
        self._like = alike[0] if alike else ""
        kept = {(example.meaning, self.core(example.text)): example.kind for example in examples}
        names = list(dict.fromkeys(meaning for meaning, _ in kept))
        ordered = sorted(kept, key=lambda one: names.index(one[0]))
        self.meanings = tuple(names)
        self.texts = tuple(text for _, text in ordered)
        self._of = np.array([names.index(meaning) for meaning, _ in ordered], np.intp)
        kind = {meaning: kept[meaning, text] for meaning, text in ordered}
        self._chosen = [number for number, name in enumerate(names) if kind[name] is not Kind.FOREIGN]
        self._likenesses = Likenesses(
            self.texts,
            self._of,
            foreign=np.array([kind[name] is Kind.FOREIGN for name in names]),
            talk=np.array([kind[name] is Kind.TALK for name in names]),
            about=[self.core(about.get(name, "")) for name in names],
            language=language,
            vectors=vectors,
        )
        self.by_vectors = vectors is not None
        self._rule = fitted(vectors=vectors is not None)
        self.sure, self.weak = self._rule.sure, self._rule.weak
        self._ranked = functools.lru_cache(_CACHED)(self._rank)

    def core(self, text: str) -> str:
        """The words that carry the meaning."""
        spoken = " ".join(words(text)[:MAX_WORDS])
        spoken = self._alike.sub(self._like, spoken) if self._alike else spoken
        return (self._fillers.sub("", spoken).strip() if self._fillers else spoken) or spoken

    def rank(self, text: str, among: Collection[str] = ()) -> list[Likely]:
        """All meanings, or those of ``among``, the likeliest first."""
        return [one for one in self._ranked(self.core(text)) if not among or one.meaning in among]

    def rows(self, text: str) -> tuple[list[str], Floats]:
        """The meanings that may be chosen, and how like each is, for fitting."""
        rows = self._likenesses.of(self.core(text))[self._chosen]
        return [self.meanings[number] for number in self._chosen], rows

    def _rank(self, core: str) -> tuple[Likely, ...]:
        values = self._likenesses.of(core)[self._chosen] @ self._rule.weights
        found = [Likely(self.meanings[one], float(value)) for one, value in zip(self._chosen, values, strict=True)]
        return tuple(sorted(found, key=lambda one: -one.value))

    def has(self, meaning: str, core: str) -> bool:
        """Whether that is an example of the meaning, up to a letter or two."""
        return any(fuzz.ratio(text, core) >= _SAME for text in self._examples(meaning))

    def any_has(self, meaning: str, said: Collection[str]) -> bool:
        """Whether an example of the meaning has one of these words."""
        return any(set(said) & set(text.split()) for text in self._examples(meaning))

    def _examples(self, meaning: str) -> list[str]:
        number = self.meanings.index(meaning)
        return [self.texts[one] for one in np.flatnonzero(self._of == number)]


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
