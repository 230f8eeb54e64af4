"""How a running server has another one started that takes its place, and gives everything over to it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from pathlib import Path

from asterisk_ai.config import Config
from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.server.calls import Calls
from asterisk_ai.server.handover import SETTLE_SECONDS, Inheritance, Predecessor, Successor
from asterisk_ai.server.listeners import Listeners
from asterisk_ai.server.reload import ConfigInUse
from asterisk_ai.server.worker import WorkerPlace
from asterisk_ai.session.store import SessionStore

logger = logging.getLogger(__name__)

START_SECONDS = 180.0
"""The new process may have to load models."""


def handover_path(config: Config, place: WorkerPlace) -> Path | None:
    """The socket of a process that waits for the next one; None where calls are not kept on a disk."""
    if config.store.backend != "sqlite":
        return None
    path = config.store_path()
    return path.with_name(f"{path.name}.handover{f'-{place.index}' if place.workers > 1 else ''}")


class Upgrade:
    """Of one process: the server whose place it took, and the one that takes its place."""

    def __init__(
        self,
        in_use: ConfigInUse,
        place: WorkerPlace,
        *,
        store: SessionStore,
        registry: CallRegistry,
        calls: Calls,
        listeners: Listeners,
    ) -> None:
        self.predecessor: Predecessor | None = None
        self.done = False
        """Another server has taken over."""
        self.problem = ""
        """Why none did when one was asked to."""
        self._in_use, self._place = in_use, place
        self._store, self._registry, self._calls = store, registry, calls
        self._listeners = listeners
        self._successor: Successor | None = None

    # ---- the server before this one -----------------------------------------------

    def find(self) -> bool:
        """Whether there is one that hands over; nothing may be opened that it has."""
        self.predecessor = Predecessor.find(handover_path(self._in_use.config, self._place))
        return self.predecessor is not None

    async def inherit(self) -> Inheritance | None:
        """Take its place; None where there is none."""
        if self.predecessor is None:
            return None
        try:
            return await self.predecessor.inherit()
        except OSError as error:
            logger.error("nothing was taken over from the server before us: %s", error)
            self.predecessor = None
            return Inheritance()

    def stop(self) -> None:
        """We stop: the one before us is to stop, too."""
        if self.predecessor is not None:
            self.predecessor.stop()

    # ---- the one after it -----------------------------------------------------------

    async def run(self) -> int:
        """Have another process take over; returns its number. Where :attr:`done` is false then, we go on as before."""
        path = handover_path(self._in_use.config, self._place)
        if path is None:
            self.problem = "store.backend is memory: the next server could not go on with our calls"
        elif self._successor is None:
            self._successor = Successor(path, self._store, self._leave_dialplan, self._registry)
            process, self.problem = await self._give_over(self._successor)
            if not self.problem:
                self.done = True
                return process.pid if process is not None else 0
            await self.close()
        logger.error("no other server takes over: %s", self.problem)
        return 0

    async def _give_over(self, successor: Successor) -> tuple[asyncio.subprocess.Process | None, str]:
        process = None
        try:
            successor.listen()
            if self._place.workers == 1:  # else the supervisor starts it
                process = await start_successor(self._in_use.config)
            problem = await arrives(successor, process)
            return process, problem or await _give(successor, self._listeners, self._lock)
        except OSError as error:
            return process, str(error)

    def _leave_dialplan(self, call_id: str) -> None:
        """The dialplan plays a call's replies: the conversation ends here, to go on in the next server."""
        if (away := self._calls.away(call_id)) is not None:
            away.gone("another server takes over")

    async def last_calls(self, at_once: asyncio.Event) -> None:
        """Serve the calls that could not be handed over, for ``server.handover_seconds`` at the longest."""
        if self._successor is not None:
            server = self._in_use.config.server
            until = time.monotonic() + server.handover_seconds
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(self._successor.serve(self._lock))
                await self._successor.last(until, at_once, server.drain_seconds)
                serving.cancel()

    async def close(self) -> None:
        """What is left goes over, too. May be called twice."""
        successor, self._successor = self._successor, None
        if successor is not None:
            await successor.close()

    @property
    def _lock(self) -> int:
        return self._store.lock.descriptor if self._store.lock is not None else -1


async def start_successor(config: Config) -> asyncio.subprocess.Process:
    """The code that is installed now, with the configuration as it is now."""
    # systemd's watchdog is to take the new process for the service's main one, which it becomes.
    environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}
    file = ("--config", config.source) if config.source else ()
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asterisk_ai", "serve", *file, stdin=asyncio.subprocess.DEVNULL, env=environment
    )


async def arrives(successor: Successor, process: asyncio.subprocess.Process | None) -> str:
    """Wait for the successor; empty once it is there, else why it does not come."""
    arrived = asyncio.ensure_future(successor.arrived())
    ended = asyncio.ensure_future(process.wait()) if process is not None else None
    waits = {arrived, ended} if ended is not None else {arrived}
    try:
        await asyncio.wait(waits, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if arrived.done():
            return ""
        if process is not None and process.returncode is not None:
            return f"it ended with status {process.returncode}, and has said why above"
        if process is not None:
            process.kill()
        return f"it was not ready within {START_SECONDS:g} s"
    finally:
        for wait in waits:
            wait.cancel()


async def _give(successor: Successor, listeners: Listeners, lock: int) -> str:
    """Give the successor what we have; empty once it has it, else why not: then we go on as before."""
    given = listeners.give()
    try:
        # Those who were let in here have said by then what they want.
        await asyncio.sleep(SETTLE_SECONDS)
        await successor.give(given, lock)
    except OSError as error:
        await listeners.open({name: socket.socket(fileno=descriptor) for name, descriptor in given.items()})
        return str(error) or type(error).__name__
    for descriptor in given.values():
        os.close(descriptor)
    return ""
