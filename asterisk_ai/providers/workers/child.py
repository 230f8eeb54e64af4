"""The worker's side: one thread that reads frames and lets an engine work in small pieces.

Started as ``python -m asterisk_ai.providers.workers.child`` with its end of a
socket pair as standard input. It ends when that socket does, so it never
outlives the process that started it, however that one died. SIGINT and SIGTERM
are ignored: a terminal and systemd send them to every process of a service,
and calls being drained still need their engines.

A crash is the way to report the unexpected: the traceback goes to standard
error, the pool fails the open streams and starts another worker.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.workers import wire
from asterisk_ai.providers.workers.wire import Kind

NICE = 10
"""Engines get what the audio leaves: a word that is understood a moment later is not heard, a late frame is."""


class EngineStream(Protocol):
    """One utterance inside the engine. Any method may raise ProviderError."""

    def feed(self, data: bytes) -> None:
        """Work on a piece of audio, at most ``quantum_bytes`` of it: other streams wait meanwhile."""

    def finish(self) -> Mapping[str, Any]:
        """The result, as a JSON object. ``feed`` was given everything before."""

    def ahead(self) -> bool:
        """Work on what was fed while nothing waits, a step of at most some 50 ms; False: there is nothing to do."""

    def news(self) -> Mapping[str, Any] | None:
        """A result for what was fed so far, once; None where there is no new one."""

    def close(self) -> None:
        """Give up what the stream holds; called once, whether it finished or not."""


class Engine(Protocol):
    """What a worker loads: ``Engine(settings)`` with the settings the pool was given."""

    quantum_bytes: int
    """Audio to feed at a time."""
    max_streams: int
    """Streams that may be at work at once; more wait with their audio queued."""

    def open(self, options: Mapping[str, Any]) -> EngineStream: ...

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer something that is not a stream."""


class _Stream:
    """A stream as the pool sees it, with the audio that the engine has not had yet."""

    def __init__(self, number: int, options: Mapping[str, Any]) -> None:
        self.number = number
        self.options = options
        self.queue = bytearray()
        self.dropped = 0
        self.finishing = False
        self.work: EngineStream | None = None


class Worker:
    """The loop. ``backlog_bytes`` bounds the audio queued for one stream; the oldest is dropped and counted."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = wire.Reader()
        self._streams: dict[int, _Stream] = {}
        self._engine: Engine | None = None
        self._backlog_bytes = 0

    def run(self) -> None:
        """Serve until the other end is gone."""
        while True:
            due = self._next()
            if not self._readable():
                if due is not None:
                    self._work(due)
                    continue
                if self._work_ahead():
                    continue
            data = self._connection.recv(1 << 18)  # blocks where there is nothing to do
            if not data:
                return
            for kind, number, payload in self._reader.feed(data):
                self._take(kind, number, payload)

    def _readable(self) -> bool:
        return bool(select.select([self._connection], [], [], 0)[0])

    def _send(self, kind: Kind, number: int = 0, body: Mapping[str, Any] | None = None) -> None:
        self._connection.sendall(wire.message(kind, number, body))

    def _fail(self, number: int, error: ProviderError) -> None:
        rejected = isinstance(error, ProviderRejected)
        self._send(Kind.ERROR, number, {"rejected": rejected, "message": plain(error)})

    def _take(self, kind: Kind, number: int, payload: bytes) -> None:
        if kind is Kind.AUDIO:
            self._queue(number, payload)
        elif kind is Kind.FINISH:
            if number in self._streams:
                self._streams[number].finishing = True
        elif kind is Kind.CLOSE:
            self._drop(number)
        elif kind is Kind.OPEN:
            self._streams[number] = _Stream(number, wire.body(payload))
        elif kind is Kind.ASK:
            self._ask(number, wire.body(payload))
        elif kind is Kind.SETUP:
            self._setup(wire.body(payload))

    def _setup(self, body: Mapping[str, Any]) -> None:
        self._backlog_bytes = body["backlog_bytes"]
        module_name, _, attribute = body["engine"].partition(":")
        try:
            make: Callable[[Mapping[str, Any]], Engine] = getattr(importlib.import_module(module_name), attribute)
            self._engine = make(body["settings"])
        except ImportError as error:
            self._send(Kind.FAILED, 0, {"rejected": True, "message": f"cannot be imported: {error}"})
        except ProviderError as error:
            self._send(Kind.FAILED, 0, {"rejected": isinstance(error, ProviderRejected), "message": plain(error)})
        else:
            self._send(Kind.READY)

    def _ask(self, number: int, question: Mapping[str, Any]) -> None:
        try:
            self._send(Kind.RESULT, number, self._loaded().ask(question))
        except ProviderError as error:
            self._fail(number, error)

    def _loaded(self) -> Engine:
        if self._engine is None:
            raise ProviderUnavailable("worker", "the engine is not loaded")
        return self._engine

    def _queue(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.finishing:
            return
        stream.queue += data
        surplus = len(stream.queue) - self._backlog_bytes
        if surplus > 0:
            surplus += surplus & 1  # whole samples
            del stream.queue[:surplus]
            stream.dropped += surplus

    def _next(self) -> _Stream | None:
        """The stream to work on: one whose caller waits for words, else the one that was served longest ago."""
        if self._engine is None:
            return None
        free = self._engine.max_streams - sum(s.work is not None for s in self._streams.values())
        able = [s for s in self._streams.values() if s.work is not None or free > 0]
        for stream in able:
            if stream.finishing:
                return stream
        for stream in able:
            if len(stream.queue) >= self._engine.quantum_bytes:
                return stream
        return None

    def _work(self, stream: _Stream) -> None:
        engine = self._loaded()
        try:
            if stream.work is None:
                stream.work = engine.open(stream.options)
            if stream.queue:
                piece = bytes(stream.queue[: engine.quantum_bytes])
                del stream.queue[: len(piece)]
                stream.work.feed(piece)
                if not stream.finishing:  # to the end of the line
                    self._streams[stream.number] = self._streams.pop(stream.number)
            elif stream.finishing:
                result = {**stream.work.finish(), "dropped": stream.dropped}
                self._drop(stream.number)
                self._send(Kind.RESULT, stream.number, result)
        except ProviderError as error:
            self._drop(stream.number)
            self._fail(stream.number, error)

    def _work_ahead(self) -> bool:
        """Nobody waits: a step of what may be wanted soon. False where there is nothing."""
        for stream in tuple(self._streams.values()):
            if stream.work is None:
                continue
            try:
                if not stream.work.ahead():
                    continue
                news = stream.work.news()
            except ProviderError as error:
                self._drop(stream.number)
                self._fail(stream.number, error)
                return True
            if news is not None:
                self._send(Kind.PARTIAL, stream.number, news)
            self._streams[stream.number] = self._streams.pop(stream.number)  # to the end of the line
            return True
        return False

    def _drop(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and stream.work is not None:
            stream.work.close()


def plain(error: ProviderError) -> str:
    """The error's text without its provider's name, which the pool puts in front again."""
    return str(error).removeprefix(f"{error.provider}: ")


def _behind_the_audio() -> None:
    os.nice(NICE)
    # Where the kernel groups processes by session, nice counts within a session, and ours is new: only the group's
    # own value puts it behind the server. Source: sched(7), "The autogroup feature".
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE), "ascii")


def main() -> int:
    """Serve the socket that is standard input."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _behind_the_audio()
    with socket.socket(fileno=0) as connection:
        try:
            Worker(connection).run()
        except ConnectionError:  # the pool is gone
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
