"""WebSocket connections that are there before they are needed: what several vendors' engines have in common.

Needs the ``remote`` extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.protocol import State

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.net.http import RateLimit
from asterisk_ai.providers.net.keeper import Keeper
from asterisk_ai.providers.web import secure_context

CLOSE_SECONDS = 0.5
PONG_SECONDS = 1.0
"""A connection whose other end does not answer a ping within that is dead. Twice the longest way round the earth."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How a service wants a waiting connection to be kept.

    :param seconds: it is looked after so often (a ping, and ``message`` where the service wants one).
    :param oldest: it is replaced when it is older (seconds): what a service closes by itself is no use to a caller.
    """

    seconds: float
    oldest: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Spare:
    query: str
    connection: ClientConnection
    opened: float


class Sockets:
    """Connections to one WebSocket endpoint. With ``keep``, one is opened ahead of the next caller and kept alive.

    ``start`` opens it, :meth:`take` and :meth:`begin` give it away and have the next one opened; where none opens it
    is tried again with backoff, and :meth:`readiness` says why. Without ``keep`` each is opened when it is asked for.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        keep: Keep | None,
        headers: Mapping[str, str],
        max_message: int,
        query: str = "",
        connect_seconds: float = 3.0,
        proxy: str | None = None,
        ping_seconds: float | None = None,
        limit: RateLimit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param name: of the engine, for errors.
        :param query: of the connection that ``start`` opens; later ones are like the last asked for.
        :param ping_seconds: how often a connection in use is asked whether it lives; None where the engine does so.
        :param limit: shared with other requests to the service.
        """
        self._name, self._url, self._proxy = name, url, proxy
        self._headers, self._max_message, self._connect_seconds = dict(headers), max_message, connect_seconds
        self._ping_seconds = ping_seconds
        self._keep, self._wanted = keep, query
        self._clock, self._limit = clock, limit or RateLimit(name, clock)
        self._spare: _Spare | None = None
        self._used: set[ClientConnection] = set()
        self._keeper = Keeper(name, self._prepare, keep.seconds) if keep is not None else None
        self._closing: set[asyncio.Task[None]] = set()
        self._started = False
        self._reason = "not started"
        self._secure: ssl.SSLContext | None = None

    async def start(self) -> None:
        """A service that is not there is no error: it is tried again, and readiness says so."""
        if self._started:
            return
        self._secure = self._secure or await secure_context(self._url)
        self._started, self._reason = True, ""
        if self._keeper is not None:
            await self._keeper.start()

    async def stop(self) -> None:
        """Close everything; who uses a connection finds it closed."""
        self._started, self._reason = False, "stopped"
        if self._keeper is not None:
            await self._keeper.stop()
        if self._spare is not None:
            self.leave(self._spare.connection)
            self._spare = None
        for connection in tuple(self._used):
            self.leave(connection)
        await asyncio.gather(*self._closing)

    def readiness(self) -> Readiness:
        problem = self._reason or self._limit.problem()
        return Readiness(not problem, problem)

    async def take(self, query: str = "") -> ClientConnection:
        """An open connection of one's own, to be given back to :meth:`leave`. Raises ProviderError."""
        return self._take_spare(query) or await self._fresh(query)

    async def begin(
        self, hello: Callable[[ClientConnection], Awaitable[None]], query: str = "", url: str = ""
    ) -> ClientConnection:
        """As :meth:`take`, with ``hello`` said on it. Raises ProviderError: ``hello``'s, or that there is none.

        :param url: another one than usual, of a service that names one for each call.

        A connection that waited may be dead without anybody knowing: where it turns out so, ``hello`` is said on a new
        one.
        """
        connection = self._take_spare(query)
        if connection is not None:
            watch = asyncio.create_task(_expect_life(connection), name=f"{self._name} watch")
            try:
                return await self._greeted(connection, hello)
            except ProviderUnavailable:
                if connection.state is State.OPEN:
                    raise  # it is the service's
            finally:
                watch.cancel()
        return await self._greeted(await self._fresh(query, url), hello)

    async def _greeted(
        self, connection: ClientConnection, hello: Callable[[ClientConnection], Awaitable[None]]
    ) -> ClientConnection:
        """Leaves the connection where ``hello`` fails or is cancelled."""
        with contextlib.ExitStack() as otherwise:
            otherwise.callback(self.leave, connection)
            await hello(connection)
            otherwise.pop_all()
        return connection

    def leave(self, connection: ClientConnection) -> None:
        """The connection is not needed any more; nobody waits for its closing."""
        self._used.discard(connection)
        closing = asyncio.create_task(_close(connection), name=f"{self._name} closing")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # ---- the one that waits ----------------------------------------------------------

    def _take_spare(self, query: str) -> ClientConnection | None:
        if not self._started:
            raise ProviderUnavailable(self._name, self._reason)
        self._wanted = query
        spare, self._spare = self._spare, None
        if spare is None or self._keep is None or self._keeper is None:
            return None
        self._keeper.wake()
        young = self._clock() - spare.opened < self._keep.oldest
        if spare.query == query and young and spare.connection.state is State.OPEN:
            self._used.add(spare.connection)
            return spare.connection
        self.leave(spare.connection)
        return None

    async def _prepare(self) -> bool:
        """See to it that a connection waits, and is kept; whether the service lets us have one."""
        keep, old = self._keep, self._spare
        if keep is None:
            return True
        if old is not None:
            if await _alive(old.connection, keep.message):
                if self._clock() - old.opened + keep.seconds < keep.oldest:
                    return True
            else:
                self._drop(old)
        if self._limit.problem():
            return not self._reason
        wanted = self._wanted
        try:
            connection = await self._open(wanted)
        except ProviderError as error:
            self._reason = "" if self._limit.problem() else self._plain(error)
            return not self._reason
        self._reason = ""
        if old is not None:
            self._drop(old)
        self._spare = _Spare(wanted, connection, self._clock())
        return True

    def _drop(self, spare: _Spare) -> None:
        if self._spare is spare:  # else it was taken meanwhile, and who has it finds out
            self._spare = None
            self.leave(spare.connection)

    # ---- connecting ------------------------------------------------------------------

    async def _fresh(self, query: str, url: str = "") -> ClientConnection:
        connection = await self._open(query, url)
        self._used.add(connection)
        if self._reason and self._keeper is not None:
            self._keeper.wake()  # it is there again: no need to wait any longer
        return connection

    def _plain(self, error: ProviderError) -> str:
        return str(error).removeprefix(f"{self._name}: ")

    async def _open(self, query: str, url: str = "") -> ClientConnection:
        self._limit.check()
        url = url or self._url
        try:
            return await connect(
                f"{url}?{query}" if query else url,
                additional_headers=self._headers,
                compression=None,  # audio does not shrink, and each millisecond counts
                ssl=self._secure,
                proxy=self._proxy,
                open_timeout=self._connect_seconds,
                close_timeout=CLOSE_SECONDS,
                ping_interval=self._ping_seconds,
                ping_timeout=self._ping_seconds,
                max_size=self._max_message,
                process_exception=lambda error: error,  # to be told at once: trying again is ours
            )
        except InvalidStatus as error:
            answer = error.response
            after = answer.headers.get("Retry-After", "")
            told = self._limit.refused(answer.status_code, after, bytes(answer.body or b""))
            if answer.status_code in (401, 403):
                self._reason = self._plain(told)
            raise told from error
        except InvalidURI as error:
            raise ProviderRejected(self._name, f"no such address can be: {error}") from error
        except TimeoutError:
            raise ProviderUnavailable(self._name, "no connection in time") from None
        except (WebSocketException, OSError, EOFError) as error:
            raise ProviderUnavailable(self._name, f"no connection: {error!r}"[:300]) from error


