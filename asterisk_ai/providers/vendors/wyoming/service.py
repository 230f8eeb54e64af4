"""A Wyoming server: its address, what it says it has, and a connection that waits for the next caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info

from asterisk_ai.config.schema import Port, Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.net.keeper import Keeper

NAME = "wyoming"
CHECK_SECONDS = 30.0
_CONNECT_SECONDS = 3.0
FAILURES = (
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


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server says it has: models or voices by name, each with its languages (none told: any)."""

    what: str
    languages: Mapping[str, Sequence[str]]
    wanted: str = ""

    def problem(self, wanted: str) -> str:
        """Why it cannot serve; empty where it can."""
        return self.lacks(wanted) if self.languages else f"the server at this address has no {self.what}"

    def lacks(self, name: str) -> str:
        """That there is nothing of that name; empty where there is, or any will do."""
        if not name or name in self.languages:
            return ""
        known = ", ".join(sorted(self.languages)[:20])
        return f"the server has no {self.what} {name!r}; it has: {known}"

    def check_language(self, language: str) -> None:
        """Raises ProviderRejected where nothing that it has knows the language, or not what was asked for."""
        ours = [self.languages[self.wanted]] if self.wanted in self.languages else list(self.languages.values())
        known = {tag.replace("_", "-").partition("-")[0].lower() for tags in ours for tag in tags}
        anything = not all(ours) or known & {"", "auto", "multi", "*"}
        if not anything and language.partition("-")[0].lower() not in known:
            raise ProviderRejected(
                NAME, f"the server does not know the language {language}, but {', '.join(sorted(known))}"
            )


def models(info: Info) -> Offers:
    found = {one.name: one.languages for program in info.asr for one in program.models if one.installed}
    return Offers("model", found)


def voices(info: Info) -> Offers:
    found = {one.name: one.languages for program in info.tts for one in program.voices if one.installed}
    return Offers("voice", found)


class Client(AsyncTcpClient):
    """A connection that knows whether the other end is still there."""

    @property
    def alive(self) -> bool:
        reader, writer = self._reader, self._writer
        return reader is not None and writer is not None and not (reader.at_eof() or writer.is_closing())


class Service:
    """A server's address and how it is: asked every half a minute, and told by readiness.

    The connection that was asked waits for the next caller.
    """

    def __init__(self, settings: Mapping[str, Any], port: int, kind: Callable[[Info], Offers], wanted: str) -> None:
        """
        :param port: where the settings name none.
        :param kind: what of the server's description matters; ``wanted``: the setting that names one of it.
        """
        self.own = read_settings(WyomingSettings, settings, f"providers.{NAME}")
        self.offers, self._kind = Offers("nothing", {}), kind
        self._wanted: str = getattr(self.own, wanted)
        self._port = self.own.port or port
        self.seconds = self.own.seconds
        self.reason = "not started"
        self._keeper = Keeper(NAME, self._check, CHECK_SECONDS)
        self._started = False
        self._spare: Client | None = None

    async def start(self) -> None:
        if not self._started:
            self._started = True
            await self._keeper.start()

    async def stop(self) -> None:
        self._started, self.reason = False, "stopped"
        await self._keeper.stop()
        await disconnect(self._spare)
        self._spare = None

    def readiness(self) -> Readiness:
        return Readiness(not self.reason, self.reason)

    async def _check(self) -> bool:
        """Ask what it is, over a new connection that is kept. A server that is not there is asked again."""
        client: Client | None = None
        try:
            client = await self._opened()
            with peer_errors():
                await client.write_event(Describe().event())
            event = await self.event(client)
            if not Info.is_type(event.type):
                raise ProviderUnavailable(NAME, f"answered {event.type!r} to describe")
            with peer_errors():
                self.offers = replace(self._kind(Info.from_event(event)), wanted=self._wanted)
            if problem := self.offers.problem(self._wanted):
                raise ProviderRejected(NAME, problem)
        except ProviderError as error:
            self.reason = str(error).removeprefix(f"{NAME}: ")
            await disconnect(client)
            return False
        except asyncio.CancelledError:
            await disconnect(client)
            raise
        self.reason = ""
        before, self._spare = self._spare, client
        await disconnect(before)
        return True

    async def _opened(self) -> Client:
        """A new connection. Raises ProviderUnavailable."""
        client = Client(self.own.host, self._port)
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
        self._keeper.wake()
        if client is None or not client.alive:
            await disconnect(client)
            client = await self._opened()
        try:
            with peer_errors():
                yield client
        finally:
            await disconnect(client)

    async def event(self, client: AsyncTcpClient) -> Event:
        """The next event. Raises ProviderUnavailable where none comes, ProviderRejected where it is an error."""
        try:
            async with asyncio.timeout(self.seconds):
                event = await client.read_event()
        except TimeoutError:
            raise ProviderUnavailable(NAME, f"no answer within {self.seconds:g} s") from None
        except FAILURES as error:
            raise ProviderUnavailable(NAME, f"sent what is no event: {error!r}"[:300]) from error
        if event is None:
            raise ProviderUnavailable(NAME, "closed the connection")
        if Error.is_type(event.type):
            raise ProviderRejected(NAME, f"refused: {Error.from_event(event).text}"[:300])
        return event

    def usable(self) -> None:
        if not self._started:
            raise ProviderUnavailable(NAME, self.reason)


@contextlib.contextmanager
def peer_errors() -> Iterator[None]:
    """What the library raises for a peer in disorder is ProviderUnavailable."""
    try:
        yield
    except FAILURES as error:
        raise ProviderUnavailable(NAME, f"the connection broke off: {error!r}"[:300]) from error


async def disconnect(client: Client | None) -> None:
    if client is not None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.5):
                await client.disconnect()
