"""What happens to one utterance: understood in each pause, cut there where it is long, and answered at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from asterisk_ai.audio.pauses import Collected
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.providers.engines.moonshine.expected import Heard, Wanted, joined
from asterisk_ai.providers.engines.moonshine.model import RATE

MAX_SECONDS = 30.0
"""Of audio kept for one utterance; the oldest is dropped."""
CUT_SECONDS = 6.0
"""What is longer in a pause is understood for good, if the caller goes on: the work grows with the square of it."""
LONGEST_SECONDS = 12.0
"""Without a pause it is cut at its quietest moment in the last half."""


class Understands(Protocol):
    """The part of the engine that an utterance needs."""

    def understand(self, pcm: bytes, wanted: Wanted) -> Iterator[Heard | None]: ...


class Utterance:
    """An :class:`~asterisk_ai.providers.workers.child.EngineStream`."""

    def __init__(self, engine: Understands, rate: int, wanted: Wanted) -> None:
        self._engine = engine
        self._wanted = wanted
        self._collected = Collected(rate, MAX_SECONDS)
        self._rate = rate
        self._whole: list[Heard] = []
        """Of the pieces before ``_start``, understood for good."""
        self._start = 0
        self._work: Iterator[Heard | None] | None = None
        self._until = 0
        """The sample up to which the work, or its result, has come; 0 where there is none."""
        self._at_frame = 0
        self._cutting = False
        self._result: Heard | None = None
        self._news: Mapping[str, Any] | None = None

    def feed(self, data: bytes) -> None:
        self._collected.feed(data)
        if self._until and not self._cutting and self._collected.pauses.loud_since(self._at_frame):
            self._go_on()

    def ahead(self) -> bool:
        if self._work is not None:
            self._step(self._work)
            return True
        if self._until:
            return False
        pauses = self._collected.pauses
        if pauses.samples - self._start > LONGEST_SECONDS * self._rate:
            self._cutting = self._begin(pauses.quietest(pauses.samples - int(LONGEST_SECONDS / 2 * self._rate)))
            return self._cutting
        return pauses.pausing() and self._begin(pauses.speech()[1])

    def news(self) -> Mapping[str, Any] | None:
        news, self._news = self._news, None
        return news

    def finish(self) -> Mapping[str, Any]:
        end = self._collected.pauses.speech()[1]
        if not self._until:
            self._begin(end)
        while self._work is not None:
            self._step(self._work)
        return {**self._all().as_json(), "lost": self._collected.dropped}

    def close(self) -> None:
        self._work = None
        self._collected.clear()

    def _begin(self, end: int) -> bool:
        """Understand what was said from the last cut to ``end``; False where that is nothing."""
        start = max(self._start, self._collected.pauses.speech()[0])
        if end <= start:
            return False
        resampler = Resampler(self._rate, RATE)
        pcm = resampler.push(self._collected.part(start, end)) + resampler.flush()
        self._until, self._at_frame = end, self._collected.pauses.frames
        # A phrase is a whole answer: what goes on from an earlier piece is none.
        wanted = replace(self._wanted, phrases=()) if self._whole else self._wanted
        self._work = self._engine.understand(pcm, wanted)
        return True

    def _step(self, work: Iterator[Heard | None]) -> None:
        for heard in work:
            self._result = heard
            return
        self._work = None
        if self._cutting:
            self._cutting = False
            self._go_on(cut=True)
        else:
            self._news = self._all().as_json()

    def _go_on(self, *, cut: bool = False) -> None:
        """The caller goes on: what was understood counts where it was long, else the whole is looked at again."""
        long = self._until - self._start > CUT_SECONDS * self._rate
        if self._work is None and self._result is not None and (cut or long):
            self._whole.append(self._result)
            self._start = self._until
        self._work, self._result, self._until = None, None, 0

    def _all(self) -> Heard:
        return joined([*self._whole, *([self._result] if self._result is not None else [])])
