"""Google's Gemini Live API as it is published, over real sockets, as strict as the real one, with faults on demand.

It hears tones (by their frequency: ``answers``) with a VAD of its own, and speaks a tone of 0.25 s a word at 24 kHz,
four times as fast as it is to be played. The model's name tells the fault: refused, silent, malformed-setup,
close-setup; in the middle of an answer hang (nothing is read or answered any more), stall, close, reset, malformed,
shapeless, odd (half a sample), rejected (the turn is over for a reason), cancel (a function is called, and its call is
taken back), leaving. Any other works well.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Any
from urllib.parse import SplitResult

from voice_server import AHEAD, KEY, WORD_SECONDS, VoiceServer, VoiceSession, is_voiced, tone_of, word
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

__all__ = ["KEY", "FakeGeminiLive"]

ONSET_SECONDS, HANGOVER_SECONDS = 0.06, 0.3
RATE = 24_000


class Session(VoiceSession):
    """One conversation."""

    def __init__(self, server: FakeGeminiLive, connection: ServerConnection, fault: str) -> None:
        super().__init__(server, connection, fault)
        self.setup: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.calls: dict[str, str] = {}
        self.interruptions = 0
        self._speaking: asyncio.Task[None] | None = None
        self._voiced = self._quiet = 0.0
        self._heard = b""
        self._talking = False
        self._count = 0

    @property
    def is_set_up(self) -> bool:  # type: ignore[override]
        return bool(self.setup)

    async def run(self) -> None:
        async for message in self.connection:
            (kind, told), *others = json.loads(message).items()
            assert not others
            await {
                "setup": self._set_up, "realtimeInput": self._input, "clientContent": self._content,
                "toolResponse": self._result,
            }[kind](told)  # fmt: skip

    async def tell(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message).encode())  # its JSON comes in binary messages

    async def say(self, **content: Any) -> None:
        await self.tell(serverContent=content)

    async def _set_up(self, setup: dict[str, Any]) -> None:
        assert not self.setup, "it can be set up once"
        self.fault = setup["model"].removeprefix("models/")
        match self.fault:
            case "silent":
                return
            case "refused":
                await self.connection.close(1007, "Request contains an invalid argument.")
                return
            case "close-setup":
                await self.connection.close(1011, "no room")
                return
            case "malformed-setup":
                await self.connection.send(b'{"setupComplete": ')
        assert setup["generationConfig"]["responseModalities"] == ["AUDIO"]
        self.setup = setup
        await self.tell(setupComplete={})

    async def _content(self, content: dict[str, Any]) -> None:
        assert self.setup["historyConfig"] == {"initialHistoryInClientContent": True}
        assert not self.messages, "the history comes first"
        assert content["turnComplete"] is True
        self.history = content["turns"]

    async def _input(self, told: dict[str, Any]) -> None:
        assert self.setup, "nothing may come before the setup is complete"
        if "text" in told:
            self.messages.append(told)
            text = str(told["text"])
            if text.startswith("(Say exactly this"):
                self._begin(json.loads(text.partition(": ")[2][:-1]))
            else:
                self._answer(text)
            return
        audio = told["audio"]
        rate = int(audio["mimeType"].removeprefix("audio/pcm;rate="))
        await self._audio(base64.b64decode(audio["data"], validate=True), rate)

    async def _audio(self, pcm: bytes, rate: int) -> None:
        assert pcm
        assert len(pcm) % 2 == 0
        seconds = len(pcm) / 2 / rate
        if is_voiced(pcm):
            self._voiced, self._quiet, self._heard = self._voiced + seconds, 0.0, self._heard + pcm
            if not self._talking and self._voiced >= ONSET_SECONDS:
                self._talking = True
                await self._stop()
            return
        self._quiet += seconds
        if self._quiet >= HANGOVER_SECONDS:
            asked = tone_of(self._heard, rate, self.server.answers) if self._talking else 0
            talking, self._talking, self._voiced, self._heard = self._talking, False, 0.0, b""
            if talking:
                for piece in ("a tone of ", f"{asked} hertz"):
                    await self.say(inputTranscription={"text": piece})
                self._answer(asked)

    async def _stop(self) -> None:
        task, self._speaking = self._speaking, None
        if task is not None and not task.done():
            self.interruptions += 1
            task.cancel()
            await self.say(interrupted=True)
            await self.say(turnComplete=True)

    def _answer(self, asked: int | str) -> None:
        reply, name, arguments = self.server.answers.get(asked, (f"You said {asked}.", "", ""))
        self._begin(reply, name, arguments)

    async def _result(self, told: dict[str, Any]) -> None:
        for response in told["functionResponses"]:
            assert self.calls.pop(response["id"]) == response["name"], "no such call is open"
            self._begin(f"Result: {response['response']['result']}")

    # ---- speaking --------------------------------------------------------------------

    def _begin(self, text: str, name: str = "", arguments: str = "") -> None:
        before = self._speaking
        self._speaking = asyncio.create_task(self._turn(before, text, name, arguments))

    async def _turn(self, before: asyncio.Task[None] | None, text: str, name: str, arguments: str) -> None:
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        with contextlib.suppress(ConnectionClosed):
            for number, one in enumerate(text.split()):
                if number == 1 and not await self._goes_on():
                    return
                data = base64.b64encode(word(RATE)).decode()
                inline = {"inlineData": {"data": data, "mimeType": "audio/pcm;rate=24000"}}
                await self.say(modelTurn={"role": "model", "parts": [inline]})
                await self.say(outputTranscription={"text": one if not number else f" {one}"})
                await asyncio.sleep(WORD_SECONDS / AHEAD)
            if name:
                self._count += 1
                call = f"call-{self._count}"
                self.calls[call] = name
                await self.tell(toolCall={"functionCalls": [{"id": call, "name": name, "args": json.loads(arguments)}]})
                if self.fault == "cancel":
                    await self.tell(toolCallCancellation={"ids": [call]})
                    del self.calls[call]
                    await self.say(turnComplete=True)
                return
            await self.say(generationComplete=True)
            await self.tell(usageMetadata={"totalTokenCount": 9})
            await self.say(turnComplete=True)

    async def _goes_on(self) -> bool:
        """In the middle of an answer."""
        match self.fault:
            case "hang":
                self.connection.transport.pause_reading()
                await asyncio.sleep(30)
            case "stall":
                await asyncio.sleep(30)
            case "close":
                await self.connection.close(1011, "internal error")
                return False
            case "reset":
                self.connection.transport.abort()
                return False
            case "malformed":
                await self.connection.send('{"serverContent": ')
            case "shapeless":
                await self.connection.send('{"toolCall": {"functionCalls": [{}]}}')
            case "odd":
                await self.say(modelTurn={"parts": [{"inlineData": {"data": "AQ==", "mimeType": "audio/pcm"}}]})
            case "rejected":
                await self.say(turnComplete=True, turnCompleteReason="RESPONSE_REJECTED")
                return False
            case "leaving":
                await self.tell(goAway={"timeLeft": "10s"})
        return True


class FakeGeminiLive(VoiceServer[Session]):
    """See above."""

    session, scheme, fault_in = Session, "x-goog-api-key:", "fault"
    path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1beta"

    def other(self, url: SplitResult, request: Request) -> tuple[int, str] | None:
        return (200, "{}") if url.path.startswith("/v1beta/models/") else super().other(url, request)

    def error(self, message: str) -> dict[str, Any]:
        return {"error": {"code": 400, "message": message, "status": "FAILED_PRECONDITION"}}
