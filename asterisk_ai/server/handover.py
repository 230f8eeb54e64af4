"""One server process takes the place of another while calls go on: an upgrade, without a cut.

The old process starts the new one (SIGUSR2) and goes on serving until the new one, its engines loaded, connects to a
socket beside the store. Over that go the listening sockets themselves, so that nobody who connects meanwhile is
refused, and the calls that have no audio just then. Those that have stay where they are. When the dialplan asks about
one of them, or its audio ends, it goes over as well. The old process ends with its last call.

Both ends of it are here. Messages are JSON, one a line; only the first, which carries the sockets, has its length
before it: ``{"listeners": [names], "lock": bool, "elsewhere": [ids], "moved": [records]}``. Then the old process sends
``{"moved": record}`` and ``{"over": id}``, the new one ``{"want": id}``, ``{"taken": id}`` and ``{"stop": true}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 0.25
"""From the last connection that the old process accepts to the list of its calls: who it is has been said by then."""
LOOK_SECONDS = 0.02
"""How often the old process looks for calls that can go over."""
FIRST_SECONDS = 30.0
"""For the first message."""
MAX_MESSAGE = 64 * 2**20
_MAX_SOCKETS = 8
_READY = b"!"
"""The first byte, from the new process: its engines are loaded."""
_LENGTH = struct.Struct("!I")


@dataclass(slots=True)
class Inheritance:
    """What the old process gives at once."""

    listeners: Mapping[str, socket.socket] = field(default_factory=dict)
    lock: int = -1
    """The descriptor that holds the store's lock."""
    elsewhere: list[str] = field(default_factory=list)
    """Calls that have audio over there."""
    moved: list[CallSession] = field(default_factory=list)

    def close(self) -> None:
        """Those listeners that nobody listens on."""
        for listener in self.listeners.values():
            listener.close()


class Link:
    """Messages to and from the other process, once the first one is through."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, connection: socket.socket) -> Link:
        connection.setblocking(False)
        return cls(*await asyncio.open_connection(sock=connection, limit=MAX_MESSAGE))

    def send(self, **message: Any) -> None:
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """The next message; None where the other process is gone."""
        try:
            line = await self._reader.readline()
            return dict(json.loads(line)) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None

    async def close(self) -> None:
        """Once what was sent is on its way."""
        self._writer.close()
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()


# ---- the new process ------------------------------------------------------------------------------------------------


class Predecessor:
    """The server whose place we take, as the new process sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._link: Link | None = None

    @classmethod
    def find(cls, path: Path | None) -> Predecessor | None:
        """One that waits for us to take over, or still has calls after somebody else did; None where there is none."""
        if path is None or not path.exists():
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(path) as address:
                connection.connect(address)
        except OSError:
            connection.close()
            return None
        return cls(connection)

    async def inherit(self) -> Inheritance:
        """Take its place. :raises OSError: it is gone, or says nothing."""
        found = await asyncio.to_thread(_receive_first, self._connection)
        self._link = await Link.over(self._connection)
        return found

    async def run(self, store: SessionStore, registry: CallRegistry) -> None:
        """Take its calls over as they come, until it is gone; whatever it has left then is lost and may come back."""
        assert self._link is not None  # noqa: S101 - inherit() comes first
        registry.want, registry.taken = self._want, self._taken
        while (message := await self._link.receive()) is not None:
            if record := message.get("moved"):
                store.adopt(CallSession.from_json(record))
            elif over := message.get("over"):
                store.forget_elsewhere(str(over))
        lost = [call_id for call_id in tuple(store.elsewhere) if registry.take(call_id)]
        if lost:
            logger.error("the server before us is gone with %d calls, which may come back", len(lost))
        await self._link.close()

    def _want(self, call_id: str) -> None:
        if self._link is not None:
            self._link.send(want=call_id)

    def _taken(self, call_id: str) -> None:
        if self._link is not None:
            self._link.send(taken=call_id)

    def stop(self) -> None:
        """We stop: it is to let its calls finish within the time that ours have."""
        if self._link is not None:
            self._link.send(stop=True)


def _receive_first(connection: socket.socket) -> Inheritance:
    connection.settimeout(FIRST_SECONDS)
    connection.sendall(_READY)
    data, descriptors, _, _ = socket.recv_fds(connection, 65536, _MAX_SOCKETS)
    while data and (len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]):
        more = connection.recv(65536)
        if not more:
            break
        data += more
    try:
        message = json.loads(data[_LENGTH.size :])
    except ValueError:
        raise ConnectionError("the server before us has ended") from None
    lock = descriptors.pop() if message["lock"] else -1
    names = message["listeners"]
    return Inheritance(
        {name: socket.socket(fileno=fd) for name, fd in zip(names, descriptors, strict=True)},
        lock,
        message["elsewhere"],
        [CallSession.from_json(record) for record in message["moved"]],
    )


# ---- the old process ------------------------------------------------------------------------------------------------


