"""One application's connection to Asterisk's REST interface (ARI): events in, requests out.

Needs the ``ari`` extra (httpx and websockets).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from asterisk_ai.errors import ControlError, RemoteProtocolError
from asterisk_ai.protocol import ari

logger = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 15.0)
MAX_EVENT_BYTES = 1 << 20
MAX_ERROR = 200


class AriClient:
    """Keeps the connection up and tells what comes.

    :param url: of the interface, e.g. ``http://127.0.0.1:8088/ari``.
    :param connected: awaited after each connecting, before the first event.
    :param received: called with each event, in their order; it must not wait.
    :param lost: called when the connection is gone.
    :param seconds: how long an answer may take.
    :param pause: waits between two attempts.
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        app: str,
        *,
        connected: Callable[[], Awaitable[None]],
        received: Callable[[ari.Event], None],
        lost: Callable[[], None],
        seconds: float = 5.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url, self._app, self._seconds = url.rstrip("/"), app, seconds
        self._connected, self._received, self._lost = connected, received, lost
        secret = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._pause = pause
        self._headers = {"Authorization": f"Basic {secret}"}
        self._http: httpx.AsyncClient | None = None
        self.problem = "not connected yet"
        """Why there is no connection, for people; empty where there is one."""

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost; until cancelled."""
        limits = httpx.Limits(max_connections=8)
        async with httpx.AsyncClient(
            headers=self._headers, timeout=self._seconds, trust_env=False, limits=limits
        ) as http:
            self._http = http
            try:
                await self._keep_connected()
            finally:
                self._http = None

    async def _keep_connected(self) -> None:
        waits = iter(BACKOFF_SECONDS)
        while True:
            try:
                async with self._events() as events:
                    waits = iter(BACKOFF_SECONDS)
                    async for event in events:
                        self._received(event)
                self._say("Asterisk closed the connection")
            except (ControlError, WebSocketException, OSError, TimeoutError) as error:
                self._say(_reason(error, self._url))
            await self._pause(next(waits, BACKOFF_SECONDS[-1]))

    @contextlib.asynccontextmanager
    async def _events(self) -> AsyncIterator[AsyncIterator[ari.Event]]:
        """Connected, and told so; what is left is left with a word to ``lost``."""
        scheme, _, rest = self._url.partition("://")
        url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/events?app={quote(self._app)}&subscribeAll=false"
        async with connect(
            url, additional_headers=self._headers, open_timeout=self._seconds, close_timeout=1, proxy=None,
            max_size=MAX_EVENT_BYTES, ping_interval=10, ping_timeout=10,
        ) as socket:  # fmt: skip
            await self._connected()
            if self.problem:
                logger.info("connected to ARI", extra={"url": self._url, "app": self._app})
            self.problem = ""
            try:
                yield self._parsed(socket)
            finally:
                self._lost()

    @staticmethod
    async def _parsed(socket: Any) -> AsyncIterator[ari.Event]:
        async for message in socket:
            try:
                yield ari.parse(message if isinstance(message, str) else message.decode("utf-8", "replace"))
            except RemoteProtocolError as error:
                logger.warning("an ARI event that is none", extra={"error": str(error)})

    def _say(self, problem: str) -> None:
        """Once for each new reason: a PBX that is down for an hour is one line."""
        if problem != self.problem:
            logger.warning("no connection to ARI", extra={"url": self._url, "error": problem})
        self.problem = problem

    async def do(self, request: ari.Request) -> Any:
        """Have Asterisk do it; returns what it answered, parsed, or None.

        :raises ControlError: it cannot be reached, or will not.
        """
        if self._http is None:
            raise ControlError("ARI: not connected")
        try:
            answer = await self._http.request(request.method, self._url + request.path, params=dict(request.parameters))
        except (httpx.HTTPError, OSError) as error:
            raise ControlError(f"ARI {request.method} {request.path}: {str(error) or type(error).__name__}") from error
        if answer.status_code in request.gone:
            return None
        if answer.status_code >= 400:
            raise ControlError(
                f"ARI {request.method} {request.path}: {answer.status_code} {answer.text[:MAX_ERROR].strip()}"
            )
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise ControlError(f"ARI {request.method} {request.path}: the answer is no JSON") from None


def _reason(error: BaseException, url: str) -> str:
    """Why connecting failed, and what mends it."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in (401, 403):
            return "Asterisk refuses the user or the password: compare `ari` with ari.conf"
        if status == 404:
            return f"there is no ARI at {url}: enabled=yes in http.conf and ari.conf, and res_ari loaded?"
        return f"Asterisk answered {status}"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {url}: enabled=yes in http.conf?"
    return str(error) or type(error).__name__
