"""One call over one connection: its life, its edge, its timer, its gates. The talking is its conversation's."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from typing import Any

from asterisk_ai.call.account import Account
from asterisk_ai.call.alarm import Alarm
from asterisk_ai.call.conversation import Conversation
from asterisk_ai.call.sound import Sound
from asterisk_ai.call.spending import Spending
from asterisk_ai.call.troubles import Troubles
from asterisk_ai.dialog.dialplan import FALL_BACK, HANG_UP, ActionKind, DialplanAction
from asterisk_ai.dialog.events import DigitDialled, Timer, VoiceOffset, VoiceOnset
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.providers.chain import listening
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.logs import call_scope
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.media import MediaConnection
from asterisk_ai.vad.energy import EnergyVad, Offset, Onset, by_level

logger = logging.getLogger(__name__)

GAP_SECONDS = 0.1
"""Without a frame for this long the caller is silent (comfort noise is not forwarded)."""
_GAP_RECHECK = 0.02
_SECRET = frozenset(("secret",))

Detector = Callable[[int, Callable[[Onset], None]], EnergyVad]
"""Makes what finds the caller's speech in audio of a rate; it may tell of an onset between frames."""


class Call:
    """A :class:`~asterisk_ai.transport.media.MediaHandler` that owns one conversation, and replaces it when it fails.

    Everything that has to wait runs in one TaskGroup, which ends with the call.
    What the caller says is decided upon before anything else runs.

    **Life time.** Whatever refers to a call from inside of it (tasks, contexts,
    callbacks, its conversation) is let go of in :meth:`close`, so that an ended
    call is gone at once. Else it would be gone when the collector comes, which
    stops everybody's audio to look for it.

    :param conversations: makers of the kinds of conversation that may hold it, best first.
    :param beside: what the connection has to have run while the call lasts.
    """

    def __init__(
        self,
        session: CallSession,
        connection: MediaConnection,
        store: SessionStore,
        metrics: Metrics,
        conversations: Iterable[Callable[[Call], Conversation]],
        *,
        clock: Callable[[], float] = time.monotonic,
        detector: Detector = by_level,
        cancels_echo: bool = True,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.session = session
        self.store = store
        self.connection = connection
        self.clock = clock
        self.rate = session.rate
        self.close_reason = ""
        self.closed = asyncio.Event()
        """The connection is gone."""
        self.account = Account(session, store, metrics, connection, clock)
        self.troubles = Troubles(session)
        self.spending = Spending(session, metrics)
        self.gates: frozenset[str] = frozenset()
        self.audio_at = 0.0
        """When the caller's last frame came."""
        self.conversation: Conversation | None = None
        """None before audio begins, and when the call is over."""
        self._beside = beside
        self._makers = list(conversations)
        self._metrics = metrics
        self._phase = Phase.NEW
        self._group = asyncio.TaskGroup()
        self._context = copy_context()
        self._begun = asyncio.Event()
        self._alarm = Alarm(clock, self._time_has_come)
        self._detector = detector
        self._vad: EnergyVad | None = None
        self.sound = Sound(session, store, connection, clock, cancels_echo=cancels_echo)

    # ---- life -------------------------------------------------------------

    async def run(self) -> None:
        """From the first audio to the end; returns when the connection is gone. Never raises but CancelledError."""
        with call_scope(self.session.call_id), listening(self.troubles, self.spending):
            self._context = copy_context()
            try:
                async with self._calling():
                    if self._beside is not None:
                        self.spawn(self._beside())
                    await self._begun.wait()  # the rate may have to be learned from the caller's first audio
                    await self._converse()
            except Exception:
                logger.exception("the call failed")
                self.fall_back()
            finally:
                self.close()

    async def _converse(self) -> None:
        while self.conversation is not None and await self.conversation.run() and not self.closed.is_set():
            if not self._makers:
                self.fall_back()
                await self.closed.wait()
                return
            logger.warning("the call goes on with the next kind of conversation of its pipeline")
            self._begin_conversation()

    def _begin_conversation(self) -> None:
        """The next kind has the call; nothing of what the one before was about to do is left."""
        self.gate(frozenset())
        self._alarm.cancel()
        if self.conversation is not None:
            self.conversation.release()
        if self._vad is not None:
            self._vad.close()
        self._vad = self._detector(self.rate, self._onset)
        self.conversation = self._makers.pop(0)(self)

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[None]:
        self._metrics.conversation_state.labels(self._phase.value).inc()
        self._metrics.capture_enabled.inc()
        try:
            async with self._group:
                yield
        finally:
            self.gate(frozenset())
            self._metrics.capture_enabled.dec()
            self._alarm.cancel()
            if self._vad is not None:
                self._vad.close()
            self._metrics.conversation_state.labels(self._phase.value).dec()
            self.account.tell_underruns()
            logger.info("call cleaned up: %s", self.close_reason or "failed")

    def close(self) -> None:
        """Let go of all that refers to the call from inside of it; see the class."""
        conversation, self.conversation = self.conversation, None
        if conversation is not None:
            conversation.release()
        self._makers.clear()
        self.troubles.close()
        self.spending.close()
        self._alarm.close()
        self._beside = None
        self._context = Context()
        self._vad = None
        self.sound.close()

    def fall_back(self) -> None:
        """This caller goes to the fallback, the others feel nothing."""
        self.session.pending = FALL_BACK
        self.session.heard_all()
        self.connection.hang_up()

    def leave(self, action: DialplanAction) -> None:
        """Give the call back to the dialplan."""
        if action.kind not in self.session.actions | {ActionKind.FALLBACK}:  # an engine's idea, nobody is there for it
            logger.error("there is no dialplan that could do this for the call: %s", action.kind)
            action = HANG_UP
        self.session.pending = action
        self.session.heard_all()
        self.store.save(self.session)
        logger.info("back to the dialplan: %s", action.kind)
        self.connection.hang_up()

    @property
    def phase(self) -> Phase:
        """Where its conversation is."""
        return self._phase

    # ---- what conversations work with ------------------------------------------

    @property
    def vad(self) -> EnergyVad:
        """What finds the caller's speech. Only while there is a conversation."""
        if self._vad is None:
            raise RuntimeError("the call has no audio")
        return self._vad

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside the conversation, until the call ends at the latest."""
        # Begun from the transport's callbacks too, which know nothing of the call's log lines and listeners.
        return self._group.create_task(work, context=self._context)

    def voice(self, voice: Onset | Offset) -> None:
        """The caller begins or ends to speak."""
        if self.conversation is not None:
            self.conversation.step(VoiceOnset(voice.at) if isinstance(voice, Onset) else VoiceOffset(voice.at))

    def guard(self, work: Callable[..., None], *arguments: Any) -> None:
        """The call's edge for what is called from outside of its tasks, such as audio and timers."""
        try:
            work(*arguments)
        except Exception:
            logger.exception("the call failed", extra={"call_id": self.session.call_id})
            self.fall_back()

    # ---- MediaHandler -------------------------------------------------------

    def on_begin(self, rate: int) -> None:
        self.rate = rate
        self.sound.begin(rate)
        self._begin_conversation()
        self._begun.set()

    def on_audio(self, pcm: bytes) -> None:
        if self.conversation is not None and not self.closed.is_set():
            self.guard(self._hear, self.conversation, pcm)

    def _hear(self, conversation: Conversation, pcm: bytes) -> None:
        self.audio_at = now = self.clock()
        conversation.heard(*self.sound.heard(pcm, now), now)

    def _onset(self, voice: Onset) -> None:
        """The detector has made up its mind between two frames."""
        if self.conversation is not None and not self.closed.is_set():
            self.guard(self.voice, voice)

    def on_digit(self, digit: str) -> None:
        if self.conversation is not None and not self.sound.declined(digit):
            self.guard(self._digit, self.conversation, digit)

    def _digit(self, conversation: Conversation, digit: str) -> None:
        entry = conversation.entry
        wanted = self.session.digits_wanted or entry.wanted
        conversation.step(DigitDialled(digit, wanted, entry.restarts, entry.pause_seconds))

    def on_closed(self, reason: str) -> None:
        self.close_reason = reason
        self._begun.set()
        self.closed.set()

    @property
    def secret_gates(self) -> frozenset[str]:
        """What keeps the caller from being captured now, whatever the dialog core thinks."""
        return _SECRET if self.sound.secret else frozenset()

    # ---- phase, gates and the timer --------------------------------------------

    def after_step(self, gates: frozenset[str], due: float | None) -> None:
        """The dialog core has made a step: how the call is now, and when it wants to be asked again."""
        if self.conversation is not None:
            phase = self.conversation.phase
            self._count_phase(phase)
            if phase not in (Phase.NEW, Phase.ENDED):
                self.session.cut = phase is not Phase.LISTENING or self.vad.speaking
        if gates != self.gates:
            self.gate(gates)
        self._arm(due)

    def _count_phase(self, phase: Phase) -> None:
        if phase is not self._phase:
            self._metrics.conversation_state.labels(self._phase.value).dec()
            self._metrics.conversation_state.labels(phase.value).inc()
            self._phase = phase
            self.store.feed.tell(self.session, "phase", phase)

    def gate(self, gates: frozenset[str]) -> None:
        """Capture closes with the first token and opens with the last."""
        was, self.gates = self.gates, gates
        self.session.gating = sorted(gates)
        if bool(gates) is bool(was):
            return
        if gates:
            self._metrics.gating_active.inc()
            self._metrics.capture_enabled.dec()
            if self.conversation is not None:
                self.conversation.capture_closed()
                if self.vad.reset():
                    self.conversation.step(VoiceOffset(self.vad.voiced_until))
        else:
            self._metrics.gating_active.dec()
            self._metrics.capture_enabled.inc()

    def _arm(self, due: float | None) -> None:
        """Have the conversation told at ``due``, or somewhat sooner; a caller who speaks is looked after, too."""
        if self.vad.speaking and due is not None:
            due = min(due, max(self.audio_at + GAP_SECONDS, self.clock() + _GAP_RECHECK))
        self._alarm.set(due)

    def _time_has_come(self) -> None:
        if self.conversation is not None:
            self.guard(self._time_passed, self.conversation)

    def _time_passed(self, conversation: Conversation) -> None:
        now = self.clock()
        if now - self.audio_at >= GAP_SECONDS and (offset := self.vad.expire(now)) is not None:
            self.voice(offset)  # frames have ceased to come in the middle of the caller's speech
        due = conversation.due
        if due is not None and now < due - 1e-6:
            self._arm(due)  # what most of them are: to look for a gap in the audio, or for an earlier deadline
        else:
            conversation.step(Timer(self.vad.voiced_until))
