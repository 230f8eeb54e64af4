#!/usr/bin/env python3
"""Microseconds that the parts of one 20 ms frame's way cost, without the kernel's share (frames go to /dev/null).

The least of several repetitions, in CPU time: another program on the machine makes a repetition longer, never
shorter. Not part of the tests: figures belong to a machine. Compare two versions on the same one.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from asterisk_ai.audio.levels import dbov
from asterisk_ai.config import parse
from asterisk_ai.protocol import audiosocket
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession, new_call_id
from asterisk_ai.transport.audiosocket.handshake import Handshake
from asterisk_ai.vad.energy import EnergyVad

CONFIG = """
http: false
store: {backend: memory}
server: {max_calls: 5000}
audiosocket: {require_registration: false, max_connections: 5000}
pipeline: delay
pipelines:
  delay:
    stt: "asterisk_ai.providers.engines.delay:DelaySpeechToText"
    llm: "asterisk_ai.providers.engines.delay:DelayLanguageModel"
    tts: "asterisk_ai.providers.engines.delay:DelayTextToSpeech"
agents: {talk: {turn: {no_input_seconds: 600}}}
"""
CALLS = 50
"""As many as the clock ticks at once with a thousand."""
REPEAT = 30
ROUNDS = 40


class FakeSocket:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def setsockopt(self, *_: object) -> None: ...


class FakeTransport:
    """As much of a transport as a connection asks for, over /dev/null."""

    def __init__(self, fd: int) -> None:
        self._socket = FakeSocket(fd)
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> Any:
        return self._socket if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


def told(name: str, run: Callable[[], None], count: int) -> None:
    """:param count: frames of one ``run``."""
    best = 1e9
    for _ in range(REPEAT):
        begin = time.process_time()
        for _ in range(ROUNDS):
            run()
        best = min(best, time.process_time() - begin)
    print(f"{name:52} {best / ROUNDS / count * 1e6:7.3f} us a frame")


async def frame_path(agent: str, null: int) -> None:
    server = Server(parse(CONFIG, environ={}))
    server._group = group = asyncio.TaskGroup()
    async with group:
        connections = []
        for _ in range(CALLS):
            call_id = new_call_id()
            server.store.add(CallSession(call_id, agent, rate=8000))
            transport = FakeTransport(null)
            handshake = Handshake(server.audiosocket)
            handshake.connection_made(transport)  # type: ignore[arg-type]
            handshake.data_received(audiosocket.uuid_message(uuid.UUID(call_id)))
            connections.append(transport.protocol)
        await asyncio.sleep(0.1)
        silence = audiosocket.audio_message(8000, np.random.default_rng(1).integers(-9, 9, 160, "<i2").tobytes())

        def receive() -> None:
            for connection in connections:
                connection.data_received(silence)
            server.vad.flush(time.monotonic())  # as the clock does

        def tick() -> None:
            for connection in connections:
                connection.tick()

        def both() -> None:
            receive()
            tick()

        told(f"{agent}: in", receive, CALLS)
        told(f"{agent}: in and out", both, CALLS)
        if agent == "talk":
            for connection in connections:
                connection._pieces.append(bytes(320 * 5000))
                connection._queued = 320 * 5000
            told(f"{agent}: in and out, playing speech", both, CALLS)
        for connection in connections:
            connection.connection_lost(None)
        await asyncio.sleep(0.05)


def parts() -> None:
    frame = np.random.default_rng(1).integers(-9, 9, 160, "<i2").tobytes()
    message = audiosocket.audio_message(8000, frame)
    reader = audiosocket.Reader()
    reader.receive(audiosocket.uuid_message(uuid.uuid4()))
    told("reader, one whole frame", lambda: [reader.receive(message) for _ in range(50)] and None, 50)
    told("level of one frame", lambda: [dbov(frame) for _ in range(50)] and None, 50)
    vad = EnergyVad(8000)
    told("energy VAD, one frame", lambda: [vad.push(frame, 1.0) for _ in range(50)] and None, 50)


def main() -> None:
    parts()
    null = os.open("/dev/null", os.O_WRONLY)
    for agent in ("echo", "milliwatt", "talk"):
        asyncio.run(frame_path(agent, null))


if __name__ == "__main__":
    main()
