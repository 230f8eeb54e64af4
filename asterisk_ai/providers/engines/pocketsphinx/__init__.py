"""Speech to text with pocketsphinx, whose wheel carries a US English model: nothing to download, no key.

Each utterance is decoded against the JSGF grammar in the hints, while it is
being said; what is outside of it is refused rather than forced into it (see
``scores.py``). The work is done in worker processes, because pocketsphinx
holds the interpreter lock for the whole of each call: a second of speech is
about 0.2 s of work, and up to eight utterances at a time in a worker are
decoded as they are said (20 MB each, kept), the others at their end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from asterisk_ai.config.schema import Workers
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.api import Hints, Transcript, check_rate, ignore
from asterisk_ai.providers.workers import PooledRecogniser, PooledUtterance, WorkerPool

NAME = "pocketsphinx"
ENGINE = "asterisk_ai.providers.engines.pocketsphinx.engine:PocketSphinxEngine"
SAMPLE_RATES = (8000, 16000)
CHECK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class PocketSphinxSettings:
    """``providers.pocketsphinx``."""

    workers: Workers = 1
    """Processes."""
    rejection: Literal["normal", "strict", "off"] = "normal"
    """Of what is outside of the grammar: ``strict`` refuses more, of the caller's right words too."""


class PocketSphinx(PooledRecogniser):
    """The recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    streams = "words while the caller speaks"

    def __init__(self, settings: Mapping[str, Any] = MappingProxyType({})) -> None:
        own = read_settings(PocketSphinxSettings, settings, f"providers.{NAME}")
        super().__init__(WorkerPool(NAME, ENGINE, {"rejection": own.rejection}, workers=own.workers))

    @property
    def sample_rates(self) -> Sequence[int]:
        """8 kHz first: the telephone's audio is brought to the model's 16 kHz in the worker."""
        return SAMPLE_RATES

    async def start(self) -> None:
        """Start the workers; returns when each has loaded its model (below a second on most machines).

        :raises ProviderRejected: there is no pocketsphinx for this Python.
        """
        if importlib.util.find_spec("pocketsphinx") is None:
            here = f"Python {sys.version_info.major}.{sys.version_info.minor} on {platform.machine()}"
            raise ProviderRejected(NAME, f"is not made for {here}: name another recogniser, such as stt: moonshine")
        await super().start()

    @contextlib.asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[PooledUtterance]:
        """Open a stream for one utterance. What is wrong with the grammar is told by ``finish``.

        ``partial`` gets the words so far some 120 ms into each pause, and while the caller speaks where they are
        new and stay the same for 0.2 s. They may be the beginning of a sentence of the grammar; what ``finish``
        accepts is always a whole one.

        :raises ProviderRejected: not English, or another rate than ``sample_rates``.
        :raises ProviderUnavailable: no worker is ready.
        """
        _check(hints)
        check_rate(NAME, rate, SAMPLE_RATES)
        options = {"rate": rate, **_expected(hints)}
        async with self.utterance(options, partial) as stream:
            yield stream

    async def check_grammar(self, hints: Hints) -> None:
        """See whether a grammar can be used, pronunciations and all. The workers must be started.

        :raises ProviderRejected: it cannot; the message names the word or says what else is wrong.
        """
        _check(hints)
        await self._pool.ask(_expected(hints), CHECK_SECONDS)


def _expected(hints: Hints) -> dict[str, Any]:
    return {"grammar": "" if hints.free else hints.grammar, "words": [] if hints.free else sorted(hints.words)}


def _check(hints: Hints) -> None:
    language = hints.language.lower().replace("_", "-")
    if language != "en" and not language.startswith("en-"):
        raise ProviderRejected(NAME, f"understands English only, not {hints.language}")
