"""Google's Gemini API as a language model: streamed, with the agent's tools.

::

    providers:
      gemini:
        api_key: ${GEMINI_API_KEY}
        model: gemini-flash-latest
        max_tokens: 1024
        thinking: {thinkingBudget: 0}     # or {thinkingLevel: low}; left out: as the model has it
        safety: {HARM_CATEGORY_HARASSMENT: BLOCK_ONLY_HIGH}

Source: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/function-calling,
https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.providers.net.answer import Answer, Call
from asterisk_ai.providers.net.chat import ChatModel, Json
from asterisk_ai.providers.net.context import room
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.vendors.gemini.content import Content

NAME = "gemini"
BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
KEY = "x-goog-api-key:"


@dataclass(frozen=True, slots=True)
class GeminiSettings(ServiceSettings):
    """``providers.gemini``."""

    model: str = "gemini-flash-latest"
    max_tokens: Annotated[int, Range(1, 1_000_000)] | None = None
    """Of an answer, with its thoughts."""
    temperature: Annotated[float, Range(0, 2)] | None = None
    context_tokens: Annotated[int, Range(500, 100_000_000)] | None = None
    """That the model can be told and say at once, where a call may have more: its oldest turns are left out then."""
    thinking: Mapping[str, Any] = field(default_factory=dict)
    """The API's ``thinkingConfig``. What is thought is never spoken."""
    safety: Mapping[str, Any] = field(default_factory=dict)
    """Thresholds by category, as the API names them."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parts of the request, merged into ours."""


class GeminiChat(ChatModel):
    """The ``gemini`` language model of one agent."""

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own = self._own = read_settings(GeminiSettings, settings, f"providers.{NAME}")
        service = HttpService(NAME, own, base_url=BASE_URL, scheme=KEY, probe=f"models/{own.model}")
        super().__init__(NAME, service, agent, room(own.context_tokens, own.max_tokens))

    def _request(self, system: str, messages: Sequence[Json], tools: Sequence[Json]) -> tuple[str, Json]:
        own = self._own
        generation = {
            "maxOutputTokens": own.max_tokens,
            "temperature": own.temperature,
            "thinkingConfig": dict(own.thinking) or None,
        }
        body: Json = {
            "systemInstruction": {"parts": [{"text": system}]},
            "contents": list(messages),
            "generationConfig": {key: value for key, value in generation.items() if value is not None},
        }
        if tools:
            body["tools"] = [{"functionDeclarations": [declared(tool) for tool in tools]}]
        if own.safety:
            body["safetySettings"] = [{"category": key, "threshold": value} for key, value in own.safety.items()]
        return f"models/{own.model}:streamGenerateContent?alt=sse", merged(body, own.extra)

    def _answer(self) -> Content:
        return Content(NAME)

    def _message(self, role: str, text: str) -> Json:
        return {"role": "model" if role == "assistant" else "user", "parts": [{"text": text}]}

    def _after(
        self, answer: Answer, said: Sequence[str], calls: Sequence[Call], results: Mapping[str, str]
    ) -> list[Json]:
        assert isinstance(answer, Content)  # noqa: S101 - for the type checker
        own = {call.id for call in answer.calls}
        written = [{"functionCall": {"name": call.name, "args": call.given()}} for call in calls if call.id not in own]
        told = [_result(answer, call, results.get(call.id, "done")) for call in calls]
        return [{"role": "model", "parts": [*answer.parts, *written]}, {"role": "user", "parts": told}]


def _result(answer: Content, call: Call, result: str) -> Json:
    response: Json = {"name": call.name, "response": {"result": result}}
    if call.id in answer.named:
        response["id"] = call.id
    return {"functionResponse": response}


def declared(function: Json) -> Json:
    """A function as the API takes it; one without parameters has no schema."""
    found = {"name": function["name"], "description": function["description"]}
    if function["parameters"]["properties"]:
        found["parametersJsonSchema"] = function["parameters"]
    return found
