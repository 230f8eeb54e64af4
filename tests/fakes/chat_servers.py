"""Anthropic's and Google's APIs of language models as they are published, over real sockets, with faults on demand.

The model's name tells the fault: silent (no answer), hang (a beginning, then nothing), close (in the middle), reset,
401, 404, 429, 429-after (the service tells for how long), 500, 529, malformed, error (an error event), empty,
refused. Any other works well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from http_server import Answer, FakeHttp, Request

KEY = "sk-test"
Events = list[dict[str, Any]]


class FakeChat(FakeHttp):
    """Give ``script``: the events of each answer, one after the other; the last one stays."""

    probe: str
    script: list[Events]

    def __init__(self) -> None:
        super().__init__(idle_seconds=60)
        self.requests: list[dict[str, Any]] = []

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        if problem := self.refusal(request):
            return await out.json(self.error(401, problem), 401)
        if request.method == "GET":
            return await out.json({}) if request.target.startswith(self.probe) else await out.json({}, 404)
        body = json.loads(request.body)
        fault = self.model(request, body)
        if fault == "silent":
            await asyncio.sleep(3600)
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault[:3] in ("401", "404", "429", "500", "529"):
            return await self.failed(int(fault[:3]), fault.endswith("after"), out)
        self.requests.append(body)
        return await self._stream(fault, out)

    async def _stream(self, fault: str, out: Answer) -> bool:
        events = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        events = {"empty": self.empty(), "refused": self.refused()}.get(fault, events)
        await out.begin("text/event-stream")
        for number, event in enumerate(events):
            if number == len(events) // 2:
                match fault:
                    case "hang":
                        await asyncio.sleep(3600)
                    case "close":
                        out.writer.close()
                        return False
                    case "malformed":
                        await out.chunk(b"data: {[\r\n\r\n")
                    case "error":
                        await self.send(self.error(529, "Overloaded"), out)
                        await out.end()
                        return True
            await self.send(event, out)
        await out.end()
        return True

    async def send(self, event: Mapping[str, Any], out: Answer) -> None:
        await out.chunk(b"data: " + json.dumps(event).encode() + b"\r\n\r\n")

    def refusal(self, request: Request) -> str:
        raise NotImplementedError

    def model(self, request: Request, body: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def error(self, status: int, message: str) -> dict[str, Any]:
        raise NotImplementedError

    async def failed(self, status: int, told: bool, out: Answer) -> bool:
        raise NotImplementedError

    def empty(self) -> Events:
        raise NotImplementedError

    def refused(self) -> Events:
        raise NotImplementedError


class FakeAnthropic(FakeChat):
    """Source: https://platform.claude.com/docs/en/api/errors, .../build-with-claude/streaming."""

    probe = "/v1/models"
    kinds: Mapping[int, str] = {
        401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "api_error",
        529: "overloaded_error",
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.script = [self.message(text("Nine to "), "five.")]

    @staticmethod
    def message(*content: dict[str, Any] | str, reason: str = "end_turn") -> Events:
        """A text goes on with the block before it."""
        message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m",
                   "stop_reason": None, "usage": {"input_tokens": 9, "output_tokens": 1}}  # fmt: skip
        return [
            {"type": "message_start", "message": message},
            {"type": "ping"},
            *_blocks(content),
            {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None},
             "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
        ]  # fmt: skip

    def refusal(self, request: Request) -> str:
        if request.headers.get("x-api-key") != KEY:
            return "invalid x-api-key"
        return (
            "" if request.headers.get("anthropic-version") == "2023-06-01" else "anthropic-version: header is required"
        )

    def model(self, request: Request, body: Mapping[str, Any]) -> str:
        assert request.target == "/v1/messages"
        for message in body["messages"]:
            assert message["role"] in ("user", "assistant")
        assert body["messages"][0]["role"] == "user"
        return str(body["model"])

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": self.kinds[status], "message": message}, "request_id": "req_1"}

    async def failed(self, status: int, told: bool, out: Answer) -> bool:
        return await out.json(self.error(status, "no luck"), status, {"retry-after": "30"} if told else {})

    async def send(self, event: Mapping[str, Any], out: Answer) -> None:
        await out.chunk(f"event: {event['type']}\n".encode() + b"data: " + json.dumps(event).encode() + b"\n\n")

    def empty(self) -> Events:
        return self.message()

    def refused(self) -> Events:
        return self.message(text("I am"), reason="refusal")


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def thinking(words: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def tool_use(name: str, arguments: str, identity: str) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "id": identity, "input": arguments}


def _blocks(content: tuple[dict[str, Any] | str, ...]) -> Iterator[dict[str, Any]]:
    index = -1
    for block in content:
        if isinstance(block, str):
            yield {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": block}}
            continue
        if index >= 0:
            yield {"type": "content_block_stop", "index": index}
        index += 1
        match block["type"]:
            case "text":
                begun, deltas = (
                    {**block, "text": "", "citations": None},
                    [{"type": "text_delta", "text": block["text"]}],
                )
            case "thinking":
                begun = {**block, "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": block["thinking"]},
                          {"type": "signature_delta", "signature": block["signature"]}]  # fmt: skip
            case "tool_use":
                begun, half = {**block, "input": {}}, len(block["input"]) // 2
                deltas = [{"type": "input_json_delta", "partial_json": part}
                          for part in ("", block["input"][:half], block["input"][half:])]  # fmt: skip
            case _:
                begun, deltas = block, []
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
    if index >= 0:
        yield {"type": "content_block_stop", "index": index}


class FakeGemini(FakeChat):
    """Source: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/troubleshooting."""

    probe = "/v1beta/models/"
    kinds: Mapping[int, str] = {
        401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 529: "UNAVAILABLE",
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.script = [self.content({"text": "Nine to "}, {"text": "five."})]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1beta"

    @staticmethod
    def content(*parts: dict[str, Any], reason: str = "STOP") -> Events:
        usage = {"promptTokenCount": 9, "candidatesTokenCount": 7, "thoughtsTokenCount": 2, "totalTokenCount": 18}
        events: Events = [
            {"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}]} for part in parts
        ]
        last = {
            "candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": reason, "index": 0}]
        }
        return [{**event, "usageMetadata": usage, "modelVersion": "m", "responseId": "r"} for event in [*events, last]]

    def refusal(self, request: Request) -> str:
        return "" if request.headers.get("x-goog-api-key") == KEY else "API key not valid."

    def model(self, request: Request, body: Mapping[str, Any]) -> str:
        path, _, query = request.target.partition("?")
        assert query == "alt=sse", "without it, an array comes"
        assert path.endswith(":streamGenerateContent")
        for content in body["contents"]:
            assert content["role"] in ("user", "model")
        return path.removeprefix("/v1beta/models/").partition(":")[0]

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"code": status, "message": message, "status": self.kinds[status]}}

    async def failed(self, status: int, told: bool, out: Answer) -> bool:
        body = self.error(status, "no luck")
        kind = "type.googleapis.com/google.rpc."
        if told:
            body["error"]["details"] = [{"@type": f"{kind}Help"}, {"@type": f"{kind}RetryInfo", "retryDelay": "30s"}]
        return await out.json(body, status)

    def empty(self) -> Events:
        return self.content()

    def refused(self) -> Events:
        return [{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}]
