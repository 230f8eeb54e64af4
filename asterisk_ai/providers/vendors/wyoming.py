"""The Wyoming protocol: Home Assistant's recognisers and voices (faster-whisper, piper, ...) over TCP.

One connection an utterance or
text, as the protocol's servers expect it; the next one's is open already.
Source: the ``wyoming`` library.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from wyoming.asr import Transcribe
from wyoming.asr import Transcript as WyomingTranscript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeVoice

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.config.schema import Port, Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Hints, Readiness, Transcript, ignore

NAME = "wyoming"
RATES = (16_000, 8_000)
MAX_WAITING_BYTES = 4 * 1024 * 1024
CHECK_SECONDS = 30.0
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
_CONNECT_SECONDS = 3.0
_FAILURES = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AssertionError,
)  # the library's, for a peer in disorder


@dataclass(frozen=True, slots=True)
class WyomingSettings:
    """``providers.wyoming``."""

    host: str = "127.0.0.1"
    port: Port = 0
    """Without one: 10300 for recognition and 10200 for speech, as the engines of Home Assistant have them."""
    seconds: Annotated[float, Range(0.1, 600)] = 10.0
    """For each wait."""
    model: str = ""
    voice: str = ""
    rate: Annotated[int, Range(8000, 96_000)] = 22_050
    """Hz of the voice as it is passed on."""


class _Client(AsyncTcpClient):
    """A connection that knows whether the other end is still there."""

    @property
    def alive(self) -> bool:
        reader, writer = self._reader, self._writer
        return reader is not None and writer is not None and not (reader.at_eof() or writer.is_closing())


class _Service:
    """A server's address and how it is: asked every half a minute, and told by readiness.

    The connection that was asked waits for the next caller.
    """

    def __init__(self, settings: Mapping[str, Any], port: int) -> None:
        """:param port: where the settings name none."""
        self.own = read_settings(WyomingSettings, settings, f"providers.{NAME}")
        self._port = self.own.port or port
        self.seconds = self.own.seconds
        self.reason = "not started"
        self._keeper: asyncio.Task[None] | None = None
        self._spare: _Client | None = None
        self._taken = asyncio.Event()

    async def start(self) -> None:
        if self._keeper is None:
            await self._check()
            self._keeper = asyncio.create_task(self._keep(), name=f"{NAME} keeper")

    async def stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        self.reason = "stopped"
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        await _left(self._spare)
        self._spare = None

    async def _keep(self) -> None:
        failed = 0
        while True:
            wait = BACKOFF_SECONDS[min(failed, len(BACKOFF_SECONDS) - 1)] if self.reason else CHECK_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._taken.wait()
            self._taken.clear()
            await self._check()
            failed = failed + 1 if self.reason else 0

    async def _check(self) -> None:
        """Ask what it is, over a new connection that is kept. A server that is not there is asked again."""
        client: _Client | None = None
        try:
            client = await self._opened()
            with _telling():
                await client.write_event(Describe().event())
            event = await self.event(client)
            if not Info.is_type(event.type):
                raise ProviderUnavailable(NAME, f"answered {event.type!r} to describe")
        except ProviderError as error:
            self.reason = str(error).removeprefix(f"{NAME}: ")
            await _left(client)
            return
        except asyncio.CancelledError:
            await _left(client)
            raise
        self.reason = ""
        before, self._spare = self._spare, client
        await _left(before)

    async def _opened(self) -> _Client:
        """A new connection. Raises ProviderUnavailable."""
        client = _Client(self.own.host, self._port)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await client.connect()
        except TimeoutError:
            raise ProviderUnavailable(NAME, "no connection in time") from None
        except OSError as error:
            raise ProviderUnavailable(NAME, f"no connection: {error}") from error
        return client

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[AsyncTcpClient]:
        """A connection of one's own. What goes wrong inside with it is ProviderUnavailable."""
        client, self._spare = self._spare, None
        self._taken.set()
        if client is None or not client.alive:
            await _left(client)
            client = await self._opened()
        try:
            with _telling():
                yield client
        finally:
            await _left(client)

    async def event(self, client: AsyncTcpClient) -> Event:
        """The next event. Raises ProviderUnavailable where none comes, ProviderRejected where it is an error."""
        try:
            async with asyncio.timeout(self.seconds):
                event = await client.read_event()
        except TimeoutError:
            raise ProviderUnavailable(NAME, f"no answer within {self.seconds:g} s") from None
        except _FAILURES as error:
            raise ProviderUnavailable(NAME, f"sent what is no event: {error!r}"[:300]) from error
        if event is None:
            raise ProviderUnavailable(NAME, "closed the connection")
        if Error.is_type(event.type):
            raise ProviderRejected(NAME, f"refused: {Error.from_event(event).text}"[:300])
        return event

    def usable(self) -> None:
        if self._keeper is None:
            raise ProviderUnavailable(NAME, self.reason)


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """What the library raises for a peer in disorder is ProviderUnavailable."""
    try:
        yield
    except _FAILURES as error:
        raise ProviderUnavailable(NAME, f"the connection broke off: {error!r}"[:300]) from error


