"""Ultravox as it is published, over real sockets, as strict as the real one, with faults on demand.

A call is asked for over HTTP, and joined at the address that is told. It hears tones (by their frequency: ``answers``)
with a VAD of its own, and speaks a tone of 0.25 s a word, four times as fast as it is to be played. The model's name
tells the fault: at the request 401, 402, 429, 429-after, 500, unjoinable; in the middle of an answer hang, close,
reset, malformed, shapeless, odd (half a sample). Any other works well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self
from urllib.parse import SplitResult

from http_server import Answer, FakeHttp
from http_server import Request as HttpRequest
from voice_server import AHEAD, KEY, WORD_SECONDS, VoiceServer, VoiceSession, is_voiced, tone_of, word
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

__all__ = ["KEY", "FakeUltravox"]

ONSET_SECONDS, HANGOVER_SECONDS = 0.06, 0.3


class Session(VoiceSession):
    """One call."""

    def __init__(self, server: FakeUltravox, connection: ServerConnection, fault: str) -> None:
        super().__init__(server, connection, fault)
        assert connection.request is not None
        self.call: dict[str, Any] = server.calls.pop(connection.request.path)
        self.fault = str(self.call.get("model", ""))
        self.rate = self.call["medium"]["serverWebSocket"]["inputSampleRate"]
        self.messages: list[dict[str, Any]] = []
        self.open: dict[str, str] = {}
        self.interruptions = 0
        self._speaking: asyncio.Task[None] | None = None
        self._voiced = self._quiet = 0.0
        self._heard = b""
        self._talking = False
        self._count = 0

    is_set_up = True

    async def run(self) -> None:
        await self.tell("call_started", callId="c")
        if greeting := self.call["firstSpeakerSettings"].get("agent"):
            self._begin(greeting["text"])
        async for message in self.connection:
            if isinstance(message, bytes):
                await self._audio(message)
                continue
            found = json.loads(message)
            self.messages.append(found)
            await {"user_text_message": self._text, "client_tool_result": self._result}[found["type"]](found)

    async def tell(self, kind: str, **more: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **more}))

    async def _text(self, message: dict[str, Any]) -> None:
        assert set(message) == {"type", "text", "urgency"}
        if message["urgency"] == "immediate":
            await self._stop()
        text = str(message["text"])
        if text.startswith("(Say exactly this"):
            self._begin(json.loads(text.partition(": ")[2][:-1]))
        else:
            self._answer(text)

    async def _result(self, message: dict[str, Any]) -> None:
        assert self.open.pop(message["invocationId"], ""), "no such call is open"
        if message["agentReaction"] == "speaks":
            self._begin(f"Result: {message['result']}")

    async def _audio(self, pcm: bytes) -> None:
        assert pcm
        assert len(pcm) % 2 == 0
        seconds = len(pcm) / 2 / self.rate
        if is_voiced(pcm):
            self._voiced, self._quiet, self._heard = self._voiced + seconds, 0.0, self._heard + pcm
            if not self._talking and self._voiced >= ONSET_SECONDS:
                self._talking = True
                await self.tell("user_started_speaking")
                await self._stop()
            return
        self._quiet += seconds
        if self._quiet >= HANGOVER_SECONDS:
            asked = tone_of(self._heard, self.rate, self.server.answers) if self._talking else 0
            talking, self._talking, self._voiced, self._heard = self._talking, False, 0.0, b""
            if talking:
                said = f"a tone of {asked} hertz"
                await self.tell("transcript", role="user", medium="voice", text=said, final=True, ordinal=1)
                await self.tell("state", state="thinking")
                self._answer(asked)

    async def _stop(self) -> None:
        task, self._speaking = self._speaking, None
        if task is not None and not task.done():
            self.interruptions += 1
            task.cancel()
            await self.tell("playback_clear_buffer")
            await self.tell("state", state="listening")

    def _answer(self, asked: int | str) -> None:
        reply, name, arguments = self.server.answers.get(asked, (f"You said {asked}.", "", ""))
        self._begin(reply, name, arguments)

    # ---- speaking --------------------------------------------------------------------

    def _begin(self, text: str, name: str = "", arguments: str = "") -> None:
        before = self._speaking
        self._speaking = asyncio.create_task(self._turn(before, text, name, arguments))

    async def _turn(self, before: asyncio.Task[None] | None, text: str, name: str, arguments: str) -> None:
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        with contextlib.suppress(ConnectionClosed):
            if text:
                await self.tell("state", state="speaking")
            for number, one in enumerate(text.split()):
                if number == 1 and not await self._goes_on():
                    return
                await self.connection.send(word(self.rate))
                delta = one if not number else f" {one}"
                await self.tell("transcript", role="agent", medium="voice", delta=delta, final=False, ordinal=2)
                await asyncio.sleep(WORD_SECONDS / AHEAD)
            if text:
                await self.tell("transcript", role="agent", medium="voice", text=text, final=True, ordinal=2)
                await self.tell("state", state="listening")
            if name:
                self._count += 1
                call = f"call-{self._count}"
                self.open[call] = name
                parameters = json.loads(arguments)
                await self.tell("client_tool_invocation", toolName=name, invocationId=call, parameters=parameters)

    async def _goes_on(self) -> bool:
        """In the middle of an answer."""
        match self.fault:
            case "hang":
                self.connection.transport.pause_reading()
                await asyncio.sleep(30)
            case "close":
                await self.connection.close(1011, "internal error")
                return False
            case "reset":
                self.connection.transport.abort()
                return False
            case "malformed":
                await self.connection.send('{"type": "state", ')
            case "shapeless":
                await self.connection.send('{"type": "state"}')
            case "odd":
                await self.connection.send(b"\x01")
        return True


class Api(FakeHttp):
    """Where calls are asked for."""

    def __init__(self, server: FakeUltravox) -> None:
        super().__init__(idle_seconds=60)
        self._server = server

    async def answer(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        if request.headers.get("x-api-key") != KEY:
            return await out.json({"detail": "Invalid API key."}, 401)
        if (request.method, request.target) == ("GET", "/api/accounts/me"):
            return await out.json({})
        assert (request.method, request.target) == ("POST", "/api/calls")
        call = json.loads(request.body)
        fault = str(call.get("model", ""))
        if fault[:3] in ("401", "402", "429", "500"):
            after = {"Retry-After": "30"} if fault.endswith("after") else {}
            return await out.json({"detail": f"no luck with {fault}"}, int(fault[:3]), after)
        if fault == "unjoinable":
            return await out.json({"callId": "c"}, 201)
        return await out.json({"callId": "c", "joinUrl": self._server.made(call)}, 201)


class FakeUltravox(VoiceServer[Session]):
    """See above."""

    session, scheme, path, fault_in = Session, "", "/calls/", "fault"

    def __init__(self, answers: Mapping[int | str, tuple[str, str, str]] | None = None) -> None:
        super().__init__(answers)
        self.api = Api(self)
        self.calls: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.api.port}/api"

    def made(self, call: dict[str, Any]) -> str:
        self.requests.append(call)
        path = f"/calls/{len(self.requests)}"
        self.calls[path] = call
        return f"ws://127.0.0.1:{self.port}{path}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with super().running(), self.api.running():
            yield self

    def other(self, url: SplitResult, request: Request) -> tuple[int, str] | None:
        return None if url.path in self.calls else (404, "no such call")

    def error(self, message: str) -> dict[str, Any]:
        return {"detail": message}
