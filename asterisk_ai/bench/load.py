"""The load of ``asterisk-ai bench``: Asterisk's part of many calls at once, in a process of its own.

Each call sends a 320-byte frame every 20 ms on an absolute schedule, the
phases of the calls spread over the 20 ms. No asyncio: one loop over slots of
0.5 ms, with the kernel's receive time stamps, so that reading a moment late
does not make the server look late.
"""

from __future__ import annotations

import array
import gc
import os
import random
import resource
import select
import socket
import struct
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from asterisk_ai.audio.formats import PTIME_MS, frame_bytes
from asterisk_ai.bench.process_use import ProcessUse
from asterisk_ai.errors import RemoteProtocolError
from asterisk_ai.protocol import audiosocket

RATE = 8000
FRAME = frame_bytes(RATE)
PERIOD_NS = PTIME_MS * 1_000_000
SLOTS = 40
SLOT_NS = PERIOD_NS // SLOTS
GRACE_SECONDS = 0.5
_MESSAGE = audiosocket.HEADER_BYTES + FRAME
_HEADER = audiosocket.audio_header(RATE, FRAME)
_SILENCE = bytes(FRAME)
_SO_TIMESTAMPNS = 35
_STAMP = struct.Struct("<IQ")  # call, time of sending
_FILL = bytes((7 * i + 13) % 256 for i in range(FRAME - _STAMP.size))


@dataclass(frozen=True, slots=True)
class Load:
    """What one process has to do.

    ``speech`` is PCM that every caller repeats, each from another place on; the caller's last
    sound in it is at ``speech_ends`` bytes. Without it the frames carry a stamp for an echo to send back.
    """

    calls: Sequence[tuple[str, int, str]]
    """Of each call: host and port of its audio, and its id."""
    seconds: float
    warm_seconds: float = 1.0
    speech: bytes = b""
    speech_ends: int = 0
    first: int = 0
    """Number of the first call, where several processes share the calls: the phases go on from there."""
    server_pid: int = 0
    """The process whose CPU time is taken with the window; 0: none."""
    cpus: tuple[int, ...] = ()
    """CPUs to run on; empty: any."""


@dataclass(slots=True)
class Arrived:
    """What one process measured. Times in ns of CLOCK_REALTIME."""

    calls: int
    connected: int = 0
    closed_early: int = 0
    sent: int = 0
    """Frames sent within the window."""
    not_taken: int = 0
    """Frames that the server's socket did not take."""
    window: tuple[int, int] = (0, 0)
    call: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Of each frame received: its call, ..."""
    at: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """... when it arrived, ..."""
    stamped: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """... when it was sent, where it is an echo, ..."""
    loud: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    """... and whether anything is to be heard in it, where there is speech."""
    speech_ended: list[tuple[int, int]] = field(default_factory=list)
    """Call and time of each caller's last sound."""
    send_lag: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """How late each slot was sent, ns."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    use: tuple[ProcessUse, ProcessUse] = (ProcessUse(), ProcessUse())
    """The server at the window's beginning and end."""
    error: str = ""


