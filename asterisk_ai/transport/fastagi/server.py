"""FastAGI server: Asterisk connects, names a route and its arguments, and carries out the route's commands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import cast

from asterisk_ai.config import host_port
from asterisk_ai.errors import CallHungUp, RemoteProtocolError
from asterisk_ai.protocol.agi.reader import AgiReader, AgiReply, AgiRequest
from asterisk_ai.protocol.door import Door
from asterisk_ai.protocol.strangers import Strangers
from asterisk_ai.transport.fastagi.application import Application
from asterisk_ai.transport.fastagi.session import READ_BYTES, AgiSession, Handler
from asterisk_ai.transport.listener import bound_port, descriptor, listen

__all__ = ["AgiReply", "AgiRequest", "AgiSession", "FastAgiCounters", "FastAgiServer", "Handler"]

logger = logging.getLogger(__name__)

_CLOSE_SECONDS = 1.0


@dataclass(slots=True)
class FastAgiCounters:
    """What the server counted since its start."""

    connections: int = 0
    refused: int = 0
    """Requests beyond ``max_connections``."""
    strangers: int = 0
    """Connections of an address that may not connect, or does too often."""
    displaced: int = 0
    """Connections without a request that had to make room for others."""
    protocol_errors: int = 0
    unknown_routes: int = 0
    failed_handlers: int = 0


class FastAgiServer:
    """Serves AGI conversations to Asterisk.

    :param routes: handlers by script path, such as ``call/start``. The query is not part of the path.
    :param header_seconds: limit for the whole environment.
    :param command_seconds: limit for a reply, unless the command has its own.
    :param max_connections: requests that are served at a time, and connections that have not sent theirs yet. Of the
        latter the oldest makes room for one more; a request more gets ``refusal``.
    :param refusal: a command for Asterisk, which takes a connection that is just closed for a script that did its work
        (AGISTATUS is SUCCESS).
    :param expects: requests that are served however many others there are.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        *,
        header_seconds: float,
        command_seconds: float,
        max_connections: int,
        refusal: bytes = b"",
        expects: Callable[[AgiRequest], bool] = lambda request: False,
        door: Door | None = None,
    ) -> None:
        self._routes = dict(routes)
        self._header_seconds = header_seconds
        self._command_seconds = command_seconds
        self._max_connections = max_connections
        self._refusal = refusal
        self._expects = expects
        self._door = door or Door()
        self._strangers: Strangers[asyncio.Task[None]] = Strangers(max_connections)
        self._serving = self._refusing = 0
        self._servers: list[list[asyncio.Server]] = []  # of each address
        self._closed: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.counters = FastAgiCounters()

    @property
    def active(self) -> int:
        """Connections that are served now."""
        return len(self._connections)

    async def start(self, host: str, port: int, inherited: socket.socket | None = None, *, shared: bool = False) -> int:
        """Listen; ``port`` 0 takes any free one. Returns the port. May be called again, for another address.

        :param inherited: a socket of the process before this one, that listens there.
        :param shared: other processes may listen there as well, and the system shares the connections out.
        :raises OSError: where the address cannot be bound.
        """
        application = Application(self._routes, self._run)

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connected(application, reader, writer)

        # No coroutine is given to start_server: over the limit, a connection must cost no task
        servers = await listen(partial(asyncio.start_server, connected), host, port, shared=shared, inherited=inherited)
        self._servers.append(servers)
        return bound_port(servers)

    @property
    def descriptors(self) -> list[int]:
        """See :func:`~asterisk_ai.transport.listener.descriptor`; in the order of the starts."""
        return [descriptor(servers) for servers in self._servers]

    def stop_listening(self) -> None:
        """Take no more connections; those there are go on."""
        for server in chain.from_iterable(self._servers):
            server.close()
            self._closed.append(server)
        self._servers.clear()

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Take no more connections, wait for the handlers, cancel those that are not done after the grace."""
        self.stop_listening()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_seconds)
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_seconds + _CLOSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                for server in self._closed:
                    await server.wait_closed()
        self._closed.clear()

    def _connected(self, application: Application, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counters.connections += 1
        peer = writer.get_extra_info("peername")
        source = str(peer[0]) if peer else ""
        if (refusal := self._door.refuses(source, time.monotonic())) is not None:
            self.counters.strangers += 1
            logger.warning("FastAGI: a connection is refused (%s)", refusal, extra={"source": source})
            writer.transport.abort()
            return
        _keep_alive(writer)
        task = asyncio.get_running_loop().create_task(self._serve(application, reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._gone)
        displaced = self._strangers.add(task, source)
        if displaced is not None:
            self.counters.displaced += 1
            logger.warning("FastAGI: %d connections wait without a request, the oldest is closed", len(self._strangers))
            displaced.cancel()

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._strangers.discard(task)
        self._connections.pop(task).transport.abort()  # it may have been cancelled before it could begin

    async def _serve(
        self, application: Application, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            session = await self._session(reader, writer)
            self._strangers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if session is not None:
                if self._serving < self._max_connections or self._expects(session.request):
                    await self._handle(application, session, writer)
                else:
                    await self._refuse(session, reader, writer)
        finally:
            await _close(writer)

    async def _handle(self, application: Application, session: AgiSession, writer: asyncio.StreamWriter) -> None:
        self._serving += 1
        try:
            if not await application.handle(session, writer):
                self.counters.unknown_routes += 1
                logger.warning("FastAGI: no route %r", session.request.script[:100])
        finally:
            self._serving -= 1

    async def _refuse(self, session: AgiSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counters.refused += 1
        logger.warning("FastAGI: %s refused, %d requests are being served", session.request.script[:100], self._serving)
        if not self._refusal or self._refusing >= self._max_connections:
            return
        self._refusing += 1
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                writer.write(self._refusal)
                await reader.read(READ_BYTES)  # Asterisk has carried it out
        except OSError:  # TimeoutError is one
            pass
        finally:
            self._refusing -= 1

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AgiSession | None:
        """Read the environment; None where there is none."""
        incoming = AgiReader()
        try:
            async with asyncio.timeout(self._header_seconds):
                while not isinstance(request := incoming.next_event(), AgiRequest):
                    data = await reader.read(READ_BYTES)
                    incoming.receive_data(data)
                    if not data:
                        incoming.receive_eof()
        except TimeoutError:
            self.counters.protocol_errors += 1
            logger.warning(
                "FastAGI connection from %s refused: no whole environment within %g s",
                _peer(writer),
                self._header_seconds,
            )
            return None
        except (RemoteProtocolError, OSError) as error:
            self.counters.protocol_errors += 1
            logger.warning("FastAGI connection from %s refused: %s", _peer(writer), error)
            return None
        return AgiSession(
            request, incoming=incoming, reader=reader, writer=writer, command_seconds=self._command_seconds
        )

    async def _run(self, handler: Handler, session: AgiSession) -> None:
        """The edge of a call: whatever the handler raises ends here, and with it only this connection."""
        script = session.request.script
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(session.listen())
            try:
                await handler(session)
            except CallHungUp as error:
                logger.info("FastAGI %s: %s", script, error)
            except RemoteProtocolError as error:
                self.counters.protocol_errors += 1
                logger.warning("FastAGI %s: %s", script, error)
            except Exception:
                self.counters.failed_handlers += 1
                logger.exception("FastAGI %s: the handler failed", script)
            listening.cancel()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await writer.wait_closed()
    except OSError:  # TimeoutError is one
        pass
    finally:
        writer.transport.abort()  # a peer that reads nothing would keep what is unsent, and the socket


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Notice a PBX that vanished without a word within two minutes, also in a command without a time limit."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # gone already: reading will say so
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _peer(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return host_port(peer[0], peer[1]) if peer else "?"
