"""How like a sentence is to the meanings of an agent: what the fitted rule of :mod:`.meaning` looks at.

A row for each meaning that may be chosen, a column for each of ``NAMES``. Pure numbers: what they are worth together is
in ``words/fitted.yaml``, found by ``tests/support/fit_meaning.py``.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import snowballstemmer
from rapidfuzz import fuzz, process

from asterisk_ai.providers.knowledge.vectors import Floats, Vectors

NAMES = ("one", "near", "three", "line", "letters", "shared", "known", "near_lead", "near_foreign", "line_lead",
         "line_foreign", "shared_lead", "shared_foreign", "length", "about", "talk")  # fmt: skip
"""``near``: cosine to the nearest example; ``three``: to the mean of the three nearest; ``line``: of the line that is
learned between the meanings; ``letters``; ``shared``: the words (their stems) in common with an example, the rare ones
for more; ``known``: the part of the sentence's words that occur in any example; ``..._lead``: how much more that is
than for the best other meaning, ``..._foreign``: than for talk that is no agent's business; ``about``: cosine to the
description; ``talk``: whether it is small talk."""
_LANGUAGES = {"da": "danish", "de": "german", "en": "english", "es": "spanish", "fr": "french", "it": "italian",
              "nl": "dutch", "pt": "portuguese", "sv": "swedish"}  # fmt: skip
_STRENGTH = 1.0  # of the pull towards short weights: the more, the smoother the line that is learned
_STEMS = 10_000  # words whose stems are remembered
_UNHEARD = 1.3  # rarity of a word that no example has, beside that of the rarest


@functools.cache
def stemmer(name: str) -> Callable[[str], str]:
    """Of one language; it remembers the words that most agents have in common."""
    stem: Callable[[str], str] = snowballstemmer.stemmer(name).stemWord
    return functools.lru_cache(_STEMS)(stem)


class Likenesses:
    """Of one agent: its examples, sorted by meaning.

    :param texts: the examples' words, ``of`` the number of each one's meaning in ascending order.
    :param foreign: which meanings are never chosen; ``talk``: which are small talk.
    :param about: a description of each meaning, or "".
    """

    def __init__(
        self,
        texts: Sequence[str],
        of: npt.NDArray[np.intp],
        *,
        foreign: npt.NDArray[np.bool_],
        talk: npt.NDArray[np.bool_],
        about: Sequence[str],
        language: str,
        vectors: Vectors | None,
    ) -> None:
        self._texts, self._of, self._foreign, self._talk, self._vectors = texts, of, foreign, talk, vectors
        self._starts = np.searchsorted(of, np.arange(of[-1] + 1))
        self._counts = np.bincount(of)
        self._stem = stemmer(_LANGUAGES.get(language, "english"))
        said = [self._stems(text) for text in texts]
        seen = Counter(stem for stems in said for stem in stems)
        self._column = {stem: number for number, stem in enumerate(seen)}
        self._rarity = np.array([math.log(1 + len(said) / seen[stem]) for stem in self._column], np.float32)
        self._unheard = _UNHEARD * math.log(1 + len(said))
        self._has = np.zeros((len(said), len(self._column)), np.bool_)
        for row, stems in enumerate(said):
            self._has[row, [self._column[stem] for stem in stems]] = True
        self._weight = (self._has @ self._rarity).astype(np.float32)
        self._used = np.logical_or.reduceat(self._has, self._starts, axis=0)
        self._rows = vectors.of(texts) if vectors else None
        self._about = vectors.of(about) if vectors else None
        self._line = self._learned(self._rows) if self._rows is not None else None

    def of(self, core: str) -> Floats:
        """A row for each meaning; those of foreign ones are of no use."""
        count = len(self._starts)
        out = np.zeros((count, len(NAMES)), np.float32)
        letters = (process.cdist([core], self._texts, scorer=fuzz.token_sort_ratio, dtype=np.float32)[0]
                   + process.cdist([core], self._texts, scorer=fuzz.ratio, dtype=np.float32)[0]) / 200  # fmt: skip
        shared, known = self._words(core)
        columns: dict[str, Floats | float] = {
            "one": 1.0, "letters": self._best(letters), "shared": self._best(shared), "known": known,
            "length": math.log(1 + len(core.split())), "talk": self._talk.astype(np.float32),
        }  # fmt: skip
        if self._vectors is not None and self._rows is not None and self._line is not None:
            row = self._vectors.of([core])[0]
            alike = self._rows @ row
            near, line = self._best(alike), row @ self._line
            columns |= {"near": near, "three": self._three(alike), "line": line,
                        "near_lead": self._lead(near), "near_foreign": near - self._most_foreign(near),
                        "line_lead": self._lead(line), "line_foreign": line - self._most_foreign(line)}  # fmt: skip
            columns["about"] = self._about @ row if self._about is not None else 0.0
        best = self._best(shared)
        columns |= {"shared_lead": self._lead(best), "shared_foreign": best - self._most_foreign(best)}
        for name, column in columns.items():
            out[:, NAMES.index(name)] = column
        return out

    def _stems(self, text: str) -> set[str]:
        return set(map(self._stem, text.replace("'", " ").split()))

    def _words(self, core: str) -> tuple[Floats, Floats]:
        """For each example what is in common with it, and for each meaning what is known of the sentence."""
        stems = self._stems(core)
        columns = [self._column[stem] for stem in stems if stem in self._column]
        whole = float(self._rarity[columns].sum()) + self._unheard * (len(stems) - len(columns))
        common = self._has[:, columns] @ self._rarity[columns]
        known = self._used[:, columns] @ self._rarity[columns]
        return 2 * common / np.maximum(self._weight + whole, 1e-6), known / max(whole, 1e-6)

    def _best(self, of_examples: Floats) -> Floats:
        return np.asarray(np.maximum.reduceat(of_examples, self._starts), np.float32)

    def _three(self, alike: Floats) -> Floats:
        bounds = [*self._starts, len(alike)]
        return np.array([np.sort(alike[a:b])[-3:].mean() for a, b in itertools.pairwise(bounds)], np.float32)

    def _most_foreign(self, values: Floats) -> float:
        return float(values[self._foreign].max()) if self._foreign.any() else 0.0

    def _lead(self, values: Floats) -> Floats:
        """Before the best other meaning that may be chosen."""
        rivals = np.where(self._foreign, -1.0, values)
        first = int(rivals.argmax())
        second = float(np.delete(rivals, first).max()) if len(rivals) > 1 else 0.0
        lead = values - rivals[first]
        lead[first] = rivals[first] - second
        return np.asarray(lead, np.float32)

    def _learned(self, rows: Floats) -> Floats:
        """Least squares from vectors to meanings, each with a say of its own however many examples it has."""
        weight = 1 / np.sqrt(self._counts)[self._of]
        weighted = rows * weight[:, None].astype(np.float32)
        square = weighted.T @ rows + _STRENGTH * weight.mean() * np.eye(rows.shape[1])
        wanted = np.eye(len(self._counts), dtype=np.float32)[self._of]
        return np.asarray(np.linalg.solve(square, weighted.T @ wanted), np.float32)
