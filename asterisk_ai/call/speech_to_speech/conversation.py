"""A conversation held by a service of speech to speech."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from asterisk_ai.agents.agent import RealtimeAgentSetup
from asterisk_ai.call.call import Call
from asterisk_ai.call.speech_to_speech.service import Services
from asterisk_ai.call.speech_to_speech.speech import RealtimeSpeech
from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.events import (
    Answer,
    HungUp,
    PauseReply,
    ResumeReply,
    Speak,
    StopReason,
    StopReply,
)
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.speech_to_speech import events, machine
from asterisk_ai.dialog.speech_to_speech.state import RealtimeParams, deadline, gates, initial
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    AskDigits,
    CallerText,
    RealtimeEvent,
    Remember,
    ResponseDone,
    ResponseStarted,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
)
from asterisk_ai.session.model import TurnRecord
from asterisk_ai.telemetry.logs import call_scope

logger = logging.getLogger(__name__)


class RealtimeConversation:
    """The thin shell around :mod:`asterisk_ai.dialog.speech_to_speech.machine`.

    A :class:`~asterisk_ai.call.conversation.Conversation`, which fails when all services of its agent have failed.
    """

    entry = Entry()

    def __init__(self, call: Call, agent: RealtimeAgentSetup) -> None:
        self.agent = agent = replace(agent, config=agent.config.for_caller(call.session.caller))
        self._call = call
        self._session = call.session
        self._account = call.account
        config = agent.config
        self._params = RealtimeParams(config.turn, agent.seconds, config.closing)
        self._state = initial(call.clock(), interruptible=config.greeting_interruptible)
        self._speech = RealtimeSpeech(call.connection, call.account, played=self._played)
        self._services = Services(call, agent, self)
        self._wordless: dict[str, TurnRecord] = {}  # the caller's turns whose words have not come yet
        self._speaking = ""  # the newest of them
        self._utterances = 0
        self._action = ""  # the tool call behind the state's `leave`

    # ---- life -------------------------------------------------------------------

    async def run(self) -> bool:
        call = self._call
        serving = call.spawn(self._services.run())
        beside = [call.spawn(self._speech.run()), call.spawn(self._services.fill()), serving]
        closed = asyncio.ensure_future(call.closed.wait())
        try:
            await asyncio.wait((closed, serving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
            if call.closed.is_set():
                self.step(HungUp())
            for task in beside:
                task.cancel()
        return not call.closed.is_set()

    def release(self) -> None:
        self._speech.release()
        self._services.release()

    @property
    def phase(self) -> Phase:
        return self._state.phase

    # ---- what the services tell ---------------------------------------------------

    def opened(self, rate: int, *, speaks: bool) -> None:
        self._speech.begin(rate)
        self.step(events.ServiceOpened(speaks))

    def lost(self) -> None:
        """What the service was saying is cut off, and the next one goes on."""
        self._speech.stop()
        self._wordless.clear()
        self._action = ""
        self.step(events.ServiceLost())

    def happened(self, event: RealtimeEvent) -> None:
        with call_scope(self._session.call_id):
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
                    self.step(events.ResponseGrew(seconds=self._speech.seconds()))
                case ResponseDone():
                    self._response_done(event)
                case ToolCall():
                    self._tool_call(event)
                case ServiceProblem():
                    self._problem(event.text)

    def _agent_audio(self, event: AgentAudio) -> None:
        self._speech.making()
        self._services.served()
        self._speech.audio(event.item, event.pcm)
        self.step(events.ResponseGrew(audible=True, seconds=self._speech.seconds()))

    def _caller_began(self, item: str) -> None:
        self.step(events.CallerStarted())
        self._utterances += 1
        self._speaking = item or f"#{self._utterances}"
        self._wordless[self._speaking] = TurnRecord("caller", "", time.time(), understood=False)

    def _caller_done(self, item: str) -> None:
        record = self._wordless.get(item or self._speaking)
        if record is not None:
            self._account.keep(record)
        self._account.turn_ended(self._call.vad.voiced_until or self._call.clock())
        self.step(events.CallerStopped())

    def _caller_text(self, event: CallerText) -> None:
        oldest = next(iter(self._wordless), "")
        record = self._wordless.pop(event.item or oldest, None) or TurnRecord("caller", "", time.time())
        record.text, record.understood = event.text, bool(event.text)
        self._account.caller_said(record)

    def _response_done(self, event: ResponseDone) -> None:
        audible = self._account.speaking
        self._speech.made()
        if event.problem and not audible and self._services.name:
            self._services.fail(event.problem)  # the caller has asked, and hears nothing
            return
        if event.problem:
            self._problem(event.problem)
        self.step(events.ResponseComplete())

    def _problem(self, text: str) -> None:
        name = self._services.name
        logger.warning("%s: %s", name, text)
        self._call.troubles.note({"text": f"{name}: {text}", "stage": "service", "engine": name})

    def _tool_call(self, event: ToolCall) -> None:
        self._services.served()
        match event.part:
            case AskDigits(count=count):
                self._session.digits_wanted = count
                self._tool_done(event.call, "done", answer=not self._account.speaking)
            case Remember(memory=memory):
                self._session.memory = dict(memory)
                self._tool_done(event.call, "done", answer=not self._account.speaking)
            case DialplanAction():
                self.step(events.ActionAsked(event.part))
                if self._state.leave is not None and not self._action:
                    self._action = event.call
                else:
                    self._tool_done(event.call, "not done: the caller interrupted", answer=False)

    def _tool_done(self, call: str, result: str, *, answer: bool) -> None:
        if self._services.session is not None:
            self._services.session.tool_done(call, result, answer=answer)

    # ---- the caller ---------------------------------------------------------------------

    def heard(self, pcm: bytes, level: float, now: float) -> None:
        if self._call.gates:
            self._services.feed(bytes(len(pcm)), now)  # the service's clock goes by the audio
            return
        self._services.feed(pcm, now)
        voice = self._call.vad.hear(pcm, level, now)
        if voice is not None:
            self._call.voice(voice)

    def capture_closed(self) -> None:
        """Nothing of it is kept here: the service gets silence."""

    # ---- the dialog core ------------------------------------------------------------------

    def _played(self) -> None:
        self._call.guard(self.step, events.ResponsePlayed())

    @property
    def due(self) -> float | None:
        return deadline(self._state, self._params)

    def step(self, event: events.Event) -> None:
        with call_scope(self._session.call_id):
            self._state, actions = machine.step(self._state, event, self._call.clock(), self._params)
            for action in actions:
                self._carry_out(action)
            self._call.after_step(gates(self._state, self._params), self.due)

    def _carry_out(self, action: events.Action) -> None:
        match action:
            case PauseReply():
                self._call.connection.pause()
                self._account.held()
            case ResumeReply():
                self._call.connection.resume()
                self._account.resumed(action.reason)
            case StopReply():
                self._interrupt(action.reason)
            case Speak():
                self._account.answers_nobody()
                if self._services.session is not None:
                    self._services.session.say(action.text)
            case Answer():
                self._answer_keys(action.text)
            case events.GiveUpService():
                self._services.give_up()
            case DialplanAction():
                self._call.leave(action)

    def _interrupt(self, reason: StopReason) -> None:
        stopped = self._speech.stop()
        if self._services.session is not None and reason is not StopReason.END:
            self._services.session.interrupt(stopped.item, stopped.played_ms)
            if self._action:
                self._tool_done(self._action, "not done: the caller interrupted", answer=False)
        self._action = ""
        self._account.stopped(reason)

    def _answer_keys(self, digits: str) -> None:
        self._session.digits_wanted = 0
        self._account.caller_said(TurnRecord("caller", digits, time.time(), dialled=True))
        self._account.turn_ended(self._call.clock())
        if self._services.session is not None:
            self._services.session.tell(f"(dialled on the keys: {digits})")
