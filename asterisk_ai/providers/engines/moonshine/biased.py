"""Free decoding that would rather write what is expected: contextual biasing by shallow fusion.

Several texts are followed side by side; each token of an expected word is worth a little more than the sound alone
says, more so where that word follows the one before it in an expected sentence, and what was given in advance is taken
back where the word is not finished. On 210 requests by four synthetic voices over mu-law that it was tuned on, 72 %
were understood from the likeliest text, 76 % with what single words of the rules' phrases are worth, 82 % so.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from asterisk_ai.providers.engines.moonshine.model import PER_SECOND, Beams, Floats, Model, Sound
from asterisk_ai.providers.engines.moonshine.tokens import END, Tokens

PHRASED, KNOWN, FOLLOWING = 1.5, 1.0, 2.5
"""Worth of each token of a word of the expected phrases, of a word of the examples, and what is added where the word
follows the one before it in one of them; natural log likelihood. From 4 for a token on words are made up."""
LEAST_LETTERS = 4
"""Shorter words are heard as they are, but for what they follow: too many others sound like them."""
_ROOT = 0
_WIDTH = 6  # tokens that each text may go on with, the likeliest ones
_FAR = 8.0  # so much less likely than the likeliest token is not tried, expected or not
_BEAMS = 4  # texts that are followed at a time
_HOPE = 4.0  # how much worse than the best that has ended a text may be, to be followed further
_ALPHA = 0.3  # a longer text may be that much less likely: the model ends too early rather than too late


class Expected:
    """A tree of the tokens of the words that are expected; each word goes on with those that follow it somewhere.

    :param phrases: what may be said now.
    :param examples: sentences as callers say them, one of which or the like it may be.
    """

    def __init__(self, tokens: Tokens, phrases: Iterable[str], examples: Iterable[str] = ()) -> None:
        self._following: dict[int, dict[int, int]] = {_ROOT: {}}
        self._worth = [0.0]
        self._whole: set[int] = set()
        self._alone: dict[int, int] = {}
        """Where a word ends that follows another one: where it ends by itself."""
        self._encode, self._begins_word = functools.cache(tokens.encode), tokens.begins_word
        said = {word: PHRASED for sentence in phrases for word in sentence.split()}
        said = {word: KNOWN for sentence in examples for word in sentence.split()} | said
        worth = {word: value if len(word) >= LEAST_LETTERS else 0.0 for word, value in said.items()}
        for word, value in worth.items():
            for form in _forms(word):
                self._add(_ROOT, form, value)
        for first, second in {two for text in (*phrases, *examples) for two in itertools.pairwise(text.split())}:
            alone = self._end(second)
            for form in _forms(first):
                self._alone[self._add(self._end(form), _forms(second)[0], worth[second] + FOLLOWING)] = alone
        del self._encode
        self._first = np.fromiter(self._following[_ROOT], np.int64)

    def _add(self, node: int, word: str, worth: float) -> int:
        for number in self._encode(word):
            branches = self._following.setdefault(node, {})
            if number not in branches:
                branches[number] = len(self._worth)
                self._worth.append(worth)
            node = branches[number]
            self._worth[node] = max(self._worth[node], worth)
        self._whole.add(node)
        return node

    def _end(self, word: str) -> int:
        node = _ROOT
        for number in self._encode(_forms(word)[0]):
            node = self._following[node][number]
        return node

    def hoped(self, node: int, likely: Floats, least: float) -> list[int]:
        """The tokens that go on with a word or from one to the next and are likelier than ``least``."""
        going = {**self._following.get(node, {}), **self._following.get(self._alone.get(node, node), {})}
        found = [token for token in going if likely[token] > least]
        return found if node and node not in self._whole else found + self._first[likely[self._first] > least].tolist()

    def step(self, path: Path, token: int, likelihood: float) -> Path:
        """The path with one more token."""
        kept, given = path.kept, path.given
        next_word = path.node in self._whole and self._begins_word(token)
        if next_word:
            kept, given = kept + given, 0.0
        for node in (path.node, self._alone.get(path.node, _ROOT), _ROOT):
            longer = self._following.get(node, {}).get(token)
            if longer is not None:
                given = given + self._worth[longer] if node else self._worth[longer]
                return Path((*path.tokens, token), path.likelihood + likelihood, kept, given, longer)
        return Path((*path.tokens, token), path.likelihood + likelihood, kept, 0.0, _ROOT)


def _forms(word: str) -> list[str]:
    """A word as it is written in a sentence, and at its beginning."""
    written = word.capitalize() if word == "i" or word.startswith("i'") else word
    return list(dict.fromkeys((written, word.capitalize())))


@dataclass(frozen=True, slots=True)
class Path:
    """A text so far. ``kept`` is what its finished expected words are worth, ``given`` what the unfinished one is."""

    tokens: tuple[int, ...] = ()
    likelihood: float = 0.0
    kept: float = 0.0
    given: float = 0.0
    node: int = 0

    @property
    def hope(self) -> float:
        return self.likelihood + self.kept + self.given

    @property
    def worth(self) -> float:
        """Of a text that has ended."""
        return float((self.likelihood + self.kept) / len(self.tokens) ** _ALPHA)


@dataclass(slots=True)
class Written:
    """The best text's tokens; ``first`` has the log likelihood of each token as the first one. ``readings`` are all
    texts that came to an end, the best first, and what each is worth."""

    tokens: list[int] = field(default_factory=list)
    readings: list[tuple[list[int], float]] = field(default_factory=list)
    first: Floats = field(default_factory=lambda: np.zeros(0, np.float32))


def write(model: Model, sound: Sound, expected: Expected) -> Iterator[Written | None]:
    """Yields None after each step of work, and the result last."""
    beams = Beams(model, sound)
    paths, whole = [Path()], list[Path]()
    best: Path | None = None
    found = Written()
    for _ in range(int(sound.seconds * PER_SECOND) + 2):
        likely = beams.step([path.tokens[-1:] for path in paths])
        found.first = found.first if found.first.size else likely[0]
        yield None
        ended, going = _extended(paths, likely, expected)
        whole += ended
        best = max(whole, key=lambda path: path.worth, default=None)
        going.sort(key=lambda pair: -pair[0].hope)
        least = best.likelihood + best.kept - _HOPE if best is not None else -np.inf
        going = [pair for pair in going[:_BEAMS] if pair[0].hope > least]
        if not going:
            break
        paths = [path for path, _ in going]
        beams.keep([parent for _, parent in going])
    ranked = sorted(whole, key=lambda path: -path.worth) or [max(paths, key=lambda path: path.likelihood)]
    found.readings = [([token for token in path.tokens if token != END], path.worth) for path in ranked]
    found.tokens = found.readings[0][0]
    yield found


def _extended(paths: Sequence[Path], likely: Floats, expected: Expected) -> tuple[list[Path], list[tuple[Path, int]]]:
    """All paths that end here, and those that are a token longer, with the number of the one that they come from."""
    ended, going = [], []
    for parent, (path, row) in enumerate(zip(paths, likely, strict=True)):
        likeliest = np.argpartition(-row, _WIDTH)[:_WIDTH].tolist()
        least = float(row.max()) - _FAR
        for token in {*likeliest, *expected.hoped(path.node, row, least)}:
            longer = expected.step(path, token, float(row[token]))
            if token == END:
                ended.append(longer)
            else:
                going.append((longer, parent))
    return ended, going