class Successor:
    """The server that takes our place, as the old process sees it.

    :param away: ends a conversation that is with the dialplan, so that the call can go over.
    :param registry: passes on what it asks of the server before us; None where there are no calls.
    """

    def __init__(
        self, path: Path, store: SessionStore, away: Callable[[str], None], registry: CallRegistry | None = None
    ) -> None:
        self._path, self._store, self._registry, self._away = path, store, registry, away
        self._listening: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._link: Link | None = None
        self._told: set[str] = set()  # calls that it knows to be here
        self.stopping = asyncio.Event()
        """It stops, and we are to stop as well."""

    def listen(self) -> None:
        """Wait for it. :raises OSError: no socket can be made beside the store."""
        self._path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.setblocking(False)
        with _short(self._path) as address:
            self._listening.bind(address)
        self._path.chmod(0o600)
        self._listening.listen(1)

    async def arrived(self) -> None:
        """Wait until it is there: it can serve, and wants what we have."""
        assert self._listening is not None  # noqa: S101 - listen() comes first
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listening)
            connection.setblocking(False)
            # It has connected at its start, and says when it is ready; where it fails before, the next one may come.
            if _user(connection) == os.geteuid() and await _says_ready(connection):
                self._connection = connection
                return
            connection.close()

    async def give(self, listeners: Mapping[str, int], lock: int) -> None:
        """Everything but the calls that have audio. :raises OSError: it is gone."""
        assert self._connection is not None  # noqa: S101 - arrived() comes first
        self._told = self._here()
        waiting = self._waiting()
        message = {
            "listeners": list(listeners),
            "lock": lock >= 0,
            "elsewhere": sorted(self._told),
            "moved": [self._store.give(session) for session in waiting],  # at once: it is nobody's but its own now
        }
        data = json.dumps(message).encode()
        descriptors = [*listeners.values(), *([lock] if lock >= 0 else [])]
        connection = self._connection
        connection.settimeout(FIRST_SECONDS)
        try:
            await asyncio.to_thread(_send_first, connection, _LENGTH.pack(len(data)) + data, descriptors)
        except OSError:
            for session in waiting:
                self._store.adopt(session)
            raise
        self._link, self._connection = await Link.over(connection), None

    async def serve(self, lock: int) -> None:
        """Do what it asks for. Where it is lost, the next server takes what is left, until cancelled."""
        while True:
            await self._listen_to()
            self._link = None
            await self.arrived()
            await self.give({}, lock)

    async def _listen_to(self) -> None:
        assert self._link is not None  # noqa: S101 - give() comes first
        while (message := await self._link.receive()) is not None:
            if call_id := message.get("want"):
                self._away(str(call_id))
                if self._registry is not None:  # it may have been left by the one before us
                    self._registry.want(str(call_id))
            elif call_id := message.get("taken"):
                if (session := self._store.get(str(call_id))) is not None:
                    self._store.give(session)
                if self._registry is not None:
                    self._registry.taken(str(call_id))
            elif message.get("stop"):
                self.stopping.set()

    def look(self) -> None:
        """Give it the calls that have no audio any more, and tell it which are over."""
        if self._link is None:
            return
        for session in self._waiting():
            self._link.send(moved=self._store.give(session))
            self._told.discard(session.call_id)
        here = self._here()
        for call_id in self._told - here:
            self._link.send(over=call_id)
        self._told = here

    async def last(self, until: float, at_once: asyncio.Event, drain_seconds: float) -> None:
        """Serve the calls that are left, until then at the longest."""
        stopped = False
        while self._here() and not at_once.is_set() and time.monotonic() < until:
            self.look()
            if self.stopping.is_set() and not stopped:
                stopped, until = True, min(until, time.monotonic() + drain_seconds)
            await asyncio.sleep(LOOK_SECONDS)

    def _here(self) -> set[str]:
        """Calls that have audio here, or in a server before us."""
        talking = {session.call_id for session in self._store.live if self._store.is_claimed(session)}
        return talking | set(self._store.elsewhere)

    def _waiting(self) -> list[CallSession]:
        return [session for session in self._store.live if not self._store.is_claimed(session)]

    async def close(self) -> None:
        """Nobody takes our place, or everything is given."""
        if self._link is None and self._listening is not None:
            self._path.unlink(missing_ok=True)  # else it may be the successor's own
        for end in (self._listening, self._connection):
            if end is not None:
                end.close()
        if self._link is not None:
            self.look()
            await self._link.close()
        self._listening = self._connection = self._link = None


def _send_first(connection: socket.socket, data: bytes, descriptors: list[int]) -> None:
    sent = socket.send_fds(connection, [data], descriptors)
    connection.sendall(data[sent:])


async def _says_ready(connection: socket.socket) -> bool:
    try:
        return await asyncio.get_running_loop().sock_recv(connection, 1) == _READY
    except OSError:
        return False


def _user(connection: socket.socket) -> int:
    """Who runs the process at the other end."""
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(user)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for the path, which may be longer than the 107 bytes that a socket's address takes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
