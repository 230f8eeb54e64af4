"""One call's conversation with Deepgram's voice agent: its messages to events, and commands to its messages.

The service names no messages and tells no end of an answer that was interrupted; both are made here. What it cannot be
told is how much of an answer was heard: it finds out by itself that the caller interrupts (``UserStartedSpeaking``).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

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
from asterisk_ai.providers.vendors.deepgram.client import NAME

MAX_HELD = 16
"""Functions that wait for the end of the caller's turn; the oldest goes first."""


class DeepgramAgentSession(SocketSession):
    """Made by ``DeepgramAgent.open``."""

    idle = (5.0, MappingProxyType({"type": "KeepAlive"}))
    """The service wants one every 8 s where no audio comes. Source: /docs/agent-keep-alive."""
    answers_every_result = True

    def __init__(self, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        super().__init__(NAME, connection, request, tools)
        self._asked = _speech(request.greeting) if request.greeting else None
        self._awaited = bool(request.greeting)  # an answer, which has not begun
        self._numbers = {"agent": 0, "caller": 0}
        self._texts = 0  # of the answer that is being made
        self._stale = False  # what comes belongs to an answer that was interrupted
        self._speaking = ""  # the caller's item
        self._held: list[tuple[str, str, str]] = []  # functions called before it was certain that the turn is over

    # ---- out -----------------------------------------------------------------------

    def _caller_audio(self, pcm: bytes) -> bytes:
        return pcm

    def interrupt(self, item: str, played_ms: int) -> None:
        """The service cannot be told; it finds out by itself, and what it still sends is ignored."""
        self._next.clear()
        if self._answer or self._asked is not None:
            self._stale = True
            self._answer, self._asked = "", None
            self._tell(ResponseDone())

    def say(self, text: str) -> None:
        self._ask(_speech(text))

    def tell(self, text: str) -> None:
        self._ask({"type": "InjectUserMessage", "content": text})

    def _request(self, wish: Json) -> None:
        self._awaited = True
        if wish["type"] == "InjectUserMessage":
            self._stale = False
            self._send(wish)
        else:
            self._send({**wish, "behavior": "interrupt" if self._stale else "queue"})

    def _result(self, call: str, name: str, result: str, *, answer: bool) -> None:
        self._send({"type": "FunctionCallResponse", "id": call, "name": name, "content": result})

    def _meanwhile(self, words: str) -> None:
        self._send({**_speech(words), "behavior": "queue"})

    # ---- in ------------------------------------------------------------------------

    def _begun(self) -> Iterator[RealtimeEvent]:
        """Something of an answer has come."""
        if not self._answer:
            self._numbers["agent"] += 1
            self._answer, self._texts = f"agent-{self._numbers['agent']}", 0
            self._asked, self._awaited = None, False
            yield ResponseStarted()

    def _thinking(self, message: Json) -> Iterator[RealtimeEvent]:
        if not self._stale:
            yield from self._begun()

    def _binary(self, data: bytes) -> Iterator[RealtimeEvent]:
        if self._stale or not data:
            return
        yield from self._begun()
        if pcm := self._whole(self._answer, data):
            yield AgentAudio(self._answer, pcm)

    def _text(self, message: Json) -> Iterator[RealtimeEvent]:
        text = " ".join(str(message["content"]).split())
        if message["role"] == "user":
            yield from self._caller_said(text)
            return
        if self._stale and text != " ".join((self._asked or {}).get("message", "").split()):
            return
        self._stale = False
        yield from self._begun()
        self._texts += 1
        yield AgentText(self._answer, text if self._texts == 1 else f" {text}")

    def _caller_said(self, text: str) -> Iterator[RealtimeEvent]:
        if not self._speaking:  # a message of ours: it was told, and not spoken
            return
        item, self._speaking = self._speaking, ""
        self._stale, self._awaited, self._rounds = False, True, 0
        yield SpeechStopped(item)
        yield CallerText(text, item)
        held, self._held = self._held, []
        for call, name, arguments in held:
            yield from self._called(call, name, arguments)

    def _caller_speaks(self, message: Json) -> Iterator[RealtimeEvent]:
        self._held.clear()  # the turn goes on after all: the service gives up what it made of its first half
        if not self._speaking:
            self._numbers["caller"] += 1
            self._speaking = f"caller-{self._numbers['caller']}"
            yield SpeechStarted(self._speaking)
        if self._answer:  # it has stopped to speak, and says no word about that
            self._answer, self._stale = "", True
            yield ResponseDone()

    def _audio_done(self, message: Json) -> Iterator[RealtimeEvent]:
        was, self._stale = self._stale, False
        if self._answer and not was:
            self._answer = ""
            yield ResponseDone()
        if not self._speaking:
            self._ask_next()

    def _functions(self, message: Json) -> Iterator[RealtimeEvent]:
        for function in message["functions"]:
            call = str(function["id"]), str(function["name"]), str(function["arguments"])
            if not function.get("client_side", True):
                continue
            if self._speaking:  # the service thinks ahead, the caller may go on: nothing is done before it is certain
                self._held = [*self._held, call][-MAX_HELD:]
            else:
                yield from self._called(*call)

    def _cancelled(self, message: Json) -> Iterator[RealtimeEvent]:
        """The caller went on: what the function would give is not wanted.

        Source: https://developers.deepgram.com/docs/voice-agent-function-call-cancelled.
        """
        for function in message["functions"]:
            call = str(function["id"])
            self._held = [one for one in self._held if one[0] != call]
            if self._open.pop(call, None) is not None:
                self._requests.cancel(call)
        yield from ()

    def _refused(self, message: Json) -> Iterator[RealtimeEvent]:
        """Somebody was speaking just then."""
        if self._asked is not None:
            self._next.appendleft(self._asked)
            self._asked = None
        yield ServiceProblem("did not say what it was told to, as somebody was speaking")

    def _warning(self, message: Json) -> Iterator[RealtimeEvent]:
        yield ServiceProblem(_describe(message))

    def _error(self, message: Json) -> Iterator[RealtimeEvent]:
        text = _describe(message)
        if self._answer or self._awaited:
            self._answer, self._asked = "", None
            self._awaited = False
            yield ResponseDone(text)
        else:
            yield ServiceProblem(text)

    handlers = MappingProxyType(
        {
            "ConversationText": _text,
            "UserStartedSpeaking": _caller_speaks,
            "AgentThinking": _thinking,
            "AgentStartedSpeaking": _thinking,
            "AgentAudioDone": _audio_done,
            "FunctionCallRequest": _functions,
            "FunctionCallCancelled": _cancelled,
            "Warning": _warning,
            "InjectionRefused": _refused,
            "Error": _error,
        }
    )


def _speech(text: str) -> Json:
    return {"type": "InjectAgentMessage", "message": text}


def _describe(message: Json) -> str:
    return " ".join(f"{message.get('description', '')} ({message.get('code', '')})".split())[:300]
