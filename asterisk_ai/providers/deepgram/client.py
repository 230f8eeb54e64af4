"""What Deepgram's engines have in common: settings, and WebSocket connections that are there before they are needed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.base import Readiness
from asterisk_ai.providers.http_service import BACKOFF_SECONDS, RateLimit, secure_context

NAME = "deepgram"
BASE_URL = "https://api.deepgram.com/v1"
KEEP_ALIVE_SECONDS = 4.0
"""The service closes after 10 s with neither audio nor this, and asks for it every 3 to 5 s.
Source: https://developers.deepgram.com/docs/audio-keep-alive."""
PING_SECONDS = 5.0
"""A connection whose other end is gone without a word is found so soon."""
CLOSE_SECONDS = 0.5
MAX_MESSAGE = 1 << 20
_SHARED = ("base_url", "api_key", "seconds", "connect_seconds", "proxy")
_KINDS = ("listen", "speak", "agent")


class Settings:
    """``providers.deepgram`` as one engine sees it: what all share, and its own part.

    :raises ConfigError: unknown keys or wrong types.
    """

    def __init__(self, settings: Mapping[str, Any], kind: str, known: Mapping[str, Any]) -> None:
        for key in settings:
            if key not in (*_SHARED, *_KINDS):
                raise ConfigError(
                    f"unknown key; known: {', '.join((*_SHARED, *_KINDS))}", path=f"providers.{NAME}.{key}"
                )
        own = settings.get(kind) or {}
        for key, value in own.items():
            path = f"providers.{NAME}.{kind}.{key}"
            if key not in known:
                raise ConfigError(f"unknown key; known: {', '.join(known)}", path=path)
            if not isinstance(value, type(known[key])):
                raise ConfigError(f"expected {type(known[key]).__name__}", path=path)
        self.own: dict[str, Any] = {**known, **own}
        self.base_url = str(settings.get("base_url") or BASE_URL).rstrip("/")
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError("expected http:// or https://", path=f"providers.{NAME}.base_url")
        self.seconds = float(settings.get("seconds", 10.0))
        self.connect_seconds = float(settings.get("connect_seconds", 3.0))
        self.proxy = str(settings.get("proxy") or "") or None
        key = str(settings.get("api_key") or "")
        self.headers = {"Authorization": f"Token {key}"} if key else {}


