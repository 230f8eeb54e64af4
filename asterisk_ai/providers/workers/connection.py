"""The asyncio side of one worker process: its connection, and the streams and questions on it."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.workers import wire
from asterisk_ai.providers.workers.wire import Kind

T = TypeVar("T")


class WorkerStream:
    """One utterance on its way to a worker. Made by :meth:`WorkerPool.open`."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        self._dropped = 0
        self.lost = 0
        """Bytes of audio that the worker dropped, known once :meth:`finish` has returned."""
        self._finished = False
        self.result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    @property
    def dropped(self) -> int:
        """Bytes of audio that were dropped, on this side, for want of room."""
        return self._dropped

    def feed(self, data: bytes) -> None:
        """Hand over audio. Never blocks, never raises; where the worker lags, the oldest is dropped and counted."""
        if not self._finished and not self.result.done():
            self._dropped += self._worker.send_audio(self._number, data)

    async def finish(self, seconds: float = 10.0) -> dict[str, Any]:
        """No more audio: wait for the engine's result. Cancelling leaves the stream to be closed by its context.

        :param seconds: a worker that says nothing for so long is taken to hang, and killed.
        :raises ProviderUnavailable: the worker died or hangs, or the engine failed.
        :raises ProviderRejected: the engine refuses what it was asked to do.
        """
        if not self._finished:
            self._finished = True
            self._worker.send(Kind.FINISH, self._number)
        result = await self._worker.answer(self.result, seconds)
        self.lost = int(result.get("dropped", 0))
        return result


class Worker(asyncio.Protocol):
    """The connection to one process."""

    def __init__(self, provider: str, backlog_bytes: int) -> None:
        self._provider = provider
        self._backlog_bytes = backlog_bytes
        self._reader = wire.Reader()
        self._transport: asyncio.Transport | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._partials: dict[int, Callable[[Mapping[str, Any]], None]] = {}
        self._paused = False
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_bytes: dict[int, int] = {}
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.incident = object()
        """Its death, however many streams suffer from it."""

    @property
    def load(self) -> int:
        """Streams and questions that are open."""
        return len(self._waiting)

    def usable(self) -> bool:
        return self.ready.done() and not self.lost.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=1 << 18)

    def connection_lost(self, exc: Exception | None) -> None:
        """The process is gone: nothing that was asked of it will be answered."""
        self._transport = None
        self._held.clear()
        for future in self._waiting.values():
            fail(future, ProviderUnavailable(self._provider, "its worker process died", incident=self.incident))
        self._waiting.clear()
        fail(self.ready, ProviderUnavailable(self._provider, "its worker process died while loading"))
        if not self.lost.done():
            self.lost.set_result(None)

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def abort(self) -> None:
        """Close the connection at once; the process ends when it sees that."""
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._held and not self._paused:
            number, frame = self._held.popleft()
            self._held_bytes[number] = self._held_bytes.get(number, 0) - len(frame)
            self._write(frame)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, payload in self._reader.feed(data):
                self._take(kind, number, wire.body(payload))
        except ValueError:  # a library in the worker wrote to our socket, or worse: only a new process helps
            self.abort()

    def _take(self, kind: Kind, number: int, body: Mapping[str, Any]) -> None:
        if kind is Kind.READY and not self.ready.done():
            self.ready.set_result(None)
        elif kind is Kind.FAILED:
            fail(self.ready, self._error(body))
        if kind is Kind.PARTIAL:
            if number in self._partials:
                self._partials[number](body)
            return
        future = self._waiting.pop(number, None)
        if future is None or future.done():
            return
        if kind is Kind.RESULT:
            future.set_result(dict(body))
        elif kind is Kind.ERROR:
            fail(future, self._error(body))

    def _error(self, body: Mapping[str, Any]) -> ProviderError:
        make = ProviderRejected if body.get("rejected") else ProviderUnavailable
        return make(self._provider, str(body.get("message")))

    def _write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def send(self, kind: Kind, number: int, body: Mapping[str, Any] | None = None) -> None:
        """Send a message, behind the audio that is still held back."""
        self._write_or_hold(number, wire.message(kind, number, body))

    def send_audio(self, number: int, data: bytes) -> int:
        """Send audio, or hold it back while the socket is full; returns the bytes dropped to make room."""
        self._write_or_hold(number, wire.audio(number, data))
        return self._make_room(number) if self._held_bytes.get(number, 0) > self._backlog_bytes else 0

    def _write_or_hold(self, number: int, frame: bytes) -> None:
        if self._paused:
            self._held.append((number, frame))
            self._held_bytes[number] = self._held_bytes.get(number, 0) + len(frame)
        else:
            self._write(frame)

    def _make_room(self, number: int) -> int:
        """Drop the oldest audio of a stream: a tenth of its bound at once, so that the queue is seldom gone through."""
        wanted = self._held_bytes[number] - self._backlog_bytes * 9 // 10
        dropped = 0
        kept: deque[tuple[int, bytes]] = deque()
        for owner, frame in self._held:
            if owner == number and frame[0] == Kind.AUDIO and dropped < wanted:
                dropped += len(frame) - wire.HEADER.size
                self._held_bytes[number] -= len(frame)
            else:
                kept.append((owner, frame))
        self._held = kept
        return dropped

    def stream(
        self, options: Mapping[str, Any], partial: Callable[[Mapping[str, Any]], None] | None
    ) -> tuple[int, WorkerStream]:
        number = next(self._numbers)
        if partial is not None:
            self._partials[number] = partial
        stream = WorkerStream(self, number)
        self._waiting[number] = stream.result
        self.send(Kind.OPEN, number, options)
        return number, stream

    def close(self, number: int) -> None:
        """Give a stream up; nothing more is told of it."""
        future = self._waiting.pop(number, None)
        self._partials.pop(number, None)
        self._held_bytes.pop(number, None)
        if future is not None:
            future.cancel()
            self._held = deque(entry for entry in self._held if entry[0] != number)
            self.send(Kind.CLOSE, number)

    async def ask(self, question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.send(Kind.ASK, number, question)
        return await self.answer(future, seconds)

    async def answer(self, future: asyncio.Future[dict[str, Any]], seconds: float) -> dict[str, Any]:
        """Wait for a result without letting a worker that hangs keep its caller waiting for ever."""
        done, _ = await asyncio.wait([future], timeout=seconds)
        if not done:
            self.abort()
            reason = f"its worker process said nothing for {seconds:g} s"
            raise ProviderUnavailable(self._provider, reason, incident=self.incident)
        if future.cancelled():
            raise ProviderUnavailable(self._provider, "the stream was closed")
        return future.result()


def fail(future: asyncio.Future[T], error: ProviderError) -> None:
    """Tell an error to whoever waits; where nobody does, an utterance that was given up, that is no error."""
    if not future.done():
        future.set_exception(error)
        future.exception()
