"""OpenAI's HTTP API as it is published, over real sockets, as strict as the real one, with faults on demand.

The ``model`` of a request names the fault: slow, silent (no answer), hang (a beginning, then nothing), close (in the
middle), reset, 401, 404, 429, 429-after (Retry-After: 30), 500, malformed, nodone (the stream just ends), error (an
error event), empty, plain (no stream),
wav16 (speech as a WAV file of 16 kHz), tool-close (after a function's result only). Any other
works well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from http_server import Answer, FakeHttp, Request

KEY = "sk-test"
SLOW_SECONDS = 0.2


class FakeOpenAI(FakeHttp):
    """Give ``answers``: user's text to (reply, function name, arguments)."""

    def __init__(self, answers: Mapping[str, tuple[str, str, str]] | None = None) -> None:
        super().__init__(idle_seconds=60)
        self.answers = dict(answers or {})
        self.after_tool = "Sorry about that."
        """Said after a function's result; {} stands for it."""
        self.calls_after_tool = ("", "")
        self.words = "opening hours"
        self.requests: list[tuple[str, Any]] = []

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        method, path, headers = request.method, request.target, request.headers
        if headers.get("authorization") != f"Bearer {KEY}":
            return await out.error(401, "Incorrect API key provided")
        if (method, path) == ("GET", "/v1/models"):
            return await out.json({"object": "list", "data": []})
        handler = {
            "/v1/chat/completions": self._chat,
            "/v1/audio/transcriptions": self._transcribe,
            "/v1/audio/speech": self._speak,
        }.get(path)
        if method != "POST" or handler is None:
            return await out.error(404, f"Unknown request URL: {method} {path}")
        fields = (
            _form(headers, request.body) if "multipart" in headers.get("content-type", "") else json.loads(request.body)
        )
        self.requests.append((path, fields))
        watching = asyncio.ensure_future(reader.read(1))  # the client leaves
        answering = asyncio.ensure_future(self._answer(fields, handler, out))
        done, _ = await asyncio.wait([watching, answering], return_when=asyncio.FIRST_COMPLETED)
        if answering not in done:
            answering.cancel()
            self.aborted += 1
            return False
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        return answering.result()

    async def _answer(self, fields: Mapping[str, Any], handler: Any, out: Answer) -> bool:
        fault = out.fault = str(fields.get("model"))
        if fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        if fault == "silent":
            await asyncio.sleep(3600)
        if fault[:3] in ("401", "404", "429", "500"):
            after = {"Retry-After": "30"} if fault.endswith("after") else {}
            return await out.error(int(fault[:3]), f"no luck with {fault}", after)
        if fault == "reset":
            out.writer.transport.abort()
            return False
        return bool(await handler(fields, out))

    async def _chat(self, body: dict[str, Any], out: Answer) -> bool:
        for message in body["messages"]:
            if message["role"] not in ("system", "user", "assistant", "tool"):
                return await out.error(400, f"Invalid role {message['role']}")
        for tool in body.get("tools", ()):
            assert tool["type"] == "function"
            assert tool["function"]["parameters"]["type"] == "object"
        assert body["stream"] is True
        last = body["messages"][-1]
        if last["role"] == "tool":
            reply, (name, arguments) = self.after_tool.replace("{}", last["content"]), self.calls_after_tool
            out.fault = out.fault.removeprefix("tool-")
        else:
            reply, name, arguments = self.answers.get(last["content"], ("Nine to five. What else?", "", ""))
        if out.fault == "plain":
            return await out.json({"choices": [{"message": {"content": reply}, "finish_reason": "stop"}]})
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": piece} for piece in _tokens(reply)]
        if name:
            first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": ""}}
            deltas.append({"tool_calls": [first]})
            half = len(arguments) // 2
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
                for part in (arguments[:half], arguments[half:])
            ]
        if out.fault == "empty":
            deltas = deltas[:1]
        await out.begin("text/event-stream")
        for number, delta in enumerate(deltas):
            if number == 3 and not await self._misbehave(out, b'data: {"choices": [{\n\n'):
                return False
            await out.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        reason = "tool_calls" if name else "stop"
        await out.event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        await out.event({"choices": [], "usage": {"total_tokens": 10}})
        if out.fault != "nodone":
            await out.chunk(b"data: [DONE]\n\n")
        await out.end()
        return True

    async def _misbehave(self, out: Answer, malformed: bytes) -> bool:
        """In the middle of an answer. False: the connection is over."""
        match out.fault:
            case "hang":
                await asyncio.sleep(3600)
            case "close":
                out.writer.close()
                return False
            case "malformed":
                await out.chunk(malformed)
            case "error":
                await out.chunk(b'data: {"error": {"message": "The server had an error", "type": "server_error"}}\n\n')
        return True

    async def _transcribe(self, fields: dict[str, Any], out: Answer) -> bool:
        wav = fields["file"]
        assert wav[:4] == b"RIFF"
        assert wav[8:16] == b"WAVEfmt "
        assert len(wav) == 44 + struct.unpack_from("<I", wav, 40)[0]
        body = json.dumps({"text": "" if out.fault == "empty" else self.words}).encode()
        if out.fault == "malformed":
            body = body[:-3] + b"]"
        await out.begin("application/json")
        await out.chunk(body[:5])
        if out.fault in ("hang", "close") and not await self._misbehave(out, b""):
            return False
        await out.chunk(body[5:])
        await out.end()
        return True

    async def _speak(self, body: dict[str, Any], out: Answer) -> bool:
        assert body["response_format"] == "pcm"
        if body["voice"] == "no such voice":
            return await out.error(400, "Invalid voice")
        rate = 16_000 if out.fault == "wav16" else 24_000
        word = (np.sin(2 * np.pi * 800 * np.arange(rate // 4) / rate) * 8000).astype("<i2").tobytes()
        words = [] if out.fault == "empty" else body["input"].split()
        if out.fault in ("malformed", "error"):
            return await out.json({"detail": "no audio"})
        await out.begin("application/octet-stream")
        if out.fault == "wav16":
            total = len(word) * len(words)
            head = struct.pack(
                "<4sI4s4sIHHIIHH", b"RIFF", 36 + total, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16
            )
            await out.chunk(head[:7])
            await out.chunk(head[7:] + struct.pack("<4sI", b"data", total))
        for number, _ in enumerate(words):
            if number == 1 and out.fault in ("hang", "close") and not await self._misbehave(out, b""):
                return False
            await out.chunk(word[:1001])  # half a sample at the end
            await out.chunk(word[1001:])
        if out.fault == "nodone":  # the body ends before its end
            out.writer.close()
            return False
        await out.end()
        return True


def _tokens(text: str) -> list[str]:
    return [text[start : start + 3] for start in range(0, len(text), 3)]


def _form(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    found: dict[str, Any] = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, data = part.strip(b"\r\n").partition(b"\r\n\r\n") if b"audio/wav" not in part else _file(part)
        name = head.split(b'name="')[1].split(b'"')[0].decode()
        found[name] = data if b"filename=" in head else data.decode()
    return found


def _file(part: bytes) -> tuple[bytes, bytes, bytes]:
    head, gap, data = part.partition(b"\r\n\r\n")
    return head, gap, data[:-2]
