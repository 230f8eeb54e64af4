"""One call's conversation with Gemini Live: its messages to events, and commands to its messages.

It tells of the caller's speech by its words alone, and waits for what a function gives before it says anything.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from websockets.asyncio.client import ClientConnection

from asterisk_ai.providers.api import RealtimeEvent, RealtimeRequest, ServiceProblem
from asterisk_ai.providers.net.realtime_session import Json
from asterisk_ai.providers.net.unnamed_session import UnnamedSession
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.gemini.content import usage_of

NAME = "gemini_live"
RATE = 24_000
"""Hz of what the service speaks; it hears any."""
WELL = ("TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT")


class GeminiLiveSession(UnnamedSession):
    """Made by ``GeminiLive.open``."""

    answers_every_result = True

    def __init__(self, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        super().__init__(NAME, connection, request, tools)
        if request.greeting:
            self.say(request.greeting)

    # ---- out -----------------------------------------------------------------------

    def _caller_audio(self, pcm: bytes) -> str:
        audio = {"data": base64.b64encode(pcm).decode(), "mimeType": f"audio/pcm;rate={RATE}"}
        return json.dumps({"realtimeInput": {"audio": audio}})

    def say(self, text: str) -> None:
        as_json = json.dumps(text, ensure_ascii=False)
        self._ask({"text": f"(Say exactly this to the caller, and nothing else: {as_json})"})

    def tell(self, text: str) -> None:
        self._ask({"text": text})

    def _request(self, wish: Json) -> None:
        self._send({"realtimeInput": dict(wish)})

    def _result(self, call: str, name: str, result: str, *, answer: bool) -> None:
        response = {"id": call, "name": name, "response": {"result": result}}
        self._send({"toolResponse": {"functionResponses": [response]}})

    def _meanwhile(self, words: str) -> None:
        """The service waits for the result, and says nothing before it."""

    # ---- in ------------------------------------------------------------------------

    def _read(self, message: str | bytes) -> list[RealtimeEvent]:
        return self._parsed(message)  # its JSON comes in binary messages

    def _kinds(self, message: Any) -> Iterator[tuple[str, Json]]:
        yield from message.items()

    def _content(self, content: Json) -> Iterator[RealtimeEvent]:
        if words := (content.get("inputTranscription") or {}).get("text"):
            yield from self._caller_said(str(words))
        if content.get("interrupted"):
            yield from self._interrupted()
        for part in (content.get("modelTurn") or {}).get("parts") or ():
            if sound := part.get("inlineData"):
                yield from self._agent_audio(base64.b64decode(sound["data"], validate=True))
        yield from self._agent_text(str((content.get("outputTranscription") or {}).get("text") or ""))
        if content.get("turnComplete"):
            reason = str(content.get("turnCompleteReason") or WELL[0])
            yield from self._complete("" if reason in WELL else f"no answer: {reason}")

    def _functions(self, told: Json) -> Iterator[RealtimeEvent]:
        if self._speaking:
            yield from self._caller_done()
        for call in told.get("functionCalls") or ():
            arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
            yield from self._called(str(call["id"]), str(call["name"]), arguments)

    def _cancelled(self, told: Json) -> Iterator[RealtimeEvent]:
        """The caller went on: what the functions would give is not wanted."""
        for call in map(str, told.get("ids") or ()):
            if self._open.pop(call, None) is not None:
                self._requests.cancel(call)
        yield from ()

    def _used(self, told: Json) -> Iterator[RealtimeEvent]:
        self._spent(usage_of(told, "responseTokenCount"))
        yield from ()

    def _going(self, told: Json) -> Iterator[RealtimeEvent]:
        yield ServiceProblem(f"will close the connection in {told.get('timeLeft')}")

    handlers = MappingProxyType(
        {
            "serverContent": _content,
            "toolCall": _functions,
            "toolCallCancellation": _cancelled,
            "goAway": _going,
            "usageMetadata": _used,
        }
    )
