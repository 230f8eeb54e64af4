"""One run of the model of voice activity for the chunks of many calls: alone a chunk costs three times as much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from asterisk_ai.audio.formats import SAMPLE_BYTES

MODEL_RATE = 8000
CHUNK = 256
"""Samples at MODEL_RATE that are judged at a time: 32 ms."""
CONTEXT = 32
"""Samples before the chunk that the model sees again."""
CHUNK_BYTES = CHUNK * SAMPLE_BYTES
CONTEXT_BYTES = CONTEXT * SAMPLE_BYTES
STATE_SHAPE = (2, 128)
"""Of what the model remembers of one call."""
_FULL_SCALE = 32768
_MAX_ROUNDS = 8
_STUCK_SECONDS = 2.0
"""A run that takes so long comes to no end."""
MANY = 12
"""So many callers who make a sound at once, and the model's time is saved, at a small price; with fewer at none."""
RUN_SECONDS = 0.02
"""With many, runs begin so far apart, so that chunks gather."""

Floats = npt.NDArray[np.float32]
Model = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""Samples (n, CONTEXT + CHUNK) in -1..1 and state (2, n, 128) to probabilities (n,) and the next state."""


class Stream(Protocol):
    """One call's audio, as the model is asked about it."""

    state: Floats
    """What the model remembers of it; a new array where it has forgotten."""

    def take_chunk(self) -> bytes:
        """The oldest chunk that waits, with its context before it."""

    def judged(self, probability: float, state: Floats, now: float) -> None:
        """What the model says of the chunk that was taken last, and its state after it."""

    def gone(self, now: float) -> bool:
        """Whether nothing has come from the line for a while."""


class Run(Protocol):
    """A run of the model that was started; :class:`concurrent.futures.Future` is one."""

    def done(self) -> bool: ...

    def result(self) -> tuple[Floats, Floats]: ...


class BatchedModel:
    """Judges the waiting chunks of all calls, as many in one run of the model as there are."""

    def __init__(
        self,
        start: Callable[[Floats, Floats], Run],
        failed: Callable[[Exception], None] = lambda error: None,
        *,
        soon: Callable[[], None] = lambda: None,
    ) -> None:
        """``start`` begins a run of the :data:`Model`.

        ``failed`` is told why the model is not asked any more; from then on levels alone decide.
        ``soon`` is called when :meth:`flush` has something to do.
        """
        self._start = start
        self._failed = failed
        self._soon = soon
        self._waiting: dict[Stream, None] = {}
        self._sounding: set[Stream] = set()
        self._run: Run | None = None
        self._batch: list[tuple[Stream, Floats]] = []
        self._begun_at = self._begin_at = self._look_at = 0.0
        self._behind = False
        self.broken = False

    def sounds(self, stream: Stream, sounding: bool) -> None:
        """Whether its caller makes a sound that may be speech."""
        (self._sounding.add if sounding else self._sounding.discard)(stream)

    @property
    def many(self) -> bool:
        """Whether so many speak that only what has to be judged should be."""
        return len(self._sounding) >= MANY

    def add(self, stream: Stream, *, behind: bool = False) -> None:
        """Its oldest chunk is judged by the next run, which is at once where it is ``behind`` by several."""
        self._waiting[stream] = None
        self._behind = self._behind or behind
        if self._run is None and (behind or not self.many):
            self._soon()

    def drop(self, stream: Stream) -> None:
        """Its chunks are not to be judged."""
        self._waiting.pop(stream, None)

    def flush(self, now: float) -> None:
        """Tell what the run has found that was started last, and start the next with all that waits. Never raises."""
        if now >= self._look_at:
            self._look_at = now + 1
            self._sounding = {stream for stream in self._sounding if not stream.gone(now)}
        for _ in range(_MAX_ROUNDS):  # a gate that has just opened brings several chunks, each with the state before it
            if self._run is None:
                if not self._waiting or (now < self._begin_at and self.many and not self._behind):
                    return
                self._begun_at, self._begin_at, self._behind = now, now + RUN_SECONDS, False
                self._begin()
            if self._run is None:
                return
            if not self._run.done():
                if now - self._begun_at > _STUCK_SECONDS and not self.broken:
                    self._break(TimeoutError(f"the model has not answered for {_STUCK_SECONDS:g} s"))
                return
            self._tell(self._run, now)

    def _begin(self) -> None:
        self._batch = [(stream, stream.state) for stream in self._waiting]
        self._waiting.clear()
        pcm = np.frombuffer(b"".join([stream.take_chunk() for stream, _ in self._batch]), dtype="<i2")
        samples = pcm.reshape(len(self._batch), CONTEXT + CHUNK).astype(np.float32) / np.float32(_FULL_SCALE)
        try:
            self._run = self._start(samples, np.stack([state for _, state in self._batch], axis=1))
        except RuntimeError as error:  # an executor that is shut down
            self._break(error)

    def _tell(self, run: Run, now: float) -> None:
        batch, self._batch, self._run = self._batch, [], None
        try:
            probabilities, following = run.result()
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises, calls go on without it
            self._break(error)
            return
        for number, (stream, state) in enumerate(batch):
            if stream.state is state:  # else it has forgotten what it had said before
                stream.judged(float(probabilities[number]), following[:, number], now)

    def _break(self, error: Exception) -> None:
        self.broken = True
        self._run = None
        self._waiting.clear()
        self._failed(error)
