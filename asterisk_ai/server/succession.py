"""How a supervisor is followed by another one, with workers of its own, while calls go on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asterisk_ai.config import Config
from asterisk_ai.server.handover import Successor
from asterisk_ai.server.upgrade import START_SECONDS, arrives, handover_path, start_successor
from asterisk_ai.server.worker import ALONE, WorkerPlace
from asterisk_ai.session.backends.memory import MemoryBackend
from asterisk_ai.session.lock import StoreLock
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.http import HttpServer

logger = logging.getLogger(__name__)


class Succession:
    """Each worker hands over to that of the same place in the next supervisor, which then takes over itself.

    :param processes: the workers, by their place.
    :param start: starts a worker.
    :param ask: a worker's answer over HTTP.
    :param lock: what holds the store.
    """

    def __init__(
        self,
        config: Config,
        places: list[WorkerPlace],
        processes: Mapping[int, asyncio.subprocess.Process],
        *,
        start: Callable[[WorkerPlace], Awaitable[None]],
        ask: Callable[[WorkerPlace, str], dict[str, Any]],
        lock: Callable[[], StoreLock | None],
    ) -> None:
        self._config, self._places, self._processes = config, places, processes
        self._start, self._ask, self._lock = start, ask, lock
        self._successor: Successor | None = None
        self.problem = ""
        """Why the last attempt came to nothing; empty where none did."""
        self.done = False
        """Another supervisor has taken over."""
        self.settled = asyncio.Event()
        """Nothing of the kind is under way."""
        self.settled.set()
        self.retired: list[asyncio.subprocess.Process] = []
        """Workers that have handed over, and then there was no other supervisor."""

    async def run(self, http: HttpServer | None) -> int:
        """Have another supervisor take over; returns its process number, 0 where it did not."""
        path = handover_path(self._config, ALONE)
        if path is None:
            self.problem = "store.backend is memory: the next server could not go on with our calls"
            return 0
        if self._successor is not None:
            return 0
        self.settled.clear()
        self._successor = Successor(path, SessionStore(MemoryBackend()), lambda call_id: None)
        pid = 0
        try:
            self._successor.listen()
            await self._workers_listen()
            process = await start_successor(self._config)
            pid = process.pid
            self.problem = await arrives(self._successor, process)
            if not self.problem:
                await self._give(self._successor, http)
        except OSError as error:
            self.problem = str(error) or type(error).__name__
        if self.problem:
            await self._go_on()
        self.done = not self.problem
        self.settled.set()
        return pid if self.done else 0

    async def _workers_listen(self) -> None:
        """Have the workers wait for theirs. Raises TimeoutError, an OSError."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(START_SECONDS):
            for place in self._places:
                path = handover_path(self._config, place)
                while path is not None and not path.exists():  # noqa: ASYNC110 - another process makes it
                    await asyncio.sleep(0.02)

    async def _give(self, successor: Successor, http: HttpServer | None) -> None:
        given = {"http": http.descriptor} if http is not None else {}
        lock = self._lock()
        await successor.give(given, lock.descriptor if lock is not None else -1)
        if http is not None:
            http.stop()
        for descriptor in given.values():
            os.close(descriptor)

    async def _go_on(self) -> None:
        """The other supervisor has failed, and its workers with it: what those had taken over needs new ones."""
        logger.error("no other server takes over: %s", self.problem)
        await self.close()
        for place in self._places:
            answer = await asyncio.to_thread(self._ask, place, "/health")
            process = self._processes[place.index]
            if answer.get("pid") != process.pid and process.returncode is None:
                self.retired.append(process)
                await self._start(place)

    async def close(self) -> None:
        """May be called twice."""
        successor, self._successor = self._successor, None
        if successor is not None:
            await successor.close()
