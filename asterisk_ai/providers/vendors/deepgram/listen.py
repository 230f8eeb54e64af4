"""Streaming recognition: the words come while the caller speaks, the last of them when it is told that he has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.api import Transcript, Word
from asterisk_ai.providers.net.listen import NOTHING, StreamedRecogniser, StreamedUtterance
from asterisk_ai.providers.vendors.deepgram.client import NAME, DeepgramSettings, checked, sockets

RATES = (8_000, 16_000, 24_000, 48_000)
"""linear16 of any rate is taken as it is: what comes from the line is sent untouched."""
_REGIONAL = frozenset(
    "da-DK de-CH en-AU en-GB en-IN en-NZ en-US es-419 fr-CA ko-KR nl-BE pt-BR pt-PT sv-SE th-TH".split()
    + "zh-CN zh-HK zh-TW".split()
)
"""The languages that the service tells apart by region. Source: /docs/models-languages-overview."""


class DeepgramUtterance(StreamedUtterance):
    """One utterance."""

    name = NAME
    _number = 0

    def _ending(self) -> Sequence[Mapping[str, Any]]:
        """``Finalize`` has what is buffered recognised at once, ``CloseStream`` is always answered: a ``Finalize`` with
        nothing noticeable in the buffer may not be. Source: /docs/finalize, /docs/close-stream.
        """
        return {"type": "Finalize"}, {"type": "CloseStream"}

    def _take(self, message: Mapping[str, Any]) -> bool:
        checked(message)
        if message.get("type") == "Metadata":
            return self.backlog.ended
        if message.get("type") != "Results":
            return False  # SpeechStarted, UtteranceEnd, and what is yet to be invented
        self._heard(self._number, _transcript(message))
        self._number += bool(message.get("is_final"))
        return self.backlog.ended and bool(message.get("from_finalize"))


class DeepgramSpeechToText(StreamedRecogniser):
    """The ``deepgram`` recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    rates = RATES
    utterance = DeepgramUtterance

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = read_settings(DeepgramSettings, settings, f"providers.{NAME}")
        super().__init__(sockets(self._settings, self._query(RATES[0], "en-US")), self._settings.seconds)

    def _query(self, rate: int, language: str) -> str:
        own = self._settings.listen
        spoken = own.language or (language if language in _REGIONAL else language.partition("-")[0])
        query = {
            "model": own.model,
            "language": spoken,
            "encoding": "linear16",
            "sample_rate": rate,
            "channels": 1,
            "interim_results": True,
            "punctuate": own.punctuate,
            "endpointing": own.endpointing,
            "keyterm": list(own.keyterms),
            **own.extra,
        }
        told = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
        return urlencode(told, doseq=True)


def _transcript(message: Mapping[str, Any]) -> Transcript:
    """The first alternative of a ``Results`` message."""
    alternatives = message["channel"]["alternatives"]
    if not alternatives:
        return NOTHING
    best = alternatives[0]
    text = " ".join(str(best["transcript"]).split())
    words = tuple(
        Word(str(word.get("punctuated_word") or word["word"]), float(word["start"]), float(word["end"]))
        for word in best.get("words") or ()
    )
    return Transcript(text, bool(text), min(1.0, max(0.0, float(best.get("confidence", 1.0)))), words)
