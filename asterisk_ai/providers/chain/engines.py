"""The chains of the three stages, each an engine of its kind."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.audio.window import Window
from asterisk_ai.dialog.heard import Spoken, heard_text
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import (
    DialplanAction,
    Hints,
    LanguageModel,
    MarkedPcm,
    RealtimeAgent,
    Remember,
    ReplyPart,
    Say,
    SpeechToText,
    SpeechToTextStream,
    TextToSpeech,
    Transcript,
    TurnEnd,
    TurnRequest,
    Wait,
    ignore,
)
from asterisk_ai.providers.boundary import engine_boundary
from asterisk_ai.providers.chain.chain import Attempt, Chain, Limits, Listener, Member

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
KEPT_SECONDS = 60.0
"""Audio of one utterance kept to be played to the next engine; the oldest is dropped beyond."""
SECONDS_PER_LETTER = 0.065
SILENT_SWITCH_SECONDS = 0.5
"""A switch that was quicker than this needs no word about it."""


class SpeechToTextChain(Chain[SpeechToText]):
    """Recognisers in line. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    stage = "stt"

    @property
    def sample_rates(self) -> Sequence[int]:
        """Those of the engine that would serve now; the others get it resampled."""
        return self.first().engine.sample_rates

    async def check_grammar(self, hints: Hints) -> None:
        """See whether every engine that can check grammars takes this one. Raises ProviderRejected."""
        for member in self.members:
            check = getattr(member.engine, "check_grammar", None)
            if check is not None and member.usable():
                await check(hints)

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[SpeechToTextStream]:
        """Open a stream on the first engine that can; the words come from the first that gives them.

        :raises ProviderUnavailable, ProviderRejected: from here or from ``finish``: all have failed.
        """
        stream = _Utterance(self, rate, hints, partial)
        try:
            await stream.begin()
            yield stream
        finally:
            await stream.close()


class _Utterance:
    """One utterance on its way to one engine after the other."""

    def __init__(
        self, chain: SpeechToTextChain, rate: int, hints: Hints, partial: Callable[[Transcript], None]
    ) -> None:
        self._rate, self._hints, self._partial = rate, hints, partial
        self._attempts = chain.attempts()
        self._attempt: Attempt[SpeechToText] | None = None
        self._stack = AsyncExitStack()
        self._stream: SpeechToTextStream | None = None
        self._resampler: Resampler | None = None
        self._kept = Window(KEPT_SECONDS, rate)

    async def begin(self) -> None:
        """Open the next engine in line that opens. Raises ProviderError where none does."""
        while True:
            await self._leave()
            self._attempt = attempt = next(self._attempts, None)
            if attempt is None:
                raise ProviderUnavailable("stt", "no engine is left")
            async with attempt.limit():
                rates = list(attempt.member.engine.sample_rates)
                rate = self._rate if self._rate in rates else rates[0]
                self._resampler = Resampler(self._rate, rate) if rate != self._rate else None
                opening = attempt.member.engine.open(rate=rate, hints=self._hints, partial=self._partial)
                self._stream = await self._stack.enter_async_context(opening)
            if self._kept.dropped:
                dropped = self._kept.dropped / self._rate
                logger.warning("%s gets an utterance without its first %.0f s", attempt.member.name, dropped)
            for pcm in self._kept:
                self._pass(pcm)
            if attempt.failure is None:
                return

    def feed(self, pcm: bytes) -> None:
        self._kept.push(pcm)
        self._pass(pcm)

    def _pass(self, pcm: bytes) -> None:
        if self._stream is None or self._attempt is None:
            return
        try:
            with engine_boundary(self._attempt.member.name):
                if line := self._resampler.push(pcm) if self._resampler else pcm:
                    self._stream.feed(line)
        except ProviderError as error:
            self._attempt.failed(error)
            self._stream = None

    async def finish(self) -> Transcript:
        while True:
            attempt, stream = self._attempt, self._stream
            if attempt is None:
                raise ProviderUnavailable("stt", "the stream was left")
            words: Transcript | None = None
            if stream is not None:
                async with attempt.limit():
                    if self._resampler is not None and (tail := self._resampler.flush()):
                        stream.feed(tail)
                    words = await stream.finish()
            if attempt.failure is None and words is not None:
                attempt.served = True
                return words
            await self.begin()

    async def _leave(self) -> None:
        stack, self._stack, self._stream = self._stack, AsyncExitStack(), None
        if self._attempt is not None:
            await self._attempt.close(stack)

    async def close(self) -> None:
        await self._leave()
        close = getattr(self._attempts, "close", None)
        if close is not None:
            close()


