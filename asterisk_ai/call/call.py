"""What every conversation over a connection needs, whoever holds it: its life, its edge, its timer, its gates."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import asdict
from typing import Any

from asterisk_ai.audio.levels import dbov
from asterisk_ai.dialog.staged.state import Phase
from asterisk_ai.providers.chain import Listener, Trouble, listening
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.logs import call_scope
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.media import MediaConnection
from asterisk_ai.vad.energy import EnergyVad, Offset, Onset

logger = logging.getLogger(__name__)

GAP_SECONDS = 0.1
"""Without a frame for this long the caller is silent (comfort noise is not forwarded)."""
_GAP_RECHECK = 0.02
MAX_TROUBLES = 100
"""Failures of engines that are kept in the record of a call; the oldest go."""


Detector = Callable[[int, Callable[[Onset], None]], EnergyVad]
"""Makes what finds the caller's speech in audio of a rate; it may tell of an onset between frames."""


def by_level(rate: int, told: Callable[[Onset], None]) -> EnergyVad:
    """A :data:`Detector` that knows no more than how loud it is."""
    return EnergyVad(rate)


class _Ear:
    """Listens for the call's troubles while it lasts: libraries keep the contexts that they were called in longer."""

    __slots__ = ("hears",)

    def __init__(self, hears: Listener) -> None:
        self.hears: Listener | None = hears

    def __call__(self, trouble: Trouble) -> None:
        if self.hears is not None:
            self.hears(trouble)


