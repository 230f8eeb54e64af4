"""Language models in line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import (
    Collecting,
    DialplanAction,
    Hints,
    LanguageModel,
    Offering,
    Remember,
    ReplyPart,
    Say,
    TurnRequest,
    Wait,
)
from asterisk_ai.providers.chain.chain import Attempt, Chain, Limits, Listener, Member, next_item

SILENT_SWITCH_SECONDS = 0.5
"""A switch that was quicker than this needs no word about it."""


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

    def likeliest(self, readings: Sequence[tuple[str, float]], memory: Mapping[str, Any]) -> str:
        return self.first().engine.likeliest(readings, memory)

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool | None:
        return self.first().engine.complete(text, memory)

    def entry(self, memory: Mapping[str, Any]) -> Entry:
        """See :class:`~asterisk_ai.providers.api.Collecting`."""
        engine = self.first().engine
        return engine.entry(memory) if isinstance(engine, Collecting) else Entry(engine.digits_wanted(memory))

    def offered(self, memory: Mapping[str, Any], wish: str) -> Mapping[str, Any]:
        engine = self.first().engine
        return engine.offered(memory, wish) if isinstance(engine, Offering) else memory

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        """The parts of the first engine that answers. An action that was given is never given again."""
        async with aclosing(self._parts(request)) as parts:
            yield parts

    async def _parts(self, request: TurnRequest) -> AsyncGenerator[ReplyPart, None]:
        waited, said = 0.0, dict[str, str]()  # what the caller has heard of the answer, by its letters
        for attempt in self.attempts():
            if self._switching and (said or waited >= SILENT_SWITCH_SECONDS):
                yield Say(self._switching)
                waited = 0.0
            before = frozenset(said)
            asked = replace(
                request, more_time=attempt.more_time, spent=partial(self.spend, attempt), said=tuple(said.values())
            )
            async with aclosing(self._one(attempt, asked)) as parts:
                async for part in parts:
                    attempt.served = True
                    if isinstance(part, Say):
                        letters = _letters(part.text)
                        if letters in before:
                            continue  # the engine before had said it when it failed
                        said[letters] = part.text
                    yield part
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
                    part = await next_item(parts)
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


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
