"""One call's conversation with Deepgram's voice agent: its messages to events, and commands to its messages.

The service names no messages and tells no end of an answer that was interrupted; both are made here. What it cannot be
told is how much of an answer was heard: it finds out by itself that the caller interrupts (``UserStartedSpeaking``).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from asterisk_ai.errors import ProviderError, ProviderUnavailable
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
    ToolCall,
)
from asterisk_ai.providers.tools.toolbox import BadToolCall, Requests, Toolbox
from asterisk_ai.providers.vendors.deepgram.client import NAME, broken

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 5.0
"""Sent where no audio was; the service wants one every 8 s. Source: /docs/agent-keep-alive."""
MAX_WAITING_FRAMES = 500
"""Caller's audio (10 s) that waits to be sent; the oldest is dropped beyond."""
MAX_WAITING_EVENTS = 2000
MAX_HELD = 16
"""Functions that wait for the end of the caller's turn; the oldest goes first."""
MAX_ROUNDS = 3
"""How often in one turn the model is told that what it called was wrong."""

Message = Mapping[str, Any]
Handler = Callable[[Message], Iterator[RealtimeEvent]]


class DeepgramAgentSession:
    """Satisfies :class:`~asterisk_ai.providers.api.RealtimeSession`. Made by ``DeepgramAgent.open``.

    :meth:`read` and :meth:`write` have to run beside it.
    """

    def __init__(self, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        self._connection = connection
        self._tools = tools
        self._actions = request.actions
        self._requests = Requests(tools, request.caller, request.ledger)
        self._waiting: deque[bytes | str] = deque()
        self._frames = self.dropped = 0
        self._wake = asyncio.Event()
        self._events: deque[RealtimeEvent] = deque()
        self._failure: ProviderError | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._next: deque[tuple[str, str]] = deque()  # what is to be said or told once the answer has come
        self._asked = request.greeting  # the words of a message of ours that is not being said yet
        self._asked_kind = "InjectAgentMessage"
        self._numbers = {"agent": 0, "caller": 0}
        self._item = ""  # of the answer that is being made
        self._texts = 0  # of it
        self._awaited = bool(request.greeting)  # an answer, which has not begun
        self._stale = False  # what comes belongs to an answer that was interrupted
        self._speaking = ""  # the caller's item
        self._odd = b""
        self._calls: dict[str, str] = {}
        self._held: list[tuple[str, str, str]] = []  # functions called before it was certain that the turn is over
        self._rounds = 0
        self._handlers: dict[str, Handler] = {
            "ConversationText": self._text,
            "UserStartedSpeaking": self._caller_speaks,
            "AgentThinking": self._thinking,
            "AgentStartedSpeaking": self._thinking,
            "AgentAudioDone": self._audio_done,
            "FunctionCallRequest": self._functions,
            "FunctionCallCancelled": self._cancelled,
            "Warning": self._warning,
            "InjectionRefused": self._refused,
            "Error": self._error,
        }

    # ---- out -----------------------------------------------------------------------

    async def write(self) -> None:
        """Send what waits, and that we are there, until cancelled or the connection is closed."""
        try:
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    self._send({"type": "KeepAlive"})
                while self._waiting:
                    message = self._waiting.popleft()
                    self._frames -= isinstance(message, bytes)
                    await self._connection.send(message)
                self._wake.clear()
        except ConnectionClosed:
            logger.debug("the connection is closed")  # read() tells why

    def _send(self, message: Message) -> None:
        self._waiting.append(json.dumps(message))
        self._wake.set()

    def feed(self, pcm: bytes) -> None:
        if not pcm:
            return
        self._waiting.append(pcm)
        self._frames += 1
        if self._frames > MAX_WAITING_FRAMES:
            oldest = next(index for index, message in enumerate(self._waiting) if isinstance(message, bytes))
            del self._waiting[oldest]
            self.dropped += 1
            self._frames -= 1
        self._wake.set()

    def interrupt(self, item: str, played_ms: int) -> None:
        """The service cannot be told; it finds out by itself, and what it still sends is ignored."""
        self._next.clear()
        if self._item or self._asked:
            self._stale = True
            self._asked = self._item = ""
            self._tell(ResponseDone())

    def say(self, text: str) -> None:
        self._ask("InjectAgentMessage", text)

    def tell(self, text: str) -> None:
        self._ask("InjectUserMessage", text)

    def tool_done(self, call: str, result: str, *, answer: bool) -> None:
        name = self._calls.pop(call, None)
        if name is None:
            return  # it was cancelled meanwhile, and the service wants no word about it
        self._send({"type": "FunctionCallResponse", "id": call, "name": name, "content": result})

    def _ask(self, kind: str, text: str) -> None:
        """One thing at a time: while an answer is made, the next waits."""
        if self._item or self._asked:
            self._next.append((kind, text))
            return
        self._asked, self._asked_kind, self._awaited = text, kind, True
        if kind == "InjectUserMessage":
            self._stale = False
            self._send({"type": kind, "content": text})
        else:
            behavior = "interrupt" if self._stale else "queue"
            self._send({"type": kind, "message": text, "behavior": behavior})

    async def close(self) -> None:
        """The conversation is over."""
        await self._requests.close()

    # ---- in ------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[RealtimeEvent, None]:
        while True:
            while self._events:
                self._room.set()
                yield self._events.popleft()
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()

    def _tell(self, event: RealtimeEvent) -> None:
        self._events.append(event)
        self._news.set()

    async def read(self) -> None:
        """Take what comes, until cancelled or there is nothing more to come."""
        try:
            async for message in self._connection:
                for event in self._read(message):
                    self._tell(event)
                if len(self._events) > MAX_WAITING_EVENTS:
                    self._room.clear()
                    await self._room.wait()
            self._failure = ProviderUnavailable(NAME, "closed the connection")
        except ConnectionClosed as error:
            self._failure = broken(error)
        except ProviderError as error:
            self._failure = error
        self._news.set()

    def _read(self, message: str | bytes) -> list[RealtimeEvent]:
        if isinstance(message, bytes):
            return list(self._audio(message))
        try:
            found = json.loads(message)
            handler = self._handlers.get(found["type"])
            return list(handler(found)) if handler is not None else []
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ProviderUnavailable(NAME, "sent a message that makes no sense") from error

    def _begun(self) -> Iterator[RealtimeEvent]:
        """Something of an answer has come."""
        if not self._item:
            self._numbers["agent"] += 1
            self._item, self._texts, self._odd = f"agent-{self._numbers['agent']}", 0, b""
            self._asked, self._awaited = "", False
            yield ResponseStarted()

    def _thinking(self, message: Message) -> Iterator[RealtimeEvent]:
        if not self._stale:
            yield from self._begun()

    def _audio(self, data: bytes) -> Iterator[RealtimeEvent]:
        if self._stale or not data:
            return
        yield from self._begun()
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        if whole:
            yield AgentAudio(self._item, data[:whole])

    def _text(self, message: Message) -> Iterator[RealtimeEvent]:
        text = " ".join(str(message["content"]).split())
        if message["role"] == "user":
            yield from self._caller_said(text)
            return
        if self._stale and not (self._asked and text == " ".join(self._asked.split())):
            return
        self._stale = False
        yield from self._begun()
        self._texts += 1
        yield AgentText(self._item, text if self._texts == 1 else f" {text}")

    def _caller_said(self, text: str) -> Iterator[RealtimeEvent]:
        if not self._speaking:  # a message of ours: it was told, and not spoken
            return
        item, self._speaking = self._speaking, ""
        self._stale, self._awaited, self._rounds = False, True, 0
        yield SpeechStopped(item)
        yield CallerText(text, item)
        held, self._held = self._held, []
        for call, name, arguments in held:
            yield from self._function(call, name, arguments)

    def _caller_speaks(self, message: Message) -> Iterator[RealtimeEvent]:
        self._held.clear()  # the turn goes on after all: the service gives up what it made of its first half
        if not self._speaking:
            self._numbers["caller"] += 1
            self._speaking = f"caller-{self._numbers['caller']}"
            yield SpeechStarted(self._speaking)
        if self._item:  # it has stopped to speak, and says no word about that
            self._item, self._stale = "", True
            yield ResponseDone()
        self._go_on()

    def _audio_done(self, message: Message) -> Iterator[RealtimeEvent]:
        was, self._stale = self._stale, False
        if self._item and not was:
            self._item = ""
            yield ResponseDone()
        self._go_on()

    def _go_on(self) -> None:
        if self._next and not self._item and not self._asked and not self._speaking:
            self._ask(*self._next.popleft())

    def _functions(self, message: Message) -> Iterator[RealtimeEvent]:
        for function in message["functions"]:
            call = str(function["id"]), str(function["name"]), str(function["arguments"])
            if not function.get("client_side", True):
                continue
            if self._speaking:  # the service thinks ahead, the caller may go on: nothing is done before it is certain
                self._held = [*self._held, call][-MAX_HELD:]
            else:
                yield from self._function(*call)

    def _cancelled(self, message: Message) -> Iterator[RealtimeEvent]:
        """The caller went on: what the function would give is not wanted.

        Source: https://developers.deepgram.com/docs/voice-agent-function-call-cancelled.
        """
        for function in message["functions"]:
            call = str(function["id"])
            self._held = [one for one in self._held if one[0] != call]
            if self._calls.pop(call, None) is not None:
                self._requests.cancel(call)
        yield from ()

    def _function(self, call: str, name: str, arguments: str) -> Iterator[RealtimeEvent]:
        if call in self._calls:
            return
        self._calls[call] = name
        try:
            if self._tools.is_request(name):
                words = self._requests.begin(name, arguments, partial(self.tool_done, call, answer=True), call)
                if words:
                    self._send({"type": "InjectAgentMessage", "message": words, "behavior": "queue"})
                return
            yield ToolCall(call, self._tools.carry_out(name, arguments, self._actions))
        except BadToolCall as wrong:
            self._rounds += 1
            if self._rounds <= MAX_ROUNDS:
                self.tool_done(call, f"error: {wrong}", answer=True)
            yield ServiceProblem(f"the model called what it may not: {wrong}")

    def _refused(self, message: Message) -> Iterator[RealtimeEvent]:
        """Somebody was speaking just then."""
        if self._asked:
            self._next.appendleft((self._asked_kind, self._asked))
            self._asked = ""
        yield ServiceProblem("did not say what it was told to, as somebody was speaking")

    def _warning(self, message: Message) -> Iterator[RealtimeEvent]:
        yield ServiceProblem(_told(message))

    def _error(self, message: Message) -> Iterator[RealtimeEvent]:
        text = _told(message)
        if self._item or self._awaited:
            self._item = self._asked = ""
            self._awaited = False
            yield ResponseDone(text)
        else:
            yield ServiceProblem(text)


def _told(message: Message) -> str:
    return " ".join(f"{message.get('description', '')} ({message.get('code', '')})".split())[:300]