class Leg(ABC):
    """A ``MediaHandler`` whose audio is decided upon before anything else runs.

    Everything that has to wait runs in one TaskGroup, which ends with the call.
    """

    def __init__(
        self,
        session: CallSession,
        connection: MediaConnection,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        detector: Detector = by_level,
    ) -> None:
        self.session = session
        self.rate = session.rate
        self.close_reason = ""
        self._connection = connection
        self._metrics = metrics
        self._clock = clock
        self._gates: frozenset[str] = frozenset()
        self._group = asyncio.TaskGroup()
        self._context = copy_context()
        self._begun = asyncio.Event()
        self._closed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._detector = detector
        self._vad = EnergyVad(8000)
        self._audio_at = 0.0

    @abstractmethod
    async def _converse(self) -> None:
        """The conversation, from the first audio until the connection is gone (:attr:`_closed`)."""

    @abstractmethod
    def _heard(self, pcm: bytes, level: float, now: float) -> None:
        """A frame whose level is known. Never raises."""

    @abstractmethod
    def _voice(self, voice: Onset | Offset) -> None:
        """The caller begins or ends to speak."""

    @abstractmethod
    def _time_passed(self) -> None:
        """What was to be done at a certain time is to be done now."""

    @abstractmethod
    def _phase(self) -> Phase:
        """Where the conversation is, for the metrics."""

    # ---- life -------------------------------------------------------------

    async def run(self) -> None:
        """From the first audio to the end; returns when the connection is gone. Never raises but CancelledError."""
        ear = _Ear(self._trouble)
        with call_scope(self.session.call_id), listening(ear):
            self._context = copy_context()
            try:
                async with self._calling():
                    await self._begun.wait()  # the rate may have to be learned from the caller's first audio
                    await self._converse()
            except Exception:
                logger.exception("the call failed")
                self._fall_back()
            finally:
                # What refers to the call from inside of it: without that it is gone now, not when the collector
                # comes, which would stop everybody's audio to look for it.
                self._context = Context()
                ear.hears = None
                self._release()

    @abstractmethod
    def _release(self) -> None:
        """Let go of what refers to the call."""

    def _fall_back(self) -> None:
        """The call's edge: this caller goes to the fallback, the others feel nothing."""
        self.session.pending = {"kind": "fallback", "arguments": {}}
        self._connection.hang_up()

    def _trouble(self, trouble: Trouble) -> None:
        """An engine failed this call: it belongs to the record, one that is not ready once."""
        told = [(kept.get("kind"), kept.get("stage"), kept.get("engine")) for kept in self.session.troubles]
        if trouble.kind == "unready" and ("unready", trouble.stage, trouble.engine) in told:
            return
        self._keep_trouble({"at": round(time.time(), 3), "text": str(trouble), **asdict(trouble)})

    def _keep_trouble(self, trouble: dict[str, Any]) -> None:
        self.session.troubles.append(trouble)
        del self.session.troubles[:-MAX_TROUBLES]

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[None]:
        self._metrics.conversation_state.labels(self._phase().value).inc()
        self._metrics.capture_enabled.inc()
        try:
            async with self._group:
                yield
        finally:
            self._gate(frozenset())
            self._metrics.capture_enabled.dec()
            if self._timer is not None:
                self._timer.cancel()
            self._cleaned_up()
            self._metrics.conversation_state.labels(self._phase().value).dec()
            logger.info("call cleaned up: %s", self.close_reason or "failed")

    def _cleaned_up(self) -> None:
        """The conversation is over, whatever ended it."""
        self._vad.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Begun from the transport's callbacks too, which know nothing of the call's log lines and listeners.
        return self._group.create_task(work, context=self._context)

    def _guard(self, work: Callable[[], None]) -> None:
        """The call's edge for what is called from outside of its tasks, such as a worker's connection."""
        try:
            work()
        except Exception:
            logger.exception("the call failed", extra={"call_id": self.session.call_id})
            self._fall_back()

    # ---- MediaHandler -------------------------------------------------------

    def on_begin(self, rate: int) -> None:
        self.rate = rate
        self._vad = self._detector(rate, self._onset)
        self._begun.set()

    def on_audio(self, pcm: bytes) -> None:
        self._heard(pcm, dbov(pcm), self._clock())

    def _onset(self, voice: Onset) -> None:
        """The detector has made up its mind between two frames."""
        if not self._closed.is_set():
            self._guard(lambda: self._voice(voice))

    @abstractmethod
    def on_digit(self, digit: str) -> None: ...

    def on_closed(self, reason: str) -> None:
        self.close_reason = reason
        self._begun.set()
        self._closed.set()

    # ---- gates and the timer --------------------------------------------------

    def _gate(self, gates: frozenset[str]) -> None:
        """Capture closes with the first token and opens with the last."""
        was, self._gates = self._gates, gates
        self.session.gating = sorted(gates)
        if bool(gates) is bool(was):
            return
        if gates:
            self._metrics.gating_active.inc()
            self._metrics.capture_enabled.dec()
            self._capture_closed()
        else:
            self._metrics.gating_active.dec()
            self._metrics.capture_enabled.inc()

    @abstractmethod
    def _capture_closed(self) -> None:
        """What was captured before a gap in the capture must not be joined to what comes after it."""

    def _in_phase(self, before: Phase) -> None:
        """For the metrics: the phase may have changed from ``before``."""
        if self._phase() is not before:
            self._metrics.conversation_state.labels(before.value).dec()
            self._metrics.conversation_state.labels(self._phase().value).inc()

    def _arm(self, due: float | None) -> None:
        """Have :meth:`_time_passed` called at ``due``, or somewhat sooner; a caller who speaks is looked after, too."""
        if self._vad.speaking and due is not None:
            due = min(due, max(self._audio_at + GAP_SECONDS, self._clock() + _GAP_RECHECK))
        if self._timer is not None:
            if due is not None and self._timer_at <= due:
                return  # it fires early and is armed anew then: cheaper than one timer a step
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer_at = due
            delay = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _silence(self, now: float) -> Offset | None:
        """The end of the caller's speech, where frames have ceased to come in the middle of it."""
        return self._vad.expire(now) if now - self._audio_at >= GAP_SECONDS else None

    def _timer_fired(self) -> None:
        self._timer = None
        self._guard(self._time_passed)
