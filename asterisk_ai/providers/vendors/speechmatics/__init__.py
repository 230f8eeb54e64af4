"""Speechmatics' realtime recognition.

::

    providers:
      speechmatics: {api_key: "${SPEECHMATICS_API_KEY}", model: enhanced, keyterms: [Asterisk]}

Source: https://docs.speechmatics.com/api-ref/realtime-transcription-websocket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from websockets.asyncio.client import ClientConnection

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable, QuotaExceeded, RateLimited
from asterisk_ai.providers.api import Transcript, Word
from asterisk_ai.providers.net.http import ServiceSettings
from asterisk_ai.providers.net.listen import StreamedRecogniser, StreamedUtterance
from asterisk_ai.providers.net.websocket import Sockets

NAME = "speechmatics"
URL = "https://global.rt.speechmatics.com/v2"
MAX_MESSAGE = 1 << 20
ERRORS: Mapping[str, type[ProviderError]] = {
    **dict.fromkeys(
        ("not_authorised", "not_allowed", "invalid_model", "invalid_language", "invalid_config"), ProviderRejected
    ),
    "quota_exceeded": RateLimited,  # too many connections at a time
    "timelimit_exceeded": QuotaExceeded,
}


@dataclass(frozen=True, slots=True)
class SpeechmaticsSettings(ServiceSettings):
    """``providers.speechmatics``."""

    model: str = "enhanced"
    language: str = ""
    """Empty: the agent's."""
    max_delay: Annotated[float, Range(0.7, 4)] = 0.7
    """Seconds from a word to its final form, while the caller speaks."""
    keyterms: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Anything else of the API's transcription_config, merged into ours."""


class SpeechmaticsUtterance(StreamedUtterance):
    """One utterance."""

    name = NAME

    def __init__(
        self,
        connection: ClientConnection,
        rate: int,
        seconds: float,
        partial: Callable[[Transcript], None],
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """:param config: the API's transcription_config."""
        super().__init__(connection, rate, seconds, partial)
        self._config = dict(config or {})
        self._number = self._sent = 0

    def _beginning(self) -> Sequence[Mapping[str, Any]]:
        sound = {"type": "raw", "encoding": "pcm_s16le", "sample_rate": self._rate}
        return ({"message": "StartRecognition", "audio_format": sound, "transcription_config": self._config},)

    def _audio(self, pcm: bytes) -> bytes:
        self._sent += 1
        return pcm

    def _ending(self) -> Sequence[Mapping[str, Any]]:
        return ({"message": "EndOfStream", "last_seq_no": self._sent},)

    def _take(self, message: Mapping[str, Any]) -> bool:
        match message.get("message"):
            case "RecognitionStarted":
                self.ready.set()
            case "AddPartialTranscript":
                self._heard(self._number, _transcript(message))
            case "AddTranscript":
                self._heard(self._number, _transcript(message))
                self._number += 1
            case "EndOfTranscript":
                return True
            case "Error":
                kind = str(message.get("type"))
                raise ERRORS.get(kind, ProviderUnavailable)(NAME, f"{kind}: {message.get('reason')}"[:300])
            case _:
                pass  # AudioAdded, Info, Warning, and what is yet to be invented
        return False


class SpeechmaticsSpeechToText(StreamedRecogniser):
    """The ``speechmatics`` recogniser."""

    rates = (8_000, 16_000, 24_000, 48_000)
    utterance = SpeechmaticsUtterance

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = self._own = read_settings(SpeechmaticsSettings, settings, f"providers.{NAME}")
        url = f"ws{(own.base_url or URL).rstrip('/').removeprefix('http')}/"
        sockets = Sockets(
            NAME, url, keep=None, headers=own.all_headers("Bearer"), max_message=MAX_MESSAGE,
            connect_seconds=own.connect_seconds, proxy=own.proxy or None, ping_seconds=5.0,
        )  # fmt: skip
        super().__init__(sockets, own.seconds)

    def _stream(
        self, connection: ClientConnection, rate: int, language: str, partial: Callable[[Transcript], None]
    ) -> SpeechmaticsUtterance:
        own = self._own
        config: dict[str, Any] = {
            "language": own.language or language.partition("-")[0],
            "model": own.model,
            "enable_partials": True,
            "max_delay": own.max_delay,
        }
        if own.keyterms:
            config["additional_vocab"] = [{"content": term} for term in own.keyterms]
        return SpeechmaticsUtterance(connection, rate, self._seconds, partial, merged(config, own.extra))


def _transcript(message: Mapping[str, Any]) -> Transcript:
    told = [one for one in message["results"] if one["type"] == "word" and one.get("alternatives")]
    words = tuple(
        Word(str(one["alternatives"][0]["content"]), float(one["start_time"]), float(one["end_time"])) for one in told
    )
    text = " ".join(str(message["metadata"]["transcript"]).split())
    sure = sum(float(one["alternatives"][0]["confidence"]) for one in told) / len(told) if told else 1.0
    return Transcript(text, bool(text), min(1.0, max(0.0, sure)), words)
