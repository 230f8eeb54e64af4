"""A language model that is asked over HTTP: what those of all vendors have in common. Needs the ``remote`` extra.

Streamed, cut into sentences, with the agent's tools. A vendor's own is a subclass that says how it is asked, and how
its events are read.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from asterisk_ai.dialog.caller import instructions, name_as_data
from asterisk_ai.dialog.spoken import ReplyText, ToolText
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers import knowledge
from asterisk_ai.providers.api import DialplanAction, Hints, LanguageModel, Readiness, ReplyPart, Say, TurnRequest
from asterisk_ai.providers.net.answer import Answer, Call, texts
from asterisk_ai.providers.net.context import alternating, fitting, tokens
from asterisk_ai.providers.net.http import HttpService
from asterisk_ai.providers.tools.http import BadToolCall
from asterisk_ai.providers.tools.toolbox import Toolbox

MAX_ROUNDS = 5
"""How often the model is asked again in one turn, because what it called was wrong or gave it something to say."""
PASSAGES, LIKE = 4, 0.25
"""Of the company's texts as many as that are given, if they are so like the question: the model sees what fits."""
_RULES = (
    "You are on the telephone. What you write is spoken: answer in one or two short sentences, without lists, "
    "markup, emoji or web addresses. If you did not understand the caller, say so and ask again."
)
_GO_ON = "(You broke off there. Go on behind it, and say nothing of it again.)"
Json = dict[str, Any]


