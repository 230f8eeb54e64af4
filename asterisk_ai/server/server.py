"""Composition root: listeners, calls, signals, drain, reload."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from asterisk_ai import __version__
from asterisk_ai.agents.agent import SpokenAgent
from asterisk_ai.agents.lineup import Engines, Lineup
from asterisk_ai.call import diagnostic
from asterisk_ai.call.diagnostic import DiagnosticCall
from asterisk_ai.call.speech_to_speech.conversation import RealtimeCall
from asterisk_ai.call.staged.conversation import Call
from asterisk_ai.config import Config, ServiceManager, load
from asterisk_ai.errors import AsteriskAIError, CallRefused
from asterisk_ai.pbx.agi_routes import CallRoutes
from asterisk_ai.server.worker import ALONE, WORKER_PORTS, Place, taken
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import MemoryBackend, SessionStore
from asterisk_ai.telemetry.http import HttpServer
from asterisk_ai.telemetry.lateness import Lateness
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.telemetry.sd_notify import Notifier
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection, AudioSocketServer
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.fastagi.server import FastAgiServer
from asterisk_ai.vad.service import Hearing

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 0.5
LOST_SECONDS = 3.0
"""A call whose audio has ended, and for which the dialplan has not asked, is over after this long."""
NEVER_CONNECTED_SECONDS = 15.0
"""A registered call that brings no audio in this time does not come any more."""
AWAY_SECONDS = {"play": 900.0, "played": 30.0, "talk": 30.0, "restart": 60.0}
"""How long a call may be with the dialplan before it counts as lost, by what it does there."""
MEND_SECONDS = 15.0
STUCK_SECONDS = 5.0
"""An event loop that stood still for this long is not healthy."""


class Server:
    """Everything ``asterisk-ai serve`` runs. Make it inside the event loop that it is to run on."""

    def __init__(self, config: Config, manager: ServiceManager | None = None, *, place: Place = ALONE) -> None:
        """``place``: which worker of a :mod:`~asterisk_ai.server.supervisor` this is.

        Raises ConfigError where an agent's engines cannot be made.
        """
        self.config = config = place.config(config)
        self._place = place
        self.metrics = Metrics()
        self.store = SessionStore(
            MemoryBackend()
            if config.store.backend == "memory"
            else SqliteBackend(config.store_path(), keep_days=config.store.keep_days),
            worker=place.index,
            workers=place.workers,
        )
        self.hearing = Hearing(config.vad)
        # What callers say is decided upon before the clock's next frames leave, for all calls at once.
        self.clock = PlayoutClock(self.hearing.flush)
        self._engines = Engines()
        self._lineup = Lineup(config, self._engines, self.metrics)
        self._manager = manager or ServiceManager()
        self._notifier = Notifier(self._manager.notify_socket)
        self.routes = CallRoutes(
            self.store,
            self.metrics,
            admit=self._admit,
            address=lambda: self._address,
            spool=self._spool_path,
            server=self._worker_address,
        )
        self.audiosocket = AudioSocketServer(
            self._accept,
            self.clock,
            handshake_seconds=config.audiosocket.handshake_seconds,
            idle_seconds=config.audiosocket.idle_seconds,
            max_connections=config.audiosocket.max_connections,
        )
        self.fastagi = FastAgiServer(
            self.routes.table(),
            header_seconds=config.fastagi.header_seconds,
            command_seconds=10.0,
            max_connections=config.fastagi.max_connections,
        )
        self._http: HttpServer | None = None
        self._address = ""
        self._own_fastagi_port = 0
        self._group = asyncio.TaskGroup()
        self._stopping = asyncio.Event()
        self._draining = False
        self._ready = False
        self._exported: dict[str, int] = {}
        self._lateness = Lateness()
        self._reloading = asyncio.Lock()
        self._reloads, self._reload_problem = 0, ""
        self._loop = asyncio.get_running_loop()
        self._started = self._beat = time.monotonic()

    # ---- life -----------------------------------------------------------------

    async def run(self, ready: Callable[[Server], None] | None = None) -> None:
        """Serve until :meth:`stop`, SIGTERM or SIGINT; then drain. Raises OSError and StoreError at the start."""
        self.store.start()
        for session in self.store.live:
            session.away = "restart"
        try:
            async with self._group as group:
                await self._lineup.start()
                await self._listen()
                self._signals()
                housekeeping = group.create_task(self._keep_house())
                mending = group.create_task(self._mend())
                self._ready = True
                logger.info("asterisk-ai %s is ready: %s", __version__, self._listening())
                self._notifier.ready(self._listening())
                if ready is not None:
                    ready(self)
                await self._stopping.wait()
                await self._drain()
                housekeeping.cancel()
                mending.cancel()
                await self._close()
        except ExceptionGroup as errors:
            if len(errors.exceptions) > 1:
                raise
            raise errors.exceptions[0] from None  # a port that is taken, most of all
        finally:
            await self._close()
            await self._lineup.close()
            self.hearing.close()
            self.store.stop()
            logger.info("asterisk-ai has stopped")

    async def _listen(self) -> None:
        config = self.config
        alone = self._place.workers == 1
        port = await _bound("audiosocket" if alone else WORKER_PORTS, config.audiosocket, self.audiosocket.start)
        self._address = config.audiosocket.advertise or f"{_reachable(config.audiosocket.host)}:{port}"
        shared = partial(self.fastagi.start, shared=not alone)
        self.fastagi_port = await _bound("fastagi", config.fastagi, shared)
        if not alone:
            own = dataclasses.replace(config.fastagi, port=self._place.fastagi_port(config))
            self._own_fastagi_port = await _bound(WORKER_PORTS, own, self.fastagi.start)
        if config.http is not None:
            await _bound("http" if alone else WORKER_PORTS, config.http, self._start_http)

    def _worker_address(self, host: str) -> str:
        """AI_SERVER for a call that this worker has; empty where there are no others."""
        if not self._own_fastagi_port:
            return ""
        advertised = self.config.audiosocket.advertise.rpartition(":")[0]
        return f"{advertised or host}:{self._own_fastagi_port}"

    async def _start_http(self, host: str, port: int) -> int:
        self._http = HttpServer(host, port, health=self.health, ready=self.ready, metrics=self.metrics)
        self._http.start()
        return self._http.port

    def _listening(self) -> str:
        http = f", HTTP {self.config.http.host}:{self._http.port}" if self.config.http and self._http else ""
        return f"AudioSocket {self._address}, FastAGI {self.config.fastagi.host}:{self.fastagi_port}{http}"

    async def _close(self) -> None:
        await self.audiosocket.stop()
        await self.fastagi.stop()
        if self._http is not None:
            self._http.stop()
            self._http = None

    # ---- signals, drain, reload ---------------------------------------------------

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGTERM, self.stop)
            loop.add_signal_handler(signal.SIGINT, self.stop)
            loop.add_signal_handler(signal.SIGHUP, self._hup)
            loop.add_signal_handler(signal.SIGUSR1, self._hup, True)
        except (ValueError, RuntimeError):
            logger.debug("not on the main thread: signals are left alone")

    def stop(self) -> None:
        """Drain and end; a second time: end now."""
        if self._stopping.is_set():
            self._draining = False
        else:
            self._stopping.set()

    async def _drain(self) -> None:
        """Take no new calls, let the others finish, within ``server.drain_seconds``."""
        self._draining, self._ready = True, False
        self._notifier.stopping("draining")
        until = time.monotonic() + self.config.server.drain_seconds
        if self.store.talking:
            logger.info("%d calls may finish within %g s", self.store.talking, self.config.server.drain_seconds)
        while self.store.count and self._draining and time.monotonic() < until:
            if not self.store.talking and all(session.away for session in self.store.live):
                break  # nobody is talking or about to ask what comes next: the others come back to the next server
            await asyncio.sleep(0.05)
        if self.store.talking:
            logger.warning("%d calls go back to the dialplan unfinished", self.store.talking)

    def _hup(self, force: bool = False) -> None:
        self._group.create_task(self.reload(force=force))

    async def reload(self, *, force: bool = False) -> bool:
        """Read the configuration again; new calls use it. A bad one changes nothing. Returns whether it is in use.

        Bad is also one with which calls would fail where they are served now: a stage that no engine is ready for.
        ``force`` (SIGUSR1 in place of SIGHUP) takes that one all the same.
        """
        async with self._reloading:
            self._notifier.reloading()
            problem = await self._take_up(force=force)
            self._reloads, self._reload_problem = self._reloads + 1, problem
            self._notifier.ready(f"reload refused: {problem}" if problem else self._listening())
        return not problem

    async def _take_up(self, *, force: bool) -> str:
        """Load and start the configuration's engines and put them in use; returns why not, empty where they are."""
        try:
            config = self._place.config(load(self.config.source or None))
            lineup = Lineup(config, self._engines, self.metrics)
        except AsteriskAIError as error:
            logger.error("reload refused, the running configuration stays: %s", error)
            return str(error)
        await lineup.start()
        problem = "; ".join(lineup.problems())
        if problem and not force and not self._lineup.problems():
            logger.error("reload refused, the running configuration stays: %s", problem)
            await lineup.close()
            return problem
        old, self._lineup, self.config = self._lineup, lineup, config
        await self.hearing.change(config.vad)
        self._group.create_task(old.retire())
        logger.info("configuration %s is in use for new calls", config.source or "packaged")
        return ""

    # ---- calls ------------------------------------------------------------------------

    def _admit(self, name: str) -> str:
        if self._draining:
            raise CallRefused("DRAINING", "the server is about to stop")
        if self.store.count >= self.config.server.max_calls:
            raise CallRefused("FULL", f"server.max_calls is {self.config.server.max_calls}")
        if self._lateness.too_late:
            raise CallRefused("FULL", f"audio leaves {self._lateness.p99_ms:.0f} ms late: this machine can do no more")
        name = name or self.config.default_agent
        if name not in self._lineup.agents and name not in diagnostic.AGENTS:
            known = ", ".join(self._lineup.agents)
            raise CallRefused("UNKNOWN_AGENT", f"no agent {name[:50]!r} in the configuration (there are: {known})")
        return name

    def _spool_path(self) -> Path:
        return self.config.spool_path()  # of the configuration in use now

    def _accept(self, call_id: str, connection: AudioSocketConnection) -> Call | RealtimeCall | DiagnosticCall:
        if self.store.get(call_id) is None and not self.config.audiosocket.require_registration:
            # A bare AudioSocket(): there is nobody to tell the agent or the rate.
            self.store.add(CallSession(call_id, self._admit(""), rate=0, registered=False))
        session = self.store.claim(call_id)
        call = self._call(session, connection)
        logger.info("audio connected (connection %d of the call)", session.connects, extra={"call_id": session.call_id})
        self._group.create_task(self._run(call, self._lineup))
        return call

    def _call(self, session: CallSession, connection: AudioSocketConnection) -> Call | RealtimeCall | DiagnosticCall:
        # A call of an earlier server may have an agent that the configuration does not have any more.
        for name in (session.agent, self.config.default_agent):
            if name in self._lineup.agents:
                agent = self._lineup.agents[name]
                detector = self.hearing.detector
                if isinstance(agent, SpokenAgent):
                    return RealtimeCall(session, agent, connection, self.store, self.metrics, detector=detector)
                return Call(session, agent, connection, self.store, self.metrics, detector=detector)
            if name in diagnostic.AGENTS:
                return diagnostic.AGENTS[name](session, connection)
        raise CallRefused("UNKNOWN_AGENT", f"no agent {session.agent!r}")

    async def _run(self, call: Call | RealtimeCall | DiagnosticCall, lineup: Lineup) -> None:
        lineup.enter()
        try:
            await call.run()
        finally:
            lineup.leave()
            session = call.session
            self.store.release(session)
            session.away = ""
            if not session.registered:
                self.routes.close(session, "hangup")

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            self._beat = time.monotonic()
            if self._manager.watchdog_seconds:
                self._notifier.watchdog()
            self._lateness.add(
                self.clock.take_lags(), calls=self.store.talking, limit_ms=self.config.server.max_lateness_ms
            )
            self._export()
            for session in self.store.live:
                outcome = self._overdue(session)
                if outcome:
                    self.routes.close(session, outcome)

    async def _mend(self) -> None:
        """An engine that could not be started (its network was down) is tried again."""
        while True:
            await asyncio.sleep(MEND_SECONDS)
            async with self._reloading:
                await self._lineup.mend()

    def _export(self) -> None:
        """The transports count for themselves; their counts go to the metrics from here."""
        counters = self.audiosocket.counters
        self.metrics.active_calls.set(self.store.count)
        self.metrics.clock_lag.set(self._lateness.p99_ms / 1000)
        for reason, count in counters.refused.items():
            self._advance(f"refused/{reason}", count, self.metrics.refused.labels(reason))
        self._advance("late", self.clock.late_frames, self.metrics.frames_late)
        self._advance("skipped", self.clock.skipped_frames, self.metrics.frames_dropped.labels("clock"))
        self._advance("dropped", counters.frames_dropped, self.metrics.frames_dropped.labels("out"))

    def _advance(self, name: str, count: int, counter: Counter) -> None:
        counter.inc(count - self._exported.get(name, 0))
        self._exported[name] = count

    def _overdue(self, session: CallSession) -> str:
        """How a call that nobody came back for has ended; empty while it may still come."""
        if self.store.is_claimed(session):
            return ""
        if not session.connects:
            return "lost" if time.time() - session.started_at > NEVER_CONNECTED_SECONDS else ""
        limit = AWAY_SECONDS.get(session.away, LOST_SECONDS)
        return "lost" if time.time() - session.detached_at > limit else ""

    # ---- how it is, asked from other threads ------------------------------------------------

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """For /health: whether calls are served well, and the details."""
        readiness = self._lineup.readiness()
        stuck = time.monotonic() - self._beat > STUCK_SECONDS
        problems = self._lineup.problems()  # an engine that has another behind it is no reason to take us for ill
        problems += [problem for problem in (self.store.problem(), "the event loop stands still" * stuck) if problem]
        return not problems, {
            "stuck": stuck,
            "status": "unhealthy" if problems else "draining" if self._draining else "healthy",
            "problems": problems,
            "active_calls": self.store.count,
            "talking": self.store.talking,
            "max_calls": self.config.server.max_calls,
            "providers": {name: {"ready": state.ready, "reason": state.reason} for name, state in readiness.items()},
            "active_pipeline": self.config.pipeline,
            "vad": self.hearing.status(),
            "config": self.config.source,
            "reloads": self._reloads,
            "reload_problem": self._reload_problem,
            "conversation": {
                "gating_active": int(self._sample("ai_agent_tts_gating_active")),
                "capture_disabled": sum(bool(session.gating) for session in self.store.live),
                "barge_in_total": int(self._sample("ai_agent_barge_in_events_total", outcome="barge_in")),
            },
            "frames": {
                "late": self.clock.late_frames,
                "skipped": self.clock.skipped_frames,
                "dropped": self.audiosocket.counters.frames_dropped,
                "clock_lag_p99_ms": self._lateness.p99_ms,
            },
            "refused_connections": dict(self.audiosocket.counters.refused),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "pid": os.getpid(),
            "tasks": len(asyncio.all_tasks(self._loop)),
            "version": __version__,
        }

    def _sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """For /ready: whether a new call is taken now."""
        full = self.store.count >= self.config.server.max_calls or self._lateness.too_late
        ready = self._ready and not full
        return ready, {"ready": ready, "reason": "" if ready else "full" if full else "draining or starting"}


async def _bound(key: str, listener: Any, start: Callable[[str, int], Any]) -> int:
    """Start a listener; a port that is taken is told with the key that changes it."""
    try:
        return int(await start(listener.host, listener.port))
    except OSError as error:
        raise taken(key, (listener.host, listener.port), error) from error


def _reachable(host: str) -> str:
    """The address that Asterisk on this host connects to."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