async def _alive(connection: ClientConnection, message: str) -> bool:
    """Have the service keep the connection, and say that it is there."""
    try:
        async with asyncio.timeout(PONG_SECONDS):
            if message:
                await connection.send(message)
            await (await connection.ping())
    except (ConnectionClosed, TimeoutError):
        return False
    return True


async def _expect_life(connection: ClientConnection) -> None:
    """Break a connection off whose other end does not answer: who waits for something else is told so."""
    if not await _alive(connection, ""):
        connection.transport.abort()


async def _close(connection: ClientConnection) -> None:
    with contextlib.suppress(OSError, ConnectionClosed):
        await connection.close()


def closed(name: str, error: ConnectionClosed) -> ProviderError:
    """A connection that was closed, in our terms.

    Source: RFC 6455, 7.4. Services name their errors in the reason: OpenAI ``invalid_request_error.invalid_...``,
    Deepgram ``NET-0001 ...``; data that is not allowed (1007) and a policy that is violated (1008) stay so at the next
    try, too.
    """
    frame = error.rcvd
    reason = f"{frame.code} {frame.reason}".strip() if frame is not None else "without a word"
    refused = frame is not None and ("invalid_request_error" in frame.reason or frame.code in (1007, 1008))
    return (ProviderRejected if refused else ProviderUnavailable)(name, f"closed the connection: {reason}"[:300])
