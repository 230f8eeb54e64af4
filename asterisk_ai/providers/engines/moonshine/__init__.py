"""Speech to text with moonshine tiny-en, which listens freely and knows what it expects: nothing to download, no key.

The weights (MIT licence) come in the wheel of ``moonshine-voice`` and run in plain onnxruntime, in worker processes. An
utterance is understood in each of the caller's pauses, so that the words are there when the turn ends. The expected
phrases are judged by the same decoder on the same sound, beside what callers say anywhere: the likeliest one is the
result where it explains the sound nearly as well as the free text does; else the free text is. Where digits are
expected, the sound is also read with words of numbers alone, as many as there are.

It writes words for anything, so it belongs behind a detector of speech (``vad: silero``); what it is known to write
for clicks, coughs and music counts as nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

from asterisk_ai.config.schema import Range, Workers
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.api import Hints, Readiness, Transcript, check_rate, ignore
from asterisk_ai.providers.engines.moonshine.weights import NAME
from asterisk_ai.providers.workers import PooledRecogniser, PooledUtterance, WorkerPool

logger = logging.getLogger(__name__)

ENGINE = "asterisk_ai.providers.engines.moonshine.engine:MoonshineEngine"
SAMPLE_RATES = (8000, 16_000)


@dataclass(frozen=True, slots=True)
class MoonshineSettings:
    """``providers.moonshine``."""

    workers: Workers = 1
    """Processes; each loads the model."""
    model: str = ""
    """A folder with its three files; empty for the wheel's."""
    most_load: Annotated[float, Range(0.01, 10)] = 0.4
    """Seconds of a core that a second of speech may take; a machine that needs more is too slow for it."""


class Moonshine(PooledRecogniser):
    """The recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    streams = "words in the caller's pauses"

    def __init__(self, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
        own = read_settings(MoonshineSettings, settings, f"providers.{NAME}")
        super().__init__(
            WorkerPool(NAME, ENGINE, {"model": own.model, "most_load": own.most_load}, workers=own.workers)
        )
        self._speed = ""

    @property
    def sample_rates(self) -> Sequence[int]:
        """8 kHz first: the telephone's audio is brought to the model's 16 kHz in the worker."""
        return SAMPLE_RATES

    async def start(self) -> None:
        """Start the workers; returns when each has loaded the model.

        :raises ProviderRejected: the model is missing, or the machine is too slow for it.
        """
        await super().start()
        load = float((await self._pool.ask({}))["load"])
        self._speed = f"a second of speech takes {1000 * load:.0f} ms of a core"
        logger.info("%s: %s", NAME, self._speed)

    def readiness(self) -> Readiness:
        """Ready while a worker is; the reason tells how fast this machine is then."""
        state = self._pool.readiness()
        return Readiness(True, self._speed) if state.ready else state

    @contextlib.asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[PooledUtterance]:
        """Open a stream for one utterance. ``partial`` gets the words in each pause of the caller.

        :raises ProviderRejected: not English, or another rate than ``sample_rates``.
        :raises ProviderUnavailable: no worker is ready.
        """
        language = hints.language.lower().replace("_", "-")
        if language.partition("-")[0] != "en":
            raise ProviderRejected(NAME, f"understands English only, not {hints.language}")
        check_rate(NAME, rate, SAMPLE_RATES)
        options = {"rate": rate, "phrases": hints.phrases, "digits": hints.digits, "examples": hints.examples}
        async with self.utterance(options, partial) as stream:
            yield stream
