"""One call held by a service of speech to speech."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Any

from asterisk_ai.agents.agent import SpokenAgent
from asterisk_ai.audio.formats import SAMPLE_BYTES, duration
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.call.call import Detector, Leg, by_level
from asterisk_ai.call.speech_to_speech.speech import RealtimeSpeech
from asterisk_ai.call.staged.conversation import Call
from asterisk_ai.dialog.events import DigitDialled, HungUp, Leave, Timer, VoiceOffset, VoiceOnset
from asterisk_ai.dialog.speech_to_speech import machine as turn
from asterisk_ai.dialog.staged.state import Phase
from asterisk_ai.errors import ProviderError, ProviderUnavailable
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    CallerText,
    Do,
    Message,
    RealtimeAgent,
    RealtimeEvent,
    RealtimeRequest,
    RealtimeSession,
    Remember,
    ResponseDone,
    ResponseStarted,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
)
from asterisk_ai.providers.chain.chain import Attempt
from asterisk_ai.providers.ledger import Ledger
from asterisk_ai.session.model import CallSession, TurnRecord
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.logs import call_scope
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.media import MediaConnection
from asterisk_ai.vad.energy import Offset, Onset

logger = logging.getLogger(__name__)

KEPT_SECONDS = 3.0
"""What the caller says while no service has the call yet; the oldest is dropped beyond."""
SERVED_SECONDS = 60.0
"""An engine that had the call for so long is worth another try: services end sessions after their time."""


FILL_SECONDS = 0.2
"""Without a frame for so long the service gets silence: longer than frames are late on a bad line."""


class RealtimeCall(Leg):
    """The thin shell around :mod:`asterisk_ai.dialog.speech_to_speech.machine` for one connection.

    Where all engines have failed, the stages of the same pipeline go on with
    the call (a :class:`~asterisk_ai.call.staged.conversation.Call`), or it goes to the dialplan's fallback.
    """

    def __init__(
        self,
        session: CallSession,
        agent: SpokenAgent,
        connection: MediaConnection,
        store: SessionStore,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        detector: Detector = by_level,
    ) -> None:
        super().__init__(session, connection, metrics, clock=clock, detector=detector)
        self.agent = agent
        self._store = store
        config = agent.config
        self._params = turn.RealtimeParams(config.turn, agent.seconds, config.closing)
        self._state = turn.initial(clock(), interruptible=config.greeting_interruptible)
        self._speech = RealtimeSpeech(session, connection, store, played=self._played)
        self._service: RealtimeSession | None = None
        self._attempt: Attempt[RealtimeAgent] | None = None
        self._patience: asyncio.Timeout | None = None
        self._input = Resampler(8000, 8000)
        self._kept: deque[bytes] = deque()
        self._kept_seconds = 0.0
        self._heard_until = 0.0  # the time up to which the service has audio
        self._wordless: dict[str, TurnRecord] = {}  # the caller's turns whose words have not come yet
        self._speaking = ""  # the newest of them
        self._utterances = 0
        self._action = ""  # the tool call behind the state's `leave`
        self._timings: dict[str, float] = {}
        self._turn_ended_at = 0.0
        self._held_at = 0.0
        self._heir: Call | None = None

    async def run(self) -> None:
        await super().run()
        if self._heir is not None:
            await self._heir.run()

    def _phase(self) -> Phase:
        return self._state.phase

    async def _converse(self) -> None:
        speaking = self._spawn(self._speech.run())
        serving = self._spawn(self._served())
        filling = self._spawn(self._fill())
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((closed, serving), return_when=asyncio.FIRST_COMPLETED)
            if serving.done() and not serving.cancelled() and serving.exception() is None:
                await self._unserved(closed)
        finally:
            closed.cancel()
            if self._heir is None:
                self._step(HungUp())
            for task in (speaking, serving, filling):
                task.cancel()

    async def _fill(self) -> None:
        """Lines may carry nothing while the caller is silent; services go by the audio, and would wait for ever."""
        while self._heir is None:
            try:
                await asyncio.sleep(FILL_SECONDS)
            except asyncio.CancelledError:
                return
            now = self._clock()
            missing = now - self._heard_until
            if self._service is not None and missing >= FILL_SECONDS:
                self._heard_until = now
                self._service.feed(self._input.push(bytes(SAMPLE_BYTES * round(min(missing, 1.0) * self.rate))))

    # ---- the services ----------------------------------------------------------

    async def _served(self) -> None:
        try:
            await self._serve()
        except asyncio.CancelledError:
            logger.debug("hung up")  # passed on, it would be kept by the task, and its traceback would keep the call

    async def _serve(self) -> None:
        """Have the engines in line serve the call, one after the other; returns when all have failed."""
        again = True
        while again:
            again = False
            try:
                for attempt in self.agent.chain.attempts():
                    self._attempt = attempt
                    began = self._clock()
                    await self._serve_by(attempt)
                    again = again or self._clock() - began >= SERVED_SECONDS
            except ProviderError as error:
                logger.warning("no service has the call: %s", error)

    async def _serve_by(self, attempt: Attempt[RealtimeAgent]) -> None:
        """One engine has the call, until it fails; ``attempt.failure`` says how."""
        stack = AsyncExitStack()
        try:
            async with attempt.limit() as patience:
                engine = attempt.member.engine
                rates = list(engine.sample_rates)
                rate = self.rate if self.rate in rates else rates[0]
                request = self._request(rate)
                session = await stack.enter_async_context(engine.open(request))
                self._guard(lambda: self._opened(session, rate, patience, speaks=bool(request.greeting)))
                events = await stack.enter_async_context(aclosing(session.events()))
                async for event in events:
                    self._guard(partial(self._happened, event))
                    if attempt.failure is not None:
                        break
        finally:
            self._service = self._patience = None
            if not self._closed.is_set():
                self._guard(self._lost)
            await attempt.close(stack)

    def _request(self, rate: int) -> RealtimeRequest:
        turns = [Message(record.role, record.text) for record in self.session.history if record.text]
        spoke = any(message.role == "agent" for message in turns)
        turn_params = self.agent.config.turn
        greeting = self.agent.config.greeting
        if self._attempt_is_later() and spoke:
            greeting = turn_params.trouble_prompt
        elif self.session.connects > 1:
            greeting = "" if self.session.away in ("play", "played") else turn_params.resume_prompt
        save = partial(self._store.save, self.session)  # nothing of this call: an engine's session may outlive it
        ledger = Ledger(self.session.done, save)
        return RealtimeRequest(rate, greeting, turns, dict(self.session.memory), self.session.caller, ledger)

    def _attempt_is_later(self) -> bool:
        troubles = self.session.troubles
        return any(item.get("stage") == "realtime" and item.get("kind") != "unready" for item in troubles)

    def _opened(self, session: RealtimeSession, rate: int, patience: asyncio.Timeout, *, speaks: bool) -> None:
        self._speech.begin(rate)
        self._input = Resampler(self.rate, rate)
        self._service, self._patience = session, patience
        self._heard_until = max(self._heard_until, self._clock() - FILL_SECONDS)
        patience.reschedule(None)  # from here on the state says how long to wait
        while self._kept:
            session.feed(self._input.push(self._kept.popleft()))
        self._kept_seconds = 0.0
        logger.info("%s has the call", self._attempt.member.name if self._attempt else "a service")
        self._step(turn.Opened(speaks))

    def _lost(self) -> None:
        """The engine has failed: what it was saying is cut off, and the next one goes on."""
        self._speech.stop()
        self._wordless.clear()
        self._action = ""
        self._step(turn.Lost())

    async def _unserved(self, closed: asyncio.Future[Any]) -> None:
        """All engines have failed."""
        if self._closed.is_set():
            return
        if self.agent.otherwise is None:
            self._fall_back()
            await closed
            return
        logger.warning("the call goes on with the other stages of its pipeline")
        resumed = any(record.role == "agent" for record in self.session.history)
        connection, agent = self._connection, self.agent.otherwise
        self._heir = Call(
            self.session, agent, connection, self._store, self._metrics, clock=self._clock, detector=self._detector,
            resumed=resumed,
        )  # fmt: skip
        self._vad.close()
        self._heir.on_begin(self.rate)

    def _release(self) -> None:
        self._speech.release()
        self._attempt = None

    def _cleaned_up(self) -> None:
        if self._heir is None:
            super()._cleaned_up()

    # ---- what the service tells ---------------------------------------------------

    def _happened(self, event: RealtimeEvent) -> None:
        with call_scope(self.session.call_id):
            match event:
                case AgentAudio():
                    self._agent_audio(event)
                case AgentText():
                    self._speech.text(event.item, event.text)
                case CallerText():
                    self._caller_text(event)
                case SpeechStarted():
                    self._caller_began(event.item)
                case SpeechStopped():
                    self._caller_done(event.item)
                case ResponseStarted():
                    self._speech.making()
                    self._step(turn.Answering(seconds=self._speech.seconds()))
                case ResponseDone():
                    self._response_done(event)
                case ToolCall():
                    self._tool_call(event)
                case ServiceProblem():
                    self._problem(event.text)

    def _agent_audio(self, event: AgentAudio) -> None:
        self._speech.making()
        if self._attempt is not None:
            self._attempt.served = True
        if self._speech.audio(event.item, event.pcm):
            timings = self._timings
            record = self._speech.record
            if timings and record is not None:
                timings["first_audio"] = self._since_turn_end()
                record.timings = timings
                self._connection.on_first_frame(lambda: self._first_frame(timings))
            self._timings = {}
        self._step(turn.Answering(audible=True, seconds=self._speech.seconds()))

    def _first_frame(self, timings: dict[str, float]) -> None:
        timings["first_frame"] = self._since_turn_end()
        self._metrics.observe_turn(timings)

    def _since_turn_end(self) -> float:
        return round(self._clock() - self._turn_ended_at, 4)

    def _caller_began(self, item: str) -> None:
        self._step(turn.Hears())
        self._utterances += 1
        self._speaking = item or f"#{self._utterances}"
        self._wordless[self._speaking] = TurnRecord("caller", "", time.time(), understood=False)

    def _caller_done(self, item: str) -> None:
        record = self._wordless.get(item or self._speaking)
        if record is not None:
            self.session.history.append(record)
            self._store.save(self.session)
        self._turn_ended_at = self._vad.voiced_until or self._clock()
        self._timings = {"endpoint": self._since_turn_end()}
        self._step(turn.Heard())

    def _caller_text(self, event: CallerText) -> None:
        oldest = next(iter(self._wordless), "")
        record = self._wordless.pop(event.item or oldest, None)
        record = record or TurnRecord("caller", "", time.time())
        if not any(turn is record for turn in self.session.history):
            self.session.history.append(record)
        record.text, record.understood = event.text, bool(event.text)
        logger.info("caller %s", "understood" if event.text else "not understood", extra={"transcript": event.text})
        self._store.save(self.session)

    def _response_done(self, event: ResponseDone) -> None:
        audible = self._speech.record is not None
        self._speech.made()
        if event.problem and not audible and self._attempt is not None:
            # The caller has asked, and hears nothing: somebody else is to answer.
            self._attempt.failure = ProviderUnavailable(self._attempt.member.name, event.problem)
            return
        if event.problem:
            self._problem(event.problem)
        self._step(turn.Answered())

    def _problem(self, text: str) -> None:
        name = self._attempt.member.name if self._attempt is not None else ""
        logger.warning("%s: %s", name, text)
        self._keep_trouble({"at": round(time.time(), 3), "text": f"{name}: {text}", "stage": "service", "engine": name})

    def _tool_call(self, event: ToolCall) -> None:
        if self._attempt is not None:
            self._attempt.served = True
        match event.part:
            case Remember(memory=memory):
                self.session.memory = dict(memory)
                if self._service is not None:
                    self._service.tool_done(event.call, "done", answer=self._speech.record is None)
            case Do(kind=kind, arguments=arguments):
                self._step(turn.Wanted(Leave(kind, arguments)))
                taken = self._state.leave is not None and not self._action
                if taken:
                    self._action = event.call
                elif self._service is not None:
                    self._service.tool_done(event.call, "not done: the caller interrupted", answer=False)

    # ---- the caller ---------------------------------------------------------------------

    def on_audio(self, pcm: bytes) -> None:
        if self._heir is not None:
            self._heir.on_audio(pcm)
        else:
            super().on_audio(pcm)

    def on_closed(self, reason: str) -> None:
        super().on_closed(reason)
        if self._heir is not None:
            self._heir.on_closed(reason)

    def on_digit(self, digit: str) -> None:
        if self._heir is not None:
            self._heir.on_digit(digit)
            return
        wanted = self.session.memory.get("digits", 0)
        self._guard(lambda: self._step(DigitDialled(digit, wanted if type(wanted) is int else 0)))

    def _heard(self, pcm: bytes, level: float, now: float) -> None:
        if self._closed.is_set() or self._heir is not None:
            return
        try:
            self._audio_at = self._heard_until = now
            if self._gates:
                pcm = bytes(len(pcm))  # the service's clock goes by the audio
            if self._service is not None:
                self._service.feed(self._input.push(pcm))
            else:
                self._keep(pcm)
            voice = self._vad.hear(pcm, level, now) if not self._gates else None
            if voice is not None:
                self._voice(voice)
        except Exception:
            logger.exception("the call failed", extra={"call_id": self.session.call_id})
            self._fall_back()

    def _voice(self, voice: Onset | Offset) -> None:
        self._step(VoiceOnset(voice.at) if isinstance(voice, Onset) else VoiceOffset(voice.at))

    def _keep(self, pcm: bytes) -> None:
        self._kept.append(pcm)
        self._kept_seconds += duration(len(pcm), self.rate)
        while self._kept_seconds > KEPT_SECONDS:
            self._kept_seconds -= duration(len(self._kept.popleft()), self.rate)

    def _capture_closed(self) -> None:
        if self._vad.reset():
            self._step(VoiceOffset(self._vad.voiced_until))

    # ---- the dialog core ------------------------------------------------------------------

    def _played(self) -> None:
        self._guard(lambda: self._step(turn.Played()))

    def _step(self, event: turn.Event) -> None:
        with call_scope(self.session.call_id):
            before = self._state.phase
            self._state, actions = turn.step(self._state, event, self._clock(), self._params)
            self._in_phase(before)
            for action in actions:
                self._carry_out(action)
            gates = turn.gates(self._state, self._params)
            if gates != self._gates:
                self._gate(gates)
            self._arm(turn.deadline(self._state, self._params))

    def _time_passed(self) -> None:
        if (offset := self._silence(self._clock())) is not None:
            self._step(VoiceOffset(offset.at))
        self._step(Timer(self._vad.voiced_until))

    def _carry_out(self, action: turn.Action) -> None:
        match action:
            case turn.Hold():
                self._speech.hold()
                self._held_at = self._clock()
            case turn.GoOn():
                self._speech.go_on()
                self._metrics.barge_in.labels(action.outcome).inc()
                held_ms = (self._clock() - self._held_at) * 1000
                logger.info("no interruption: %s; on after %.0f ms", action.outcome, held_ms)
            case turn.Interrupt():
                self._interrupt(action.outcome)
            case turn.Prompt():
                self._timings = {}
                if self._service is not None:
                    self._service.say(action.text)
            case turn.Tell():
                self._tell(action.digits)
            case turn.GiveUp():
                if self._patience is not None:
                    self._patience.reschedule(asyncio.get_running_loop().time())
            case Leave():
                self._leave(action)

    def _interrupt(self, outcome: str) -> None:
        stopped = self._speech.stop()
        if self._service is not None and outcome != "end":
            self._service.interrupt(stopped.item, stopped.played_ms)
            if self._action:
                self._service.tool_done(self._action, "not done: the caller interrupted", answer=False)
        self._action = ""
        if outcome in ("barge_in", "digit"):
            self._metrics.barge_in.labels(outcome).inc()
            logger.info("the agent was interrupted: %s", outcome)

    def _tell(self, digits: str) -> None:
        self.session.memory = {key: value for key, value in self.session.memory.items() if key != "digits"}
        self.session.history.append(TurnRecord("caller", digits, time.time(), dialled=True))
        self._store.save(self.session)
        logger.info("caller dialled", extra={"transcript": digits})
        self._turn_ended_at, self._timings = self._clock(), {"endpoint": 0.0}
        if self._service is not None:
            self._service.tell(f"(dialled on the keys: {digits})")

    def _leave(self, action: Leave) -> None:
        self.session.pending = {"kind": action.kind, "arguments": dict(action.arguments)}
        self._store.save(self.session)
        logger.info("back to the dialplan: %s", action.kind)
        self._connection.hang_up()