class LanguageModelChain(Chain[LanguageModel]):
    """Language models in line. Satisfies :class:`~asterisk_ai.providers.api.LanguageModel`.

    :param switching: said where an engine has kept the caller waiting and the next is asked; empty for nothing.
    """

    stage = "llm"

    def __init__(
        self,
        members: Sequence[Member[LanguageModel]],
        limits: Limits,
        listener: Listener | None = None,
        *,
        switching: str = "",
    ) -> None:
        super().__init__(members, limits, listener)
        self._switching = switching

    @property
    def uses_tools(self) -> bool:
        """Whether one of them does."""
        return any(member.engine.uses_tools for member in self.members)

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        """Those of the engine that would serve now; where it takes free speech, what others expect is only likely."""
        first = self.first().engine.hints(memory)
        if first.expected.phrases:
            return first
        others = (member.engine.hints(memory) for member in self.members if member.ready())
        return next((replace(first, expected=one.expected, free=True) for one in others if one.expected.phrases), first)

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return self.first().engine.digits_wanted(memory)

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool | None:
        return self.first().engine.complete(text, memory)

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        """The parts of the first engine that answers. An action that was given is never given again."""
        async with aclosing(self._parts(request)) as parts:
            yield parts

    async def _parts(self, request: TurnRequest) -> AsyncGenerator[ReplyPart, None]:
        waited, said = 0.0, False
        for attempt in self.attempts():
            if self._switching and (said or waited >= SILENT_SWITCH_SECONDS):
                yield Say(self._switching)
                waited = 0.0
            asked = replace(request, more_time=attempt.more_time)
            async with aclosing(self._one(attempt, asked)) as parts:
                async for part in parts:
                    attempt.served = True
                    yield part
                    said = said or isinstance(part, Say)
                    if isinstance(part, Remember):
                        request = replace(request, memory=part.memory)  # what was done for the caller stays done
                    if isinstance(part, DialplanAction):
                        return  # the reply's end: whatever the engine does now, nobody is asked again
            if attempt.failure is None:
                attempt.served = True
                return
            waited += attempt.elapsed

    @staticmethod
    async def _one(attempt: Attempt[LanguageModel], request: TurnRequest) -> AsyncGenerator[ReplyPart, None]:
        stack = AsyncExitStack()
        parts: AsyncIterator[ReplyPart] | None = None
        answered = False
        try:
            async with attempt.limit():
                parts = await stack.enter_async_context(attempt.member.engine.reply(request))
            while attempt.failure is None:
                part: ReplyPart | None = None
                async with attempt.limit():
                    part = await _next(parts)
                if part is None:
                    break
                if isinstance(part, Say) and not any(map(str.isalnum, part.text)):
                    continue  # blanks, dots, emoji: there is nothing in it that a voice could say
                answered = answered or isinstance(part, (Say, DialplanAction, Wait))
                yield part
            if attempt.failure is None and not answered:
                attempt.failure = ProviderUnavailable(attempt.member.name, "gave no answer")
        finally:
            await attempt.close(stack)


