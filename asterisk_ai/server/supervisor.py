"""Several worker processes on one host (``server.workers``): started, watched, told of signals, asked how they are.

The calls' way does not lead through here. Every worker listens on the public
FastAGI port, so the system shares new calls out; ``call/start`` then gives the
dialplan the addresses of the worker that has the call. A worker that dies is
started again on the same ports and takes back its own calls from the store,
while the others feel nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from asterisk_ai import __version__
from asterisk_ai.config import Config, ServiceManager
from asterisk_ai.config.private import control_token
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.protocol.door import Door
from asterisk_ai.server.handover import Predecessor
from asterisk_ai.server.succession import Succession
from asterisk_ai.server.upgrade import handover_path
from asterisk_ai.server.worker import ALONE, WorkerPlace, port_in_use_error
from asterisk_ai.session.backends import open_backend
from asterisk_ai.telemetry.health import Health
from asterisk_ai.telemetry.http import HttpServer
from asterisk_ai.telemetry.log_queue import LogQueue
from asterisk_ai.telemetry.merged import MergedMetrics
from asterisk_ai.telemetry.sd_notify import Notifier
from asterisk_ai.transport.listener import both_families

logger = logging.getLogger(__name__)

START_SECONDS = 120.0
"""Models may have to be loaded."""
BACKOFF_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a worker that keeps dying is started again."""
SETTLED_SECONDS = 60.0
"""A worker that lived for so long begins again with the shortest pause."""
LOOK_SECONDS = 2.0
STUCK_LOOKS = 5
"""A worker whose event loop stands still, or that does not answer, for so many looks is killed."""
END_SECONDS = 20.0
"""Workers that have not ended so long after draining are killed."""
_ASK_SECONDS = 0.8


