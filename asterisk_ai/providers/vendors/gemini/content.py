"""One answer in the making: each event is a whole ``GenerateContentResponse`` with the parts that are new. Pure.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from asterisk_ai.providers.api import Usage
from asterisk_ai.providers.net.answer import Answer, Call, count

FINISHED = ("STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED")
"""Any other reason tells that the answer was held back or went wrong: SAFETY, MALFORMED_FUNCTION_CALL ..."""
MAX_PARTS = 2_000


class Content(Answer):
    """Text, thoughts and calls stand in parts; a call comes whole, and may have an id."""

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        self.parts: list[dict[str, Any]] = []
        """As the model has to be told them again: signatures of its thoughts stand in them."""
        self.named: set[str] = set()
        """Ids that are the service's."""

    def _event(self, event: Mapping[str, Any]) -> str:
        if told := event.get("usageMetadata"):
            self.usage = usage_of(told, "candidatesTokenCount")
        if reason := (event.get("promptFeedback") or {}).get("blockReason"):
            self.declined(str(reason))
        text = ""
        for candidate in (event.get("candidates") or ())[:1]:
            for part in (candidate.get("content") or {}).get("parts") or ():
                text += self._part(part)
            if reason := candidate.get("finishReason"):
                self.reason = str(reason)
                self.ended = self.over = True
                if self.reason not in FINISHED:
                    self.declined(self.reason)
        return text

    def _part(self, part: Mapping[str, Any]) -> str:
        if len(self.parts) < MAX_PARTS:
            self.parts.append(dict(part))
        if call := part.get("functionCall"):
            id_ = str(call.get("id") or "")
            self.named |= {id_} if id_ else set()
            arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
            self._calls.append(Call(id_, str(call["name"]), arguments, len(self._calls)))
        return "" if part.get("thought") else str(part.get("text") or "")


def usage_of(told: Mapping[str, Any], written: str) -> Usage:
    """:param written: the key of what the model wrote beside its thoughts."""
    spoken = count(told, "promptTokenCount") + count(told, "toolUsePromptTokenCount")
    cached = count(told, "cachedContentTokenCount")
    return Usage(spoken, cached, count(told, written) + count(told, "thoughtsTokenCount"))
