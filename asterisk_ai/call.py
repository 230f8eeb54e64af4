"""One call: carries out what the dialog core decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

from asterisk_ai.agent import Agent
from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.levels import LevelMeter, dbov
from asterisk_ai.audio.vad import EnergyVad, Onset
from asterisk_ai.dialog import turn
from asterisk_ai.dialog.backchannel import phrases
from asterisk_ai.dialog.events import (
    Action,
    CloseUtterance,
    DigitDialled,
    DropUtterance,
    Event,
    HungUp,
    Leave,
    OpenUtterance,
    RecognitionFailed,
    Started,
    Timer,
    TurnLikelihood,
    VoiceOffset,
    VoiceOnset,
    WordsFinal,
    WordsPartial,
)
from asterisk_ai.errors import ProviderError
from asterisk_ai.playback.manager import PlaybackManager, Sink
from asterisk_ai.providers.base import Transcript, TurnEnd
from asterisk_ai.providers.fallback import Trouble, listening
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore
from asterisk_ai.speaking import Speaker
from asterisk_ai.telemetry.logs import call_scope
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.utterance import Utterance

logger = logging.getLogger(__name__)

PREROLL_SECONDS = 0.3
"""Audio kept from before an onset, so that the first sound of a word is never lost."""
GAP_SECONDS = 0.1
"""Without a frame for this long the caller is silent (comfort noise is not forwarded)."""
_GAP_RECHECK = 0.02
MAX_TROUBLES = 100
"""Failures of engines that are kept in the record of a call; the oldest go."""


def _preroll_bytes(rate: int) -> int:
    return int(PREROLL_SECONDS * rate) * SAMPLE_BYTES


class Connection(Sink, Protocol):
    """The call's way to Asterisk."""

    def hang_up(self) -> None:
        """Give the call back to the dialplan."""


