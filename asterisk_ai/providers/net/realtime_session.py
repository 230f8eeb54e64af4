"""A conversation by speech to speech over one WebSocket: what the sessions of all vendors have in common.

A vendor's own is a subclass that says which messages stand for what. Needs the ``remote`` extra.
"""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.dialog.caller import name_as_data
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import (
    Message,
    RealtimeEvent,
    RealtimeRequest,
    RealtimeSession,
    ServiceProblem,
    ToolCall,
)
from asterisk_ai.providers.net.websocket import closed
from asterisk_ai.providers.tools.toolbox import BadToolCall, Requests, Toolbox

logger = logging.getLogger(__name__)

QUIET_SECONDS = 2.0
"""A service from which nothing has come for so long is asked whether it is there, where it has a ``probe`` ..."""
ALIVE_SECONDS = 2.0
"""... and has so long to say so."""
MAX_WAITING_FRAMES = 500
"""Caller's audio (10 s) that waits to be sent; the oldest is dropped beyond."""
MAX_ROUNDS = 3
"""How often in one turn the model is told that what it called was wrong."""
Json = Mapping[str, Any]
Handler = Callable[[Any, Json], Iterator[RealtimeEvent]]


class SocketSession(RealtimeSession, ABC):
    """One call's conversation: messages of the service to events, and commands to messages for it.

    :meth:`write` has to run beside it.
    """

    handlers: ClassVar[Mapping[str, Handler]] = MappingProxyType({})
    """What a message of that ``type`` stands for; others are ignored."""
    probe: ClassVar[Json | None] = None
    """Something harmless that the service answers; None where pings of the connection are enough."""
    idle: ClassVar[tuple[float, Json] | None] = None
    """After so many seconds in which nothing was sent, the service wants to be told that we are there."""
    answers_every_result: ClassVar[bool] = False
    """The service goes on speaking whenever it is told what came of a function."""

    def __init__(self, name: str, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        self._name, self._connection = name, connection
        self._tools, self._actions, self._spent = tools, request.actions, request.spent
        self._requests = Requests(tools, request.caller, request.ledger)
        self._waiting: deque[tuple[bool, str | bytes]] = deque()  # whether it is audio, and the message
        self._waiting_audio = 0
        self._wake = asyncio.Event()
        self.dropped = 0
        """Frames of the caller for which there was no room."""
        self._own: deque[RealtimeEvent] = deque()  # events that no message of the service brought
        self._receiving: asyncio.Timeout | None = None
        self._answer = ""  # the vendor's name of the one that is being made
        self._asked: Json | None = None  # what was asked for an answer, which has not begun
        self._next: deque[Json] = deque()  # what is to be asked once the answer has come
        self._odd = ("", b"")  # half a sample, and the item that it belongs to
        self._seen: set[str] = set()  # functions that were called
        self._open: dict[str, str] = {}  # those whose result the service waits for
        self._rounds = 0

    # ---- out -------------------------------------------------------------------

    async def write(self) -> None:
        """Send what waits, until cancelled or the connection is closed."""
        seconds, idle = self.idle or (None, {})
        try:
            while True:
                try:
                    async with asyncio.timeout(seconds):
                        await self._wake.wait()
                except TimeoutError:
                    self._send(idle)
                while self._waiting:
                    audio, message = self._waiting.popleft()
                    self._waiting_audio -= audio
                    await self._connection.send(message)
                self._wake.clear()
        except ConnectionClosed as error:
            error.__traceback__ = None  # the connection keeps it, and it would keep the session
            logger.debug("the connection is closed")  # whoever reads the events is told why

    def feed(self, pcm: bytes) -> None:
        if not pcm:
            return
        self._waiting.append((True, self._caller_audio(pcm)))
        self._waiting_audio += 1
        if self._waiting_audio > MAX_WAITING_FRAMES:
            oldest = next(index for index, (is_audio, _) in enumerate(self._waiting) if is_audio)
            del self._waiting[oldest]
            self._waiting_audio -= 1
            self.dropped += 1
        self._wake.set()

    def tool_done(self, call: str, result: str, *, answer: bool) -> None:
        """Whoever does not wait for a result, or does not any more, is told none."""
        name = self._open.pop(call, None)
        if name is not None:
            self._result(call, name, result, answer=answer)

    async def close(self) -> None:
        """The conversation is over."""
        await self._requests.close()

    def _send(self, message: Json) -> None:
        self._waiting.append((False, json.dumps(dict(message))))
        self._wake.set()

    def _ask(self, wish: Json) -> None:
        """The service makes one answer at a time: while it does, the next wish waits."""
        if self._answer or self._asked is not None:
            self._next.append(wish)
        else:
            self._asked = wish
            self._request(wish)

    def _ask_next(self) -> None:
        if self._next and not self._answer and self._asked is None:
            self._ask(self._next.popleft())

    @abstractmethod
    def _caller_audio(self, pcm: bytes) -> str | bytes:
        """The message that brings a frame to the service."""

    @abstractmethod
    def _request(self, wish: Json) -> None:
        """Send what asks for an answer, as it was given to :meth:`_ask`."""

    @abstractmethod
    def _result(self, call: str, name: str, result: str, *, answer: bool) -> None:
        """Tell what came of a function."""

    # ---- in ---------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[RealtimeEvent, None]:
        while True:
            while self._own:
                yield self._own.popleft()
            message = await self._receive()
            for event in self._read(message) if message is not None else ():
                yield event

    def _tell(self, event: RealtimeEvent) -> None:
        """An event that no message of the service stands for."""
        self._own.append(event)
        if self._receiving is not None and not self._receiving.expired():
            self._receiving.reschedule(0.0)

    async def _receive(self) -> str | bytes | None:
        """The next message; None where there is something of our own to tell. Raises ProviderError: there is none."""
        for number, seconds in enumerate((QUIET_SECONDS, ALIVE_SECONDS) if self.probe else (None,)):
            if number and self.probe:
                self._send(self.probe)  # a closed connection says so, a service that stands still does not
            try:
                async with asyncio.timeout(seconds) as self._receiving:
                    return await self._connection.recv()
            except TimeoutError:
                if self._own:
                    return None
            except ConnectionClosed as error:
                raise closed(self._name, error) from error.with_traceback(None)  # as above
            finally:
                self._receiving = None
        raise ProviderUnavailable(self._name, f"has been silent for {QUIET_SECONDS + ALIVE_SECONDS:g} s")

    def _read(self, message: str | bytes) -> list[RealtimeEvent]:
        if isinstance(message, bytes):
            return list(self._binary(message))
        return self._parsed(message)

    def _parsed(self, message: str | bytes) -> list[RealtimeEvent]:
        try:
            events: list[RealtimeEvent] = []
            for kind, told in self._kinds(json.loads(message)):
                if (handler := self.handlers.get(kind)) is not None:
                    events += handler(self, told)
            return events
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ProviderUnavailable(self._name, "sent a message that makes no sense") from error

    def _kinds(self, message: Any) -> Iterator[tuple[str, Json]]:
        """The key of the handler of each thing that a message tells, and that thing."""
        yield message["type"], message

    def _binary(self, data: bytes) -> Iterator[RealtimeEvent]:
        yield ServiceProblem(f"sent {len(data)} bytes that are no event")

    def _whole(self, item: str, data: bytes) -> bytes:
        """Whole samples: messages may part one."""
        before, rest = self._odd
        data = rest + data if before == item else data
        whole = len(data) // SAMPLE_BYTES * SAMPLE_BYTES
        self._odd = item, data[whole:]
        return data[:whole]

    def _called(self, call: str, name: str, arguments: str) -> Iterator[RealtimeEvent]:
        """The model calls a function, once."""
        if call in self._seen:
            return
        self._seen.add(call)
        self._open[call] = name
        try:
            if self._tools.is_request(name):
                done = partial(self.tool_done, call, answer=True)
                if words := self._requests.begin(name, arguments, done, call):
                    self._meanwhile(words)
                return
            yield ToolCall(call, self._tools.carry_out(name, arguments, self._actions))
        except BadToolCall as wrong:
            self._rounds += 1
            again = self._rounds <= MAX_ROUNDS
            if again or not self.answers_every_result:
                self.tool_done(call, f"error: {wrong}", answer=again)
            yield ServiceProblem(f"the model called what it may not: {wrong}")

    def _meanwhile(self, words: str) -> None:
        """What the caller hears while a request is on its way."""
        self.say(words)


def known(request: RealtimeRequest) -> list[Message]:
    """What the model is to know when the conversation begins: who calls, and what was said before."""
    name = name_as_data(request.caller)
    return [*([Message("caller", name)] if name else ()), *request.history]
