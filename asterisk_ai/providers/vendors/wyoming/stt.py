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

from asterisk_ai.providers.api import Hints, Transcript, check_rate, ignore
from asterisk_ai.providers.inventions import without_inventions
from asterisk_ai.providers.net.backlog import Backlog, LaggingRecogniser
from asterisk_ai.providers.vendors.wyoming.service import FAILURES, NAME, Service, models

RATES = (16_000, 8_000)
MAX_WAITING_SECONDS, PIECE_SECONDS = 120.0, 0.5


class WyomingSpeechToText(LaggingRecogniser):
    """The ``wyoming`` recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    streams, at_home = "words at the end", True

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
                self.done(stream.backlog)


class _Utterance:
    """One utterance."""

    def __init__(self, service: Service, client: AsyncTcpClient, rate: int, language: str) -> None:
        self._service, self._client, self._rate, self._language = service, client, rate, language
        self.backlog = Backlog(MAX_WAITING_SECONDS, rate)
        self._failure: BaseException | None = None

    def feed(self, pcm: bytes) -> None:
        if self._failure is None:
            self.backlog.push(pcm)

    async def send(self) -> None:
        """Nothing is said to the server before there is audio: some wait for it, and others fail without any."""
        try:
            if not await self.backlog.some():
                return
            model = self._service.own.model or None
            await self._client.write_event(Transcribe(name=model, language=self._language).event())
            await self._client.write_event(AudioStart(rate=self._rate, width=2, channels=1).event())
            async for pcm in self.backlog.pieces(PIECE_SECONDS):
                await self._client.write_event(AudioChunk(self._rate, 2, 1, pcm).event())
            await self._client.write_event(AudioStop().event())
        except FAILURES as error:
            self._failure = error  # told by finish(), or by the closed connection

    async def finish(self) -> Transcript:
        self.backlog.end()
        if not self.backlog.fed:
            return Transcript("", accepted=False, confidence=0.0)
        while True:
            event = await self._service.event(self._client)
            if WyomingTranscript.is_type(event.type):
                words = without_inventions(str(WyomingTranscript.from_event(event).text))
                return Transcript(words, accepted=bool(words))