class Call:
    """The thin shell around :mod:`asterisk_ai.dialog.turn` for one connection.

    A :class:`~asterisk_ai.transport.audiosocket.MediaHandler`: audio comes in
    synchronously and is decided upon before anything else runs. Everything
    that has to wait runs in one TaskGroup, which ends with the call.
    """

    def __init__(
        self,
        session: CallSession,
        agent: Agent,
        connection: Connection,
        store: SessionStore,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        meter: LevelMeter | None = None,
        detector: Callable[[int, Callable[[Onset], None]], EnergyVad] = lambda rate, told: EnergyVad(rate),
    ) -> None:
        """``meter`` tells the levels of many calls' frames at once; without it each is measured as it comes.

        ``detector`` makes what finds the caller's speech in audio of a rate; it may tell of an onset between frames.
        """
        self.session = session
        self.agent = agent
        self.rate = session.rate
        self.close_reason = ""
        self._connection = connection
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._meter = meter
        self._params = agent.config.turn
        self._state = turn.initial(
            agent.config.greeting,
            interruptible=agent.config.greeting_interruptible,
            language=agent.config.language,
        )
        self._gates: frozenset[str] = frozenset()
        self._group = asyncio.TaskGroup()
        self._context = copy_context()
        self._begun = asyncio.Event()
        self._closed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._detector = detector
        self._vad = EnergyVad(8000)
        self._voiced_until = 0.0
        self._audio_at = 0.0
        self._preroll: deque[bytes] = deque()
        self._preroll_bytes = 0
        self._preroll_keep = _preroll_bytes(8000)
        self._utterances: dict[int, Utterance] = {}  # of this call alone; at most two
        self._open: Utterance | None = None
        self._speaker = Speaker(
            session,
            agent,
            PlaybackManager(session.sink or connection, agent.tts, voice=agent.config.voice),
            store,
            metrics,
            clock=clock,
            step=self._step,
            spawn=self._spawn,
            interruptible=lambda: self._state.interruptible,
        )

    # ---- life -------------------------------------------------------------

    async def run(self) -> None:
        """From the first audio to the end; returns when the connection is gone. Never raises but CancelledError."""
        with call_scope(self.session.call_id), listening(self._trouble):
            self._context = copy_context()
            try:
                async with self._calling():
                    await self._begun.wait()  # the rate may have to be learned from the caller's first audio
                    resumed, expected = self.session.connects > 1, self.session.away in ("play", "played")
                    self._step(Started(resumed, expected))
                    await self._closed.wait()
                    self._step(HungUp())
                    for task in self._tasks():
                        task.cancel()
            except Exception:
                logger.exception("the call failed")
                self._fall_back()
            finally:
                # What refers to the call from inside of it: without that it is gone now, not when the collector
                # comes, which would stop everybody's audio to look for it.
                self._context = Context()
                self._speaker.release()

    def _fall_back(self) -> None:
        """The call's edge: this caller goes to the fallback, the others feel nothing."""
        self.session.pending = {"kind": "fallback", "arguments": {}}
        self._connection.hang_up()

    def _trouble(self, trouble: Trouble) -> None:
        """An engine failed this call: it belongs to the record."""
        self.session.troubles.append({"at": round(time.time(), 3), "text": str(trouble), **asdict(trouble)})
        del self.session.troubles[:-MAX_TROUBLES]

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[None]:
        self._metrics.conversation_state.labels(self._state.phase.value).inc()
        self._metrics.capture_enabled.inc()
        try:
            async with self._group:
                yield
        finally:
            self._gate(frozenset())
            self._metrics.capture_enabled.dec()
            if self._timer is not None:
                self._timer.cancel()
            self._preroll.clear()
            self._vad.close()
            if self.session.sink is not None:
                self.session.sink.close()
            self._metrics.conversation_state.labels(self._state.phase.value).dec()
            logger.info("call cleaned up: %s", self.close_reason or "failed")

    def _tasks(self) -> list[asyncio.Task[None]]:
        recognising = [utterance.task for utterance in self._utterances.values() if utterance.task is not None]
        return recognising + self._speaker.tasks()

    # ---- MediaHandler -------------------------------------------------------

    def on_begin(self, rate: int) -> None:
        self.rate = rate
        self._vad = self._detector(rate, self._onset)
        self._preroll_keep = _preroll_bytes(rate)
        if self.session.sink is not None:
            self.session.sink.on_digit = self.on_digit
        self._begun.set()

    def on_audio(self, pcm: bytes) -> None:
        if self._meter is not None:
            self._meter.add(pcm, self._heard)  # it calls within a millisecond
        else:
            self._heard(pcm, dbov(pcm), self._clock())

    def _heard(self, pcm: bytes, level: float, now: float) -> None:
        """A frame whose level is known. Never raises."""
        if self._closed.is_set():
            return
        try:
            self._audio_at = now
            if self._gates and self._gated(now):
                return
            vad = self._vad
            voice = vad.hear(pcm, level, now)
            if vad.speaking or voice:
                self._voiced_until = vad.voiced_until
            if self._open is not None:
                self._open.feed(pcm)
            else:
                self._keep_preroll(pcm)
            if voice is not None:
                self._step(VoiceOnset(voice.at) if isinstance(voice, Onset) else VoiceOffset(voice.at))
        except Exception:
            logger.exception("the call failed", extra={"call_id": self.session.call_id})
            self._fall_back()

    def _onset(self, voice: Onset) -> None:
        """The detector has made up its mind between two frames."""

        def begun() -> None:
            self._voiced_until = self._vad.voiced_until
            self._step(VoiceOnset(voice.at))

        if not self._closed.is_set():
            self._guard(begun)

    def _gated(self, now: float) -> bool:
        """Whether this frame is not to be captured; a guard time ends by the clock alone."""
        self._gate(turn.gates(self._state, self._params, now))
        return bool(self._gates)

    def _gate(self, gates: frozenset[str]) -> None:
        """Capture closes with the first token and opens with the last."""
        was, self._gates = self._gates, gates
        self.session.gating = sorted(gates)
        if bool(gates) is bool(was):
            return
        if gates:
            self._metrics.gating_active.inc()
            self._metrics.capture_enabled.dec()
            self._forget_audio()
        else:
            self._metrics.gating_active.dec()
            self._metrics.capture_enabled.inc()

    def _forget_audio(self) -> None:
        """What was captured before a gap in the capture must not be joined to what comes after it."""
        self._preroll.clear()
        self._preroll_bytes = 0
        if self._vad.reset():
            self._step(VoiceOffset(self._vad.voiced_until))

    def _guard(self, work: Callable[[], None]) -> None:
        """The call's edge for what is called from outside of its tasks, such as a worker's connection."""
        try:
            work()
        except Exception:
            logger.exception("the call failed", extra={"call_id": self.session.call_id})
            self._fall_back()

    def on_digit(self, digit: str) -> None:
        def dialled() -> None:
            self._step(DigitDialled(digit, self.agent.llm.digits_wanted(self.session.memory)))

        self._guard(dialled)

    def on_closed(self, reason: str) -> None:
        self.close_reason = reason
        self._begun.set()
        self._closed.set()

    def _keep_preroll(self, pcm: bytes) -> None:
        self._preroll.append(pcm)
        self._preroll_bytes += len(pcm)
        while self._preroll_bytes - len(self._preroll[0]) >= self._preroll_keep:
            self._preroll_bytes -= len(self._preroll.popleft())

    # ---- the dialog core ------------------------------------------------------

    def _step(self, event: Event) -> None:
        # Timers and tasks that begin here inherit the scope; on_audio and on_digit are called from outside of it.
        with call_scope(self.session.call_id):
            self._step_in_scope(event)

    def _step_in_scope(self, event: Event) -> None:
        before = self._state.phase
        self._state, actions = turn.step(self._state, event, self._clock(), self._params)
        if self._state.phase is not before:
            self._metrics.conversation_state.labels(before.value).dec()
            self._metrics.conversation_state.labels(self._state.phase.value).inc()
        for action in actions:
            self._carry_out(action)
        if isinstance(event, VoiceOffset) and self._open is not None and self.agent.turn_end is not None:
            self._spawn(self._listen_for_end(self.agent.turn_end, self._open))
        gates = turn.gates(self._state, self._params, self._clock())
        if gates != self._gates:
            self._gate(gates)
        self._arm()

    def _arm(self) -> None:
        due = turn.deadline(self._state, self._params)
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

    def _timer_fired(self) -> None:
        self._timer = None
        self._guard(self._time_passed)

    def _time_passed(self) -> None:
        now = self._clock()
        if now - self._audio_at >= GAP_SECONDS:
            offset = self._vad.expire(now)
            if offset is not None:
                self._step(VoiceOffset(offset.at))
        self._step(Timer(self._voiced_until))

    def _carry_out(self, action: Action) -> None:
        match action:
            case OpenUtterance():
                self._open_utterance(action.utterance)
            case CloseUtterance():
                self._close_utterance(action)
            case DropUtterance():
                self._drop_utterance(action.utterance)
            case Leave():
                self._leave(action)
            case _:
                self._speaker.carry_out(action)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # Begun from the transport's callbacks too, which know nothing of the call's log lines and listeners.
        return self._group.create_task(work, context=self._context)

    # ---- listening --------------------------------------------------------------

    def _open_utterance(self, number: int) -> None:
        utterance = Utterance(number, self.rate, tuple(self.agent.stt.sample_rates))
        for pcm in self._preroll:
            utterance.feed(pcm)
        self._preroll.clear()
        self._preroll_bytes = 0
        self._open = self._utterances[number] = utterance
        utterance.task = self._spawn(self._recognise(utterance))

    def _close_utterance(self, action: CloseUtterance) -> None:
        utterance = self._utterances[action.utterance]
        utterance.close()
        self._open = None
        self._speaker.turn_ended(action.ended_at)
        logger.info("utterance %d: %.2f s of audio to the recogniser", utterance.number, utterance.seconds)

    def _drop_utterance(self, number: int) -> None:
        utterance = self._utterances.pop(number, None)
        if utterance is None:
            return
        if self._open is utterance:
            self._open = None
        if utterance.task is not None:
            utterance.task.cancel()

    async def _recognise(self, utterance: Utterance) -> None:
        hints = self.agent.llm.hints(self.session.memory)
        if self._state.reply_live:  # what interrupts, or only seems to, must be heard as what it is
            hints = hints.widened(phrases(hints.language))
        event: WordsFinal | RecognitionFailed
        try:
            heard = partial(self._partial_words, utterance)
            async with self.agent.stt.open(rate=utterance.rate, hints=hints, partial=heard) as stream:
                utterance.attach(stream)
                await utterance.closed.wait()
                words = await stream.finish()
            event = WordsFinal(utterance.number, words.text, words.accepted)
        except ProviderError as error:
            logger.warning("recognition failed: %s", error)
            await utterance.closed.wait()
            event = RecognitionFailed(utterance.number)
        finally:
            utterance.release()
        self._utterances.pop(utterance.number, None)
        self._speaker.note("words")
        self._step(event)

    async def _listen_for_end(self, ends: TurnEnd, utterance: Utterance) -> None:
        """The caller pauses: is that the end of the turn? Without an answer the words tell."""
        try:
            probability = await ends.likelihood(utterance.recent(), self.rate)
        except ProviderError as error:
            logger.warning("the end of the turn is told by its words: %s", error)
        else:
            self._guard(lambda: self._step(TurnLikelihood(utterance.number, probability)))

    def _partial_words(self, utterance: Utterance, words: Transcript) -> None:
        """The recogniser has a view of what was said so far."""

        def heard() -> None:
            complete = words.accepted and self.agent.llm.complete(words.text, self.session.memory)
            self._step(WordsPartial(utterance.number, words.text, words.accepted, complete))

        self._guard(heard)

    # ---- back to the dialplan ---------------------------------------------------------

    def _leave(self, action: Leave) -> None:
        self.session.pending = {"kind": action.kind, "arguments": dict(action.arguments)}
        self._store.save(self.session)
        logger.info("back to the dialplan: %s", action.kind)
        self._connection.hang_up()
