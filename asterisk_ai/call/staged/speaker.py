"""The agent's side of a call: one reply at a time, made, spoken, and kept account of as it was heard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from asterisk_ai.agents.agent import Agent
from asterisk_ai.call.call import Call
from asterisk_ai.call.staged.synthesis import PlaybackManager
from asterisk_ai.dialog.caller import without_sounds
from asterisk_ai.dialog.dialplan import ActionKind, DialplanAction
from asterisk_ai.dialog.events import (
    Answer,
    Draft,
    DropDraft,
    Event,
    PauseReply,
    ReplyEnded,
    ReplyFailed,
    ResumeReply,
    Speak,
    SpeakFiller,
    SpeakingStarted,
    SpeechAction,
    StopReason,
    StopReply,
)
from asterisk_ai.dialog.secret import MASK
from asterisk_ai.dialog.spoken import Sound, pieces, script
from asterisk_ai.errors import ProviderError
from asterisk_ai.providers.api import AskDigits, Message, Remember, Say, TurnRequest, Wait
from asterisk_ai.providers.ledger import Ledger
from asterisk_ai.session.model import TurnRecord

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Reply:
    """A reply being made: ``number`` is the turn machine's, 0 while it is a draft for words that may yet change."""

    number: int = 0
    text: str = ""
    certain: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing is heard, remembered or done before it is set."""
    begun: bool = False
    """The language model's first part has come."""
    source: str = ""
    """Where what it says stands."""
    rest: list[str] = field(default_factory=list)
    """What has not been given to the voice yet."""
    failed: bool = False
    task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        task, self.task = self.task, None  # which keeps where it was cancelled, and with that this
        if task is not None:
            task.cancel()


class _Remembered(NamedTuple):
    """What a reply may change: the language model's memory, and how many keys it waits for."""

    memory: dict[str, Any]
    digits_wanted: int


