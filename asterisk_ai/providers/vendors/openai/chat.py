"""Chat completions as a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from asterisk_ai.providers.net.answer import Answer, Call
from asterisk_ai.providers.net.chat import ChatModel, Json
from asterisk_ai.providers.net.context import room
from asterisk_ai.providers.presets import OPENAI, Preset
from asterisk_ai.providers.vendors.openai.client import client, read
from asterisk_ai.providers.vendors.openai.completion import Completion


class OpenAIChat(ChatModel):
    """The ``openai`` language model of one agent. Satisfies :class:`~asterisk_ai.providers.api.LanguageModel`."""

    preset: ClassVar[Preset] = OPENAI

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own, name = read(settings, self.preset, "chat"), self.preset.name
        super().__init__(
            name, client(own, name, self.preset), agent, room(own.chat.context_tokens, own.chat.max_tokens)
        )
        self._own = own.chat
        # Who speaks the protocol elsewhere may refuse what it does not know: there it is `extra` that asks.
        self._counts = self.preset.counts and not (self.preset is OPENAI and own.base_url)

    def _request(self, system: str, messages: Sequence[Json], tools: Sequence[Json]) -> tuple[str, Json]:
        body: Json = {"stream_options": {"include_usage": True}} if self._counts else {}
        body |= self._own.parameters(self.preset.limit)
        body["messages"] = [{"role": "system", "content": system}, *messages]
        if tools:
            body["tools"] = [{"type": "function", "function": tool} for tool in tools]
        return "chat/completions", body

    def _answer(self) -> Completion:
        return Completion(self._name)

    def _after(
        self, answer: Answer, said: Sequence[str], calls: Sequence[Call], results: Mapping[str, str]
    ) -> list[Json]:
        made = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in calls
        ]
        told = [{"role": "tool", "tool_call_id": call.id, "content": results.get(call.id, "done")} for call in calls]
        return [{"role": "assistant", "content": " ".join(said), "tool_calls": made}, *told]