async def _left(client: _Client | None) -> None:
    if client is not None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.5):
                await client.disconnect()


class WyomingSpeechToText:
    """The ``wyoming`` recogniser. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._service = _Service(settings, 10_300)

    @property
    def sample_rates(self) -> Sequence[int]:
        return RATES

    async def start(self) -> None:
        await self._service.start()

    async def stop(self) -> None:
        await self._service.stop()

    def readiness(self) -> Readiness:
        return Readiness(not self._service.reason, self._service.reason)

    @contextlib.asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[_Utterance]:
        """Send the audio while it is spoken. Raises ProviderUnavailable, ProviderRejected."""
        if rate not in RATES:
            raise ProviderRejected(NAME, f"takes audio of {' or '.join(map(str, RATES))} Hz, not {rate}")
        self._service.usable()
        async with self._service.connected() as client:
            stream = _Utterance(self._service, client, rate)
            language = hints.language.partition("-")[0]
            await client.write_event(Transcribe(name=self._service.own.model or None, language=language).event())
            await client.write_event(AudioStart(rate=rate, width=2, channels=1).event())
            sending = asyncio.create_task(stream.send(), name=f"{NAME} audio")
            try:
                yield stream
            finally:
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending


class _Utterance:
    """One utterance: audio waits here for the connection, the oldest is dropped where it lags."""

    def __init__(self, service: _Service, client: AsyncTcpClient, rate: int) -> None:
        self._service, self._client, self._rate = service, client, rate
        self._waiting = bytearray()
        self._news = asyncio.Event()
        self._ended = False
        self._failure: BaseException | None = None

    def feed(self, pcm: bytes) -> None:
        if self._ended or self._failure:
            return
        self._waiting += pcm
        surplus = len(self._waiting) - MAX_WAITING_BYTES
        if surplus > 0:
            del self._waiting[: surplus + (surplus & 1)]
        self._news.set()

    async def send(self) -> None:
        try:
            while not self._ended or self._waiting:
                await self._news.wait()
                self._news.clear()
                pcm, self._waiting = bytes(self._waiting), bytearray()
                for start in range(0, len(pcm), self._rate):
                    piece = pcm[start : start + self._rate]
                    await self._client.write_event(AudioChunk(self._rate, 2, 1, piece).event())
            await self._client.write_event(AudioStop().event())
        except _FAILURES as error:
            self._failure = error  # told by finish(), or by the closed connection

    async def finish(self) -> Transcript:
        self._ended = True
        self._news.set()
        while True:
            event = await self._service.event(self._client)
            if WyomingTranscript.is_type(event.type):
                words = " ".join(str(WyomingTranscript.from_event(event).text).split())
                return Transcript(words, accepted=bool(words))


class WyomingTextToSpeech:
    """The ``wyoming`` synthesiser. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._service = _Service(settings, 10_200)
        self._rate = self._service.own.rate

    @property
    def sample_rate(self) -> int:
        return self._rate

    async def start(self) -> None:
        await self._service.start()

    async def stop(self) -> None:
        await self._service.stop()

    def readiness(self) -> Readiness:
        return Readiness(not self._service.reason, self._service.reason)

    @contextlib.asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``; the protocol knows no speed. Raises ProviderUnavailable, ProviderRejected."""
        self._service.usable()
        text = " ".join(text.split())
        if not text:
            yield _nothing()
            return
        async with self._service.connected() as client:
            name = voice or self._service.own.voice
            await client.write_event(Synthesize(text, SynthesizeVoice(name=name) if name else None).event())
            yield self._pieces(client)

    async def _pieces(self, client: AsyncTcpClient) -> AsyncIterator[bytes]:
        resampler: Resampler | None = None
        while True:
            event = await self._service.event(client)
            if AudioStop.is_type(event.type):
                break
            if not AudioChunk.is_type(event.type):
                continue
            chunk = AudioChunk.from_event(event)
            if (chunk.width, chunk.channels) != (2, 1) or len(chunk.audio) % 2:
                raise ProviderUnavailable(NAME, "sent audio that is not 16-bit mono")
            resampler = resampler or Resampler(chunk.rate, self._rate)
            if pcm := resampler.push(chunk.audio):
                size = self._rate // 2 * 2  # half a second
                for start in range(0, len(pcm), size):
                    yield pcm[start : start + size]
        if resampler is not None and (pcm := resampler.flush()):
            yield pcm


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for pcm in nothing:
        yield pcm
