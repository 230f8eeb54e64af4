"""Anthropic's Messages API as a language model: streamed, with the agent's tools.

::

    providers:
      anthropic:
        api_key: ${ANTHROPIC_API_KEY}
        model: claude-haiku-4-5
        max_tokens: 1024                  # the service wants one; thoughts count
        thinking: {type: disabled}        # or {type: adaptive}; left out: as the model has it
        cache: true                       # what stays the same from turn to turn costs a tenth, and is read sooner

Source: https://platform.claude.com/docs/en/api/messages, .../build-with-claude/streaming, .../prompt-caching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.net.answer import Answer, Call
from asterisk_ai.providers.net.chat import ChatModel, Json
from asterisk_ai.providers.net.context import room
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.vendors.anthropic.message import Message

NAME = "anthropic"
BASE_URL = "https://api.anthropic.com/v1"
HEADERS = {"anthropic-version": "2023-06-01"}
CACHED = {"cache_control": {"type": "ephemeral"}}


@dataclass(frozen=True, slots=True)
class AnthropicSettings(ServiceSettings):
    """``providers.anthropic``."""

    model: str = "claude-haiku-4-5"
    max_tokens: Annotated[int, Range(1, 1_000_000)] = 1024
    """Of an answer, with its thoughts."""
    context_tokens: Annotated[int, Range(500, 100_000_000)] | None = None
    """That the model can be told and say at once, where a call may have more: its oldest turns are left out then."""
    thinking: Mapping[str, Any] = field(default_factory=dict)
    """As the API has it. What is thought is never spoken."""
    cache: bool = True
    """Let the service keep the instructions, the tools and the conversation so far."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the request, such as what only some models take."""


class AnthropicChat(ChatModel):
    """The ``anthropic`` language model of one agent."""

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own = self._own = read_settings(AnthropicSettings, settings, f"providers.{NAME}")
        service = HttpService(NAME, own, base_url=BASE_URL, scheme="x-api-key:", probe="models", headers=HEADERS)
        super().__init__(NAME, service, agent, room(own.context_tokens, own.max_tokens))

    def _request(self, system: str, messages: Sequence[Json], tools: Sequence[Json]) -> tuple[str, Json]:
        own, told = self._own, list(messages)
        instructions: Json = {"type": "text", "text": system}
        if own.cache:
            instructions |= CACHED
            # The last message is another one in the next turn, where the company's texts were put into it.
            told[-2:-1] = [_kept(message) for message in told[-2:-1]]
        given = {
            "model": own.model,
            "max_tokens": own.max_tokens,
            "thinking": dict(own.thinking) or None,
            "system": [instructions],
            "messages": told,
            "tools": [_tool(tool) for tool in tools] or None,
            "stream": True,
        }
        return "messages", {key: value for key, value in given.items() if value is not None} | dict(own.extra)

    def _answer(self) -> Message:
        return Message(NAME)

    def _after(
        self, answer: Answer, said: Sequence[str], calls: Sequence[Call], results: Mapping[str, str]
    ) -> list[Json]:
        assert isinstance(answer, Message)  # noqa: S101 - for the type checker
        told = [
            {"type": "tool_result", "tool_use_id": call.id, "content": results.get(call.id, "done")} for call in calls
        ]
        # Thoughts go back with their signatures, before what came of them: the service refuses the calls without.
        return [{"role": "assistant", "content": _blocks(answer, calls)}, {"role": "user", "content": told}]


def _blocks(answer: Message, calls: Sequence[Call]) -> list[Json]:
    """What the model said, and the calls that it wrote into its text."""
    own = {call.id for call in answer.calls}
    written = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.given()}
        for call in calls
        if call.id not in own
    ]
    return [*answer.blocks(), *written]


def _kept(message: Json) -> Json:
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    return {**message, "content": [*blocks[:-1], blocks[-1] | CACHED]}


def _tool(function: Json) -> Json:
    return {"name": function["name"], "description": function["description"], "input_schema": function["parameters"]}
