"""Decoding within a list of words that may follow each other in any order and number: digits, letters.

Nothing is forced: the text ends where the model hears no more, so two digits of four stay two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asterisk_ai.providers.engines.moonshine.model import BEAMS, Beams, Floats, Model, Sound
from asterisk_ai.providers.engines.moonshine.tokens import Tokens

NUMBERS = tuple(
    "zero oh nought one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred double triple".split()
)
CORRECTIONS = (*NUMBERS, "no", "no it is", "no it's", "it is", "it's", "not", "sorry", "wrong")
"""While a number is to be confirmed, it may be another one that is said."""
_BETWEEN = (" ", ", ", "-", ". ", "")
"""What the model writes between such words."""
_MOST_WORDS = 24
_ALPHA = 0.7
_HOPE = 3.0
"""How much less likely than the best that has ended a text may be, to be followed further."""
_ROOT = 0


class Words:
    """A tree of the tokens of all words, each with all that may stand before it."""

    def __init__(self, tokens: Tokens, words: Iterable[str]) -> None:
        self._ending = [tokens.encode("a" + mark)[-1] for mark in ",."]
        self._next: list[dict[int, int]] = [{}]
        self._whole: set[int] = set()
        self.marks: set[int] = set()
        """Where a comma or a dot has been written, which may be the last thing."""
        for word in words:
            for written in {word, word.capitalize()}:
                self._add(tokens.encode(written))
                for between in _BETWEEN if len(word) == 1 and word.isupper() else _BETWEEN[:-1]:
                    self._add(tokens.encode("a" + between + written)[1:])

    def _add(self, numbers: Sequence[int]) -> None:
        node = _ROOT
        for number in numbers:
            if number not in self._next[node]:
                self._next.append({})
                self._next[node][number] = len(self._next) - 1
            node = self._next[node][number]
        self._whole.add(node)
        for number in self._next[_ROOT].keys() & set(self._ending):
            self.marks.add(self._next[_ROOT][number])

    def following(self, node: int) -> list[tuple[int, int]]:
        """The tokens that may come, and where each leads; a whole word may be followed by another one's beginning."""
        found = list(self._next[node].items())
        return found + list(self._next[_ROOT].items()) if node in self._whole else found

    def whole(self, node: int) -> bool:
        return node in self._whole


@dataclass(frozen=True, slots=True)
class Path:
    """A beginning of the text."""

    tokens: tuple[int, ...]
    node: int
    likelihood: float

    @property
    def worth(self) -> float:
        """The likelihood for its length: the model ends too early rather than too late."""
        return float(self.likelihood / (len(self.tokens) + 1) ** _ALPHA)


def search(model: Model, sound: Sound, words: Words) -> Iterator[Path | None]:
    """The likeliest text of these words; its tokens without a mark at the end. Yields None after each step of work."""
    beams = Beams(model, sound)
    paths = [Path((), _ROOT, 0.0)]
    best = Path((), _ROOT, -np.inf)
    for _ in range(min(_MOST_WORDS * 2, int(sound.seconds * 8) + 3)):
        likely = beams.step([path.tokens[-1:] for path in paths])
        yield None
        ended, going = _extended(paths, likely, words, model.ends)
        best = max((best, *ended), key=lambda path: path.worth)
        going = [(path, parent) for path, parent in going if path.likelihood > best.likelihood - _HOPE]
        going = sorted(going, key=lambda one: -one[0].likelihood)[:BEAMS]
        if not going:
            break
        paths = [path for path, _ in going]
        beams.keep([parent for _, parent in going])
    yield best


def _extended(
    paths: Sequence[Path], likely: Floats, words: Words, ends: Sequence[int]
) -> tuple[list[Path], list[tuple[Path, int]]]:
    """All paths that end here, and those that are a token longer, with the number of the one that they come from."""
    ended, going = [], []
    for parent, (path, row) in enumerate(zip(paths, likely, strict=True)):
        if words.whole(path.node) or path.node in words.marks:
            end = path.likelihood + float(np.logaddexp.reduce(row[list(ends)]))
            ended.append(Path(path.tokens, path.node, end))
        for token, node in words.following(path.node):
            going.append((Path((*path.tokens, token), node, path.likelihood + float(row[token])), parent))
    return ended, going
