"""One call's conversation with Gemini Live: its messages to events, and commands to its messages.

The service names neither messages nor the caller's utterances, and tells of speech only by its words; both are made
here. What was interrupted by us is ignored until the service is done with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from websockets.asyncio.client import ClientConnection

from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    CallerText,
    RealtimeEvent,
    RealtimeRequest,
    ResponseDone,
    ResponseStarted,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
)
from asterisk_ai.providers.net.realtime_session import Json, SocketSession
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.gemini.content import usage_of

NAME = "gemini_live"
RATE = 24_000
"""Hz of what the service speaks; it hears any."""
MAX_WORDS = 5000
"""Characters of one utterance of the caller that are kept."""
WELL = ("TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT")


class GeminiLiveSession(SocketSession):
    """Made by ``GeminiLive.open``."""

    answers_every_result = True

    def __init__(self, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        super().__init__(NAME, connection, request, tools)
        self._numbers = {"agent": 0, "caller": 0}
        self._stale = False  # what comes belongs to an answer that was interrupted
        self._speaking = ""  # the caller's item
        self._heard = ""  # words of the caller that were not told yet
        if request.greeting:
            self.say(request.greeting)

    # ---- out -----------------------------------------------------------------------

    def _caller_audio(self, pcm: bytes) -> str:
        audio = {"data": base64.b64encode(pcm).decode(), "mimeType": f"audio/pcm;rate={RATE}"}
        return json.dumps({"realtimeInput": {"audio": audio}})

    def interrupt(self, item: str, played_ms: int) -> None:
        """The service cannot be told; it finds out by itself, and what it still sends is ignored."""
        self._next.clear()
        if self._answer or self._asked is not None:
            self._stale = True
            self._answer, self._asked = "", None
            self._tell(ResponseDone())

    def say(self, text: str) -> None:
        as_json = json.dumps(text, ensure_ascii=False)
        self._ask({"text": f"(Say exactly this to the caller, and nothing else: {as_json})"})

    def tell(self, text: str) -> None:
        self._ask({"text": text})

    def _ask(self, wish: Json) -> None:
        if self._stale:
            self._next.append(wish)
        else:
            super()._ask(wish)

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
                yield from self._audio(base64.b64decode(sound["data"], validate=True))
        words = (content.get("outputTranscription") or {}).get("text")
        if words and not self._stale:
            yield from self._begun()
            yield AgentText(self._answer, str(words))
        if content.get("turnComplete"):
            yield from self._complete(str(content.get("turnCompleteReason") or WELL[0]))

    def _audio(self, data: bytes) -> Iterator[RealtimeEvent]:
        if self._stale or not data:
            return
        yield from self._begun()
        if pcm := self._whole(self._answer, data):
            yield AgentAudio(self._answer, pcm)

    def _begun(self) -> Iterator[RealtimeEvent]:
        """Something of an answer has come: the caller is done, where it is one to him."""
        if self._answer:
            return
        asked, self._asked = self._asked, None
        if asked is None or self._speaking:
            yield from self._caller_done()
        self._numbers["agent"] += 1
        self._answer = f"agent-{self._numbers['agent']}"
        yield ResponseStarted()

    def _caller_begins(self) -> Iterator[RealtimeEvent]:
        if not self._speaking:
            self._numbers["caller"] += 1
            self._speaking = f"caller-{self._numbers['caller']}"
            self._rounds = 0
            yield SpeechStarted(self._speaking)

    def _caller_said(self, words: str) -> Iterator[RealtimeEvent]:
        """Words may come before the answer to them, or while it is on its way already."""
        self._heard = (self._heard + words)[-MAX_WORDS:]
        if not self._answer:
            yield from self._caller_begins()

    def _caller_done(self) -> Iterator[RealtimeEvent]:
        yield from self._caller_begins()
        item, self._speaking = self._speaking, ""
        yield SpeechStopped(item)
        yield from self._caller_text(item)

    def _caller_text(self, item: str) -> Iterator[RealtimeEvent]:
        text, self._heard = " ".join(self._heard.split()), ""
        if text:
            yield CallerText(text, item)

    def _interrupted(self) -> Iterator[RealtimeEvent]:
        """The caller was heard, and the rest of the answer will not come."""
        self._stale = False
        if not self._speaking:
            yield from self._caller_text("")  # those of the turn before
        yield from self._caller_begins()
        if self._answer:
            self._answer = ""
            yield ResponseDone()

    def _complete(self, reason: str) -> Iterator[RealtimeEvent]:
        was, self._stale = self._stale, False
        problem = "" if reason in WELL else f"no answer: {reason}"
        if not was and (self._answer or self._asked is not None):
            self._answer, self._asked = "", None
            yield ResponseDone(problem)
        elif problem:
            yield ServiceProblem(problem)
        if not self._speaking:
            yield from self._caller_text("")
            self._ask_next()

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
