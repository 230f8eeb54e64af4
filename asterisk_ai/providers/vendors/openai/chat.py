"""Chat completions as a language model: streamed, cut into sentences, with the agent's tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from asterisk_ai.dialog.caller import instructions, name_as_data
from asterisk_ai.dialog.spoken import ReplyText, ToolText
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers import knowledge
from asterisk_ai.providers.api import DialplanAction, Hints, Readiness, ReplyPart, Say, TurnRequest
from asterisk_ai.providers.presets import OPENAI, Preset
from asterisk_ai.providers.tools.http import BadToolCall
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.openai.client import client, read, texts
from asterisk_ai.providers.vendors.openai.completion import Call, Completion

MAX_ROUNDS = 5
"""How often the model is asked again in one turn, because what it called was wrong or gave it something to say."""
MAX_HISTORY = 60
PASSAGES, LIKE = 4, 0.25
"""Of the company's texts as many as that are given, if they are so like the question: the model sees what fits."""
_RULES = (
    "You are on the telephone. What you write is spoken: answer in one or two short sentences, without lists, "
    "markup, emoji or web addresses. If you did not understand the caller, say so and ask again."
)


class OpenAIChat:
    """The ``openai`` language model of one agent. Satisfies :class:`~asterisk_ai.providers.api.LanguageModel`.

    :param agent: ``prompt``, ``language``, ``tools`` and ``knowledge`` of the agent.
    """

    uses_tools = True
    preset: ClassVar[Preset] = OPENAI

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own, self._name = read(settings, self.preset, "chat"), self.preset.name
        self._own, self._client = own.chat, client(own, self._name, self.preset)
        self._prompt = "\n\n".join(part for part in (str(agent.get("prompt") or ""), _RULES) if part)
        self._hints = Hints(language=str(agent.get("language") or "en-US"))
        path = f"agents.{agent.get('name') or '?'}"
        self._tools = Toolbox(agent.get("tools") or {}, f"{path}.tools")
        self._knowledge = knowledge.read(agent.get("knowledge") or (), f"{path}.knowledge", self._hints.language)

    async def start(self) -> None:
        await self._tools.start()
        await self._client.start()

    async def stop(self) -> None:
        await self._client.stop()
        await self._tools.stop()

    def readiness(self) -> Readiness:
        return self._client.readiness()

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        return self._hints

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return 0  # the model says it with the answer

    def complete(self, text: str, memory: Mapping[str, Any]) -> None:
        return None  # free speech: nobody knows before the pause

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        yield self._parts(request)

    async def _parts(self, request: TurnRequest) -> AsyncIterator[ReplyPart]:
        messages = self._messages(request)
        before: set[str] = set()
        for _ in range(MAX_ROUNDS):
            calls: list[Call] = []
            now: list[str] = []
            async for sentence in self._stream(messages, calls, request.actions):
                now.append(sentence)
                if sentence not in before:  # asked again, models begin with the same words
                    yield Say(sentence)
            if not now and not calls:
                raise ProviderUnavailable(self._name, "gave no answer")
            before.update(now)
            told: dict[str, str] = {}
            async for part in self._act(calls, request, told):
                yield part
                if isinstance(part, DialplanAction):
                    return  # a call ends with its first action: whatever else was called is not done
            if not told:
                return
            messages += _after(now, calls, told)
        raise ProviderUnavailable(self._name, f"came to no answer in {MAX_ROUNDS} rounds of calling functions")

    def _messages(self, request: TurnRequest) -> list[dict[str, Any]]:
        system = instructions(self._prompt, request.caller, request.actions)
        roles = {"caller": "user", "agent": "assistant"}
        turns = [(roles.get(turn.role, "user"), turn.text) for turn in request.history[-MAX_HISTORY:] if turn.text]
        if request.dialled:
            text = f"(dialled on the keys: {request.text})"
        else:
            text = request.text if request.understood and request.text else "(could not be understood)"
            # Beside the caller's words and not in the system message, whose beginning servers keep from turn to turn.
            text += knowledge.as_data(self._knowledge.search(request.text, PASSAGES, LIKE))
        name = name_as_data(request.caller)
        known = [("user", name)] if name else []
        return [{"role": "system", "content": system}, *_alternating([*known, *turns, ("user", text)])]

    async def _stream(
        self, messages: list[dict[str, Any]], calls: list[Call], actions: Collection[str]
    ) -> AsyncIterator[str]:
        """One completion: its text in pieces to speak, its function calls into ``calls`` once it has ended well."""
        body = self._own.parameters(self.preset.limit) | {"messages": messages}
        if schemas := self._tools.schemas(actions):
            body["tools"] = schemas
        text = ReplyText(self._hints.language)
        written: list[ToolText] = []  # calls that the server did not take out of the text
        completion = Completion(self._name)
        async with self._client.post("chat/completions", json=body) as response:
            async for content in texts(response, completion, self._name):
                for piece in _sayable(text.push(content), written):
                    yield piece
        for piece in _sayable(text.flush(), written):
            yield piece
        calls += completion.calls
        calls += [Call(f"text{number:05d}", one.name, one.arguments) for number, one in enumerate(written)]

    async def _act(self, calls: list[Call], request: TurnRequest, told: dict[str, str]) -> AsyncIterator[ReplyPart]:
        """What the calls stand for, in their order; into ``told`` what the model is to know of them."""
        asking = any(self._tools.is_request(call.name) for call in calls)
        for call in calls:
            try:
                if self._tools.is_request(call.name):
                    async for part in self._send(call, request, told):
                        yield part
                    continue
                part = self._tools.carry_out(call.name, call.arguments, request.actions)
            except BadToolCall as error:
                told[call.id] = f"error: {error}"
                continue
            if isinstance(part, DialplanAction) and asking:
                told[call.id] = "not done: tell the caller what came of the other function, then call this again"
                continue
            yield part

    async def _send(self, call: Call, request: TurnRequest, told: dict[str, str]) -> AsyncIterator[ReplyPart]:
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


def _alternating(turns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The user first, and never two of a kind in a row: the templates of many models refuse anything else."""
    found: list[dict[str, Any]] = []
    if turns[0][0] != "user":
        found.append({"role": "user", "content": "(The caller is on the line.)"})
    for role, text in turns:
        if found and found[-1]["role"] == role:
            found[-1]["content"] += f"\n{text}"
        else:
            found.append({"role": role, "content": text})
    return found


def _sayable(parts: list[str | ToolText], calls: list[ToolText]) -> list[str]:
    """What is to be said; the rest goes into ``calls``."""
    calls += [part for part in parts if isinstance(part, ToolText)]
    return [part for part in parts if isinstance(part, str)]


def _after(said: list[str], calls: list[Call], results: Mapping[str, str]) -> list[dict[str, Any]]:
    """The conversation as the model knows it, with what came of its calls."""
    made = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
        for call in calls
    ]
    answers = [{"role": "tool", "tool_call_id": call.id, "content": results.get(call.id, "done")} for call in calls]
    return [{"role": "assistant", "content": " ".join(said), "tool_calls": made}, *answers]
