"""One call: carries out what the dialog core decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.levels import LevelMeter, dbov
from asterisk_ai.audio.vad import EnergyVad, Onset
from asterisk_ai.config.schema import AgentConfig
from asterisk_ai.dialog import turn
from asterisk_ai.dialog.backchannel import phrases
from asterisk_ai.dialog.events import (
    Action,
    Answer,
    CloseUtterance,
    DigitDialled,
    DropUtterance,
    Event,
    HungUp,
    Leave,
    OpenUtterance,
    PauseReply,
    RecognitionFailed,
    ReplyEnded,
    ReplyFailed,
    ResumeReply,
    Speak,
    SpeakFiller,
    SpeakingStarted,
    Started,
    StopReply,
    Timer,
    VoiceOffset,
    VoiceOnset,
    WordsFinal,
    WordsPartial,
)
from asterisk_ai.dialog.heard import sentences
from asterisk_ai.errors import ProviderError
from asterisk_ai.playback.manager import PlaybackManager, Sink
from asterisk_ai.providers.base import (
    Do,
    LanguageModel,
    Message,
    Remember,
    Say,
    SpeechToText,
    TextToSpeech,
    Transcript,
    TurnRequest,
)
from asterisk_ai.providers.fallback import Trouble, listening
from asterisk_ai.session.model import CallSession, TurnRecord
from asterisk_ai.session.store import SessionStore
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


@dataclass(frozen=True, slots=True)
class Agent:
    """Who talks: an agent's configuration with the engines that serve it. Shared by its calls."""

    config: AgentConfig
    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech


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
        self._reply_task: asyncio.Task[None] | None = None
        self._record: TurnRecord | None = None
        self._timings: dict[str, float] = {}
        self._turn_ended_at = 0.0
        self._memory_before: dict[str, Any] | None = None
        self._fillers: list[asyncio.Task[None]] = []
        self._voice = asyncio.Lock()  # one piece of speech is queued at a time
        self._interrupted_at = 0.0
        self._playback = PlaybackManager(session.sink or connection, agent.tts, voice=agent.config.voice)

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
        tasks = [utterance.task for utterance in self._utterances.values()] + [self._reply_task, *self._fillers]
        return [task for task in tasks if task is not None]

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
            case Answer():
                self._answer(action)
            case Speak():
                self._speak(action)
            case SpeakFiller():
                self._fillers.append(self._spawn(self._say_filler(action.text)))
            case PauseReply():
                self._playback.pause()
                self._interrupted_at = self._clock()
            case ResumeReply():
                self._resume_reply(action.outcome)
            case StopReply():
                self._stop_reply(action.outcome)
            case Leave():
                self._leave(action)

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
        self._turn_ended_at = action.ended_at
        self._timings = {"endpoint": self._since_turn_end()}
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
        self._utterances.pop(utterance.number, None)
        self._timings["words"] = self._since_turn_end()
        self._step(event)

    def _partial_words(self, utterance: Utterance, words: Transcript) -> None:
        """The recogniser has a view of what was said so far."""

        def heard() -> None:
            complete = words.accepted and self.agent.llm.complete(words.text, self.session.memory)
            self._step(WordsPartial(utterance.number, words.text, words.accepted, complete))

        self._guard(heard)

    def _since_turn_end(self) -> float:
        return round(self._clock() - self._turn_ended_at, 4)

    # ---- speaking -----------------------------------------------------------------

    def _answer(self, action: Answer) -> None:
        history = [Message(record.role, record.text) for record in self.session.history]
        record = TurnRecord("caller", action.text, time.time(), understood=action.understood, dialled=action.dialled)
        self.session.history.append(record)
        self._store.save(self.session)
        if action.dialled:
            self._turn_ended_at = self._clock()
            self._timings = {}
        logger.info(
            "caller %s",
            "dialled" if action.dialled else "understood" if action.understood else "not understood",
            extra={"transcript": action.text},
        )
        request = TurnRequest(
            action.text, action.understood, action.dialled, history, dict(self.session.memory), self.session.caller
        )
        self._memory_before = self.session.memory
        self._start_reply(self._generate(action.reply, request))

    def _speak(self, action: Speak) -> None:
        self._timings = {}
        self._start_reply(self._say_prompt(action))

    def _start_reply(self, work: Coroutine[Any, Any, None]) -> None:
        self._record = None
        self._playback.begin()
        self._reply_task = self._spawn(work)

    async def _say_prompt(self, action: Speak) -> None:
        try:
            await self._say(action.reply, action.text, action.interruptible)
            await self._finish_reply(action.reply, action.then)
        except ProviderError as error:
            self._reply_failed(action.reply, error)

    async def _generate(self, reply: int, request: TurnRequest) -> None:
        then: Leave | None = None
        said = False
        try:
            async with self.agent.llm.reply(request) as parts:
                async for part in parts:
                    self._timings.setdefault("first_token", self._since_turn_end())
                    match part:
                        case Say():
                            said = True
                            await self._say(reply, part.text, part.interruptible)
                        case Do():
                            then = Leave(part.kind, part.arguments)
                        case Remember():
                            # At once: the caller may answer a question before it has been asked to the end.
                            self.session.memory = dict(part.memory)
            if then is not None and then.kind == "hangup" and not said:
                await self._say(reply, self.agent.config.closing, False)
            await self._finish_reply(reply, then)
        except ProviderError as error:
            self._reply_failed(reply, error)

    async def _say(self, reply: int, text: str, interruptible: bool) -> None:
        if interruptible != self._state.interruptible:
            # The rule holds for what is heard now, not for what is queued behind it.
            await self._playback.finished()
        for sentence in sentences(text):
            async with self._voice:
                await self._playback.say(sentence, lambda: self._audible(reply, interruptible))

    async def _say_filler(self, text: str) -> None:
        try:
            async with self._voice:
                await self._playback.say(text, lambda: None)
        except ProviderError as error:
            logger.warning("the filler failed: %s", error)

    def _audible(self, reply: int, interruptible: bool) -> None:
        if self._record is None:
            self._record = TurnRecord("agent", "", time.time())
            self.session.history.append(self._record)
            if self._timings or self._state.answering:
                self._timings["first_audio"] = self._since_turn_end()
                self._record.timings = self._timings
                self._playback.on_first_frame(partial(self._first_frame, self._timings))
            self._memory_before = None
            logger.info("playback started")
        self._step(SpeakingStarted(reply, interruptible))

    def _first_frame(self, timings: dict[str, float]) -> None:
        """The answer's first frame is on the wire: the turn is over, in the caller's ear."""
        timings["first_frame"] = self._since_turn_end()
        self._metrics.turn_response.observe(timings["first_frame"])
        before = 0.0
        for part in ("endpoint", "words", "first_token", "first_audio", "first_frame"):
            if part in timings:
                self._metrics.turn_part.labels(part).observe(max(0.0, timings[part] - before))
                before = timings[part]

    async def _finish_reply(self, reply: int, then: Leave | None) -> None:
        if not await self._playback.finished():
            return  # the caller has hung up: what follows was never reached, and the rest is for HungUp
        self._account(self._playback.heard(), interrupted=False)
        self._reply_task = self._memory_before = None
        self._step(ReplyEnded(reply, then))

    def _reply_failed(self, reply: int, error: ProviderError) -> None:
        logger.warning("the reply failed: %s", error)
        if asyncio.current_task() is not self._reply_task:
            return  # it failed at being stopped, and another reply may be playing
        self._account(self._playback.stop(), interrupted=True)
        self._reply_task = None
        self._forget_unsaid()
        self._step(ReplyFailed(reply))

    def _resume_reply(self, outcome: str) -> None:
        self._playback.resume()
        self._metrics.barge_in.labels(outcome).inc()
        logger.info("no interruption: %s; on after %.0f ms", outcome, (self._clock() - self._interrupted_at) * 1000)

    def _stop_reply(self, outcome: str) -> None:
        self._account(self._playback.stop(), interrupted=True)
        for filler in self._fillers:
            filler.cancel()
        self._fillers.clear()
        if self._reply_task is not None:
            self._reply_task.cancel()
            self._reply_task = None
        self._forget_unsaid()
        if outcome in ("barge_in", "digit"):
            self._metrics.barge_in.labels(outcome).inc()
            logger.info("the agent was interrupted: %s", outcome)

    def _forget_unsaid(self) -> None:
        """Nothing of the reply was heard, so it was never said."""
        if self._memory_before is not None:
            self.session.memory, self._memory_before = self._memory_before, None

    def _account(self, heard: str, *, interrupted: bool) -> None:
        """A turn boundary: keep what was heard."""
        record, self._record = self._record, None
        if record is None:
            return
        record.text, record.interrupted = heard, interrupted
        if not heard:
            self.session.history.remove(record)
        self._store.save(self.session)
        timings = " ".join(f"{name}={seconds * 1000:.0f}ms" for name, seconds in record.timings.items())
        logger.info(
            "playback %s %s", "interrupted" if interrupted else "finished", timings, extra={"transcript": heard}
        )

    # ---- back to the dialplan ---------------------------------------------------------

    def _leave(self, action: Leave) -> None:
        self.session.pending = {"kind": action.kind, "arguments": dict(action.arguments)}
        self._store.save(self.session)
        logger.info("back to the dialplan: %s", action.kind)
        self._connection.hang_up()
