"""The ports of a server: where each listens, and what the dialplan is told of them."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from asterisk_ai.config import Config, host_port, reachable
from asterisk_ai.server.transports import Transports
from asterisk_ai.server.worker import WORKER_PORTS, WorkerPlace, port_in_use_error
from asterisk_ai.telemetry.http import HttpServer


class Listeners:
    """Opens and closes them together.

    :param http: makes the server of probes and metrics for an address.
    """

    def __init__(
        self,
        config: Config,
        place: WorkerPlace,
        transports: Transports,
        *,
        http: Callable[[str, int], HttpServer],
    ) -> None:
        self.audio_address = ""
        """host:port of the AudioSocket listener as Asterisk reaches it."""
        self.fastagi_port = 0
        self._config = config
        self._place = place
        self._transports = transports
        self._make_http = http
        self._http: HttpServer | None = None
        self._inherited: dict[str, socket.socket] = {}
        self._own_fastagi_port = self.websocket_port = 0

    async def open(self, inherited: Mapping[str, socket.socket] | None = None) -> None:
        """Listen. Raises OSError, with the key that changes a port which is taken.

        :param inherited: sockets of the process before this one, by the names that :meth:`give` has for them.
        """
        config, alone = self._config, self._place.workers == 1
        self._inherited = dict(inherited or {})
        port = await self._bind(
            "audiosocket", "" if alone else WORKER_PORTS, config.audiosocket, self._transports.audiosocket.start
        )
        self.audio_address = config.audiosocket.advertise or host_port(reachable(config.audiosocket.host), port)
        shared = partial(self._transports.fastagi.start, shared=not alone)
        self.fastagi_port = await self._bind("fastagi", "", config.fastagi, shared)
        if not alone:
            own = dataclasses.replace(config.fastagi, port=self._place.fastagi_port(config))
            self._own_fastagi_port = await self._bind("own", WORKER_PORTS, own, self._transports.fastagi.start)
        if config.websocket is not None and self._transports.websocket is not None and alone:
            start = self._transports.websocket.start
            self.websocket_port = await self._bind("websocket", "", config.websocket, start)
        if config.http is not None:
            await self._bind("http", "" if alone else WORKER_PORTS, config.http, self._start_http)
        for unused in self._inherited.values():
            unused.close()

    async def _start_http(self, host: str, port: int, inherited: socket.socket | None) -> int:
        self._http = self._make_http(host, port)
        self._http.start(inherited)
        return self._http.port

    async def _bind(self, name: str, key: str, listener: Any, start: Callable[..., Awaitable[int]]) -> int:
        """Start a listener; a port that is taken is told with the key that changes it."""
        inherited = self._inherited.get(name)
        if inherited is not None and listener.port in (0, inherited.getsockname()[1]):
            del self._inherited[name]
        else:
            inherited = None
        try:
            return await start(listener.host, listener.port, inherited)
        except OSError as error:
            raise port_in_use_error(key or name, (listener.host, listener.port), error) from error

    def give(self) -> dict[str, int]:
        """Descriptors of all sockets, for the process after this one, which nobody here listens on any more.

        Who connects meanwhile waits for that one. The caller closes them.
        """
        transports = self._transports
        given = {"audiosocket": transports.audiosocket.descriptor}
        given.update(zip(("fastagi", "own"), transports.fastagi.descriptors, strict=False))
        if transports.websocket is not None and self.websocket_port:
            given["websocket"] = transports.websocket.descriptor
            transports.websocket.stop_listening()
        if self._http is not None:
            given["http"] = self._http.descriptor
            self._http.stop()
            self._http = None
        transports.audiosocket.stop_listening()
        transports.fastagi.stop_listening()
        return given

    async def close(self) -> None:
        """Close all, connections as well. May be called twice."""
        await self._transports.audiosocket.stop()
        if self._transports.websocket is not None:
            await self._transports.websocket.stop()
        await self._transports.fastagi.stop()
        if self._http is not None:
            self._http.stop()
            self._http = None

    def worker_address(self, host: str) -> str:
        """AI_SERVER for a call that this worker has; empty where there are no others."""
        if not self._own_fastagi_port:
            return ""
        advertised = self._config.audiosocket.advertise.rpartition(":")[0]
        return f"{advertised or host}:{self._own_fastagi_port}"

    @property
    def http_port(self) -> int:
        """0 where there is none."""
        return self._http.port if self._http is not None else 0

    def __str__(self) -> str:
        http = f", HTTP {self._config.http.host}:{self.http_port}" if self._config.http and self._http else ""
        media = self._config.websocket
        websocket = f", WebSocket {media.host}:{self.websocket_port}" if media and self.websocket_port else ""
        agi = f"{self._config.fastagi.host}:{self.fastagi_port}"
        return f"AudioSocket {self.audio_address}{websocket}, FastAGI {agi}{http}"
