"""Streaming recognition: the words come while the caller speaks, the last of them when it is told that he has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderError, ProviderUnavailable
from asterisk_ai.providers.api import Hints, Transcript, Word, check_rate, ignore
from asterisk_ai.providers.net.backlog import Backlog, LaggingRecogniser
from asterisk_ai.providers.net.websocket import closed
from asterisk_ai.providers.vendors.deepgram.client import NAME, DeepgramSettings, read, sockets

RATES = (8_000, 16_000, 24_000, 48_000)
"""linear16 of any rate is taken as it is: what comes from the line is sent untouched."""
MAX_WAITING_SECONDS = 60.0
PIECE_SECONDS = 0.25
_REGIONAL = frozenset(
    "da-DK de-CH en-AU en-GB en-IN en-NZ en-US es-419 fr-CA ko-KR nl-BE pt-BR pt-PT sv-SE th-TH".split()
    + "zh-CN zh-HK zh-TW".split()
)
"""The languages that the service tells apart by region. Source: /docs/models-languages-overview."""


class DeepgramSpeechToText(LaggingRecogniser):
    """The ``deepgram`` recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = read_settings(DeepgramSettings, settings, f"providers.{NAME}")
        self._sockets = sockets(self._settings, self._query(RATES[0], "en-US"))
        super().__init__(self._sockets)

    @property
    def sample_rates(self) -> Sequence[int]:
        return RATES

    @contextlib.asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[_Utterance]:
        """A connection for one utterance, its audio sent as it comes. Raises ProviderUnavailable, ProviderRejected."""
        check_rate(NAME, rate, RATES)
        connection = await self._sockets.take(self._query(rate, hints.language))
        stream = _Utterance(connection, rate, self._settings.seconds, partial)
        tasks = [
            asyncio.create_task(stream.send(), name=f"{NAME} audio"),
            asyncio.create_task(stream.receive(), name=f"{NAME} words"),
        ]
        try:
            yield stream
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._sockets.leave(connection)
            self.done(stream.backlog)

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


class _Utterance:
    """One utterance."""

    def __init__(
        self, connection: ClientConnection, rate: int, seconds: float, partial: Callable[[Transcript], None]
    ) -> None:
        self._connection, self._seconds, self._partial = connection, seconds, partial
        self.backlog = Backlog(MAX_WAITING_SECONDS, rate)
        self._final: list[Transcript] = []
        self._told = ""
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed(self, pcm: bytes) -> None:
        if not self._done.done():
            self.backlog.push(pcm)

    async def send(self) -> None:
        """Audio as it comes, then that there is no more of it.

        ``Finalize`` has what is buffered recognised at once, ``CloseStream`` is always answered: a ``Finalize`` with
        nothing noticeable in the buffer may not be. Source: /docs/finalize, /docs/close-stream.
        """
        try:
            async for pcm in self.backlog.pieces(PIECE_SECONDS):
                async with asyncio.timeout(self._seconds):
                    await self._connection.send(pcm)
            for kind in ("Finalize", "CloseStream"):
                await self._connection.send(f'{{"type": "{kind}"}}')
        except TimeoutError:
            self._end(ProviderUnavailable(NAME, "takes no audio"))
        except ConnectionClosed:
            pass  # receive() tells why, after what came before it

    async def receive(self) -> None:
        try:
            async for message in self._connection:
                if self._take(read(message)):
                    self._end()
            self._end(None if self.backlog.ended else ProviderUnavailable(NAME, "closed the connection"))
        except ConnectionClosedOK as error:
            self._end(None if self.backlog.ended else closed(NAME, error))
        except ConnectionClosed as error:
            self._end(closed(NAME, error))
        except ProviderError as error:
            self._end(error)

    def _take(self, message: Mapping[str, Any]) -> bool:
        """Whether it was the last one of interest."""
        if message.get("type") == "Metadata":
            return self.backlog.ended
        if message.get("type") != "Results":
            return False  # SpeechStarted, UtteranceEnd, and what is yet to be invented
        words = _transcript(message)
        if message.get("is_final"):
            self._final.append(words)
            words = _joined(self._final)
        else:
            words = _joined([*self._final, words])
        if words.text and words.text != self._told and not self.backlog.ended:
            self._told = words.text
            self._partial(words)
        return self.backlog.ended and bool(message.get("from_finalize"))

    def _end(self, failure: ProviderError | None = None) -> None:
        if self._done.done():
            return
        if failure is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(failure)
            self._done.exception()  # told by finish(), where somebody asks

    async def finish(self) -> Transcript:
        self.backlog.end()
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.shield(self._done)
        except TimeoutError:
            raise ProviderUnavailable(NAME, f"no words within {self._seconds:g} s") from None
        return _joined(self._final)


def _transcript(message: Mapping[str, Any]) -> Transcript:
    """The first alternative of a ``Results`` message. Raises ProviderUnavailable where it has none."""
    try:
        alternatives = message["channel"]["alternatives"]
        if not alternatives:
            return Transcript("", accepted=False, confidence=0.0)
        best = alternatives[0]
        text = " ".join(str(best["transcript"]).split())
        words = tuple(
            Word(str(word.get("punctuated_word") or word["word"]), float(word["start"]), float(word["end"]))
            for word in best.get("words") or ()
        )
        return Transcript(text, bool(text), min(1.0, max(0.0, float(best.get("confidence", 1.0)))), words)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise ProviderUnavailable(NAME, "sent results that are none") from None


def _joined(parts: Sequence[Transcript]) -> Transcript:
    """Several results, one after the other; each is as sure as its share of the words."""
    heard = [part for part in parts if part.text]
    if not heard:
        return Transcript("", accepted=False, confidence=0.0)
    weights = [len(part.text.split()) for part in heard]
    confidence = sum(part.confidence * weight for part, weight in zip(heard, weights, strict=True)) / sum(weights)
    return Transcript(
        " ".join(part.text for part in heard),
        confidence=min(1.0, confidence),
        words=tuple(word for part in heard for word in part.words),
    )
