"""One call's conversation over the OpenAI realtime API: its messages to events, and commands to its messages."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.g711 import decode_mu_law, encode_mu_law
from asterisk_ai.dialog.caller import name_as_data
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
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
from asterisk_ai.providers.api import Message as Turn
from asterisk_ai.providers.tools.toolbox import BadToolCall, Requests, Toolbox

logger = logging.getLogger(__name__)

NAME = "openai_realtime"
QUIET_SECONDS = 2.0
"""A service from which nothing has come for so long is asked whether it is there ..."""
ALIVE_SECONDS = 2.0
"""... and has so long to say so."""
MAX_WAITING_FRAMES = 500
"""Caller's audio (10 s) that waits to be sent; the oldest is dropped beyond."""
MAX_ROUNDS = 3
"""How often in one turn the model is told that what it called was wrong."""
_HARMLESS = ("response_cancel_not_active", "conversation_already_has_active_response")
"""Errors that only say that the service was quicker."""

Message = dict[str, Any]
Handler = Callable[["OpenAIRealtimeSession", Message], Iterator[RealtimeEvent]]


class OpenAIRealtimeSession:
    """Satisfies :class:`~asterisk_ai.providers.api.RealtimeSession`. Made by ``OpenAIRealtime.open``.

    :meth:`write` has to run beside it.
    """

    def __init__(self, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        self._connection = connection
        self._narrow = request.rate == 8000
        self._rate = request.rate
        self._tools = tools
        self._actions = request.actions
        self._requests = Requests(tools, request.caller, request.ledger)
        self._waiting: deque[tuple[bool, str]] = deque()  # whether it is audio, and the message
        self._waiting_audio = 0
        self._wake = asyncio.Event()
        self.dropped = 0
        """Frames of the caller for which there was no room."""
        self._response = ""  # the one that is being made
        self._asked: Message | None = None  # response.create that was sent and has not begun
        self._next: deque[Message] = deque()  # those that wait until a response is done
        self._unwanted: set[str] = set()  # responses that the caller interrupted
        self._discard = 0  # that have been asked for, and are not wanted any more
        self._items: dict[str, int] = {}  # the agent's messages to bytes of PCM, in their order
        self._cut: set[str] = set()
        self._odd: dict[str, bytes] = {}
        self._told: set[str] = set()  # tool calls
        self._rounds = 0
        name = name_as_data(request.caller)
        for turn in (*([Turn("caller", name)] if name else ()), *request.history):
            caller = turn.role == "caller"
            content = {"type": "input_text" if caller else "output_text", "text": turn.text}
            self._item({"type": "message", "role": "user" if caller else "assistant", "content": [content]})
        if request.greeting:
            self.say(request.greeting)

    # ---- out -------------------------------------------------------------------

    async def write(self) -> None:
        """Send what waits, until cancelled or the connection is closed."""
        try:
            while True:
                await self._wake.wait()
                while self._waiting:
                    audio, message = self._waiting.popleft()
                    self._waiting_audio -= audio
                    await self._connection.send(message)
                self._wake.clear()
        except ConnectionClosed as error:
            error.__traceback__ = None  # the connection keeps it, and it would keep the session
            logger.debug("the connection is closed")  # whoever reads the events is told why

    async def close(self) -> None:
        """The conversation is over."""
        await self._requests.close()

    def _send(self, message: Message, *, audio: bool = False) -> None:
        self._waiting.append((audio, json.dumps(message)))
        self._waiting_audio += audio
        if self._waiting_audio > MAX_WAITING_FRAMES:
            oldest = next(index for index, (is_audio, _) in enumerate(self._waiting) if is_audio)
            del self._waiting[oldest]
            self._waiting_audio -= 1
            self.dropped += 1
        self._wake.set()

    def feed(self, pcm: bytes) -> None:
        if pcm:
            data = encode_mu_law(pcm) if self._narrow else pcm
            message = {"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()}
            self._send(message, audio=True)

    def interrupt(self, item: str, played_ms: int) -> None:
        if self._response:
            self._unwanted.add(self._response)
            # Server VAD may have cancelled it already; the service says so, and it does no harm.
            self._send({"type": "response.cancel", "response_id": self._response})
        self._discard += self._asked is not None
        self._next.clear()
        reached = False
        for name, length in list(self._items.items()):
            reached = reached or name == item
            if reached:
                self._cut_off(name, played_ms if name == item else 0, length)

    def _cut_off(self, item: str, played_ms: int, length: int) -> None:
        """``audio_end_ms`` beyond the end is an error, and a message of which nothing was heard was never said."""
        self._cut.add(item)
        del self._items[item]
        length_ms = length * 1000 // (SAMPLE_BYTES * self._rate)
        if played_ms <= 0:
            self._send({"type": "conversation.item.delete", "item_id": item})
        elif played_ms < length_ms or self._response:
            end = min(played_ms, length_ms)
            self._send({"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": end})

    def say(self, text: str) -> None:
        instructions = f"Say exactly this to the caller, and nothing else: {json.dumps(text, ensure_ascii=False)}"
        self._respond({"instructions": instructions, "tool_choice": "none"})

    def tell(self, text: str) -> None:
        self._item({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
        self._respond({})

    def tool_done(self, call: str, result: str, *, answer: bool) -> None:
        self._item({"type": "function_call_output", "call_id": call, "output": result})
        if answer:
            self._respond({})

    def _item(self, item: Message) -> None:
        self._send({"type": "conversation.item.create", "item": item})

    def _respond(self, response: Message) -> None:
        """The service makes one response at a time."""
        if self._response or self._asked is not None:
            self._next.append(response)
            return
        self._asked = response
        self._send({"type": "response.create", "response": response} if response else {"type": "response.create"})

    # ---- in ---------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[RealtimeEvent, None]:
        while True:
            message = await self._receive()
            if not isinstance(message, str):
                yield ServiceProblem(f"sent {len(message)} bytes that are no event")
                continue
            for event in self._read(message):
                yield event

    async def _receive(self) -> str | bytes:
        """The next message. Raises ProviderError where there will be none."""
        try:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    return await self._connection.recv()
            except TimeoutError:
                # A closed connection says so, a service that stands still does not; this is answered with
                # session.updated, and changes nothing.
                self._send({"type": "session.update", "session": {"type": "realtime"}})
            async with asyncio.timeout(ALIVE_SECONDS):
                return await self._connection.recv()
        except TimeoutError as error:
            seconds = QUIET_SECONDS + ALIVE_SECONDS
            raise ProviderUnavailable(NAME, f"has been silent for {seconds:g} s") from error
        except ConnectionClosed as error:
            raise closed(error) from error.with_traceback(None)  # as above

    def _read(self, message: str) -> list[RealtimeEvent]:
        try:
            event = json.loads(message)
            handler = _HANDLERS.get(event["type"])
            return list(handler(self, event)) if handler is not None else []
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ProviderUnavailable(NAME, "sent an event that makes no sense") from error

    def _audio(self, event: Message) -> Iterator[RealtimeEvent]:
        item = str(event["item_id"])
        if item in self._cut or event["response_id"] in self._unwanted:
            return
        data = base64.b64decode(event["delta"], validate=True)
        if self._narrow:
            pcm = decode_mu_law(data)
        else:
            data = self._odd.pop(item, b"") + data
            whole = len(data) - len(data) % SAMPLE_BYTES
            pcm = data[:whole]
            if data[whole:]:
                self._odd[item] = data[whole:]
        self._items[item] = self._items.get(item, 0) + len(pcm)
        if pcm:
            yield AgentAudio(item, pcm)

    def _text(self, event: Message) -> Iterator[RealtimeEvent]:
        if event["item_id"] not in self._cut and event["response_id"] not in self._unwanted:
            yield AgentText(str(event["item_id"]), str(event["delta"]))

    def _speech_started(self, event: Message) -> Iterator[RealtimeEvent]:
        yield SpeechStarted(str(event["item_id"]))

    def _speech_stopped(self, event: Message) -> Iterator[RealtimeEvent]:
        self._rounds = 0
        yield SpeechStopped(str(event["item_id"]))

    def _caller_text(self, event: Message) -> Iterator[RealtimeEvent]:
        yield CallerText(" ".join(str(event["transcript"]).split()), str(event["item_id"]))

    def _caller_text_failed(self, event: Message) -> Iterator[RealtimeEvent]:
        yield ServiceProblem(f"no transcript of the caller: {_told(event['error'])}")

    def _created(self, event: Message) -> Iterator[RealtimeEvent]:
        self._response = str(event["response"]["id"])
        self._asked = None
        if self._discard:  # it was interrupted before it had begun, when there was nothing to cancel yet
            self._discard -= 1
            self._unwanted.add(self._response)
            self._send({"type": "response.cancel", "response_id": self._response})
            return
        yield ResponseStarted()

    def _done(self, event: Message) -> Iterator[RealtimeEvent]:
        response = event["response"]
        name, status = str(response.get("id") or self._response), response.get("status", "completed")
        self._response = ""
        problem = ""
        if status in ("failed", "incomplete"):
            details = response.get("status_details") or {}
            problem = f"answer {status}: {_told(details.get('error') or {'message': details.get('reason')})}"
        if name not in self._unwanted and status == "completed":
            # Not with response.function_call_arguments.done, which also comes for what was cancelled half-way.
            for item in response.get("output") or ():
                if item["type"] == "function_call":
                    yield from self._tool_call(str(item["call_id"]), str(item["name"]), str(item["arguments"]))
        self._unwanted.discard(name)
        yield ResponseDone(problem)
        if self._next and not self._response and self._asked is None:
            self._respond(self._next.popleft())

    def _tool_call(self, call: str, name: str, arguments: str) -> Iterator[RealtimeEvent]:
        if call in self._told:
            return
        self._told.add(call)
        try:
            if self._tools.is_request(name):
                if words := self._requests.begin(name, arguments, partial(self.tool_done, call, answer=True)):
                    self.say(words)
                return
            yield ToolCall(call, self._tools.carry_out(name, arguments, self._actions))
        except BadToolCall as wrong:
            self._rounds += 1
            self.tool_done(call, f"error: {wrong}", answer=self._rounds <= MAX_ROUNDS)
            yield ServiceProblem(f"the model called what it may not: {wrong}")

    def _error(self, event: Message) -> Iterator[RealtimeEvent]:
        error: Mapping[str, Any] = event["error"]
        code = error.get("code")
        if code == "conversation_already_has_active_response" and self._asked is not None:
            # The service's own answer to the caller was quicker. What has words of its own comes after that.
            if self._asked and not self._discard:
                self._next.appendleft(self._asked)
            self._asked, self._discard = None, 0
        if code in _HARMLESS:
            logger.debug("%s", code)
            return
        if code == "session_expired":
            raise ProviderUnavailable(NAME, _told(error))
        yield ServiceProblem(_told(error))


_HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "response.output_audio.delta": OpenAIRealtimeSession._audio,
        "response.output_audio_transcript.delta": OpenAIRealtimeSession._text,
        "input_audio_buffer.speech_started": OpenAIRealtimeSession._speech_started,
        "input_audio_buffer.speech_stopped": OpenAIRealtimeSession._speech_stopped,
        "conversation.item.input_audio_transcription.completed": OpenAIRealtimeSession._caller_text,
        "conversation.item.input_audio_transcription.failed": OpenAIRealtimeSession._caller_text_failed,
        "response.created": OpenAIRealtimeSession._created,
        "response.done": OpenAIRealtimeSession._done,
        "error": OpenAIRealtimeSession._error,
    }
)


def closed(error: ConnectionClosed) -> ProviderError:
    """A connection that was closed, in our terms. Source: RFC 6455, 7.4; the service names its errors in the reason."""
    frame = error.rcvd
    reason = f"{frame.code} {frame.reason}".strip() if frame is not None else "without a word"
    refused = frame is not None and ("invalid_request_error" in frame.reason or frame.code == 1008)
    return (ProviderRejected if refused else ProviderUnavailable)(NAME, f"closed the connection: {reason[:200]}")


def _told(error: Mapping[str, Any]) -> str:
    return " ".join(str(error.get("message") or error.get("code") or "no reason given").split())[:300]
