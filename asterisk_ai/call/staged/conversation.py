"""A conversation in stages: a recogniser, a language model and a voice, as the dialog core decides."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

from asterisk_ai.agents.agent import Agent
from asterisk_ai.audio.window import Window
from asterisk_ai.call.call import Call
from asterisk_ai.call.staged.recognition import RECENT_SECONDS, CallerUtterance, completeness
from asterisk_ai.call.staged.speaker import ReplySpeaker
from asterisk_ai.call.staged.synthesis import PlaybackManager
from asterisk_ai.dialog.backchannel import phrases
from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.events import (
    Action,
    Answer,
    CloseUtterance,
    DropUtterance,
    Event,
    HungUp,
    OpenUtterance,
    RecognitionFailed,
    Started,
    TurnLikelihood,
    VoiceOffset,
    WordsFinal,
    WordsPartial,
)
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.secret import MASK
from asterisk_ai.dialog.staged import machine as turn
from asterisk_ai.dialog.staged.deadlines import deadline
from asterisk_ai.errors import ProviderError
from asterisk_ai.providers.api import Collecting, Offering, Transcript, TurnEnd
from asterisk_ai.telemetry.logs import call_scope

logger = logging.getLogger(__name__)

PREROLL_SECONDS = 0.5
"""Audio kept from before an onset is told, so that the first sound of a word is never lost.

