"""Free decoding that would rather write a word that is expected: contextual biasing by shallow fusion.

Several texts are followed side by side; each token of an expected word is worth a little more than the sound alone
says, and what was given in advance is taken back where the word is not finished. On 262 requests by eight synthetic
voices over mu-law 69 % were understood from the likeliest token each time, 75 % from the likeliest text, and 79 % so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from asterisk_ai.providers.engines.moonshine.model import BEAMS, PER_SECOND, Beams, Floats, Model, Sound
from asterisk_ai.providers.engines.moonshine.tokens import END, Tokens

WORTH = 2.5
"""Of each token of an expected word, in natural log likelihood. 1 to 4 were tried; from 4 on words are made up."""
LEAST_LETTERS = 4
"""Shorter words are heard as they are: too many others sound like them."""
_WIDTH = 6  # tokens that each text may go on with, the likeliest ones
_FAR = 8.0  # so much less likely than the likeliest token is not tried, expected or not
_HOPE = 3.0  # how much worse than the best that has ended a text may be, to be followed further
_ALPHA = 0.3  # a longer text may be that much less likely: the model ends too early rather than too late


class Expected:
    """A tree of the tokens of the words that are expected."""

    def __init__(self, tokens: Tokens, words: Iterable[str]) -> None:
        self.following: list[dict[int, int]] = [{}]
        self.whole: set[int] = set()
        self._tokens = tokens
        for word in {form for one in words if len(one) >= LEAST_LETTERS for form in (one, one.capitalize())}:
            node = 0
            for number in tokens.encode(word):
                if number not in self.following[node]:
                    self.following.append({})
                    self.following[node][number] = len(self.following) - 1
                node = self.following[node][number]
            self.whole.add(node)

    def step(self, path: Path, token: int, likelihood: float) -> Path:
        """The path with one more token."""
        kept, given, node = path.kept, path.given, 0
        if path.node and token in self.following[path.node]:
            node, given = self.following[path.node][token], given + WORTH
        else:
            if path.node in self.whole and self._tokens.begins_word(token):
                kept += given
            given = 0.0
            if token in self.following[0]:
                node, given = self.following[0][token], WORTH
        return Path((*path.tokens, token), path.likelihood + likelihood, kept, given, node)


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
    """The best text's tokens; ``first`` has the log likelihood of each token as the first one."""

    tokens: list[int] = field(default_factory=list)
    first: Floats = field(default_factory=lambda: np.zeros(0, np.float32))


def write(model: Model, sound: Sound, expected: Expected) -> Iterator[Written | None]:
    """Yields None after each step of work, and the result last."""
    beams = Beams(model, sound)
    paths, best = [Path()], None
    found = Written()
    for _ in range(int(sound.seconds * PER_SECOND) + 2):
        likely = beams.step([path.tokens[-1:] for path in paths])
        found.first = found.first if found.first.size else likely[0]
        yield None
        ended, going = _extended(paths, likely, expected)
        best = max((one for one in (best, *ended) if one is not None), key=lambda path: path.worth, default=None)
        going.sort(key=lambda pair: -pair[0].hope)
        least = best.likelihood + best.kept - _HOPE if best is not None else -np.inf
        going = [pair for pair in going[:BEAMS] if pair[0].hope > least]
        if not going:
            break
        paths = [path for path, _ in going]
        beams.keep([parent for _, parent in going])
    whole = best if best is not None else max(paths, key=lambda path: path.likelihood)
    found.tokens = [token for token in whole.tokens if token != END]
    yield found


def _extended(paths: Sequence[Path], likely: Floats, expected: Expected) -> tuple[list[Path], list[tuple[Path, int]]]:
    """All paths that end here, and those that are a token longer, with the number of the one that they come from."""
    ended, going = [], []
    for parent, (path, row) in enumerate(zip(paths, likely, strict=True)):
        likeliest = np.argpartition(-row, _WIDTH)[:_WIDTH].tolist()
        least = float(row.max()) - _FAR
        hoped = [token for token in expected.following[path.node] if row[token] > least]
        for token in {*likeliest, *hoped}:
            longer = expected.step(path, token, float(row[token]))
            if token == END:
                ended.append(longer)
            else:
                going.append((longer, parent))
    return ended, going
