"""One message in the making: the events of a stream. Pure.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming (event types; others may come, and are nothing).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asterisk_ai.providers.api import Usage
from asterisk_ai.providers.net.answer import Answer, Call, count

MAX_TOOL_TEXT = 20_000
SENT_BACK = ("text", "thinking", "redacted_thinking", "tool_use")
DELTAS: Mapping[str, str] = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class Message(Answer):
    """Content comes in blocks, each with an index: text, thoughts, calls. Only text is said."""

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        self._blocks: dict[int, dict[str, Any]] = {}

    def blocks(self) -> list[dict[str, Any]]:
        """What the model wrote, as it has to be told again."""
        inputs = {call.id: call.given() for call in self._calls}
        return [
            block | {"input": inputs[block["id"]]} if block["type"] == "tool_use" else block
            for block in self._blocks.values()
            if block["type"] != "text" or block["text"].strip()  # the service refuses a text that is empty
        ]

    def _event(self, event: Mapping[str, Any]) -> str:
        match event["type"]:
            case "content_block_start":
                return self._begin(int(event["index"]), event["content_block"])
            case "content_block_delta":
                return self._delta(int(event["index"]), event["delta"])
            case "message_start":
                self._count(event["message"].get("usage"))
            case "message_delta":
                self._count(event.get("usage"))
                self._reason(event["delta"])
            case "message_stop":
                self.ended = self.over = True
            case "message":  # a server that does not stream
                said = [self._begin(index, block) for index, block in enumerate(event["content"])]
                self._count(event.get("usage"))
                self._reason(event)
                return "".join(said)
            case _:
                pass  # ping, content_block_stop, and what is yet to be invented
        return ""

    def _count(self, told: Mapping[str, Any] | None) -> None:
        """Counts are of the whole message so far; tokens that were read from the cache or put there stand apart."""
        told, before = told or {}, self.usage
        cached = count(told, "cache_read_input_tokens")
        fresh = count(told, "input_tokens") + count(told, "cache_creation_input_tokens")
        if told.get("input_tokens") is None:
            self.usage = replace(before, output_tokens=count(told, "output_tokens") or before.output_tokens)
        else:
            self.usage = Usage(fresh + cached, cached, count(told, "output_tokens"))

    def _reason(self, told: Mapping[str, Any]) -> None:
        self.reason = str(told.get("stop_reason") or "")
        self.ended = self.ended or bool(self.reason)
        if self.reason in ("refusal", "model_context_window_exceeded"):
            self.declined(self.reason)

    def _begin(self, index: int, block: Mapping[str, Any]) -> str:
        kind = block["type"]
        if kind not in SENT_BACK:
            return ""  # what the service's own tools did
        self._blocks[index] = {key: value for key, value in block.items() if value is not None and key != "citations"}
        if kind == "tool_use":
            begun = block.get("input")
            self._calls.append(Call(block["id"], block["name"], json.dumps(begun) if begun else "", index))
        return str(block["text"]) if kind == "text" else ""

    def _delta(self, index: int, delta: Mapping[str, Any]) -> str:
        kind, block = delta["type"], self._blocks.get(index)
        if block is None:
            return ""
        if kind == "input_json_delta":
            for call in self._calls:
                if call.index == index:
                    call.arguments = (call.arguments + delta["partial_json"])[:MAX_TOOL_TEXT]
        elif key := DELTAS.get(kind, ""):
            block[key] = block.get(key, "") + delta[key]
        return str(delta["text"]) if kind == "text_delta" else ""
