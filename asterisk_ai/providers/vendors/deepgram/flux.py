"""Deepgram's Flux: recognition that knows turns, by the second version of the protocol.

::

    providers:
      deepgram_flux: {api_key: "${DEEPGRAM_API_KEY}", model: flux-general-en, keyterms: [Asterisk]}

When a turn is over is decided here, as for every recogniser; the service is told so, and its own turns are joined.
Source: https://developers.deepgram.com/docs/flux/quickstart, .../reference/speech-to-text/listen-flux.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.api import Transcript, Word
from asterisk_ai.providers.net.http import ServiceSettings
from asterisk_ai.providers.net.listen import StreamedRecogniser, StreamedUtterance
from asterisk_ai.providers.net.websocket import Sockets
from asterisk_ai.providers.vendors.deepgram.client import MAX_MESSAGE, PING_SECONDS, checked

NAME = "deepgram_flux"
URL = "https://api.deepgram.com/v2"


@dataclass(frozen=True, slots=True)
class FluxSettings(ServiceSettings):
    """``providers.deepgram_flux``."""

    model: str = "flux-general-en"
    """flux-general-multi is told the agent's language as a hint."""
    keyterms: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the query."""


class FluxUtterance(StreamedUtterance):
    """One utterance, which may be several turns to the service."""

    name = NAME
    piece_seconds = 0.08  # what the vendor advises

    def _ending(self) -> Sequence[Mapping[str, Any]]:
        return {"type": "ForceEndTurn"}, {"type": "CloseStream"}

    def _take(self, message: Mapping[str, Any]) -> bool:
        checked(message)
        if message.get("type") != "TurnInfo":
            return False  # Connected, Warning, and what is yet to be invented
        told = message["words"]
        words = tuple(Word(str(one["word"]), float(one["start"]), float(one["end"])) for one in told if "end" in one)
        text = " ".join(str(message["transcript"]).split())
        sure = sum(float(one["confidence"]) for one in told) / len(told) if told else 1.0
        self._heard(int(message["turn_index"]), Transcript(text, bool(text), min(1.0, max(0.0, sure)), words))
        # Where nothing was said since the last turn there is none to end: the service closes then.
        return self.backlog.ended and message["event"] == "EndOfTurn" and message.get("trigger") == "manual"


class DeepgramFlux(StreamedRecogniser):
    """The ``deepgram_flux`` recogniser."""

    rates = (8_000, 16_000, 24_000, 48_000)
    utterance = FluxUtterance

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = self._own = read_settings(FluxSettings, settings, f"providers.{NAME}")
        url = f"ws{(own.base_url or URL).rstrip('/').removeprefix('http')}/listen"
        # There is no message that keeps a connection without audio.
        sockets = Sockets(
            NAME, url, keep=None, headers=own.all_headers("Token"), max_message=MAX_MESSAGE,
            connect_seconds=own.connect_seconds, proxy=own.proxy or None, ping_seconds=PING_SECONDS,
        )  # fmt: skip
        super().__init__(sockets, own.seconds)

    def _query(self, rate: int, language: str) -> str:
        own = self._own
        query = {"model": own.model, "encoding": "linear16", "sample_rate": rate, "keyterm": list(own.keyterms)}
        if own.model.endswith("-multi"):
            query["language_hint"] = language.partition("-")[0]
        return urlencode(query | dict(own.extra), doseq=True)
