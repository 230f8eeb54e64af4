"""Speech to text: what the caller may say, what was heard, and the recogniser."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.api.common import Engine
from asterisk_ai.providers.grammar import Expected, parse


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller may say next, for recognisers that can use it.

    ``expected`` are the phrases; none where the language model takes free speech. ``free`` tells that anything else
    may be said as well: the phrases are then only more likely than the rest. ``examples`` are sentences as callers
    may put it freely, for recognisers that prefer words which follow each other there.
    """

    expected: Expected = field(default_factory=Expected)
    language: str = "en-US"
    free: bool = False
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, *phrases: str, language: str = "en-US", free: bool = False) -> Hints:
        """Of phrases with ``[optional words]`` and ``(one|of these)``. Raises ValueError where one cannot be read."""
        return cls(Expected(tuple(map(parse, phrases))), language, free)

    @property
    def phrases(self) -> tuple[str, ...]:
        """Every sentence that is expected, in words; those that hold spoken digits are left out."""
        return self.expected.sentences

    @property
    def words(self) -> frozenset[str]:
        """Every word of what is expected, spoken digits too."""
        return self.expected.words

    @property
    def digits(self) -> bool:
        """Whether spoken digits alone are expected."""
        return self.expected.asks_number

    @property
    def grammar(self) -> str:
        """What is expected as a whole JSGF grammar with one public rule; empty where nothing is.

        Equal phrases have equal grammars, so recognisers may cache compiled ones by this text.
        """
        return self.expected.jsgf

    def widened(self, phrases: Sequence[str]) -> Hints:
        """The same with some more phrases; hints that expect nothing are wide enough."""
        return replace(self, expected=self.expected.widened(phrases)) if self.expected.phrases else self


@dataclass(frozen=True, slots=True)
class Word:
    """One word; ``start`` and ``end`` are seconds from the utterance's beginning."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of one utterance.

    ``accepted`` is False where the recogniser takes the speech to be outside
    of the grammar; ``text`` is then its best guess and must not be acted on.
    ``confidence`` is 0 to 1. ``words`` have their times where the recogniser
    tells them; empty where it does not. ``free`` is what was heard without regard to what was expected, from
    recognisers that tell it. ``readings`` are what it may have been as well, the likeliest first, each with its log
    likelihood (of the text, for its length): the language model chooses among them.
    """

    text: str
    accepted: bool = True
    confidence: float = 1.0
    words: tuple[Word, ...] = ()
    free: str = ""
    readings: tuple[tuple[str, float], ...] = ()


class SpeechToTextStream(Protocol):
    """One utterance on its way into a recogniser."""

    def feed(self, pcm: bytes) -> None:
        """Hand over audio at the stream's rate. Never blocks, never raises; a full queue drops the oldest."""

    async def finish(self) -> Transcript:
        """No more audio: wait for the words. Called at most once."""


def ignore(words: Transcript) -> None:
    """For callers of :meth:`SpeechToText.open` that want the final words only."""


def check_rate(provider: str, rate: int, rates: Sequence[int]) -> None:
    """:raises ProviderRejected: a recogniser of ``rates`` takes no audio of ``rate`` Hz."""
    if rate not in rates:
        raise ProviderRejected(provider, f"takes audio of {' or '.join(map(str, rates))} Hz, not {rate}")


class SpeechToText(Engine, Protocol):
    """A recogniser, shared by all calls."""

    @property
    @abstractmethod
    def sample_rates(self) -> Sequence[int]:
        """Rates in Hz that :meth:`open` takes, best first."""

    @abstractmethod
    def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AbstractAsyncContextManager[SpeechToTextStream]:
        """Open a stream for one utterance.

        ``partial`` is called on the loop whenever the recogniser has a stable view of what was said so far, at
        the latest in each pause of the caller; an engine that has none until the end never calls it.
        """
