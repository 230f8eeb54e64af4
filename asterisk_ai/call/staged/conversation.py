"""One call: carries out what the dialog core decides."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from asterisk_ai.agents.agent import Agent
from asterisk_ai.audio.formats import duration
from asterisk_ai.call.call import Detector, Leg, by_level
from asterisk_ai.call.staged.recognition import RECENT_SECONDS, Utterance
from asterisk_ai.call.staged.speaker import Speaker
from asterisk_ai.call.staged.synthesis import PlaybackManager
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
from asterisk_ai.dialog.staged import machine as turn
from asterisk_ai.dialog.staged.deadlines import deadline
from asterisk_ai.dialog.staged.state import Phase
from asterisk_ai.errors import ProviderError
from asterisk_ai.providers.api import Transcript, TurnEnd
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.logs import call_scope
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.media import MediaConnection
from asterisk_ai.vad.energy import Offset, Onset

logger = logging.getLogger(__name__)

PREROLL_SECONDS = 0.5
"""Audio kept from before an onset is told, so that the first sound of a word is never lost.

In white noise of 10 dB two of 100 onsets came more than 0.3 s after the first sound, none more than 0.4 s.
"""


class Call(Leg):
    """The thin shell around :mod:`asterisk_ai.dialog.staged.machine` for one connection."""

    def __init__(
        self,
        session: CallSession,
        agent: Agent,
        connection: MediaConnection,
        store: SessionStore,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        detector: Detector = by_level,
        resumed: bool = False,
    ) -> None:
        """``resumed``: somebody else has begun the call."""
        super().__init__(session, connection, metrics, clock=clock, detector=detector)
        self.agent = agent
        self._store = store
        self._resumed = resumed or session.connects > 1
        self._params = agent.config.turn
        self._state = turn.initial(
            agent.config.greeting,
            interruptible=agent.config.greeting_interruptible,
            language=agent.config.language,
        )
        self._voiced_until = 0.0
        self._preroll: deque[bytes] = deque()
        self._preroll_frame = 0  # bytes of those that the pre-roll is made for
        self._utterances: dict[int, Utterance] = {}  # of this call alone; at most two
        self._open: Utterance | None = None
        self._judging: set[asyncio.Task[None]] = set()  # pauses whose sound is looked at
        self._speaker = Speaker(
            session,
            agent,
            PlaybackManager(connection, agent.tts, voice=agent.config.voice),
            store,
            metrics,
            clock=clock,
            step=self._step,
            spawn=self._spawn,
            interruptible=lambda: self._state.interruptible,
        )

    # ---- life -------------------------------------------------------------

    async def _converse(self) -> None:
        self._step(Started(self._resumed, self.session.away in ("play", "played")))
        await self._closed.wait()
        self._step(HungUp())
        for task in self._tasks():
            task.cancel()

    def _cleaned_up(self) -> None:
        self._preroll.clear()
        super()._cleaned_up()

    def _release(self) -> None:
        self._speaker.release()

    def _phase(self) -> Phase:
        return self._state.phase

    def _tasks(self) -> list[asyncio.Task[None]]:
        recognising = [utterance.task for utterance in self._utterances.values() if utterance.task is not None]
        return [*recognising, *self._judging, *self._speaker.tasks()]

    # ---- MediaHandler -------------------------------------------------------

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
            if vad.speaking:
                self._voiced_until = vad.voiced_until
            if self._open is not None:
                self._open.feed(pcm)
            else:
                self._keep_preroll(pcm)
            if voice is not None:
                self._voice(voice)
        except Exception:
            logger.exception("the call failed", extra={"call_id": self.session.call_id})
            self._fall_back()

    def _voice(self, voice: Onset | Offset) -> None:
        self._voiced_until = self._vad.voiced_until
        self._step(VoiceOnset(voice.at) if isinstance(voice, Onset) else VoiceOffset(voice.at))

    def _gated(self, now: float) -> bool:
        """Whether this frame is not to be captured; a guard time ends by the clock alone."""
        self._gate(turn.gates(self._state, self._params, now))
        return bool(self._gates)

    def _capture_closed(self) -> None:
        self._preroll.clear()
        if self._vad.reset():
            self._step(VoiceOffset(self._vad.voiced_until))

    def on_digit(self, digit: str) -> None:
        def dialled() -> None:
            self._step(DigitDialled(digit, self.agent.llm.digits_wanted(self.session.memory)))

        self._guard(dialled)

    def _keep_preroll(self, pcm: bytes) -> None:
        if len(pcm) != self._preroll_frame:  # it hardly ever is: a call's frames are all of one length
            self._preroll_frame = len(pcm)
            frames = math.ceil(PREROLL_SECONDS / duration(len(pcm), self.rate)) if pcm else 0
            self._preroll = deque(self._preroll, frames)
        self._preroll.append(pcm)

    # ---- the dialog core ------------------------------------------------------

    def _step(self, event: Event) -> None:
        # Timers and tasks that begin here inherit the scope; on_audio and on_digit are called from outside of it.
        with call_scope(self.session.call_id):
            self._step_in_scope(event)

    def _step_in_scope(self, event: Event) -> None:
        before = self._state.phase
        self._state, actions = turn.step(self._state, event, self._clock(), self._params)
        self._in_phase(before)
        for action in actions:
            self._carry_out(action)
        if isinstance(event, VoiceOffset) and self._open is not None and self.agent.turn_end is not None:
            judging = self._spawn(self._listen_for_end(self.agent.turn_end, self._open, event.at))
            self._judging.add(judging)
            judging.add_done_callback(self._judging.discard)
        gates = turn.gates(self._state, self._params, self._clock())
        if gates != self._gates:
            self._gate(gates)
        self._arm(deadline(self._state, self._params))

    def _time_passed(self) -> None:
        offset = self._silence(self._clock())
        if offset is not None:
            self._step(VoiceOffset(offset.at))
        due = deadline(self._state, self._params)
        if due is not None and self._clock() < due - 1e-6:
            self._arm(due)  # what most of them are: to look for a gap in the audio, or armed for an earlier deadline
        else:
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

    # ---- listening --------------------------------------------------------------

    def _open_utterance(self, number: int) -> None:
        recent = RECENT_SECONDS if self.agent.turn_end is not None else 0.0
        utterance = Utterance(number, self.rate, tuple(self.agent.stt.sample_rates), recent=recent)
        for pcm in self._preroll:
            utterance.feed(pcm)
        self._preroll.clear()
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
            event = WordsFinal(utterance.number, words.text, words.accepted, words.confidence)
        except ProviderError as error:
            logger.warning("recognition failed: %s", error)
            await utterance.closed.wait()
            event = RecognitionFailed(utterance.number)
        finally:
            utterance.release()
        self._utterances.pop(utterance.number, None)
        self._speaker.note("words")
        self._step(event)

    async def _listen_for_end(self, ends: TurnEnd, utterance: Utterance, paused_at: float) -> None:
        """The caller pauses: is that the end of the turn? Without an answer the words tell.

        Not given up when the answer is too late to matter: only by waiting is a worker that hangs found out.
        """
        try:
            probability = await ends.likelihood(utterance.recent(), self.rate)
        except ProviderError as error:
            logger.warning("the end of the turn is told by its words: %s", error)
        else:
            self._guard(lambda: self._step(TurnLikelihood(utterance.number, probability, paused_at)))

    def _partial_words(self, utterance: Utterance, words: Transcript) -> None:
        """The recogniser has a view of what was said so far."""

        def heard() -> None:
            complete = words.accepted and self.agent.llm.complete(words.text, self.session.memory)
            self._step(WordsPartial(utterance.number, words.text, words.accepted, complete, words.confidence))

        self._guard(heard)

    # ---- back to the dialplan ---------------------------------------------------------

    def _leave(self, action: Leave) -> None:
        self.session.pending = {"kind": action.kind, "arguments": dict(action.arguments)}
        self._store.save(self.session)
        logger.info("back to the dialplan: %s", action.kind)
        self._connection.hang_up()
