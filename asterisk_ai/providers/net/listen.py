"""Streaming recognition over a WebSocket: what the recognisers of all vendors have in common.

The words come while the caller speaks, the last of them when the service is told that he has ended. A vendor's own is
a subclass of both classes that says how a connection is asked for, and which messages stand for what. Needs the
``remote`` extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.errors import ProviderError, ProviderUnavailable
from asterisk_ai.providers.api import Hints, Transcript, check_rate, ignore
from asterisk_ai.providers.net.backlog import Backlog, LaggingRecogniser
from asterisk_ai.providers.net.websocket import Sockets, closed

MAX_WAITING_SECONDS = 60.0
MAX_PARTS = 500
"""Stretches of an utterance that a service made final one by one; the last is written over beyond."""
NOTHING = Transcript("", accepted=False, confidence=0.0)


class StreamedUtterance(ABC):
    """One utterance. A :class:`~asterisk_ai.providers.api.SpeechToTextStream`.

    :param seconds: for the service to take audio, and to give the last words.
    :param partial: is told the words so far.
    """

    name: ClassVar[str]
    piece_seconds: ClassVar[float] = 0.25
    """The longest message of audio."""
    least_seconds: ClassVar[float] = 0.0
    """The shortest one."""

    def __init__(
        self, connection: ClientConnection, rate: int, seconds: float, partial: Callable[[Transcript], None]
    ) -> None:
        self._connection, self._rate, self._seconds, self._partial = connection, rate, seconds, partial
        self.backlog = Backlog(MAX_WAITING_SECONDS, rate)
        self._parts: dict[int, Transcript] = {}  # by their order
        self._told = ""
        self.ready = asyncio.Event()
        """The service has agreed to what :meth:`_beginning` asks for; audio waits for that."""
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed(self, pcm: bytes) -> None:
        if not self._done.done():
            self.backlog.push(pcm)

    async def finish(self) -> Transcript:
        """The words. Raises ProviderError."""
        self.backlog.end()
        try:
            async with asyncio.timeout(self._seconds):
                await asyncio.shield(self._done)
        except TimeoutError:
            raise ProviderUnavailable(self.name, f"no words within {self._seconds:g} s") from None
        return joined(list(self._parts.values()))

    async def send(self) -> None:
        """Audio as it comes, then that there is no more of it."""
        try:
            async with asyncio.timeout(self._seconds):
                for message in self._beginning():
                    await self._connection.send(json.dumps(message))
                    await self.ready.wait()
            async for pcm in self._pieces():
                async with asyncio.timeout(self._seconds):
                    await self._connection.send(self._audio(pcm))
            for message in self._ending():
                await self._connection.send(json.dumps(message))
        except TimeoutError:
            self._end(ProviderUnavailable(self.name, "takes no audio"))
        except ConnectionClosed:
            pass  # receive() tells why, after what came before it

    async def _pieces(self) -> AsyncIterator[bytes]:
        least = int(self.least_seconds * self._rate) * SAMPLE_BYTES
        held = b""
        async for pcm in self.backlog.pieces(self.piece_seconds):
            held += pcm
            if len(held) >= least:
                yield held
                held = b""
        if held:
            yield held.ljust(least, b"\0")

    async def receive(self) -> None:
        try:
            async for message in self._connection:
                if self._take(self._read(message)):
                    self._end()
            self._end(None if self.backlog.ended else ProviderUnavailable(self.name, "closed the connection"))
        except ConnectionClosedOK as error:
            self._end(None if self.backlog.ended else closed(self.name, error))
        except ConnectionClosed as error:
            self._end(closed(self.name, error))
        except ProviderError as error:
            self._end(error)
        except (TypeError, LookupError, ValueError, AttributeError):
            self._end(ProviderUnavailable(self.name, "sent a message that makes no sense"))

    def _read(self, message: str | bytes) -> dict[str, Any]:
        try:
            found = json.loads(message)
        except (ValueError, RecursionError):
            raise ProviderUnavailable(self.name, "sent a message that is not JSON") from None
        if not isinstance(found, dict):
            raise ProviderUnavailable(self.name, "sent a message that is not an object")
        return found

    def _heard(self, order: int, words: Transcript) -> None:
        """What was understood of one stretch of the utterance so far; each has its number, and they come in order."""
        order = order if order in self._parts or len(self._parts) < MAX_PARTS else max(self._parts)
        self._parts[order] = words
        so_far = joined(list(self._parts.values()))
        if so_far.text and so_far.text != self._told and not self.backlog.ended:
            self._told = so_far.text
            self._partial(so_far)

    def _end(self, failure: ProviderError | None = None) -> None:
        if self._done.done():
            return
        if failure is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(failure)
            self._done.exception()  # told by finish(), where somebody asks

    # ---- the vendor's own ----------------------------------------------------------------

    def _beginning(self) -> Sequence[Mapping[str, Any]]:
        """What is said before audio may come, where there is something; :meth:`_take` then says that it is ready."""
        return ()

    def _audio(self, pcm: bytes) -> str | bytes:
        """The message that brings audio to the service."""
        return pcm

    @abstractmethod
    def _ending(self) -> Sequence[Mapping[str, Any]]:
        """The messages that say that there is no more audio, and that what was understood of it is wanted."""

    @abstractmethod
    def _take(self, message: Mapping[str, Any]) -> bool:
        """Make of a message what it stands for; whether it was the last one of interest.

        What it may raise beside ProviderError tells that it makes no sense.
        """


class StreamedRecogniser(LaggingRecogniser, ABC):
    """A recogniser each of whose utterances has a connection of its own.

    :param seconds: see :class:`StreamedUtterance`.
    """

    rates: ClassVar[tuple[int, ...]]
    utterance: ClassVar[type[StreamedUtterance]]
    streams = "words while the caller speaks"

    def __init__(self, sockets: Sockets, seconds: float) -> None:
        super().__init__(sockets)
        self._sockets, self._seconds = sockets, seconds

    @property
    def sample_rates(self) -> Sequence[int]:
        return self.rates

    @contextlib.asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[StreamedUtterance]:
        """A connection for one utterance, its audio sent as it comes. Raises ProviderUnavailable, ProviderRejected."""
        name = self.utterance.name
        check_rate(name, rate, self.rates)
        connection = await self._sockets.take(self._query(rate, hints.language))
        stream = self._stream(connection, rate, hints.language, partial)
        tasks = [
            asyncio.create_task(stream.send(), name=f"{name} audio"),
            asyncio.create_task(stream.receive(), name=f"{name} words"),
        ]
        try:
            yield stream
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._sockets.leave(connection)
            self.done(stream.backlog)

    def _stream(
        self, connection: ClientConnection, rate: int, language: str, partial: Callable[[Transcript], None]
    ) -> StreamedUtterance:
        return self.utterance(connection, rate, self._seconds, partial)

    def _query(self, rate: int, language: str) -> str:
        """Of the connection for one utterance."""
        return ""


def joined(parts: Sequence[Transcript]) -> Transcript:
    """Several results, one after the other; each is as sure as its share of the words."""
    heard = [part for part in parts if part.text]
    if not heard:
        return NOTHING
    weights = [len(part.text.split()) for part in heard]
    confidence = sum(part.confidence * weight for part, weight in zip(heard, weights, strict=True)) / sum(weights)
    return Transcript(
        " ".join(part.text for part in heard),
        confidence=min(1.0, confidence),
        words=tuple(word for part in heard for word in part.words),
    )
