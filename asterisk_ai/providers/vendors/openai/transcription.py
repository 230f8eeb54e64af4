"""Transcription as a recogniser: the utterance is sent in the caller's pauses, and when it has ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from asterisk_ai.audio.wav import wav
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Hints, Transcript, check_rate, ignore
from asterisk_ai.providers.inventions import without_inventions
from asterisk_ai.providers.net.backlog import LaggingRecogniser
from asterisk_ai.providers.net.http import HttpService
from asterisk_ai.providers.net.pauses import AskedInPauses
from asterisk_ai.providers.presets import OPENAI, Preset
from asterisk_ai.providers.vendors.openai.client import NAME, TranscriptionSettings, client, read
from asterisk_ai.providers.web import response_bytes

RATES = (16_000, 8_000, 24_000, 48_000)
MAX_ANSWER = 1 << 20


class OpenAITranscription(LaggingRecogniser):
    """The ``openai`` recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    preset: ClassVar[Preset] = OPENAI
    streams = "words in the caller's pauses"

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
    ) -> AsyncIterator[AskedInPauses]:
        check_rate(NAME, rate, RATES)
        own, language = self._own, hints.language.partition("-")[0]

        async def transcribe(pcm: bytes) -> Transcript:
            return await _transcribe(self._client, own, wav(pcm, rate), language)

        utterance = AskedInPauses(transcribe, rate, partial, ahead=own.in_pauses)
        try:
            yield utterance
        finally:
            await utterance.close()
            self.done(utterance.backlog)


async def _transcribe(client: HttpService, own: TranscriptionSettings, sound: bytes, language: str) -> Transcript:
    form = {"model": own.model, "language": language, "response_format": "json"}
    if own.prompt:
        form["prompt"] = own.prompt
    files = {"file": ("speech.wav", sound, "audio/wav")}
    async with client.post("audio/transcriptions", data=form, files=files) as response:
        body = bytearray()
        async with response_bytes(response) as pieces:
            async for piece in pieces:
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