class ReplySpeaker:
    """Carries out what the turn machine wants said. All but its tasks is synchronous."""

    def __init__(
        self,
        call: Call,
        agent: Agent,
        playback: PlaybackManager,
        *,
        step: Callable[[Event], None],
        interruptible: Callable[[], bool],
        secret: Callable[[], bool],
    ) -> None:
        """``step`` takes the machine's events; ``interruptible`` tells whether what is said now may be interrupted, and
        ``secret`` whether nobody may know what is dialled now.
        """
        self._session = session = call.session
        self._account = call.account
        self._agent = agent
        self._playback = playback
        self._clock = call.clock
        self._spawn = call.spawn
        self._step = step
        self._interruptible = interruptible
        self._secret = secret
        self._ledger = Ledger(session.done, partial(call.store.save, session))
        self._reply: _Reply | None = None
        self._draft: _Reply | None = None
        self._fillers: list[asyncio.Task[None]] = []
        self._voice = asyncio.Lock()  # one piece of speech is queued at a time
        self._before: _Remembered | None = None  # what was remembered before the reply that is made
        self._turn: tuple[TurnRecord, _Remembered] | None = None  # the caller's last, and what was remembered before it

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is at work."""
        replies = [reply.task for reply in (self._reply, self._draft) if reply is not None]
        return [task for task in (*replies, *self._fillers) if task is not None]

    def release(self) -> None:
        """The call is over and all tasks are: let go of it. Nothing may be said any more."""
        self._reply = self._draft = None
        self._fillers.clear()
        del self._step, self._spawn, self._interruptible, self._secret

    # ---- what the machine wants ---------------------------------------------------

    def carry_out(self, action: SpeechAction) -> None:
        match action:
            case Draft():
                self._begin_draft(action)
            case DropDraft():
                self._drop_draft()
            case Answer():
                self._answer(action)
            case Speak():
                self._speak(action)
            case SpeakFiller() if self._playback.waits:
                pass  # it would be heard when the answer is there
            case SpeakFiller():
                self._fillers.append(self._spawn(self._say_filler(action.text)))
            case PauseReply():
                self._playback.pause()
                self._account.held()
            case ResumeReply():
                self._playback.resume()
                self._account.resumed(action.reason)
            case StopReply():
                self._stop(action.reason)

    def _begin_draft(self, action: Draft) -> None:
        """Begin to make the answer to its text; :meth:`_answer` takes it up or drops it."""
        self._drop_draft()
        logger.info("answering ahead of the turn's end", extra={"transcript": action.text})
        answer = Answer(0, action.text, confidence=action.confidence, continues=action.continues)
        self._draft = self._begin(self._request(answer, *self._until_turn(action.continues)))

    def _drop_draft(self) -> None:
        """The caller goes on: nothing of the draft was heard, so it never was."""
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.cancel()

    def _answer(self, action: Answer) -> None:
        """Ask the language model and speak what it says."""
        history, before = self._until_turn(action.continues)
        request = self._request(action, history, before)
        text = MASK if action.dialled and self._secret() else action.text
        record = TurnRecord("caller", text, time.time(), understood=action.understood, dialled=action.dialled)
        self._account.caller_said(record, after=len(history))
        if action.dialled:
            self._account.turn_ended(self._clock())
        draft, self._draft = self._draft, None
        usable = draft is not None and draft.text == action.text and action.understood and not action.dialled
        if draft is None or not usable or draft.failed:
            self._draft = draft
            self._drop_draft()
            draft = self._begin(request)
        if draft.begun:
            self._account.note("first_token")
        self._turn = record, before
        self._before = before
        self._session.memory, self._session.digits_wanted = before.memory, 0
        self._take_up(draft, action.reply)

    def _speak(self, action: Speak) -> None:
        """Speak a fixed prompt."""
        self._drop_draft()
        self._account.answers_nobody()
        reply = _Reply(text=action.text)
        self._playback.begin()
        reply.task = self._spawn(self._say_prompt(reply, action))
        self._take_up(reply, action.reply)

    def _stop(self, reason: StopReason) -> None:
        """Silence, now, and no more of this reply."""
        self._account.agent_ends(self._playback.stop(), interrupted=True, lost=reason is StopReason.END)
        for filler in self._fillers:
            filler.cancel()
        self._fillers.clear()
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.cancel()
        self._forget_unsaid()
        self._account.stopped(reason)

    # ---- a reply ------------------------------------------------------------------

    def _until_turn(self, continues: bool) -> tuple[list[TurnRecord], _Remembered]:
        """The turns before the one that is answered, and what was remembered then."""
        history = self._session.history
        if continues and self._turn is not None:
            record, before = self._turn
            at = next((at for at, one in enumerate(history) if one is record), len(history))
            return history[:at], before
        return history[:], _Remembered(self._session.memory, self._session.digits_wanted)

    def answers(self, record: TurnRecord) -> None:
        """The next answer is to a turn that is in the history already."""
        self._turn = record, _Remembered(self._session.memory, self._session.digits_wanted)

    def memory(self, continues: bool) -> dict[str, Any]:
        """What the model remembers when it answers; see :class:`~asterisk_ai.dialog.events.Answer`."""
        return self._until_turn(continues)[1].memory

    def _request(self, action: Answer, turns: list[TurnRecord], before: _Remembered) -> TurnRequest:
        session = self._session
        history = [Message(record.role, record.text) for record in turns]
        return TurnRequest(
            action.text,
            action.understood,
            action.dialled,
            history,
            dict(before.memory),
            session.caller,
            session.actions,
            confidence=action.confidence,
            ledger=self._ledger,
        )

    def _begin(self, request: TurnRequest) -> _Reply:
        self._playback.begin()
        reply = _Reply(text=request.text)
        reply.task = self._spawn(self._generate(reply, replace(request, certain=reply.certain.wait)))
        return reply

    def _take_up(self, reply: _Reply, number: int) -> None:
        self._reply = reply
        reply.number = number
        reply.certain.set()

    async def _say_prompt(self, reply: _Reply, action: Speak) -> None:
        try:
            await self._say(reply, action.text, action.interruptible, prompt=True)
            await self._finish(reply, action.then)
        except ProviderError as error:
            self._failed(reply, error)

    async def _generate(self, reply: _Reply, request: TurnRequest) -> None:
        then: DialplanAction | None = None
        said, patience = False, 0.0
        try:
            async with self._agent.llm.reply(request) as parts:
                async for part in parts:
                    if not reply.begun:
                        reply.begun = True
                        if reply.number:
                            self._account.note("first_token")
                    match part:
                        case Say():
                            said = True
                            reply.source = part.source or reply.source
                            await self._say(reply, part.text, part.interruptible, part.speed, named=part.script)
                        case Wait():
                            patience = part.seconds
                        case DialplanAction():
                            then = part
                        case AskDigits():
                            await reply.certain.wait()
                            self._session.digits_wanted = part.count
                        case Remember():
                            # At once: the caller may answer a question before it has been asked to the end.
                            await reply.certain.wait()
                            self._session.memory = dict(part.memory)
            await reply.certain.wait()
            if then is not None and then.kind is ActionKind.HANGUP and not said:
                await self._say(reply, self._agent.config.closing, False, prompt=True)
            await self._finish(reply, then, patience)
        except ProviderError as error:
            self._failed(reply, error)

    async def _say(
        self,
        reply: _Reply,
        text: str,
        interruptible: bool,
        speed: float = 1.0,
        *,
        prompt: bool = False,
        named: bool = False,
    ) -> None:
        """``prompt``: it is the configuration's. That, and what is ``named`` so, may name sounds."""
        if not interruptible:
            await reply.certain.wait()
        if interruptible != self._interruptible():
            # The rule holds for what is heard now, not for what is queued behind it.
            await self._playback.finished()
        parts = list((script if prompt or named else pieces)(text, self._agent.config.language))
        reply.rest = [part.written for part in parts]
        for part in parts:
            async with self._voice:
                reply.rest.pop(0)
                audible = partial(self._audible, reply, interruptible, text)
                if isinstance(part, Sound):
                    await self._playback.play(part, audible)
                else:
                    await self._playback.say(part, audible, speed=speed, prompt=prompt)
            self._goes_on(reply)

    async def _say_filler(self, text: str) -> None:
        """A filler that cannot be made is none: the answer itself is still to come."""
        try:
            async with self._voice:
                for piece in pieces(text, self._agent.config.language):
                    await self._playback.say(piece)
        except ProviderError as error:
            logger.warning("the filler failed: %s", error)

    async def _audible(self, reply: _Reply, interruptible: bool, text: str) -> None:
        """The first audio of a piece is there; the caller hears it as soon as this returns."""
        await reply.certain.wait()
        if not self._account.speaking:
            self._account.agent_begins(reply.source)
            self._before = None
        self._goes_on(reply)
        self._account.saying(text)
        self._step(SpeakingStarted(reply.number, interruptible))

    def _goes_on(self, reply: _Reply) -> None:
        """Keep account of what is still to be heard of what is said."""
        if reply is self._reply:
            unheard = without_sounds(" ".join(filter(None, (self._playback.unheard(), *reply.rest))))
            self._account.agent_goes_on(self._playback.heard(), unheard)

    # ---- its end ------------------------------------------------------------------

    async def _finish(self, reply: _Reply, then: DialplanAction | None, patience: float = 0.0) -> None:
        still = lambda: self._step(SpeakingStarted(reply.number, self._interruptible()))  # noqa: E731
        self._session.then = then
        self._goes_on(reply)
        if not await self._playback.finished(still, partial(self._goes_on, reply)):
            return  # the caller has hung up: what follows was never reached, and the rest is for HungUp
        self._account.agent_ends(self._playback.heard(), interrupted=False)
        self._reply = self._before = None
        self._step(ReplyEnded(reply.number, then, patience))

    def _failed(self, reply: _Reply, error: ProviderError) -> None:
        logger.warning("the reply failed: %s", error)
        reply.failed = True
        if reply is not self._reply:
            return  # a draft: answering tries again; or it failed at being stopped, and another reply may be playing
        self._account.agent_ends(self._playback.stop(), interrupted=True)
        self._reply = None
        self._forget_unsaid()
        self._step(ReplyFailed(reply.number))

    def _forget_unsaid(self) -> None:
        """Nothing of the reply was heard, so it was never said."""
        if self._before is not None:
            self._session.memory, self._session.digits_wanted = self._before
            self._before = None
