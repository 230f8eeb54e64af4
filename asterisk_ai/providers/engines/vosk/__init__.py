"""Speech to text with vosk (Kaldi): partial and final words while the caller speaks, in worker processes.

The audio is always brought to 16 kHz: the small models refuse 8 kHz. Where
the hints hold a grammar, its words are all that is listened for, and what is
none of them makes the utterance not accepted.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asterisk_ai.config.schema import Workers
from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.api import Hints, Transcript, check_rate, ignore
from asterisk_ai.providers.workers import PooledRecogniser, PooledUtterance, WorkerPool

NAME = "vosk"
ENGINE = "asterisk_ai.providers.engines.vosk.engine:VoskEngine"
SAMPLE_RATES = (8000, 16_000)
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class VoskSettings:
    """``providers.vosk``."""

    model: str = field(default="", metadata={"needed": "name a model: a folder, or one of `asterisk-ai models list`"})
    """A model's folder, or its name as `asterisk-ai models fetch` got it."""
    workers: Workers = 1
    """Processes; each loads the model once for all calls."""
    grammar: bool = True
    """False listens to every word of the model, whatever is expected."""


class Vosk(PooledRecogniser):
    """The ``vosk`` engine. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    streams = "words while the caller speaks"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read_settings(VoskSettings, settings, f"providers.{NAME}")
        self._grammar = own.grammar
        super().__init__(WorkerPool(NAME, ENGINE, {"model": own.model}, workers=own.workers, start_seconds=180.0))

    @property
    def sample_rates(self) -> Sequence[int]:
        return SAMPLE_RATES

    @contextlib.asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[PooledUtterance]:
        """Open a stream for one utterance. Raises ProviderUnavailable where no worker is ready."""
        check_rate(NAME, rate, SAMPLE_RATES)
        options = {"rate": rate, "words": sorted(hints.words) if self._grammar and not hints.free else []}
        async with self.utterance(options, partial, SECONDS) as stream:
            yield stream
