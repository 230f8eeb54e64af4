"""A Wyoming recogniser."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from wyoming.asr import Transcribe
from wyoming.asr import Transcript as WyomingTranscript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient

from asterisk_ai.providers.api import Hints, ServedEngine, Transcript, check_rate, ignore
from asterisk_ai.providers.inventions import without_inventions
from asterisk_ai.providers.vendors.wyoming.service import FAILURES, NAME, Service, models

RATES = (16_000, 8_000)
MAX_WAITING_BYTES = 4 * 1024 * 1024


class WyomingSpeechToText(ServedEngine):
    """The ``wyoming`` recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._service = Service(settings, 10_300, models, "model")
        super().__init__(self._service)

    @property
    def sample_rates(self) -> Sequence[int]:
        return RATES

    @contextlib.asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[_Utterance]:
        """Send the audio while it is spoken. Raises ProviderUnavailable, ProviderRejected."""
        check_rate(NAME, rate, RATES)
        self._service.usable()
        self._service.offers.check_language(hints.language)
        async with self._service.connected() as client:
            stream = _Utterance(self._service, client, rate, hints.language.partition("-")[0])
            sending = asyncio.create_task(stream.send(), name=f"{NAME} audio")
            try:
                yield stream
            finally:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending


class _Utterance:
    """One utterance: audio waits here for the connection, the oldest is dropped where it lags."""

    def __init__(self, service: Service, client: AsyncTcpClient, rate: int, language: str) -> None:
        self._service, self._client, self._rate, self._language = service, client, rate, language
        self._fed = False
        self._waiting = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self._failure: BaseException | None = None

    def feed(self, pcm: bytes) -> None:
        if self._ended or self._failure or not pcm:
            return
        self._fed = True
        self._waiting += pcm
        surplus = len(self._waiting) - MAX_WAITING_BYTES
        if surplus > 0:
            del self._waiting[: surplus + (surplus & 1)]
        self._news.set()

    async def send(self) -> None:
        """Nothing is said to the server before there is audio: some wait for it, and others fail without any."""
        try:
            await self._news.wait()
            if not self._fed:
                return
            model = self._service.own.model or None
            await self._client.write_event(Transcribe(name=model, language=self._language).event())
            await self._client.write_event(AudioStart(rate=self._rate, width=2, channels=1).event())
            while not self._ended or self._waiting:
                await self._news.wait()
                self._news.clear()
                pcm, self._waiting = bytes(self._waiting), bytearray()
                for start in range(0, len(pcm), self._rate):
                    piece = pcm[start : start + self._rate]
                    await self._client.write_event(AudioChunk(self._rate, 2, 1, piece).event())
            await self._client.write_event(AudioStop().event())
        except FAILURES as error:
            self._failure = error  # told by finish(), or by the closed connection

    async def finish(self) -> Transcript:
        self._ended = True
        self._news.set()
        if not self._fed:
            return Transcript("", accepted=False, confidence=0.0)
        while True:
            event = await self._service.event(self._client)
            if WyomingTranscript.is_type(event.type):
                words = without_inventions(str(WyomingTranscript.from_event(event).text))
                return Transcript(words, accepted=bool(words))
