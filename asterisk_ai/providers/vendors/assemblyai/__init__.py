"""AssemblyAI's streaming recognition (v3).

::

    providers:
      assemblyai: {api_key: "${ASSEMBLYAI_API_KEY}", keyterms: [Asterisk]}     # base_url: the EU's endpoint

Source: https://www.assemblyai.com/docs/streaming/message-sequence, .../api-reference/streaming-api/universal-streaming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Transcript, Word
from asterisk_ai.providers.net.http import ServiceSettings
from asterisk_ai.providers.net.listen import StreamedRecogniser, StreamedUtterance
from asterisk_ai.providers.net.websocket import Sockets

NAME = "assemblyai"
URL = "https://streaming.assemblyai.com/v3"
MAX_MESSAGE = 1 << 20


@dataclass(frozen=True, slots=True)
class AssemblySettings(ServiceSettings):
    """``providers.assemblyai``."""

    model: str = ""
    """Empty: universal-streaming-english for English, universal-streaming-multilingual for others."""
    keyterms: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the query."""


class AssemblyUtterance(StreamedUtterance):
    """One utterance, which may be several turns to the service."""

    name = NAME
    least_seconds = 0.05  # shorter messages end the session

    def _ending(self) -> Sequence[Mapping[str, Any]]:
        return {"type": "ForceEndpoint"}, {"type": "Terminate"}

    def _take(self, message: Mapping[str, Any]) -> bool:
        match message.get("type"):
            case "Turn":
                self._heard(int(message["turn_order"]), _transcript(message))
            case "Error":
                raise ProviderUnavailable(NAME, f"sent an error: {message.get('error')}"[:300])
            case "Termination":
                return True
            case _:
                pass  # Begin, SpeechStarted, Warning, and what is yet to be invented
        return False


class AssemblySpeechToText(StreamedRecogniser):
    """The ``assemblyai`` recogniser."""

    rates = (8_000, 16_000, 24_000, 48_000)
    utterance = AssemblyUtterance

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = self._own = read_settings(AssemblySettings, settings, f"providers.{NAME}")
        url = f"ws{(own.base_url or URL).rstrip('/').removeprefix('http')}/ws"
        # The vendor charges for the time that a connection is open, so none waits.
        sockets = Sockets(
            NAME, url, keep=None, headers=own.all_headers("Authorization:"), max_message=MAX_MESSAGE,
            connect_seconds=own.connect_seconds, proxy=own.proxy or None, ping_seconds=5.0,
        )  # fmt: skip
        super().__init__(sockets, own.seconds)

    def _query(self, rate: int, language: str) -> str:
        own, english = self._own, language.partition("-")[0] == "en"
        query = {
            "speech_model": own.model or f"universal-streaming-{'english' if english else 'multilingual'}",
            "sample_rate": rate,
            "encoding": "pcm_s16le",
            "format_turns": "true",
        }
        if own.keyterms:
            query["keyterms_prompt"] = list(own.keyterms)
        return urlencode(query | dict(own.extra), doseq=True)


def _transcript(turn: Mapping[str, Any]) -> Transcript:
    """``transcript`` has the words that will not change any more, ``words`` all of them; times are milliseconds."""
    told = turn["words"]
    words = tuple(Word(str(one["text"]), one["start"] / 1000, one["end"] / 1000) for one in told)
    text = str(turn["transcript"]) if turn["end_of_turn"] else " ".join(word.text for word in words)
    sure = sum(float(one["confidence"]) for one in told) / len(told) if told else 1.0
    return Transcript(" ".join(text.split()), bool(text.strip()), min(1.0, max(0.0, sure)), words)
