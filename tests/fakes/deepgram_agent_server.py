"""Deepgram's voice agent as it is published, over real sockets, as strict as the real one, with faults on demand.

It hears tones (by their frequency: ``answers``) with a VAD of its own, and speaks a tone of 0.25 s a word, four times
as fast as it is to be played. ``fault`` in the URL's query: at the handshake slow, silent-handshake, 401, 403, 429,
429-after, 500; when the session is set up silent, refused, malformed-setup, close-setup; in the middle of an answer
hang (nothing is read or answered any more), stall (the answer does not go on, all else does), close, reset, malformed,
shapeless, odd (half a sample), error, early (a function is called before the turn is certain to be over), resumed (and
then it is not), refuse-user (the first message of ours as the user), and failed (no answer at all). Any other works
well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from voice_server import AHEAD, KEY, WORD_SECONDS, VoiceServer, VoiceSession, is_voiced, tone_of, word
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

__all__ = ["KEY", "FakeDeepgramAgent"]

ONSET_SECONDS, HANGOVER_SECONDS = 0.06, 0.3


class Session(VoiceSession):
    """One conversation."""

    def __init__(self, server: FakeDeepgramAgent, connection: ServerConnection, fault: str) -> None:
        super().__init__(server, connection, fault)
        self.settings: dict[str, Any] = {}
        self.messages: list[dict[str, Any]] = []
        self.calls: dict[str, str] = {}
        self.interruptions = 0
        self.rate = 8000
        self._speaking: asyncio.Task[None] | None = None
        self._queue: list[str] = []
        self._voiced = self._quiet = 0.0
        self._heard = b""
        self._talking = False
        self._count = 0

    @property
    def is_set_up(self) -> bool:  # type: ignore[override]
        return bool(self.settings)

    async def run(self) -> None:
        if self.fault == "silent":
            await self.connection.wait_closed()
            return
        if self.fault == "malformed-setup":
            await self.connection.send('{"type": ')
        await self.tell("Welcome", request_id="1")
        async for message in self.connection:
            if isinstance(message, bytes):
                await self._audio(message)
            else:
                await self._message(json.loads(message))

    async def tell(self, kind: str, **more: Any) -> None:
        await self.connection.send(json.dumps({"type": kind, **more}))

    async def _message(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        kind = message["type"]
        if kind == "Settings":
            await self._set_up(message)
            return
        assert self.settings, f"{kind} before the settings were applied"
        if kind == "InjectAgentMessage":
            await self._inject(str(message["message"]), str(message.get("behavior", "default")))
        elif kind == "InjectUserMessage" and self.fault == "refuse-user":
            self.fault = ""
            await self.tell("InjectionRefused", message=message["content"])
            await self.tell("AgentAudioDone")
        elif kind == "InjectUserMessage":
            await self.tell("ConversationText", role="user", content=message["content"])
            await self._answer(message["content"])
        elif kind == "FunctionCallResponse":
            assert self.calls.pop(message["id"]) == message["name"], "no such call is open"
            await self._say(f"Result: {message['content']}")
        else:
            assert kind == "KeepAlive", message

    async def _set_up(self, message: dict[str, Any]) -> None:
        assert not self.settings, "the settings can be sent once"
        audio = message["audio"]
        self.rate = audio["input"]["sample_rate"]
        assert audio["input"] == {"encoding": "linear16", "sample_rate": self.rate}
        assert audio["output"] == {"encoding": "linear16", "sample_rate": self.rate, "container": "none"}
        agent = message["agent"]
        assert set(agent) <= {"listen", "think", "speak", "greeting", "context"}
        for part in ("listen", "think", "speak"):
            assert agent[part]["provider"]["type"]
        for turn in agent.get("context", {}).get("messages", ()):
            assert turn["type"] == "History"
            assert turn["role"] in ("user", "assistant")
        for function in agent["think"].get("functions", ()):
            assert set(function) == {"name", "description", "parameters", "defer_until_eot"}
        if self.fault == "refused":
            await self.tell("Error", description="Invalid settings", code="INVALID_SETTINGS")
            return
        if self.fault == "close-setup":
            await self.connection.close(1011, "no room")
            return
        self.settings = message
        await self.tell("SettingsApplied")
        if agent.get("greeting"):
            await self._say(agent["greeting"])

    # ---- hearing -------------------------------------------------------------------

    async def _audio(self, pcm: bytes) -> None:
        assert self.settings, "audio before the settings were applied"
        assert pcm
        assert len(pcm) % 2 == 0
        seconds = len(pcm) / 2 / self.rate
        if is_voiced(pcm):
            self._voiced, self._quiet = self._voiced + seconds, 0.0
            self._heard += pcm
            if not self._talking and self._voiced >= ONSET_SECONDS:
                self._talking = True
                await self._stop()
                await self.tell("UserStartedSpeaking")
        else:
            self._quiet += seconds
            if self._quiet >= HANGOVER_SECONDS and not self._talking:
                self._voiced, self._heard = 0.0, b""
            elif self._quiet >= HANGOVER_SECONDS:
                await self._turn_ended()

    async def _turn_ended(self) -> None:
        nearest = tone_of(self._heard, self.rate, self.server.answers)
        self._talking, self._voiced, self._heard = False, 0.0, b""
        if self.fault in ("early", "resumed"):
            await self._speculate(nearest)
        await self.tell("ConversationText", role="user", content=f"a tone of {nearest} hertz")
        await self.tell("AgentThinking", content="...")
        if self.fault == "failed":
            await self.tell("Error", description="Failed to think", code="FAILED_TO_THINK")
            return
        await self._answer(nearest)

    async def _speculate(self, asked: int) -> None:
        """The agent thinks before it is certain that the turn is over; where it is not, what came of that is void."""
        _, name, arguments = self.server.answers[asked]
        self._count += 1
        call = f"call_{self._count}"
        self.calls[call] = name
        await self.tell("Warning", description="slow think request", code="SLOW_THINK_REQUEST")
        function = {"id": call, "name": name, "arguments": arguments, "client_side": True}
        await self.tell("FunctionCallRequest", functions=[function])
        await asyncio.sleep(0.1)
        self.server.answers[asked] = ("Very well.", "", "")
        if self.fault == "resumed":
            await self.tell("UserStartedSpeaking")
            await self.tell("FunctionCallCancelled", functions=[{"id": call, "name": name}])
            del self.calls[call]

    async def _stop(self) -> None:
        """The user interrupts: what was being said is over, and nothing more is said of it."""
        self._queue.clear()
        task, self._speaking = self._speaking, None
        if task is not None and not task.done():
            self.interruptions += 1
            task.cancel()

    # ---- speaking --------------------------------------------------------------------

    async def _inject(self, text: str, behavior: str) -> None:
        busy = self._talking or (self._speaking is not None and not self._speaking.done())
        if busy and behavior == "default":
            await self.tell("InjectionRefused", message=text)
        elif busy and behavior == "interrupt":
            await self._stop()
            await self._say(text)
        else:
            await self._say(text)

    async def _answer(self, asked: int | str) -> None:
        reply, name, arguments = self.server.answers.get(asked, (f"You said {asked}.", "", ""))
        if reply:
            await self._say(reply)
        if name:
            self._count += 1
            call = f"call_{self._count}"
            self.calls[call] = name
            function = {"id": call, "name": name, "arguments": arguments, "client_side": True}
            await self.tell("FunctionCallRequest", functions=[function])

    async def _say(self, text: str) -> None:
        self._queue.append(text)
        if self._speaking is None or self._speaking.done():
            self._speaking = asyncio.create_task(self._speak())

    async def _speak(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while self._queue:
                text = self._queue.pop(0)
                await self.tell("ConversationText", role="assistant", content=text)
                for number, _ in enumerate(text.split()):
                    if number == 1 and not await self._goes_on():
                        return
                    await self.connection.send(word(self.rate))
                    await asyncio.sleep(WORD_SECONDS / AHEAD)
                await self.tell("AgentAudioDone")

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
                await self.connection.send('{"type": "ConversationText", ')
            case "shapeless":
                await self.connection.send('{"type": "ConversationText"}')
            case "odd":
                await self.connection.send(b"\x01")
            case "error":
                await self.tell("Error", description="Failed to speak", code="FAILED_TO_SPEAK")
                return False
        return True


class FakeDeepgramAgent(VoiceServer[Session]):
    """See above."""

    session, scheme, path, fault_in = Session, "Token", "/v1/agent/converse", "fault"

    def url(self, fault: str = "") -> str:
        return f"ws://127.0.0.1:{self.port}{self.path}" + (f"?fault={fault}" if fault else "")

    def error(self, message: str) -> dict[str, Any]:
        return {"err_code": "X", "err_msg": message, "request_id": "1"}