class _Call:
    """One connection. ``position`` is the next frame of the speech."""

    __slots__ = ("buffer", "fd", "loud", "number", "position", "recvmsg", "socket")

    def __init__(self, number: int, address: tuple[str, int], call_id: str) -> None:
        self.number = number
        self.socket = socket.create_connection(address, timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.sendall(audiosocket.uuid_message(uuid.UUID(call_id)))
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.recvmsg = self.socket.recvmsg
        self.buffer = b""
        self.position = 0


class Generator:
    """Runs one :class:`Load`."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._heard = Arrived(len(load.calls))
        speech = load.speech
        self._frames = [_HEADER + speech[at : at + FRAME].ljust(FRAME, b"\0") for at in range(0, len(speech), FRAME)]
        self._last_sound = load.speech_ends // FRAME
        self._slots: list[list[_Call]] = [[] for _ in range(SLOTS)]
        self._by_fd: dict[int, _Call] = {}
        self._epoll = select.epoll()
        self._random = random.Random(load.first)  # noqa: S311 - phases, not secrets
        self._calls = array.array("I")
        self._times = bytearray()  # struct timespec of each frame
        self._stamps = bytearray()
        self._louds = bytearray()
        self._lags = array.array("q")
        self._recording = False

    def run(self) -> Arrived:
        """From the first connection to the end of the window."""
        heard, load = self._heard, self._load
        start = time.monotonic_ns() + 10_000_000
        tick, end = 0, 0
        waiting = list(enumerate(load.calls, load.first))[::-1]
        window_ns = int(load.seconds * 1e9)
        cpu = wall = 0.0
        while not end or time.monotonic_ns() < end:
            due = start + tick * SLOT_NS
            delay = due - time.monotonic_ns()
            if delay > 0:
                time.sleep(delay / 1e9)
            elif self._recording:
                self._lags.append(-delay)
            self._send(self._slots[tick % SLOTS])
            self._receive()
            tick += 1
            if waiting:
                number, (host, port, call_id) = waiting.pop()
                self._open(number, host, port, call_id)
                warm = time.monotonic_ns() + int(load.warm_seconds * 1e9)
            elif not self._recording and not end and time.monotonic_ns() >= warm:
                self._recording = True
                use = ProcessUse.of(load.server_pid)
                cpu, wall = time.process_time(), time.monotonic()
                heard.window = (time.time_ns(), time.time_ns() + window_ns)
            elif self._recording and time.time_ns() >= heard.window[1]:
                self._recording = False
                heard.window = (heard.window[0], time.time_ns())  # up to the last frame sent
                heard.cpu_seconds, heard.wall_seconds = time.process_time() - cpu, time.monotonic() - wall
                heard.use = (use, ProcessUse.of(load.server_pid))
                end = time.monotonic_ns() + int(GRACE_SECONDS * 1e9)
        return self._finish()

    def _open(self, number: int, host: str, port: int, call_id: str) -> None:
        try:
            call = _Call(number, (host, port), call_id)
        except OSError as error:
            self._heard.error = str(error)
            return
        # Golden ratio: evenly spread for any number of calls, and over several processes.
        phase = int(number * 0.6180339887498949 % 1 * SLOTS)
        self._slots[phase].append(call)
        self._by_fd[call.fd] = call
        self._epoll.register(call.fd, select.EPOLLIN)
        if self._frames:
            call.position = self._random.randrange(len(self._frames))
        self._heard.connected += 1

    def _send(self, calls: list[_Call]) -> None:
        frames, recording = self._frames, self._recording
        write = os.write
        for call in calls:
            try:
                if frames:
                    position = call.position
                    write(call.fd, frames[position])
                    if position == self._last_sound:
                        self._heard.speech_ended.append((call.number, time.time_ns()))
                    position += 1
                    call.position = position if position < len(frames) else 0
                else:
                    write(call.fd, _HEADER + _STAMP.pack(call.number, time.time_ns()) + _FILL)
            except BlockingIOError:
                self._heard.not_taken += 1
            except OSError:
                self._gone(call)
            else:
                if recording:
                    self._heard.sent += 1

    def _receive(self) -> None:
        echo = not self._frames
        for fd, _ in self._epoll.poll(0, 4096):
            call = self._by_fd[fd]
            try:
                data, ancillary, _, _ = call.recvmsg(65536, 64)
            except BlockingIOError:
                continue
            except OSError:
                data, ancillary = b"", []
            if not data:
                self._gone(call)
                continue
            stamp = ancillary[0][2] if ancillary else _now()
            if call.buffer or len(data) != _MESSAGE:
                self._pieces(call, data, stamp)
                continue
            self._calls.append(call.number)
            self._times += stamp
            if echo:
                self._stamps += data[3:15]
            else:
                self._louds.append(data[3:] != _SILENCE)

    def _pieces(self, call: _Call, data: bytes, stamp: bytes) -> None:
        """More or less than one frame at once."""
        data = call.buffer + data
        while len(data) >= audiosocket.HEADER_BYTES:
            end = audiosocket.HEADER_BYTES + int.from_bytes(data[1:3], "big")
            if len(data) < end:
                break
            kind, payload, data = data[0], data[3:end], data[end:]
            if kind == audiosocket.KIND_HANGUP:
                self._gone(call)
                return
            try:
                audiosocket.check_from_server(kind, payload, RATE)
            except RemoteProtocolError as error:
                self._heard.error = str(error)
                self._gone(call)
                return
            self._calls.append(call.number)
            self._times += stamp
            if self._frames:
                self._louds.append(payload != _SILENCE[: len(payload)])
            else:
                self._stamps += payload[: _STAMP.size].ljust(_STAMP.size, b"\0")
        call.buffer = data

    def _gone(self, call: _Call) -> None:
        if self._by_fd.pop(call.fd, None) is None:
            return
        self._heard.closed_early += 1
        for slot in self._slots:
            if call in slot:
                slot[:] = [other for other in slot if other is not call]
        self._epoll.unregister(call.fd)
        call.socket.close()

    def _finish(self) -> Arrived:
        for call in self._by_fd.values():
            call.socket.close()
        self._epoll.close()
        heard = self._heard
        heard.call = np.array(self._calls, np.uint32)
        times = np.frombuffer(bytes(self._times), np.int64).reshape(-1, 2)
        heard.at = times[:, 0] * 1_000_000_000 + times[:, 1]
        stamps = np.frombuffer(bytes(self._stamps), np.dtype([("call", "<u4"), ("at", "<u8")]))
        heard.stamped = stamps["at"].astype(np.int64)
        heard.loud = np.frombuffer(bytes(self._louds), np.bool_)
        heard.send_lag = np.array(self._lags, np.int64)
        return heard


def _now() -> bytes:
    """What the kernel's time stamp would be, where it gives none."""
    now = time.time_ns()
    return struct.pack("@qq", now // 1_000_000_000, now % 1_000_000_000)


def generate(load: Load) -> Arrived:
    """The whole of a process's work; runs in the process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if load.cpus:
        os.sched_setaffinity(0, load.cpus)
    gc.disable()  # a bounded run without cycles: a collection would be measured as the server's lateness
    try:
        return Generator(load).run()
    finally:
        gc.enable()
