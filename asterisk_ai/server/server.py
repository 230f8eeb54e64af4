"""Composition root: listeners, calls, signals, drain."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from functools import partial

from asterisk_ai import __version__
from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.config import Config, ServiceManager
from asterisk_ai.config.private import control_token
from asterisk_ai.pbx.agi_routes import CallRoutes
from asterisk_ai.pbx.registry import Admission, CallRegistry
from asterisk_ai.pbx.transfers import Transfers
from asterisk_ai.protocol.door import Door
from asterisk_ai.recording.recordings import Recordings
from asterisk_ai.server.after.after_calls import AfterCalls
from asterisk_ai.server.calls import Calls
from asterisk_ai.server.control import LiveCalls
from asterisk_ai.server.descriptors import shortage
from asterisk_ai.server.drain import drain
from asterisk_ai.server.handover import Inheritance
from asterisk_ai.server.health import ServerHealth
from asterisk_ai.server.listeners import Listeners
from asterisk_ai.server.lookup import Lookups
from asterisk_ai.server.permissions import exposed
from asterisk_ai.server.reload import ConfigInUse
from asterisk_ai.server.transports import Fetch, transports
from asterisk_ai.server.upgrade import Upgrade
from asterisk_ai.server.worker import ALONE, WorkerPlace
from asterisk_ai.session.backends import open_backend
from asterisk_ai.session.model import CallSession, Recorded
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.http import HttpServer
from asterisk_ai.telemetry.lateness import Lateness
from asterisk_ai.telemetry.log_queue import LogQueue
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.telemetry.sd_notify import Notifier
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.vad.service import VadService

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 0.5
CLOSE_SECONDS = 30.0
"""An end that takes longer than this, and draining, is cut short."""


class Server:
    """Everything ``asterisk-ai serve`` runs. Make it inside the event loop that it is to run on."""

    def __init__(
        self,
        config: Config,
        manager: ServiceManager | None = None,
        *,
        place: WorkerPlace = ALONE,
        log: LogQueue | None = None,
        end_within: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Nothing is started yet.

        :param place: which worker of a :mod:`~asterisk_ai.server.supervisor` this is.
        :param log: the log, whose floods are to be summed up.
        :param end_within: limits the seconds that this process has from now on; called when the end begins.
        :raises ConfigError: where an agent's engines cannot be made.
        """
        self._log = log
        self._end_within = end_within
        self._manager = manager or ServiceManager()
        self._notifier = Notifier(self._manager.notify_socket)
        self.metrics = Metrics()
        self._after_calls = AfterCalls(config, self.metrics, place)
        backend = open_backend(
            config,
            shared=place.workers > 1,
            wanted=self._after_calls.wanted,
            entered=self._after_calls.entered,
            taken=self._taken_elsewhere,
        )
        self.store = SessionStore(backend, worker=place.index, workers=place.workers)
        self.vad = VadService(config.vad, loop=asyncio.get_running_loop())
        # What callers say is decided upon before the clock's next frames leave, for all calls at once.
        self.clock = PlayoutClock(self.vad.flush)
        self._group = asyncio.TaskGroup()
        engines = Engines()
        self.in_use = ConfigInUse(
            place.config(config),
            agent_set=lambda config: AgentSet(config, engines, self.metrics),
            place=place.config,
            changed=self._config_changed,
            group=self._group,
        )
        self._lookups = Lookups(lambda: self.config, self.metrics)
        self._after_calls.attach(self.in_use, self.store, self._group)
        self._lateness = Lateness()
        self.recordings = Recordings(config)
        self.registry = CallRegistry(
            self.store, self.metrics, self._admission(), overload=self._overload, ended=self._call_ended
        )
        self.calls = Calls(
            self.registry,
            self.in_use,
            self.vad,
            self.metrics,
            self._group,
            recordings=self.recordings,
            traces=self._after_calls.traces,
        )
        self.transports = transports(self.config, self.clock, self.calls, self._routes)
        self.status = ServerHealth(
            self.in_use,
            self.registry,
            self.metrics,
            lateness=self._lateness,
            clock=self.clock,
            transports=self.transports,
            vad=self.vad.status,
            recordings=self.recordings,
            log=log,
        )
        live = LiveCalls(lambda: self.config, self.store, self.calls)
        http = partial(
            HttpServer,
            health=self.status.health,
            ready=self.status.ready,
            metrics=self.metrics,
            calls=live,
            door=Door(config.http.allow if config.http else ()),
            token=lambda: control_token(self.config),
        )
        self.listeners = Listeners(self.config, place, self.transports, http=http)
        self.upgrade = Upgrade(
            self.in_use, place, store=self.store, registry=self.registry, calls=self.calls, listeners=self.listeners
        )
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._at_once = asyncio.Event()
        self._reload = asyncio.Event()
        self._reload_forced = False

    def _routes(self, fetch: Fetch | None) -> CallRoutes:
        transfers = Transfers(
            self.registry, targets=self.calls.targets, make=self.calls.briefing, spawn=self._group.create_task
        )
        return CallRoutes(
            self.registry,
            self.metrics,
            address=lambda: self.listeners.audio_address,
            player=self.calls.file_player,
            transfers=transfers,
            listed=self.calls.listed,
            away=self.calls.away,
            server=lambda host: self.listeners.worker_address(host),  # noqa: PLW0108 - made after these
            fetch=fetch,
            look_up=self._lookups.look_up,
        )

    @property
    def config(self) -> Config:
        """The configuration that new calls are served with."""
        return self.in_use.config

    @property
    def fastagi_port(self) -> int:
        """Where the dialplan asks."""
        return self.listeners.fastagi_port

    # ---- life -----------------------------------------------------------------

    async def run(self, ready: Callable[[Server], None] | None = None) -> None:
        """Serve until :meth:`stop`, SIGTERM or SIGINT; then drain. Raises OSError and StoreError at the start."""
        self._signals()
        for problem in (shortage(self.config), *exposed(self.config)):
            if problem:
                logger.warning("%s", problem)
        if not self.upgrade.find():
            self._open_store(Inheritance())
        try:
            async with self._group as group:
                if not await self._start_unless_stopped(group):
                    return
                parts = [self._keep_house, self.in_use.keep_mending, self._reload_when_asked, self.recordings.keep_tidy]
                if self.transports.external_media is not None:
                    parts.append(self.transports.external_media.run)
                work = [group.create_task(part()) for part in parts]
                self.calls.tell_ready()
                self.status.serving = True
                logger.info("asterisk-ai %s is ready: %s", __version__, str(self.listeners))
                self._notifier.ready(str(self.listeners))
                if ready is not None:
                    ready(self)
                await self._stopping.wait()
                if self.upgrade.done:
                    await self.upgrade.last_calls(self._at_once)
                else:
                    self.registry.draining = True
                    self._notifier.stopping("draining")
                    self.upgrade.stop()
                    await drain(self.store, self.config.server.drain_seconds, self._at_once)
                self._after_calls.no_more_calls()
                for task in work:
                    task.cancel()
                await self.listeners.close()
                self.calls.close()
        except ExceptionGroup as errors:
            if len(errors.exceptions) > 1:
                raise
            raise errors.exceptions[0] from None  # a port that is taken, most of all
        finally:
            await self.upgrade.close()
            await self.listeners.close()
            await self._lookups.close()
            await self.in_use.agent_set.close()
            self.vad.close()
            self.recordings.stop()
            self.store.stop()
            await asyncio.to_thread(self._after_calls.close)
            logger.info("asterisk-ai has stopped")

    async def _start_unless_stopped(self, group: asyncio.TaskGroup) -> bool:
        """Start engines and listeners; False where we were stopped meanwhile: models may take minutes to load."""
        starting, stopped = group.create_task(self._start()), group.create_task(self._stopping.wait())
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
        return not self._stopping.is_set()

    async def _start(self) -> None:
        await self.in_use.agent_set.start()
        await self._lookups.start()
        inherited = await self.upgrade.inherit()
        if inherited is not None:
            self._open_store(inherited)
        await self.listeners.open(inherited.listeners if inherited else {})
        if self.upgrade.predecessor is not None:
            self._group.create_task(self.upgrade.predecessor.run(self.store, self.registry))

    def _open_store(self, inherited: Inheritance) -> None:
        """Raises StoreError."""
        if self.store.lock is not None and inherited.lock >= 0:
            self.store.lock.descriptor = inherited.lock
        self.store.start(inherited.elsewhere)
        self.registry.take_back()
        for session in inherited.moved:
            self.store.adopt(session)
        self.recordings.start(self._keeps_recording)
        self._after_calls.start()

    # ---- another server takes over ------------------------------------------------

    def ask_upgrade(self) -> None:
        """SIGUSR2: have another process, of the code that is installed now, take over."""
        if self.status.serving and not self._stopping.is_set():
            self._group.create_task(self._hand_over())

    async def _hand_over(self) -> None:
        self._notifier.reloading()
        pid = await self.upgrade.run()
        self.status.upgrade_problem = self.upgrade.problem
        if not self.upgrade.done:
            self._notifier.ready(str(self.listeners))
            return
        logger.info("another process has taken over; %d calls go on here", self.store.talking)
        self._notifier.main_process(pid, "another process has taken over")
        self._notifier = Notifier()
        await asyncio.to_thread(self._after_calls.stop)  # it waits for what is on its way
        self._stopping.set()
        self._end_within(CLOSE_SECONDS + self.config.server.handover_seconds)

    # ---- signals, drain, reload ---------------------------------------------------

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGTERM, self.stop)
            loop.add_signal_handler(signal.SIGINT, self.stop)
            loop.add_signal_handler(signal.SIGHUP, self.ask_reload)
            loop.add_signal_handler(signal.SIGUSR1, self.ask_reload, True)
            loop.add_signal_handler(signal.SIGUSR2, self.ask_upgrade)
        except (ValueError, RuntimeError):
            logger.debug("not on the main thread: signals are left alone")

    def stop(self, *, at_once: bool = False) -> None:
        """Drain and end; a second time, or where ``at_once``: end now."""
        if at_once or self._stopping.is_set():
            self._at_once.set()
        self._stopping.set()
        self._end_within(CLOSE_SECONDS + (0 if self._at_once.is_set() else self.config.server.drain_seconds))

    def ask_reload(self, force: bool = False) -> None:
        """SIGHUP, or SIGUSR1 (``force``): reload soon. However often it is asked for meanwhile, it is done once."""
        self._reload_forced = self._reload_forced or force
        self._reload.set()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            force, self._reload_forced = self._reload_forced, False
            self._reload.clear()
            await self.reload(force=force)

    async def reload(self, *, force: bool = False) -> bool:
        """See :meth:`ConfigInUse.reload`; the service manager is told."""
        self._notifier.reloading()
        done = await self.in_use.reload(force=force)
        self._notifier.ready(str(self.listeners) if done else f"reload refused: {self.in_use.problem}")
        return done

    def _taken_elsewhere(self, call_id: str) -> None:
        """Another host has the call now. Called on another thread."""
        self._loop.call_soon_threadsafe(self.registry.leave, call_id)

    async def _config_changed(self, config: Config) -> None:
        self.registry.admission = self._admission()
        self._after_calls.change(config)
        await self._lookups.start()
        await self.vad.change(config.vad)
        self.calls.tell_ready()

    def _overload(self) -> str:
        return self._lateness.problem() or self.status.descriptors.problem()

    def _admission(self) -> Admission:
        config = self.config
        return Admission(self.in_use.agent_set.agents, config.default_agent, config.server.max_calls)

    def _keeps_recording(self, call_id: str) -> bool | None:
        session = self.store.find(call_id)
        if session is not None and not session.ended:
            return None
        return session is None or session.recorded is Recorded.YES

    def _call_ended(self, session: CallSession) -> None:
        if session.recorded is Recorded.YES:
            self.recordings.end(session.call_id, keep=True)
        self._after_calls.ended(session)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            if self._manager.watchdog_seconds:
                self._notifier.watchdog()
            self.status.look()
            if self._log is not None:
                self._log.sum_up()
            self.registry.reap()
