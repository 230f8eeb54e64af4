"""Scribe, the realtime recogniser: words while the caller speaks, all of them when what was sent is committed.

Source: https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable, QuotaExceeded, RateLimited
from asterisk_ai.providers.api import Transcript
from asterisk_ai.providers.net.listen import StreamedRecogniser, StreamedUtterance
from asterisk_ai.providers.net.websocket import Sockets
from asterisk_ai.providers.vendors.elevenlabs.client import BASE_URL, KEY, NAME, read

MAX_MESSAGE = 1 << 20
NOTHING_SAID = ("insufficient_audio_activity", "commit_throttled")
"""There was nothing in the audio, or too little of it, that could be committed."""
ERRORS: Mapping[str, type[ProviderError]] = {
    "auth_error": ProviderRejected,
    "unaccepted_terms": ProviderRejected,
    "invalid_request": ProviderRejected,
    "quota_exceeded": QuotaExceeded,
    "rate_limited": RateLimited,
    "resource_exhausted": RateLimited,
}


class ScribeUtterance(StreamedUtterance):
    """One utterance."""

    name = NAME
    _number = 0

    def _audio(self, pcm: bytes) -> str:
        return json.dumps(self._chunk(base64.b64encode(pcm).decode(), commit=False))

    def _ending(self) -> Sequence[Mapping[str, Any]]:
        return (self._chunk("", commit=True),)

    def _chunk(self, audio: str, *, commit: bool) -> dict[str, Any]:
        return {
            "message_type": "input_audio_chunk",
            "audio_base_64": audio,
            "commit": commit,
            "sample_rate": self._rate,
        }

    def _take(self, message: Mapping[str, Any]) -> bool:
        kind = message.get("message_type")
        if "error" in message:
            if self.backlog.ended and kind in NOTHING_SAID:
                return True
            error = ERRORS.get(str(kind), ProviderUnavailable)
            raise error(NAME, f"{kind}: {message['error']}"[:300])
        if kind not in ("partial_transcript", "committed_transcript"):
            return False  # session_started, warnings, and what is yet to be invented
        text = " ".join(str(message["text"]).split())
        self._heard(self._number, Transcript(text, bool(text)))
        self._number += kind == "committed_transcript"
        return self.backlog.ended and kind == "committed_transcript"


class Scribe(StreamedRecogniser):
    """The ``elevenlabs`` recogniser."""

    rates = (8_000, 16_000, 24_000, 48_000)
    utterance = ScribeUtterance

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read(settings)
        self._own = own.transcription
        url = f"ws{(own.base_url or BASE_URL).rstrip('/').removeprefix('http')}/speech-to-text/realtime"
        sockets = Sockets(
            NAME, url, keep=None, headers=own.all_headers(KEY), max_message=MAX_MESSAGE,
            connect_seconds=own.connect_seconds, proxy=own.proxy or None, ping_seconds=5.0,
        )  # fmt: skip
        super().__init__(sockets, own.seconds)

    def _query(self, rate: int, language: str) -> str:
        own = self._own
        query: dict[str, Any] = {
            "model_id": own.model,
            "audio_format": f"pcm_{rate}",
            "commit_strategy": "manual",
            "language_code": own.language or language.partition("-")[0],
        }
        if own.keyterms:
            query["keyterms"] = list(own.keyterms)
        return urlencode(query | dict(own.extra), doseq=True)