In white noise of 10 dB two of 100 onsets came more than 0.3 s after the first sound, none more than 0.4 s.
"""


class StagedConversation:
    """The thin shell around :mod:`asterisk_ai.dialog.staged.machine`.

    A :class:`~asterisk_ai.call.conversation.Conversation`, which never gives up: its engines have others behind them.
    """

    def __init__(self, call: Call, agent: Agent) -> None:
        self.agent = agent = replace(agent, config=agent.config.for_caller(call.session.caller))
        self._call = call
        self._session = call.session
        self._params = agent.config.turn
        self._state = turn.initial(
            agent.config.first_words,
            interruptible=agent.config.greeting_interruptible,
            language=agent.config.language,
        )
        self._preroll = Window(PREROLL_SECONDS, call.rate)
        self._utterances: dict[int, CallerUtterance] = {}  # of this call alone; at most two
        self._open: CallerUtterance | None = None
        self._judging: set[asyncio.Task[None]] = set()  # pauses whose sound is looked at
        self._speaker = ReplySpeaker(
            call,
            agent,
            PlaybackManager(
                call.connection,
                agent.tts,
                voice=agent.config.voice,
                pace=agent.pace,
                voice_key=agent.voice_key,
                sounds=agent.sounds,
            ),
            step=self.step,
            interruptible=lambda: self._state.reply.interruptible,
            secret=lambda: self.entry.secret,
        )

    # ---- life -------------------------------------------------------------

    async def run(self) -> bool:
        self.step(self._started())
        await self._call.closed.wait()
        self.step(HungUp())
        for task in self._tasks():
            task.cancel()
        return False

    def _started(self) -> Started:
        """What there is to go on with, where the caller comes back."""
        session = self._session
        unheard, then = session.unheard, session.then
        session.heard_all()
        if session.came_back:
            return Started(session.resumed, unheard=self._came_back())
        if not session.resumed or session.was_played_to:
            return Started(session.resumed)
        history = session.history
        history[:] = [turn for turn in history if turn.text or turn.role == "caller"]  # one was cut off before a word
        owed = None
        last = history[-1] if history else None
        # What is secret was not kept: it is asked for again.
        if last is not None and last.role == "caller" and last.text != MASK and not unheard and then is None:
            owed = Answer(0, last.text, understood=last.understood, dialled=last.dialled, continues=True)
            self._speaker.answers(last)
        talked = any(turn.role == "caller" for turn in history)
        return Started(
            resumed=True,
            cut=session.cut or session.service_failed,
            unheard=unheard,
            interruptible=talked or self.agent.config.greeting_interruptible,
            then=then,
            owed=owed,
        )

    def _came_back(self) -> str:
        """What is said to a caller whose transfer did not succeed, and offered instead; empty for others."""
        known, self._session.came_back = self._session.came_back, {}
        target = self.agent.config.transfers.get(known.get("to", ""))
        if target is not None and isinstance(self.agent.llm, Offering):
            self._session.memory = dict(self.agent.llm.offered(self._session.memory, target.otherwise))
        return self.agent.config.back_from(known)

    def release(self) -> None:
        self._preroll.clear()
        self._speaker.release()

    @property
    def phase(self) -> Phase:
        return self._state.phase

    def _tasks(self) -> list[asyncio.Task[None]]:
        recognising = [utterance.task for utterance in self._utterances.values() if utterance.task is not None]
        return [*recognising, *self._judging, *self._speaker.tasks()]

    # ---- what comes from the caller -------------------------------------------

    def heard(self, pcm: bytes, level: float, now: float) -> None:
        call = self._call
        if call.gates:
            call.gate(self._gates())  # a guard time ends by the clock alone
            if call.gates:
                return
        voice = call.vad.hear(pcm, level, now)
        if self._open is not None:
            self._open.feed(pcm)
        else:
            self._preroll.push(pcm)
        if voice is not None:
            call.voice(voice)

    def capture_closed(self) -> None:
        self._preroll.clear()

    @property
    def entry(self) -> Entry:
        llm, memory = self.agent.llm, self._session.memory
        return llm.entry(memory) if isinstance(llm, Collecting) else Entry(llm.digits_wanted(memory))

    def _gates(self) -> frozenset[str]:
        return turn.gates(self._state, self._params, self._call.clock()) | self._call.secret_gates

    # ---- the dialog core ------------------------------------------------------

    @property
    def due(self) -> float | None:
        return deadline(self._state, self._params)

    def step(self, event: Event) -> None:
        # Timers and tasks that begin here inherit the scope; audio and digits come from outside of it.
        with call_scope(self._session.call_id):
            self._step_in_scope(event)

    def _step_in_scope(self, event: Event) -> None:
        now = self._call.clock()
        self._state, actions = turn.step(self._state, event, now, self._params)
        for action in actions:
            self._carry_out(action)
        if isinstance(event, VoiceOffset) and self._open is not None and self.agent.turn_end is not None:
            judging = self._call.spawn(self._listen_for_end(self.agent.turn_end, self._open, event.at))
            self._judging.add(judging)
            judging.add_done_callback(self._judging.discard)
        self._call.sound.keep_secret(self.entry.secret)
        self._call.after_step(self._gates(), self.due)

    def _carry_out(self, action: Action) -> None:
        match action:
            case OpenUtterance():
                self._open_utterance(action.utterance)
            case CloseUtterance():
                self._close_utterance(action)
            case DropUtterance():
                self._drop_utterance(action.utterance)
            case DialplanAction():
                self._call.leave(action)
            case _:
                self._speaker.carry_out(action)

    # ---- listening --------------------------------------------------------------

    def _open_utterance(self, number: int) -> None:
        recent = RECENT_SECONDS if self.agent.turn_end is not None else 0.0
        utterance = CallerUtterance(number, self._call.rate, tuple(self.agent.stt.sample_rates), recent=recent)
        for pcm in self._preroll.take():
            utterance.feed(pcm)
        self._open = self._utterances[number] = utterance
        utterance.task = self._call.spawn(self._recognise(utterance))

    def _close_utterance(self, action: CloseUtterance) -> None:
        utterance = self._utterances[action.utterance]
        utterance.close()
        self._open = None
        self._call.account.turn_ended(action.ended_at)
        logger.info("utterance %d: %.2f s of audio to the recogniser", utterance.number, utterance.seconds)

    def _drop_utterance(self, number: int) -> None:
        utterance = self._utterances.pop(number, None)
        if utterance is None:
            return
        if self._open is utterance:
            self._open = None
        if utterance.task is not None:
            utterance.task.cancel()

    async def _recognise(self, utterance: CallerUtterance) -> None:
        hints = self.agent.llm.hints(self._session.memory)
        if self._state.reply.live:  # what interrupts, or only seems to, must be heard as what it is
            hints = hints.widened(phrases(hints.language))
        event: WordsFinal | RecognitionFailed
        try:
            heard = partial(self._partial_words, utterance)
            async with self.agent.stt.open(rate=utterance.rate, hints=hints, partial=heard) as stream:
                utterance.attach(stream)
                await utterance.closed.wait()
                words = self._as_meant(await stream.finish())
            event = WordsFinal(utterance.number, words.text, words.accepted, words.confidence)
        except ProviderError as error:
            logger.warning("recognition failed: %s", error)
            await utterance.closed.wait()
            event = RecognitionFailed(utterance.number)
        finally:
            utterance.release()
        self._utterances.pop(utterance.number, None)
        self._call.account.words_known()
        self.step(event)

    async def _listen_for_end(self, ends: TurnEnd, utterance: CallerUtterance, paused_at: float) -> None:
        """The caller pauses: is that the end of the turn? Without an answer the words tell.

        Not given up when the answer is too late to matter: only by waiting is a worker that hangs found out.
        """
        try:
            probability = await ends.likelihood(utterance.recent(), self._call.rate)
        except ProviderError as error:
            logger.warning("the end of the turn is told by its words: %s", error)
        else:
            self._call.guard(self.step, TurnLikelihood(utterance.number, probability, paused_at))

    def _partial_words(self, utterance: CallerUtterance, words: Transcript) -> None:
        """The recogniser has a view of what was said so far."""

        def heard() -> None:
            meant = self._as_meant(words)
            if not self._call.sound.secret:
                self._call.account.hearing(meant.text)
            complete, unfinished = completeness(meant, self.agent.config.language, self._is_whole)
            self.step(
                WordsPartial(utterance.number, meant.text, meant.accepted, complete, meant.confidence, unfinished)
            )

        self._call.guard(heard)

    def _as_meant(self, words: Transcript) -> Transcript:
        """The words as the language model would rather have them, where they may have been others."""
        if len(words.readings) < 2:
            return words
        text = self.agent.llm.likeliest(words.readings, self._session.memory)
        return replace(words, text=text, free=text)

    def _is_whole(self, text: str) -> bool | None:
        """Whether the words are an answer that need not go on; with those before them, if they go on with a turn."""
        turn = self._state.turn
        whole = turn.with_words(text, 1.0).text if turn.goes_on else text
        return self.agent.llm.complete(whole, self._speaker.memory(turn.goes_on and turn.spoken))
