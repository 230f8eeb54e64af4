"""The asyncio side of the worker processes: starting, feeding, restarting and ending them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from asterisk_ai.errors import ProviderError, ProviderUnavailable
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.workers.connection import Worker, WorkerStream, fail
from asterisk_ai.providers.workers.wire import Kind

BACKOFF_SECONDS = (0.1, 0.5, 2.0, 5.0)
"""Waits before a worker that died is started again; a worker that became ready begins anew."""
END_SECONDS = 1.0
"""How long a worker may take to end by itself once its socket is closed, before it is killed."""
MAX_REQUESTS = 100
"""Requests that one worker has at once: a recogniser that needs 3 % of a core for a voice is overrun by a third."""

_ENVIRONMENT = {
    # A worker is to use one core: numpy's second thread takes turns with other calls' and makes small products longer.
    "OPENBLAS_NUM_THREADS": "1",
    # The memory of one answer serves for the next: glibc would give it back and fault it in again, page by page, which
    # took 5 of smart-turn's 60 ms.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 25),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
}
"""For a worker where the user's own environment says nothing else."""


class WorkerPool:
    """Processes that run one engine, kept alive.

    :param provider: its name, for errors.
    :param engine: ``package.module:Class`` of the :class:`~asterisk_ai.providers.workers.child.Engine`.
    :param settings: what that class is made with; JSON values.
    :param backlog_bytes: audio that one stream may have waiting on each side, the oldest is dropped.
    :param start_seconds: how long loading may take.
    :param max_requests: streams and questions that one worker has at once, at work or waiting; more are refused.
    """

    def __init__(
        self,
        provider: str,
        engine: str,
        settings: Mapping[str, Any] = MappingProxyType({}),
        *,
        workers: int = 1,
        backlog_bytes: int = 640_000,
        start_seconds: float = 60.0,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        self._provider = provider
        self._setup = {"engine": engine, "settings": dict(settings), "backlog_bytes": backlog_bytes}
        self._backlog_bytes = backlog_bytes
        self._start_seconds = start_seconds
        self._max_requests = max_requests
        self.refused = 0
        """Requests refused because all workers were full, since the pool was made."""
        self.dropped = 0
        """Bytes of audio dropped on both sides for want of room, of streams that are closed."""
        self.deaths = 0
        """Workers that died while they served."""
        self._slots: list[Worker | None] = [None] * workers
        self._keepers: list[asyncio.Task[None]] = []
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * workers
        self._reason = "not started"
        self._incident: object = None
        """What workers are missing for, where that is one worker's death."""

    @property
    def pids(self) -> tuple[int, ...]:
        """The numbers of the processes that are there now."""
        return tuple(process.pid for process in self._processes if process is not None)

    def counters(self) -> Mapping[str, int]:
        """What went wrong since the pool was made, for the metrics."""
        return {"refused_requests": self.refused, "dropped_bytes": self.dropped, "worker_deaths": self.deaths}

    def readiness(self) -> Readiness:
        """Ready while one worker is."""
        if any(worker is not None and worker.usable() for worker in self._slots):
            return Readiness(True)
        return Readiness(False, self._reason)

    async def start(self) -> None:
        """Start the processes; returns when each has loaded its engine.

        :raises ProviderUnavailable, ProviderRejected: one could not; all are stopped again.
        """
        if self._keepers:
            return
        self._reason = "its workers are loading"
        first: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in self._slots]
        self._keepers = [asyncio.create_task(self._keep(slot, first[slot])) for slot in range(len(self._slots))]
        async with contextlib.AsyncExitStack() as otherwise:
            otherwise.push_async_callback(self.stop)
            await asyncio.gather(*first)
            otherwise.pop_all()

    async def stop(self) -> None:
        """End the processes and wait until they have; open streams fail with ProviderUnavailable."""
        keepers, self._keepers = self._keepers, []
        self._reason = "stopped"
        for keeper in keepers:
            keeper.cancel()
        if keepers:
            await asyncio.gather(*keepers, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def open(
        self, options: Mapping[str, Any], partial: Callable[[Mapping[str, Any]], None] | None = None
    ) -> AsyncIterator[WorkerStream]:
        """Open a stream on the worker with the fewest. What is wrong with ``options`` is told by ``finish``.

        :param partial: called with each result that the engine has before the end.
        :raises ProviderUnavailable: no worker is ready, or each has as many requests as it may; at once.
        """
        worker = self._pick()
        number, stream = worker.stream(options, partial)
        try:
            yield stream
        finally:
            self.dropped += stream.dropped + stream.lost
            worker.close(number)

    async def ask(self, question: Mapping[str, Any], seconds: float = 10.0) -> dict[str, Any]:
        """Put a question to any worker.

        :raises ProviderUnavailable, ProviderRejected: as :meth:`WorkerStream.finish`.
        """
        return await self._pick().ask(question, seconds)

    def _pick(self) -> Worker:
        usable = [worker for worker in self._slots if worker is not None and worker.usable()]
        if not usable:
            raise ProviderUnavailable(self._provider, self._reason, incident=self._incident)
        idlest = min(usable, key=lambda worker: worker.load)
        if idlest.load >= self._max_requests:
            self.refused += 1
            raise ProviderUnavailable(
                self._provider,
                f"all workers are full ({len(usable)} with {self._max_requests} requests each, at work or waiting): "
                "it needs more workers, or the server fewer calls (server.max_calls)",
            )
        return idlest

    async def _keep(self, slot: int, first: asyncio.Future[None]) -> None:
        """Keep one slot's process running until cancelled. ``first`` is told how the first start went."""
        failures = 0
        while True:
            try:
                async with self._running(slot) as worker:
                    async with asyncio.timeout(self._start_seconds):
                        await asyncio.shield(worker.ready)
                    failures, self._reason = 0, "its worker process died and is being started again"
                    self._incident = worker.incident
                    if not first.done():
                        first.set_result(None)
                    await asyncio.shield(worker.lost)
                    self.deaths += 1
            except (OSError, TimeoutError, ProviderError) as error:
                self._reason = str(error) or f"its worker process did not load in {self._start_seconds:g} s"
                if not first.done():
                    ours = error if isinstance(error, ProviderError) else None
                    fail(first, ours or ProviderUnavailable(self._provider, self._reason))
                    return  # start() tells the first failure of all
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
            failures += 1

    @contextlib.asynccontextmanager
    async def _running(self, slot: int) -> AsyncIterator[Worker]:
        """A process and the connection to it. Leaving ends both, and waits for the process."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        spawning = asyncio.ensure_future(asyncio.to_thread(_spawn, theirs))
        worker = Worker(self._provider, self._backlog_bytes)
        try:
            self._processes[slot] = await asyncio.shield(spawning)
            await asyncio.get_running_loop().create_unix_connection(lambda: worker, sock=ours)
            self._slots[slot] = worker
            worker.send(Kind.SETUP, 0, self._setup)
            yield worker
        finally:
            self._slots[slot] = None
            worker.abort()
            if not worker.connected:
                ours.close()
            ending = asyncio.ensure_future(self._end(slot, spawning))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending  # stop() came meanwhile: when it returns the process is gone
                raise

    async def _end(self, slot: int, spawning: asyncio.Future[subprocess.Popen[bytes]]) -> None:
        process = await spawning
        await asyncio.to_thread(_wait_or_kill, process)
        self._processes[slot] = None


def _spawn(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start a worker whose standard input is ``theirs``, which is closed here. Blocks for some milliseconds.

    :raises OSError: the process cannot be started.
    """
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    with theirs:
        return subprocess.Popen(
            # -P: a module in the working directory must not be taken for one of ours.
            [sys.executable, "-P", "-m", "asterisk_ai.providers.workers.child"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env={**_ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
            start_new_session=True,  # a terminal's ^C must not reach it before it can ignore it
        )


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process whose socket is closed; kill it where it does not end. Blocks."""
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