class Sockets:
    """Connections to one WebSocket endpoint. One is opened ahead of the next caller and kept alive.

    ``start`` opens it, :meth:`take` gives it away and has the next one opened; where none opens it is tried again
    with backoff, and :meth:`readiness` says why.
    """

    def __init__(
        self, settings: Settings, path: str, first: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """:param first: the query of the connection that ``start`` opens; later ones are like the last asked for."""
        self._settings = settings
        self._url = "ws" + settings.base_url.removeprefix("http") + path
        self._limit = RateLimit(NAME, clock)
        self._wanted = urlencode(first, doseq=True)
        self._spare: tuple[str, ClientConnection] | None = None
        self._taken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._reason = "not started"
        self._secure: ssl.SSLContext | None = None

    async def start(self) -> None:
        """A service that is not there is no error: it is tried again, and readiness says so."""
        if self._keeper is None:
            self._secure = await secure_context(self._url)
            await self._prepare()
            self._keeper = asyncio.create_task(self._keep(), name=f"{NAME} keeper")

    async def stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        self._reason = "stopped"
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        if self._spare is not None:
            self.leave(self._spare[1])
            self._spare = None
        await asyncio.gather(*self._closing)

    def readiness(self) -> Readiness:
        problem = self._reason or self._limit.problem()
        return Readiness(not problem, problem)

    async def take(self, query: Mapping[str, Any]) -> ClientConnection:
        """An open connection of one's own, to be given back to :meth:`leave`. Raises ProviderError."""
        if self._keeper is None:
            raise ProviderUnavailable(NAME, self._reason)
        self._wanted = wanted = urlencode(query, doseq=True)
        spare, self._spare = self._spare, None
        self._taken.set()
        if spare is not None:
            if spare[0] == wanted and spare[1].state is State.OPEN:
                return spare[1]
            self.leave(spare[1])
        return await self._open(wanted)

    def leave(self, connection: ClientConnection) -> None:
        """The connection is not needed any more; nobody waits for its closing."""
        closing = asyncio.create_task(_close(connection), name=f"{NAME} closing")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _keep(self) -> None:
        failed = 0
        while True:
            wait = BACKOFF_SECONDS[min(failed, len(BACKOFF_SECONDS) - 1)] if self._reason else KEEP_ALIVE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._taken.wait()
            self._taken.clear()
            await self._prepare()
            failed = failed + 1 if self._reason else 0

    async def _prepare(self) -> None:
        """See to it that a connection waits, and is kept."""
        spare = self._spare
        if spare is not None:
            if await _alive(spare[1]):
                return
            self._drop(spare)
        if self._limit.problem():
            return
        wanted = self._wanted
        try:
            connection = await self._open(wanted)
        except ProviderError as error:
            self._reason = "" if self._limit.problem() else str(error).removeprefix(f"{NAME}: ")
            return
        self._reason = ""
        self._spare = wanted, connection

    def _drop(self, spare: tuple[str, ClientConnection]) -> None:
        if self._spare is spare:  # else it was taken meanwhile, and who has it finds out
            self._spare = None
            self.leave(spare[1])

    async def _open(self, query: str) -> ClientConnection:
        self._limit.check()
        settings = self._settings
        try:
            return await connect(
                f"{self._url}?{query}",
                additional_headers=settings.headers,
                compression=None,  # audio does not shrink, and each millisecond counts
                ssl=self._secure,
                proxy=settings.proxy,
                open_timeout=settings.connect_seconds,
                close_timeout=CLOSE_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                max_size=MAX_MESSAGE,
                process_exception=lambda error: error,  # to be told at once: trying again is ours
            )
        except InvalidStatus as error:
            answer = error.response
            after = answer.headers.get("Retry-After", "")
            told = self._limit.refused(answer.status_code, after, bytes(answer.body or b""))
            if answer.status_code in (401, 403):
                self._reason = f"refused the key ({answer.status_code})"
            raise told from error
        except InvalidURI as error:
            raise ProviderRejected(NAME, f"base_url: {error}") from error
        except TimeoutError:
            raise ProviderUnavailable(NAME, "no connection in time") from None
        except (InvalidHandshake, ConnectionClosed, OSError, EOFError) as error:
            raise ProviderUnavailable(NAME, f"no connection: {error}"[:300]) from error


async def _alive(connection: ClientConnection) -> bool:
    """Have the service keep the connection."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.send('{"type": "KeepAlive"}')
    except (ConnectionClosed, TimeoutError):
        return False
    return True


async def _close(connection: ClientConnection) -> None:
    with contextlib.suppress(OSError, ConnectionClosed):
        await connection.close()


def read(message: str | bytes) -> dict[str, Any]:
    """A JSON message. Raises ProviderUnavailable where it is none, or tells an error."""
    try:
        found = json.loads(message)
    except ValueError:
        raise ProviderUnavailable(NAME, "sent a message that is not JSON") from None
    if not isinstance(found, dict):
        raise ProviderUnavailable(NAME, "sent a message that is not an object")
    if found.get("type") == "Error":
        text = found.get("description") or found.get("message") or "no reason given"
        raise ProviderUnavailable(NAME, f"sent an error: {text}"[:300])
    return found


def broken(error: ConnectionClosed) -> ProviderUnavailable:
    """A connection that ended before its time; the close frame's reason is the service's own (NET-0001, ...)."""
    frame = error.rcvd
    why = f": {frame.code} {frame.reason}".rstrip() if frame is not None else ""
    return ProviderUnavailable(NAME, f"closed the connection{why}"[:300])
