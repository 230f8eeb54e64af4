"""Who has answered a call of ours: listened for before the agent speaks, where a machine is not to be talked with."""

from __future__ import annotations

import asyncio
import logging

from asterisk_ai.agents.agent import Agent
from asterisk_ai.audio.beep import BeepDetector
from asterisk_ai.audio.window import Window
from asterisk_ai.call.call import GAP_SECONDS, Call
from asterisk_ai.call.staged.conversation import PREROLL_SECONDS, StagedConversation
from asterisk_ai.call.staged.recognition import CallerUtterance
from asterisk_ai.dialog import answered
from asterisk_ai.dialog.answered import Who
from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.dialog.dialplan import HANG_UP
from asterisk_ai.dialog.events import CallerEvent, DigitDialled, Started, VoiceOffset, VoiceOnset
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.turn_words import turn_words
from asterisk_ai.errors import ProviderError
from asterisk_ai.providers.api import Hints, Transcript

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
ANSWERED_BY = "answered_by"
"""Of a session's ``caller``: ``machine`` or ``person``."""


class Answering:
    """A :class:`~asterisk_ai.call.conversation.Conversation` that says nothing, and gives way when it knows.

    :param message: a machine gets a message; else it is hung up on.
    """

    def __init__(self, call: Call, agent: Agent, *, message: bool) -> None:
        self._call, self._agent, self._message = call, agent, message
        self._heard = answered.begun(call.clock())
        self._beep = BeepDetector(call.rate)
        self._language = agent.config.language
        self._preroll = Window(PREROLL_SECONDS, call.rate)
        self._open: CallerUtterance | None = None
        self._before = ""  # words of earlier utterances
        self._changed = asyncio.Event()
        self._recognising: set[asyncio.Task[None]] = set()

    async def run(self) -> bool:
        found = None
        while found is None and not self._call.closed.is_set():
            await self._look()
            found = answered.who(self._heard, self._call.clock(), self._language)
        if found is None:
            return False
        self._call.session.caller[ANSWERED_BY] = found
        logger.info("answered by a %s", found)
        if found is Who.PERSON:
            return self._over()
        if not self._message:
            self._over()
            self._call.leave(HANG_UP)
            await self._call.closed.wait()
            return False
        while not self._call.closed.is_set() and (
            self._beep.sounding or not answered.records(self._heard, self._call.clock())
        ):
            await self._look()
        return self._over()

    def _over(self) -> bool:
        for task in tuple(self._recognising):
            task.cancel()
        self._call.store.save(self._call.session)
        return not self._call.closed.is_set()

    async def _look(self) -> None:
        """Until something was heard, or some time has gone by."""
        self._changed.clear()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            now = self._call.clock()
            silent = now - self._call.audio_at >= GAP_SECONDS
            if silent and (offset := self._call.vad.expire(now)) is not None:
                self.step(VoiceOffset(offset.at))

    def _begin(self) -> None:
        self._end()
        utterance = self._open = CallerUtterance(0, self._call.rate, tuple(self._agent.stt.sample_rates), recent=0.0)
        for pcm in self._preroll.take():
            utterance.feed(pcm)
        task = self._call.spawn(self._recognise(utterance))
        self._recognising.add(task)
        task.add_done_callback(self._recognising.discard)

    def _end(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    async def _recognise(self, utterance: CallerUtterance) -> None:
        hints = Hints(language=self._language, free=True, examples=turn_words(self._language).machine)
        try:
            async with self._agent.stt.open(rate=utterance.rate, hints=hints, partial=self._words) as stream:
                utterance.attach(stream)
                await utterance.closed.wait()
                self._words(await stream.finish(), final=True)
        except ProviderError as error:
            logger.warning("who answered is told without the words: %s", error)
        finally:
            utterance.release()

    def _words(self, words: Transcript, *, final: bool = False) -> None:
        said = f"{self._before} {words.text} {words.free}"
        self._before = said if final else self._before
        self._heard = answered.heard_words(self._heard, said)
        self._changed.set()

    @property
    def phase(self) -> Phase:
        return Phase.LISTENING

    def heard(self, pcm: bytes, level: float, now: float) -> None:
        if self._open is not None:
            self._open.feed(pcm)
        else:
            self._preroll.push(pcm)
        self._beep.push(pcm)
        if self._beep.heard and not self._heard.beeped:
            self._heard = answered.beep(self._heard)
            self._changed.set()
        voice = self._call.vad.hear(pcm, level, now)
        if voice is not None:
            self._call.voice(voice)

    def step(self, event: CallerEvent) -> None:
        match event:
            case VoiceOnset(at=at):
                self._heard = answered.onset(self._heard, at)
                self._begin()
            case VoiceOffset(at=at):
                self._heard = answered.offset(self._heard, at)
                self._end()
            case DigitDialled():
                # Machines press no keys.
                self._heard = answered.offset(self._heard, self._call.clock() - answered.SILENT_SECONDS)
            case _:
                pass
        self._changed.set()

    @property
    def due(self) -> float | None:
        return None

    @property
    def entry(self) -> Entry:
        return Entry()

    def capture_closed(self) -> None:
        pass

    def release(self) -> None:
        self._end()
        self._preroll.clear()


class MessageForMachine(StagedConversation):
    """Says the agent's message to a machine, and hangs up."""

    def _started(self) -> Started:
        return Started(resumed=True, unheard=self.agent.config.machine_message, interruptible=False, then=HANG_UP)