class ChatModel(LanguageModel, ABC):
    """The language model of one agent.

    :param service: that answers.
    :param agent: ``prompt``, ``language``, ``tools`` and ``knowledge`` of the agent.
    :param context: tokens that the model can be told, its answer apart; 0: more than a call has.
    """

    uses_tools = True
    streams = "sentences as they are written"

    def __init__(self, name: str, service: HttpService, agent: Mapping[str, Any], context: int = 0) -> None:
        self._name, self._client, self._context = name, service, context
        self._prompt = "\n\n".join(part for part in (str(agent.get("prompt") or ""), _RULES) if part)
        self._hints = Hints(language=str(agent.get("language") or "en-US"))
        path = f"agents.{agent.get('name') or '?'}"
        self._tools = Toolbox(agent.get("tools") or {}, f"{path}.tools", tuple(agent.get("transfers") or ()))
        self._knowledge = knowledge.read(agent.get("knowledge") or (), f"{path}.knowledge", self._hints.language)

    async def start(self) -> None:
        await self._tools.start()
        await self._client.start()

    async def stop(self) -> None:
        await self._client.stop()
        await self._tools.stop()

    def readiness(self) -> Readiness:
        return self._client.readiness()

    def tool_problems(self) -> list[str]:
        """Why some of the agent's tools cannot be offered now: ``asterisk-ai check`` tells."""
        return self._tools.problems()

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        return self._hints

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        async with aclosing(self._parts(request)) as parts:
            yield parts

    async def _parts(self, request: TurnRequest) -> AsyncGenerator[ReplyPart, None]:
        system = instructions(self._prompt, request.caller, request.actions)
        tools = [one["function"] for one in self._tools.schemas(request.actions)]
        name, turns, since = name_as_data(request.caller), self._turns(request), list[Json]()
        known = [("user", name)] if name else []
        before: set[str] = set()
        for _ in range(MAX_ROUNDS):
            calls: list[Call] = []
            now: list[str] = []
            answer = self._answer()
            told = alternating([*known, *fitting(turns, self._context, tokens(system, tools, name, since))])
            path, body = self._request(system, [*(self._message(role, text) for role, text in told), *since], tools)
            try:
                async with aclosing(self._stream(path, body, answer, calls)) as sentences:
                    async for sentence in sentences:
                        now.append(sentence)
                        if sentence not in before:  # asked again, models begin with the same words
                            yield Say(sentence)
            finally:
                request.spent(answer.usage)
            if not now and not calls:
                raise ProviderUnavailable(self._name, "gave no answer")
            before.update(now)
            results: dict[str, str] = {}
            async with aclosing(self._act(calls, request, results)) as done:
                async for part in done:
                    yield part
                    if isinstance(part, DialplanAction):
                        return  # a call ends with its first action: whatever else was called is not done
            if not results:
                return
            since += self._after(answer, now, calls, results)
        raise ProviderUnavailable(self._name, f"came to no answer in {MAX_ROUNDS} rounds of calling functions")

    def _turns(self, request: TurnRequest) -> list[tuple[str, str]]:
        roles = {"caller": "user", "agent": "assistant"}
        turns = [(roles.get(turn.role, "user"), turn.text) for turn in request.history if turn.text]
        if request.dialled:
            text = f"(dialled on the keys: {request.text})"
        else:
            text = request.text if request.understood and request.text else "(could not be understood)"
            # Beside the caller's words and not in the system message, whose beginning servers keep from turn to turn.
            text += knowledge.as_data(self._knowledge.search(request.text, PASSAGES, LIKE))
        begun = [("assistant", " ".join(request.said)), ("user", _GO_ON)] if request.said else []
        return [*turns, ("user", text), *begun]

    async def _stream(self, path: str, body: Json, answer: Answer, calls: list[Call]) -> AsyncGenerator[str, None]:
        """One answer: its text in pieces to speak, its function calls into ``calls`` once it has ended well."""
        text = ReplyText(self._hints.language)
        written: list[ToolText] = []  # calls that the server did not take out of the text
        async with self._client.post(path, json=body) as response, aclosing(texts(response, answer)) as contents:
            async for content in contents:
                for piece in _sayable(text.push(content), written):
                    yield piece
        for piece in _sayable(text.flush(), written):
            yield piece
        calls += answer.calls
        calls += [Call(f"text{number:05d}", one.name, one.arguments) for number, one in enumerate(written)]

    # ---- the vendor's own ----------------------------------------------------------------

    @abstractmethod
    def _request(self, system: str, messages: Sequence[Json], tools: Sequence[Json]) -> tuple[str, Json]:
        """The path and the body of a request.

        :param messages: those of :meth:`_message`, and behind them those of :meth:`_after`.
        :param tools: functions with ``name``, ``description`` and ``parameters``, a JSON schema.
        """

    @abstractmethod
    def _answer(self) -> Answer:
        """A new answer, of which nothing has come yet."""

    def _message(self, role: str, text: str) -> Json:
        """A turn of the conversation, of the ``user`` or the ``assistant``."""
        return {"role": role, "content": text}

    @abstractmethod
    def _after(
        self, answer: Answer, said: Sequence[str], calls: Sequence[Call], results: Mapping[str, str]
    ) -> list[Json]:
        """The messages that tell the model what it said and called, and what came of its calls."""

    # ---- functions -------------------------------------------------------------------------

    async def _act(
        self, calls: list[Call], request: TurnRequest, told: dict[str, str]
    ) -> AsyncGenerator[ReplyPart, None]:
        """What the calls stand for, in their order; into ``told`` what the model is to know of them."""
        asking = any(self._tools.is_request(call.name) for call in calls)
        for call in calls:
            try:
                if self._tools.is_request(call.name):
                    async with aclosing(self._send(call, request, told)) as sent:
                        async for said in sent:
                            yield said
                    continue
                part = self._tools.carry_out(call.name, call.arguments, request.actions)
            except BadToolCall as error:
                told[call.id] = f"error: {error}"
                continue
            if isinstance(part, DialplanAction) and asking:
                told[call.id] = "not done: tell the caller what came of the other function, then call this again"
                continue
            yield part

    async def _send(self, call: Call, request: TurnRequest, told: dict[str, str]) -> AsyncGenerator[ReplyPart, None]:
        """A request is on its way while the caller hears that it is."""
        wanted = self._tools.request(call.name, call.arguments, request.caller)
        result = wanted.result(request.ledger, request.certain)
        sending = asyncio.create_task(result, name=f"{self._name} tool {call.name}")
        try:
            if wanted.say:
                yield Say(wanted.say)
            request.more_time(wanted.seconds)
            told[call.id] = await sending
        finally:
            sending.cancel()  # where the caller went on; what changes something goes on by itself


def _sayable(parts: list[str | ToolText], calls: list[ToolText]) -> list[str]:
    """What is to be said; the rest goes into ``calls``."""
    calls += [part for part in parts if isinstance(part, ToolText)]
    return [part for part in parts if isinstance(part, str)]