class TextToSpeechChain(Chain[TextToSpeech]):
    """Synthesisers in line. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    stage = "tts"

    @property
    def sample_rate(self) -> int:
        """That of the engine that would serve now; what others speak is resampled to it."""
        return self.first().engine.sample_rate

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``; where an engine fails in the middle, the next one speaks the words that were not spoken."""
        async with aclosing(self._pieces(text, voice, speed, self.sample_rate)) as pieces:
            yield pieces

    async def _pieces(self, text: str, voice: str, speed: float, rate: int) -> AsyncGenerator[bytes, None]:
        rest, before = text, 0
        for attempt in self.attempts():
            spoken = 0
            async with aclosing(self._one(attempt, rest, voice, speed, rate)) as pieces:
                async for pcm in pieces:
                    attempt.served = True
                    spoken += len(pcm) // SAMPLE_BYTES
                    yield MarkedPcm(pcm, before + pcm.words) if before and isinstance(pcm, MarkedPcm) else pcm
            if attempt.failure is None:
                attempt.served = True
                return
            rest = _unspoken(rest, spoken, rate)
            before = len(text.split()) - len(rest.split())

    @staticmethod
    async def _one(
        attempt: Attempt[TextToSpeech], text: str, voice: str, speed: float, rate: int
    ) -> AsyncGenerator[bytes, None]:
        engine, name = attempt.member.engine, attempt.member.name
        stack = AsyncExitStack()
        pieces: AsyncIterator[bytes] | None = None
        audible = not any(char.isalnum() for char in text)
        try:
            resampler, words = Resampler(rate, rate), 0
            async with attempt.limit():
                resampler = Resampler(engine.sample_rate, rate)
                pieces = await _opened(stack, engine, text, voice, speed)
            while attempt.failure is None:
                pcm: bytes | None = None
                async with attempt.limit():
                    pcm = await _next(pieces)
                if pcm is None:
                    break
                audible = audible or bool(pcm)
                words = pcm.words if isinstance(pcm, MarkedPcm) else words
                if line := resampler.push(pcm):
                    yield MarkedPcm(line, words) if words else line
                    words = 0
            if attempt.failure is None and not audible:
                attempt.failure = ProviderUnavailable(name, "made no audio")
            if tail := resampler.flush():
                yield tail
        finally:
            await attempt.close(stack)


class TurnEndChain(Chain[TurnEnd]):
    """What tells the end of a turn by its sound, in line. Satisfies :class:`~asterisk_ai.providers.api.TurnEnd`."""

    stage = "turn"

    async def likelihood(self, pcm: bytes, rate: int) -> float:
        """That of the first engine that tells.

        :raises ProviderUnavailable, ProviderRejected: all have failed.
        """
        for attempt in self.attempts():
            async with attempt.limit():
                found = await attempt.member.engine.likelihood(pcm, rate)
                attempt.served = True
            if attempt.failure is None:
                return found
        raise ProviderUnavailable(self.stage, "no engine is left")


class RealtimeChain(Chain[RealtimeAgent]):
    """Engines of speech to speech in line. Whoever has the call goes along :meth:`~.Chain.attempts` itself.

    What was said is with the call, and the engines hold no part of it that another could take over.
    """

    stage = "realtime"


async def _next(items: AsyncIterator[Item] | None) -> Item | None:
    """The next one, None at the end, or where there is nothing because it could not be opened."""
    return None if items is None else await anext(items, None)


async def _opened(
    stack: AsyncExitStack, engine: TextToSpeech, text: str, voice: str, speed: float
) -> AsyncIterator[bytes]:
    """Open the engine with the agent's voice, or with its own where it has no such voice."""
    try:
        return await stack.enter_async_context(engine.open(text, voice=voice, speed=speed))
    except ProviderRejected:
        if not voice:
            raise
        return await stack.enter_async_context(engine.open(text, speed=speed))


def _unspoken(text: str, samples: int, rate: int) -> str:
    """The words of ``text`` that ``samples`` of audio do not hold, by the usual pace."""
    if not samples:
        return text
    whole = int(len(text) * SECONDS_PER_LETTER * rate)
    words = len(heard_text([Spoken(text, max(whole, samples + 1))], samples).split())
    return " ".join(text.split()[words:])