class Supervisor:
    """Everything ``asterisk-ai serve`` runs in the parent process where ``server.workers`` is more than 1."""

    def __init__(
        self,
        config: Config,
        manager: ServiceManager | None = None,
        *,
        log: LogQueue | None = None,
        end_within: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """``log``, ``end_within``: as :class:`~asterisk_ai.server.server.Server` has them."""
        self.config = config
        self._log = log
        self._end_within = end_within
        self._places = [WorkerPlace(index, config.server.workers) for index in range(config.server.workers)]
        self._manager = manager or ServiceManager()
        self._notifier = Notifier(self._manager.notify_socket)
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._up: set[int] = set()  # workers that have answered since they were started
        self._all_up = False
        self._restarts = 0
        self._stopping = asyncio.Event()
        self._started = time.monotonic()
        self._http: HttpServer | None = None
        self._backend = open_backend(config)
        self._upgrading: asyncio.Task[None] | None = None
        self._succession = Succession(
            config,
            self._places,
            self._processes,
            start=self._start,
            ask=self._ask_json,
            lock=lambda: self._backend.lock,
        )

    # ---- life -----------------------------------------------------------------

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises AsteriskAIError where a worker cannot be started at all."""
        self._signals()
        predecessor = Predecessor.find(handover_path(self.config, ALONE))
        if predecessor is None:
            self._backend.start()  # its tables are made once, not by all workers at the same time
        try:
            if predecessor is None:
                self._check_fastagi()
                self._start_http()
            for place in self._places:
                if not self._stopping.is_set():
                    await self._start(place)
            await self._all_ready()
            if predecessor is not None:
                await self._inherit(predecessor)
            async with asyncio.TaskGroup() as group:
                keepers = [group.create_task(self._keep(place)) for place in self._places[: len(self._processes)]]
                watching = group.create_task(self._watch())
                if not self._stopping.is_set():
                    self._all_up = True
                    logger.info("asterisk-ai %s is ready: %s", __version__, self._listening())
                    self._notifier.ready(self._listening())
                await self._stopping.wait()
                server = self.config.server
                seconds = server.handover_seconds if self._succession.done else server.drain_seconds
                await asyncio.wait(keepers, timeout=seconds + END_SECONDS)
                for task in (*keepers, watching):
                    task.cancel()
        finally:
            for process in (*self._processes.values(), *self._succession.retired):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await self._succession.close()
            if self._http is not None:
                self._http.stop()
            self._backend.stop()
            logger.info("asterisk-ai has stopped")

    def _start_http(self, inherited: socket.socket | None = None) -> None:
        if self.config.http is not None:
            metrics = MergedMetrics(lambda: [self._ask(place, "/metrics") for place in self._places])
            self._http = HttpServer(
                self.config.http.host,
                self.config.http.port,
                health=self.health,
                ready=self.ready,
                metrics=metrics,
                door=Door(self.config.http.allow),
                token=lambda: control_token(self.config),
            )
            try:
                self._http.start(inherited)
            except OSError as error:
                raise port_in_use_error("http", (self.config.http.host, self.config.http.port), error) from error

    def _check_fastagi(self) -> None:
        """The workers share this port with each other, and would with a stranger's: its calls, and ours, at random."""
        address = self.config.fastagi.host, self.config.fastagi.port
        try:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            found = both_families(address[1]) if address[0] == "::" else socket.create_server(address, family=family)
            found.close()
        except OSError as error:
            raise port_in_use_error("fastagi", address, error) from error

    def _listening(self) -> str:
        http = f", HTTP {self.config.http.host}:{self._http.port}" if self.config.http and self._http else ""
        return f"{len(self._places)} workers, FastAGI {self.config.fastagi.host}:{self.config.fastagi.port}{http}"

    async def _start(self, place: WorkerPlace) -> None:
        # systemd's business is ours. A worker whose standard input ends has lost its parent and ends as well.
        theirs = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
        lock = self._backend.lock
        self._up.discard(place.index)
        self._processes[place.index] = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asterisk_ai", "serve", "--config", self.config.source),
            *("--worker", f"{place.index}/{place.workers}"),
            stdin=asyncio.subprocess.PIPE,
            # The store is theirs until the last of them has ended.
            pass_fds=() if lock is None or lock.descriptor < 0 else (lock.descriptor,),
            env=theirs,
            start_new_session=True,  # Ctrl-C is told to the workers by us, and once
        )
        if self._stopping.is_set():  # while it was being started
            self._processes[place.index].terminate()

    async def _all_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        for place in self._places:
            while not self._stopping.is_set():
                if self._processes[place.index].returncode is not None:
                    raise AsteriskAIError(f"worker {place.index} did not start")
                if time.monotonic() > until:
                    raise AsteriskAIError(f"worker {place.index} was not ready within {START_SECONDS:g} s")
                answer = await asyncio.to_thread(self._ask_json, place, "/health")
                if answer.get("pid") == self._processes[place.index].pid:  # another server's would be wrong
                    self._up.add(place.index)
                    break
                await asyncio.sleep(0.05)

    async def _keep(self, place: WorkerPlace) -> None:
        """Start the worker again whenever it ends, until we stop."""
        failures = 0
        while True:
            began = time.monotonic()
            process = self._processes[place.index]
            status = await process.wait()
            await self._succession.settled.wait()
            if self._stopping.is_set():
                return
            if process is not self._processes[place.index]:
                continue  # another has taken its place, and this one has ended with its last call
            failures = 1 if time.monotonic() - began > SETTLED_SECONDS else failures + 1
            pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1]
            what = f"signal {-status}" if status < 0 else f"status {status}"
            logger.error("worker %d ended (%s), starts again in %g s", place.index, what, pause)
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
                    return
            except TimeoutError:
                self._restarts += 1
                await self._start(place)

    async def _watch(self) -> None:
        """Tell systemd that we live, and end workers that do not."""
        stuck = dict.fromkeys((place.index for place in self._places), 0)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._manager.watchdog_seconds:
                self._notifier.watchdog()
            if self._log is not None:
                self._log.sum_up()
            for place in self._places:
                answer = await asyncio.to_thread(self._ask_json, place, "/health")
                # One that was up and says nothing has callers waiting as well: its share of the public port.
                stands = answer.get("stuck") if answer else place.index in self._up
                stuck[place.index] = stuck[place.index] + 1 if stands else 0
                if answer:
                    self._up.add(place.index)
                process = self._processes[place.index]
                if stuck[place.index] >= STUCK_LOOKS and process.returncode is None:
                    logger.error("worker %d stands still: killed", place.index)
                    stuck[place.index] = 0
                    process.kill()

    # ---- another supervisor takes over, with workers of its own ------------------------

    async def _inherit(self, predecessor: Predecessor) -> None:
        """Our workers have taken over from the others: now it is our turn. Raises OSError."""
        inherited = await predecessor.inherit()
        if self._backend.lock is not None:
            self._backend.lock.descriptor = inherited.lock
        self._backend.start()
        self._start_http(inherited.listeners.get("http"))

    def _ask_upgrade(self) -> None:
        """SIGUSR2: have another supervisor, of the code that is installed now, take over."""
        if self._all_up and not self._stopping.is_set():
            self._upgrading = asyncio.get_running_loop().create_task(self._upgrade())

    async def _upgrade(self) -> None:
        self._notifier.reloading()
        pid = await self._succession.run(self._http)
        if not self._succession.done:
            self._notifier.ready(self._listening())
            return
        logger.info("another supervisor has taken over; workers go on until their last call ends")
        self._notifier.main_process(pid, "another process has taken over")
        self._notifier = Notifier()
        self._end_within(self.config.server.handover_seconds + 2 * END_SECONDS)
        self._stopping.set()

    # ---- signals ------------------------------------------------------------------

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGUSR1, self._reload, signal.SIGUSR1)
        loop.add_signal_handler(signal.SIGUSR2, self._ask_upgrade)

    def stop(self) -> None:
        """Let the workers drain and end; a second time: end now."""
        if not self._stopping.is_set():
            self._notifier.stopping("draining")
        self._stopping.set()
        self._end_within(self.config.server.drain_seconds + 2 * END_SECONDS)
        for process in (*self._processes.values(), *self._succession.retired):
            if process.returncode is None:
                process.terminate()

    def _reload(self, number: signal.Signals) -> None:
        """It ends a process that does not expect it; a worker that just starts reads the file anyway."""
        for index in self._up:
            if self._processes[index].returncode is None:
                self._processes[index].send_signal(number)

    # ---- how they are, asked from other threads ------------------------------------------

    def _ask(self, place: WorkerPlace, path: str) -> str | None:
        """A worker's answer, well or not; None where there is none."""
        try:
            url = f"http://127.0.0.1:{place.http_port(self.config)}{path}"
            with urllib.request.urlopen(url, timeout=_ASK_SECONDS) as reply:
                return str(reply.read().decode("utf-8"))
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode("utf-8")
        except (OSError, ValueError):
            return None

    def _ask_json(self, place: WorkerPlace, path: str) -> dict[str, Any]:
        try:
            answer = json.loads(self._ask(place, path) or "{}")
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """For /health: all workers' in one; each by itself under ``workers``."""
        workers = [self._ask_json(place, "/health") for place in self._places]
        problems = []
        for place, worker in zip(self._places, workers, strict=True):
            found = worker.get("problems", []) if worker else ["is not running"]
            problems += [f"worker {place.index}: {problem}" for problem in found]
        health = dataclasses.replace(
            Health.merge(Health.from_json(worker) for worker in workers if worker),
            problems=problems,
            draining=self._stopping.is_set(),
            upgrade_problem=self._succession.problem,
            uptime_seconds=round(time.monotonic() - self._started, 1),
            pid=os.getpid(),
            version=__version__,
        )
        return health.well, {**health.as_json(), "workers": workers, "restarts": self._restarts}

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """For /ready: whether any worker takes a new call now, once all have been started."""
        if not self._all_up:
            return False, {"ready": False, "reason": "starting"}
        answers = [self._ask_json(place, "/ready") for place in self._places]
        ready = any(answer.get("ready") for answer in answers) and not self._stopping.is_set()
        reasons = sorted({str(answer.get("reason", "is not running")) for answer in answers} - {""})
        return ready, {"ready": ready, "reason": "" if ready else ", ".join(reasons)}
