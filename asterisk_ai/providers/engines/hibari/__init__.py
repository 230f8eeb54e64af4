"""Text to speech with hibari: an English voice whose weights are in its wheel, in worker processes."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.config.schema import Range, Workers
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.workers import PooledEngine, WorkerPool, producing

NAME = "hibari"
ENGINE = "asterisk_ai.providers.engines.hibari.engine:HibariEngine"
MAX_TEXT = 5000
PIECE_SECONDS = 0.5
SECONDS = 10.0
SLOWEST = 0.3
"""Seconds of a core for a second of speech: a machine that needs more keeps callers waiting for their answers."""
LONGEST_KEPT = 0.25
"""What would take more than this part of the cache is not kept."""


@dataclass(frozen=True, slots=True)
class HibariSettings:
    """``providers.hibari``."""

    voice: str = "heart"
    """Others only where their file was put into hibari's cache: nothing is fetched."""
    speed: Annotated[float, Range(0.5, 2)] = 1.0
    workers: Workers = 1
    """Processes; each loads the voice."""
    rate: Annotated[int, Range(8000, 24_000)] = 8000
    """Hz of what it gives."""
    cache_seconds: Annotated[float, Range(0, 3600)] = 120.0
    """Of speech that is kept to be said again."""


class Hibari(PooledEngine):
    """The ``hibari`` engine. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`.

    :raises ConfigError: a setting that does not exist or is out of range.
    """

    streams = "sound as it is made"

    languages = ("en",)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read_settings(HibariSettings, settings, f"providers.{NAME}")
        self._voice, self._speed, self._rate = own.voice, own.speed, own.rate
        super().__init__(WorkerPool(NAME, ENGINE, {"voice": own.voice, "rate": own.rate}, workers=own.workers))
        self._said = Cache(int(own.cache_seconds * own.rate * SAMPLE_BYTES))

    @property
    def sample_rate(self) -> int:
        return self._rate

    async def start(self) -> None:
        """Start the workers, which load the voice.

        Raises ProviderRejected where there is none, or where the machine is too slow for it.
        """
        await super().start()
        took = float((await self._pool.ask({}))["seconds"])
        if took > SLOWEST:
            await self.stop()
            raise ProviderRejected(
                NAME, f"this machine needs {took:.2f} s for a second of speech, at most {SLOWEST} s serve callers"
            )

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``. Leaving ends the work after its sentence.

        :raises ProviderUnavailable: no worker; :raises ProviderRejected: no such voice.
        """
        text = " ".join("".join(char if char.isprintable() else " " for char in text[:MAX_TEXT]).split())
        key = (text, voice or self._voice, min(max(self._speed * speed, 0.5), 2.0))
        options = dict(zip(("text", "voice", "speed"), key, strict=True))
        known = self._said.get(key)
        if known is not None:
            yield self._cut(known)
            return
        async with producing(self._pool, NAME, options, SECONDS) as messages:
            yield self._pieces(messages, key)

    async def _cut(self, pcm: bytes) -> AsyncIterator[bytes]:
        """Ready speech, in pieces."""
        size = int(PIECE_SECONDS * self._rate) * SAMPLE_BYTES
        for start in range(0, len(pcm), size):
            yield pcm[start : start + size]

    async def _pieces(
        self, messages: AsyncIterator[Mapping[str, Any]], key: tuple[str, str, float]
    ) -> AsyncIterator[bytes]:
        whole = bytearray()
        async for message in messages:
            pcm = base64.b64decode(message["pcm"])
            if len(whole) <= self._said.longest:
                whole += pcm
            async for piece in self._cut(pcm):
                yield piece
        self._said.keep(key, bytes(whole))


class Cache:
    """Speech that was made before, by what it says; what was not asked for the longest is dropped first."""

    def __init__(self, size: int) -> None:
        """:param size: bytes in all."""
        self._size, self._used = size, 0
        self.longest = int(size * LONGEST_KEPT)
        self._kept: OrderedDict[tuple[str, str, float], bytes] = OrderedDict()

    def get(self, key: tuple[str, str, float]) -> bytes | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: tuple[str, str, float], pcm: bytes) -> None:
        if not pcm or len(pcm) > self.longest or key in self._kept:
            return
        self._kept[key] = pcm
        self._used += len(pcm)
        while self._used > self._size:
            self._used -= len(self._kept.popitem(last=False)[1])
