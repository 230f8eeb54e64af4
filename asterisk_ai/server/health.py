"""How this process is: looked at now and then, told to ``/health``, ``/ready`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import Counter

from asterisk_ai import __version__
from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.recording.recordings import Recordings
from asterisk_ai.server.descriptors import Descriptors
from asterisk_ai.server.reload import ConfigInUse
from asterisk_ai.server.transports import Transports
from asterisk_ai.telemetry.health import LAG, Health
from asterisk_ai.telemetry.lateness import Lateness
from asterisk_ai.telemetry.log_queue import LogQueue
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.clock import PlayoutClock

STUCK_SECONDS = 5.0
"""An event loop that stood still for this long is not healthy."""


class ServerHealth:
    """Looks after the parts of a server; :meth:`health` and :meth:`ready` are asked from other threads."""

    def __init__(
        self,
        in_use: ConfigInUse,
        registry: CallRegistry,
        metrics: Metrics,
        *,
        lateness: Lateness,
        clock: PlayoutClock,
        transports: Transports,
        vad: Callable[[], Any],
        recordings: Recordings,
        log: LogQueue | None = None,
    ) -> None:
        self.serving = False
        """Whether new calls may come: the start is over, and the end has not begun."""
        self.upgrade_problem = ""
        """Why the last upgrade came to nothing; empty where none did."""
        self._in_use = in_use
        self._registry = registry
        self._metrics = metrics
        self._lateness = lateness
        self._clock = clock
        self._transports = transports
        self._vad = vad
        self._recordings = recordings
        self._log = log
        self.descriptors = Descriptors()
        self._exported: dict[str, int] = {}
        self._engines: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._started = self._beat = time.monotonic()

    def look(self) -> None:
        """Take the loop's pulse, and carry to the metrics what the transports count for themselves."""
        self._beat = time.monotonic()
        store, limit_ms = self._registry.store, self._in_use.config.server.max_lateness_ms
        self._lateness.add(self._clock.take_lags(), calls=store.talking, limit_ms=limit_ms)
        self._metrics.active_calls.set(store.count + len(store.elsewhere))
        self._metrics.clock_lag.set(self._lateness.p99_ms / 1000)
        self.descriptors.look()
        self._metrics.open_files.set(self.descriptors.open)
        self._advance("files", self.descriptors.exhausted, self._metrics.files_exhausted)
        audio = self._transports.audiosocket.counters
        for refusal, count in audio.refused.items():
            self._advance(f"refused/{refusal}", count, self._metrics.refused.labels(refusal))
        self._advance("late", self._clock.late_frames, self._metrics.frames_late)
        self._advance("skipped", self._clock.skipped_frames, self._metrics.frames_dropped.labels("clock"))
        self._advance("dropped", audio.frames_dropped, self._metrics.frames_dropped.labels("out"))
        self._advance("empty", audio.empty_audio, self._metrics.frames_dropped.labels("empty"))

        agi = self._transports.fastagi.counters
        self._advance("audio/connections", audio.connections, self._metrics.connections.labels("audiosocket"))
        self._advance("audio/unknown", audio.unknown_messages, self._metrics.unknown_messages)
        self._advance("agi/connections", agi.connections, self._metrics.connections.labels("fastagi"))
        for reason in ("refused", "strangers", "displaced", "protocol_errors", "unknown_routes", "failed_handlers"):
            self._advance(f"agi/{reason}", getattr(agi, reason), self._metrics.fastagi_failures.labels(reason))
        if self._transports.external_media is not None:
            for kind, count in dataclasses.asdict(self._transports.external_media.ports.counters).items():
                self._advance(f"rtp/{kind}", count, self._metrics.rtp.labels(kind))
        if self._transports.websocket is not None:
            media = self._transports.websocket.counters
            for reason, count in media.refused.items():
                self._advance(f"websocket/{reason}", count, self._metrics.websocket_refused.labels(reason))
            self._advance("websocket/connections", media.connections, self._metrics.connections.labels("websocket"))
            self._advance("websocket/dropped", media.frames_dropped, self._metrics.frames_dropped.labels("out"))
            self._advance("websocket/unknown", media.unknown_messages, self._metrics.websocket_unknown)
        for engine, losses in self._in_use.agent_set.counters().items():
            for kind, count in losses.items():
                self._advance(f"engine/{engine}/{kind}", count, self._metrics.provider_losses.labels(engine, kind))
        self._advance("records", store.lost, self._metrics.records_lost)
        self._advance("recordings", self._recordings.lost_pieces, self._metrics.recording_lost)
        if self._log is not None:
            self._advance("log/flood", self._log.flood.suppressed, self._metrics.log_lines_dropped.labels("flood"))
            self._advance("log/slow", self._log.lost, self._metrics.log_lines_dropped.labels("slow"))

        self._look_at_parts()

    def _look_at_parts(self) -> None:
        problems = {
            "store": self._registry.store.problem(),
            "recordings": self._recordings.problem(),
            "reload": self._in_use.problem,
        }
        for part, problem in problems.items():
            self._metrics.failing.labels(part).set(bool(problem))
        states = self._in_use.agent_set.readiness()
        for engine in self._engines - set(states):
            self._metrics.engines_not_ready.remove(engine)
        for engine, state in states.items():
            self._metrics.engines_not_ready.labels(engine).set(not state.ready)
        self._engines = set(states)

    def _advance(self, name: str, count: int, counter: Counter) -> None:
        counter.inc(max(0, count - self._exported.get(name, 0)))  # a reload may begin to count anew
        self._exported[name] = count

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """For /health: whether calls are served well, and the details."""
        found = self._health()
        return found.well, found.as_json()

    def _health(self) -> Health:
        in_use, store = self._in_use, self._registry.store
        stuck = time.monotonic() - self._beat > STUCK_SECONDS
        problems = in_use.agent_set.problems()  # an engine that has another behind it is no reason to take us for ill
        found = (
            store.problem(),
            self._recordings.problem(),
            self.descriptors.problem(),
            "the event loop stands still" * stuck,
        )
        problems += [problem for problem in found if problem]
        gated = sum(bool(session.gating) for session in store.live)
        return Health(
            problems=problems,
            draining=self._registry.draining,
            stuck=stuck,
            active_calls=store.count + len(store.elsewhere),
            talking=store.talking + len(store.elsewhere),
            max_calls=in_use.config.server.max_calls,
            providers={
                name: {"ready": state.ready, "reason": state.reason}
                for name, state in in_use.agent_set.readiness().items()
            },
            active_pipeline=in_use.config.pipeline,
            vad=self._vad(),
            ari=""
            if self._transports.external_media is None
            else self._transports.external_media.client.problem or "connected",
            shared=store.shared(),
            config=in_use.config.source,
            reloads=in_use.reloads,
            reload_problem=in_use.problem,
            upgrade_problem=self.upgrade_problem,
            conversation={
                "gating_active": gated,
                "capture_disabled": gated,
                "barge_in_total": self._metrics.barge_ins(),
            },
            frames={
                "late": self._clock.late_frames,
                "skipped": self._clock.skipped_frames,
                "dropped": self._transports.audiosocket.counters.frames_dropped,
                LAG: self._lateness.p99_ms,
            },
            refused_connections={
                str(reason): count for reason, count in self._transports.audiosocket.counters.refused.items()
            },
            tasks=len(asyncio.all_tasks(self._loop)),
            uptime_seconds=round(time.monotonic() - self._started, 1),
            pid=os.getpid(),
            version=__version__,
        )

    def ready(self) -> tuple[bool, Mapping[str, Any]]:
        """For /ready: whether a new call is taken now."""
        full = self._registry.full or self._lateness.too_late or bool(self.descriptors.problem())
        serving = self.serving and not self._registry.draining
        ready = serving and not full
        return ready, {"ready": ready, "reason": "" if ready else "full" if full else "draining or starting"}
