"""Transcription as a recogniser: the utterance is sent when it has ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from asterisk_ai.audio.wav import wav
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Hints, Transcript, check_rate, ignore
from asterisk_ai.providers.inventions import without_inventions
from asterisk_ai.providers.net.backlog import Backlog, LaggingRecogniser
from asterisk_ai.providers.net.http import HttpService
from asterisk_ai.providers.presets import OPENAI, Preset
from asterisk_ai.providers.vendors.openai.client import NAME, TranscriptionSettings, client, read

RATES = (16_000, 8_000, 24_000, 48_000)
MAX_SECONDS = 120
SHORTEST_SECONDS = 0.1
"""The service refuses less; it is no word either."""
MAX_ANSWER = 1 << 20


class OpenAITranscription(LaggingRecogniser):
    """The ``openai`` recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    preset: ClassVar[Preset] = OPENAI

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own, name = read(settings, self.preset, "transcription"), self.preset.name
        self._own, self._client = own.transcription, client(own, name, self.preset)
        super().__init__(self._client)

    @property
    def sample_rates(self) -> Sequence[int]:
        return RATES

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[_Utterance]:
        check_rate(NAME, rate, RATES)
        stream = _Utterance(self._client, self._own, rate, hints.language)
        try:
            yield stream
        finally:
            self.done(stream.backlog)


class _Utterance:
    def __init__(self, client: HttpService, own: TranscriptionSettings, rate: int, language: str) -> None:
        self._client, self._own, self._rate, self._language = client, own, rate, language
        self.backlog = Backlog(MAX_SECONDS, rate)

    def feed(self, pcm: bytes) -> None:
        self.backlog.push(pcm)

    async def finish(self) -> Transcript:
        pcm = self.backlog.pcm()
        if len(pcm) < 2 * SHORTEST_SECONDS * self._rate:
            return Transcript("", accepted=False, confidence=0.0)
        form = {"model": self._own.model, "language": self._language.partition("-")[0], "response_format": "json"}
        if self._own.prompt:
            form["prompt"] = self._own.prompt
        files = {"file": ("speech.wav", wav(pcm, self._rate), "audio/wav")}
        async with self._client.post("audio/transcriptions", data=form, files=files) as response:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_ANSWER:
                    raise ProviderUnavailable(NAME, "sent an answer without end")
        try:
            text = json.loads(body)["text"]
        except (ValueError, KeyError, TypeError):
            raise ProviderUnavailable(NAME, "sent a transcription that is none") from None
        if not isinstance(text, str):
            raise ProviderUnavailable(NAME, "sent a transcription that is none")
        words = without_inventions(text)
        return Transcript(words, accepted=bool(words))
