"""The AudioSocket server on real sockets, with peers as Asterisk is and as it is not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
import struct
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from asterisk_ai.audio.formats import frame_bytes
from asterisk_ai.errors import CallRefused
from asterisk_ai.protocol import audiosocket as protocol
from asterisk_ai.transport import stream as module
from asterisk_ai.transport.audiosocket import direct
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.audiosocket.direct import EchoConnection, ToneConnection
from asterisk_ai.transport.audiosocket.handshake import Connect
from asterisk_ai.transport.audiosocket.server import AudioSocketServer
from asterisk_ai.transport.clock import MAX_CATCH_UP, PlayoutClock

FRAME = 3 + 320
SILENCE = b"\x10\x01\x40" + bytes(320)
LOOPS: dict[str, Any] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def run_on(work: Any) -> None:
        unhandled: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: unhandled.append(context))
            runner.run(work)
        assert not unhandled

    return run_on


class Handler:
    """What a call is for a connection; keeps what it was told."""

    def __init__(self, connection: AudioSocketConnection, rate: int = 8000) -> None:
        self.connection, self.rate = connection, rate
        self.began: list[int] = []
        self.pcm: list[bytes] = []
        self.digits = ""
        self.closed: list[str] = []

    def on_begin(self, rate: int) -> None:
        self.began.append(rate)

    def on_audio(self, pcm: bytes) -> None:
        self.pcm.append(pcm)

    def on_digit(self, digit: str) -> None:
        self.digits += digit

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)


class Served:
    """A server in this loop, and its handlers by UUID."""

    def __init__(
        self, rate: int = 8000, kind: type[AudioSocketConnection] = AudioSocketConnection, **limits: Any
    ) -> None:
        self.rate, self.kind, self.handlers = rate, kind, {}  # type: ignore[var-annotated]
        self.peers: list[Peer] = []
        self.clock = PlayoutClock()
        self.server = AudioSocketServer(self.accept, self.clock, **limits)

    def accept(self, call_id: str, connect: Connect) -> Handler:
        if call_id.startswith("dead"):
            raise CallRefused("UNKNOWN", f"call {call_id} is not registered")
        if call_id in self.handlers and not self.handlers[call_id].closed:
            raise CallRefused("BUSY", f"call {call_id} has a connection already")
        self.handlers[call_id] = Handler(connect(self.kind), self.rate)
        return self.handlers[call_id]

    async def __aenter__(self) -> Served:
        self.port = await self.server.start("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()
        for peer in self.peers:
            peer.close()
        await until(lambda: len(self.server) == 0)
        assert all(len(handler.closed) == 1 for handler in self.handlers.values()), "each is told once"

    @property
    def refused(self) -> dict[str, int]:
        return self.server.counters.refused

    async def peer(self, *, receive_buffer: int = 0) -> Peer:
        """A peer that has said nothing yet."""
        self.peers.append(await Peer.connect(self.port, receive_buffer=receive_buffer))
        return self.peers[-1]

    async def call(self, call_id: uuid.UUID | None = None, *, receive_buffer: int = 0) -> tuple[Peer, Handler]:
        """A peer that has said its UUID, and the handler that took it."""
        call_id = call_id or uuid.uuid4()
        self.handlers.pop(str(call_id), None)
        peer = await self.peer(receive_buffer=receive_buffer)
        await peer.send(protocol.uuid_message(call_id))
        await until(lambda: str(call_id) in self.handlers)
        return peer, self.handlers[str(call_id)]


class Peer:
    """Asterisk's socket, without a layer that would put segments together again."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int = 0) -> Peer:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """What one read gives; empty at the end, however it came."""
        async with asyncio.timeout(10):
            try:
                return await asyncio.get_running_loop().sock_recv(self.sock, 65536)
            except ConnectionError:
                return b""

    async def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = await self.receive()
            assert more, "closed"
            data += more
        return data

    async def rest(self) -> bytes:
        data = b""
        while more := await self.receive():
            data += more
        return data

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


Run = Callable[[Awaitable[None]], None]


# ---- audio ---------------------------------------------------------------------------------------


def test_silence_flows_from_the_uuid_on_one_frame_a_segment(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            assert handler.began == [8000]
            await peer.receive()
            began, whole = time.monotonic(), 0
            for _ in range(50):
                data = await peer.receive()
                assert len(data) % FRAME == 0, "header and payload arrive together"
                assert data == SILENCE * (len(data) // FRAME)
                whole += len(data) // FRAME
            pace = (time.monotonic() - began) / whole
            assert 0.015 < pace < 0.03
            sock = handler.connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(work())


def test_what_is_sent_is_played_in_order_and_padded(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            pcm = bytes(range(1, 251)) * 4
            await handler.connection.send(pcm[:600])
            await handler.connection.send(pcm[600:])
            await handler.connection.drained()
            assert handler.connection.played == 500
            data = await peer.exactly(FRAME * 6)
            payload = b"".join(data[at + 3 : at + FRAME] for at in range(0, len(data), FRAME))
            assert payload.strip(b"\0") == pcm

    run(work())


def test_a_producer_waits_above_the_mark_and_clear_lets_it_go(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            sending = asyncio.create_task(handler.connection.send(bytes(320) * 120))
            draining = asyncio.create_task(handler.connection.drained())
            await peer.exactly(FRAME * 5)
            assert not sending.done()
            handler.connection.clear()
            await asyncio.wait_for(asyncio.gather(sending, draining), 5)
            before = handler.connection.played
            assert before < 120 * 160
            await peer.exactly(FRAME * 5)
            assert handler.connection.played == before, "silence is not played audio"

    run(work())


def test_a_producer_goes_on_below_the_mark(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            await asyncio.wait_for(handler.connection.send(bytes(320) * 103), 5)
            peer.close()
            await asyncio.wait_for(handler.connection.drained(), 5)  # the peer is gone: nobody waits any more
            await asyncio.wait_for(handler.connection.send(bytes(320) * 200), 5)

    run(work())


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_wideband_calls_get_their_own_kind(run: Run, rate: int) -> None:
    async def work() -> None:
        async with Served(rate) as served:
            peer, handler = await served.call()
            size = frame_bytes(rate)
            heard = await peer.exactly((3 + size) * 2)  # or more, where we were late
            assert heard[: (3 + size) * 2] == protocol.audio_message(rate, bytes(size)) * 2
            await peer.send(protocol.audio_message(rate, b"\1\2" * 10))
            await until(lambda: handler.pcm == [b"\1\2" * 10])

    run(work())


def test_a_call_of_unknown_rate_takes_the_callers(run: Run) -> None:
    async def work() -> None:
        async with Served(0) as served:
            peer, handler = await served.call()
            assert handler.began == []
            await peer.send(protocol.audio_message(16000, bytes(640)))
            assert await peer.exactly(643) == protocol.audio_message(16000, bytes(640))
            assert handler.began == [16000]
            peer.close()
            silent, handler = await served.call()
            assert await silent.exactly(FRAME) == SILENCE, "and does not wait for it for long"
            assert handler.began == [8000]

    run(work())


def test_a_rate_that_changes_ends_the_connection(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            await peer.send(protocol.audio_message(16000, bytes(640)))
            data = await peer.rest()
            assert data == SILENCE * (len(data) // FRAME)
            await until(lambda: bool(handler.closed))
            assert "rate=16000" in handler.closed[0]

    run(work())


def test_audio_and_digits_in_any_pieces(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            stream = b"".join(protocol.audio_message(8000, bytes([n]) * 320) for n in range(1, 6))
            stream += protocol.dtmf_message("5") + b"\x7e\x00\x01x" + protocol.dtmf_message("#")
            for at in range(0, len(stream), 7):
                await peer.send(stream[at : at + 7])
            await until(lambda: handler.digits == "5#")
            assert handler.pcm == [bytes([n]) * 320 for n in range(1, 6)]
            assert served.server.counters.unknown_messages == 1

    run(work())


def test_audio_that_nobody_waits_for_comes_several_frames_at_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    received = AudioSocketConnection.data_received

    def data_received(connection: AudioSocketConnection, data: bytes) -> None:
        reads.append(len(data))
        received(connection, data)

    monkeypatch.setattr(AudioSocketConnection, "data_received", data_received)

    async def work() -> None:
        async with Served(kind=ToneConnection) as served:
            peer, handler = await served.call()
            await peer.send(SILENCE)
            await until(lambda: len(handler.pcm) == 1)
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handler.connection.repeat(b"\3\4" * 160)  # type: ignore[attr-defined]
            reads.clear()
            for count in range(1, 13):
                await peer.send(SILENCE)
                await asyncio.sleep(0.01)
                assert len(handler.pcm) <= 1 + count // 5 * 5
            await until(lambda: len(handler.pcm) == 11)
            assert min(reads) >= 5 * FRAME
            peer.close()
            await until(lambda: bool(handler.closed))
            assert len(handler.pcm) == 13, "what came before the end is not lost"

    run(work())


# ---- who is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (protocol.uuid_message(uuid.UUID("deadbeef-0000-4000-8000-000000000000")), "UNKNOWN"),
        (b"GET / HTTP/1.1\r\nHost: pbx\r\n\r\n", "PROTOCOL"),
        (b"\x16\x03\x01\x02\x00" + bytes(100), "PROTOCOL"),
        (protocol.audio_message(8000, bytes(320)), "PROTOCOL"),
        (random.Random(3).randbytes(3000).replace(b"\x01", b"\x02"), "PROTOCOL"),
        (protocol.uuid_message(uuid.UUID(int=7))[:-1], "TIMEOUT"),
        (b"", "TIMEOUT"),
    ],
)
def test_strangers_are_refused_without_a_byte(run: Run, data: bytes, reason: str) -> None:
    async def work() -> None:
        async with Served(handshake_seconds=0.3) as served:
            peer = await served.peer()
            await peer.send(data)
            assert await peer.rest() == b""
            await until(lambda: served.refused == {reason: 1})
            assert served.handlers == {}

    run(work())


@pytest.mark.parametrize("reset", [False, True])
def test_connecting_without_a_word_and_leaving_is_no_news(run: Run, reset: bool) -> None:
    """An unanswered channel: Asterisk connects, finds that out, and closes."""

    async def work() -> None:
        async with Served() as served:
            peer = await served.peer()
            await until(lambda: len(served.server) == 1)
            peer.close(reset=reset)
            await until(lambda: len(served.server) == 0)
            assert served.refused == {}

    run(work())


def test_one_connection_a_uuid(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            call_id = uuid.uuid4()
            peer, handler = await served.call(call_id)
            second = await served.peer()
            await second.send(protocol.uuid_message(call_id))
            assert await second.rest() == b""
            assert served.refused == {"BUSY": 1}
            assert await peer.exactly(FRAME) == SILENCE, "the first is unharmed"
            assert handler.closed == []
            peer.close()
            await until(lambda: bool(handler.closed))
            peer, again = await served.call(call_id)
            assert again is not handler

    run(work())


def test_connections_without_a_uuid_make_room_and_calls_do_not(run: Run) -> None:
    async def work() -> None:
        async with Served(max_connections=2) as served:
            calls = [await served.call() for _ in range(3)]
            silent = [await served.peer() for _ in range(5)]
            for peer in silent[:3]:
                assert await peer.rest() == b""
            assert served.refused == {"FULL": 3}
            calls.append(await served.call())
            assert await silent[3].rest() == b""
            assert len(served.server) == 5
            assert not any(handler.closed for _, handler in calls)

    run(work())


def test_a_burst_of_callers_is_let_in_however_long_a_turn_of_the_loop_takes(run: Run) -> None:
    """Each turn may be 60 ms of other calls' audio; uvloop by itself lets one caller in a turn."""
    callers = 160

    async def work() -> None:
        async with Served(max_connections=callers) as served:
            # The loop stands still meanwhile: all of them wait to be accepted.
            waiting = [socket.create_connection(("127.0.0.1", served.port), timeout=5) for _ in range(callers)]
            turns = 0
            while served.server.counters.connections < callers:
                await asyncio.sleep(0)
                turns += 1
            for each in waiting:
                each.close()
        assert turns < callers / 4

    run(work())


@pytest.mark.parametrize("kind", ["audio", "digits"])
def test_who_sends_faster_than_time_passes_is_no_telephone(run: Run, kind: str) -> None:
    """What a standstill has held up is taken; who sends as fast as he can would silence all other calls."""
    frame = protocol.audio_message(8000, bytes(320))
    flood = (frame if kind == "audio" else protocol.dtmf_message("1")) * 50

    async def work() -> None:
        async with Served() as served:
            held_up, handler = await served.call()
            await held_up.send(frame * 50 * 9)
            await until(lambda: len(handler.pcm) == 50 * 9)
            flooding, other = await served.call()
            with contextlib.suppress(OSError):
                while not other.closed:
                    await flooding.send(flood)
            assert other.closed == ["more than 10 s of audio ahead of the time"]
            assert served.refused == {"PROTOCOL": 1}
            assert not handler.closed

    run(work())


@pytest.mark.parametrize("bad", [b"\x03\x00\x02ab", protocol.uuid_message(uuid.UUID(int=7))])
def test_a_fault_in_mid_call_ends_that_call_only(run: Run, bad: bytes) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            other, unharmed = await served.call()
            await peer.send(protocol.dtmf_message("7") + bad)
            data = await peer.rest()
            assert data == SILENCE * (len(data) // FRAME)
            await until(lambda: bool(handler.closed))
            assert handler.digits == "7", "what came before it counts"
            await other.send(protocol.dtmf_message("1"))
            await until(lambda: unharmed.digits == "1")
            assert unharmed.closed == []

    run(work())


@pytest.mark.parametrize("empty", [b"\x10\x00\x00", b"\x10\x00\x01x", b"\x12\x00\x00", b"\x10\x01\x41" + bytes(321)])
def test_audio_of_no_whole_samples_is_left_out_and_counted(run: Run, empty: bytes) -> None:
    """Asterisk's jitter buffer makes frames without data."""

    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            before, after = (protocol.audio_message(8000, bytes([n]) * 320) for n in (1, 2))
            await peer.send(before + empty + after + empty)
            await peer.send(after)
            await until(lambda: len(handler.pcm) == 3)
            assert [pcm[0] for pcm in handler.pcm] == [1, 2, 2]
            assert served.server.counters.empty_audio == 2
            assert handler.closed == []

    run(work())


# ---- how it ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "reset", "half", "hangup", "error"])
def test_the_callers_hang_up(run: Run, way: str) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            await peer.exactly(FRAME)
            if way == "half":
                peer.sock.shutdown(socket.SHUT_WR)
            elif way in ("hangup", "error"):
                await peer.send(b"\x00\x00\x00" if way == "hangup" else b"\xff\x00\x01\x02")
            else:
                peer.close(reset=way == "reset")
            await until(lambda: bool(handler.closed))
            await until(lambda: len(served.server) == 0)

    run(work())


def test_hanging_up_is_one_message_and_then_nothing(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            handler.connection.hang_up()
            handler.connection.hang_up()
            data = await peer.rest()
            assert data.endswith(protocol.HANGUP_MESSAGE)
            assert data[:-3] == SILENCE * (len(data) // FRAME)
            await until(lambda: bool(handler.closed))
            assert handler.closed == ["ended by us"]
            handler.connection.hang_up()
            handler.connection.abort("late")

    run(work())


def test_who_sends_nothing_is_silent_and_nothing_else(run: Run) -> None:
    """A muted or held telephone: no audio for any time is no end. A host that is gone is found by TCP itself."""

    async def work() -> None:
        async with Served(idle_seconds=0.01) as served:
            peer, handler = await served.call()
            data = await peer.exactly(FRAME * 25)
            assert data == SILENCE * 25
            assert handler.closed == []
            sock = handler.connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 2000

    run(work())


def test_who_reads_nothing_is_dropped_and_the_others_feel_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.5)

    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call(receive_buffer=2048)
            other, kept = await served.call()
            handler.connection._transport.get_extra_info("socket").setsockopt(  # type: ignore[union-attr]
                socket.SOL_SOCKET, socket.SO_SNDBUF, 2048
            )
            received = 0
            while not handler.closed:
                await peer.send(SILENCE)  # it goes on sending, and is read
                received += len(await other.receive())
            assert handler.closed == ["Asterisk takes no audio"]
            assert served.server.counters.frames_dropped > 0
            assert kept.closed == []
            assert received > FRAME * 10

    run(work())


def test_hanging_up_on_who_reads_nothing_ends_all_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with Served() as served:
            _, handler = await served.call(receive_buffer=2048)
            handler.connection._transport.get_extra_info("socket").setsockopt(  # type: ignore[union-attr]
                socket.SOL_SOCKET, socket.SO_SNDBUF, 2048
            )
            await until(lambda: served.server.counters.frames_dropped > 2)
            monkeypatch.setattr(module, "STALL_SECONDS", 0.2)
            handler.connection.hang_up()
            await until(lambda: bool(handler.closed), 3)

    run(work())


def test_nothing_is_written_to_a_descriptor_that_is_somebody_elses_by_now(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            calls = [await served.call() for _ in range(8)]
            descriptors = {handler.connection._fd for _, handler in calls}
            await asyncio.gather(*(peer.exactly(FRAME) for peer, _ in calls))
            for number, (peer, handler) in enumerate(calls):
                if number % 2:
                    handler.connection.abort("now")
                else:
                    peer.close(reset=number % 4 == 0)
            await until(lambda: len(served.server) == 0)
            pairs = [socket.socketpair() for _ in range(16)]
            taken = {end.fileno() for pair in pairs for end in pair}
            assert taken & descriptors, "the numbers are in use again"
            await asyncio.sleep(0.1)
            ends = [end for pair in pairs for end in pair]
            for end in ends:
                end.setblocking(False)
                with pytest.raises(BlockingIOError):
                    end.recv(1)
            for end in ends:
                end.close()

    run(work())


def test_stopping_ends_every_connection(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            calls = [await served.call() for _ in range(5)]
            early = await served.peer()
            await served.server.stop()
            for peer, handler in calls:
                await peer.rest()
                assert handler.closed == ["the server stops"]
                peer.close()
            assert await early.rest() == b""
            early.close()
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                await served.peer()

    run(work())  # a process's first uvloop opens what stays open
    before = len(os.listdir("/proc/self/fd"))
    run(work())
    assert len(os.listdir("/proc/self/fd")) == before


# ---- echo ---


@pytest.mark.parametrize("rate", [8000, 16000])
def test_an_echo_is_what_came_and_nothing_else(run: Run, rate: int) -> None:
    """With jitter, with pauses, and however the line cuts it."""
    chance = random.Random(17)

    async def work() -> None:
        async with Served(rate, EchoConnection) as served:
            peer, handler = await served.call()
            spoken = b"".join(
                protocol.audio_message(rate, number.to_bytes(2, "big") * (length or rate // 50))
                for number, length in enumerate([0, 0, 0, 80, 0, 0, 400, 0] * 5)
            )
            ends = [*sorted(chance.sample(range(len(spoken)), 30)), len(spoken)]
            for start, end in itertools.pairwise([0, *ends]):
                await peer.send(spoken[start:end])
                await asyncio.sleep(chance.choice([0, 0, 0.001, 0.03]))
            assert await peer.exactly(len(spoken)) == spoken
            await peer.send(b"\x10\x00\x00" + protocol.dtmf_message("5") + spoken[: 3 + rate // 25])
            assert await peer.exactly(3 + rate // 25) == spoken[: 3 + rate // 25]
            assert handler.digits == "5"
            await asyncio.sleep(0.1)  # five frames that a clock would fill
            with pytest.raises(BlockingIOError):
                peer.sock.recv(1)
            assert not served.clock.runs, "nobody is spoken to"

    run(work())


def test_an_echo_of_nothing_keeps_the_call(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A muted telephone: Asterisk gives up a call in which neither side has sent anything for 2 s."""
    monkeypatch.setattr(direct, "_LOOK_SECONDS", 0.05)

    async def work() -> None:
        async with Served(kind=EchoConnection) as served:
            peer, handler = await served.call()
            assert await peer.exactly(FRAME * 3) == SILENCE * 3
            assert handler.closed == []

    run(work())


def test_an_echo_of_what_came_with_the_end_is_not_lost(run: Run) -> None:
    async def work() -> None:
        async with Served(kind=EchoConnection) as served:
            peer, handler = await served.call()
            spoken = protocol.audio_message(8000, b"\1\2" * 160)
            await peer.send(spoken)
            assert await peer.exactly(len(spoken)) == spoken
            await peer.send(spoken * 2 + protocol.HANGUP_MESSAGE)
            assert await peer.rest() == spoken * 2
            await until(lambda: handler.closed == ["hangup"])

    run(work())


# ---- the clock -----------------------------------------------------------------------------------------------


class Ticks:
    def __init__(self) -> None:
        self.count = 0

    def tick(self) -> None:
        self.count += 1


def test_the_clock_gives_everybody_the_same_number_of_ticks(run: Run) -> None:
    async def work() -> None:
        clock, members = PlayoutClock(), [Ticks() for _ in range(45)]
        for member in members:
            clock.add(member.tick)
        assert sorted(len(slot.members) for slot in clock._slots) == [2] * 15 + [3] * 5, "spread over the slots"
        await asyncio.sleep(0.3)
        counts = [member.count for member in members]
        assert max(counts) - min(counts) <= 1
        for member in members:
            clock.remove(member.tick)
        clock.remove(members[0].tick)
        assert not clock.runs, "an idle server is not woken"
        clock.add(members[0].tick)
        before = members[0].count
        await until(lambda: members[0].count > before)
        clock.close()

    run(work())


@pytest.mark.parametrize("members", [1, 3, 20, 25])
def test_the_clock_wakes_only_to_send(run: Run, members: int) -> None:
    async def work() -> None:
        wakes: list[float] = []
        clock, all_ = PlayoutClock(wakes.append), [Ticks() for _ in range(members)]
        for member in all_:
            clock.add(member.tick)
        await until(lambda: all_[-1].count >= 10)
        assert 0 < len(wakes) <= sum(member.count for member in all_)
        for member in all_[1:]:  # from every slot to one
            clock.remove(member.tick)
        await until(lambda count=all_[0].count: all_[0].count >= count + 2)
        wakes.clear()
        before = all_[0].count
        await until(lambda: all_[0].count >= before + 5)
        assert len(wakes) <= all_[0].count - before
        clock.close()

    run(work())


def test_a_gap_in_what_is_heard_is_told_once_with_what_to_do(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            await peer.exactly(FRAME)
            for _ in range(2):
                time.sleep(0.3)
                await peer.exactly(FRAME * 2)
            handler.connection.hang_up()
            await until(lambda: bool(handler.closed))
            (record,) = [record for record in caplog.records if "fell silent" in record.message]
            assert "server.max_calls" in record.message
            assert record.call_id == handler.connection.call_id

    run(work())


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often the clock has ticked connections."""
    ticked, count = AudioSocketConnection.tick, 0

    def tick(connection: AudioSocketConnection) -> None:
        nonlocal count
        count += 1
        ticked(connection)

    monkeypatch.setattr(AudioSocketConnection, "tick", tick)
    return lambda: count


def test_speech_begins_at_once_and_the_call_keeps_its_grid(run: Run, ticks: Callable[[], int]) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            connection, speech = handler.connection, bytes([1]) * 320
            for _ in range(25):
                await until(lambda: connection._silent)
                before, played = ticks(), connection.played
                await connection.send(speech * 2)
                assert connection.played == played + 160, "on the wire before the clock's next tick"
                await connection.send(speech)
                assert connection.played == played + 160, "and nothing more of it"
                connection.clear()
                await connection.send(speech)
                assert connection.played == played + 160, "one frame in 20 ms, whatever is begun"
                assert ticks() == before
                await until(lambda before=before: ticks() >= before + 3)
            data = peer.sock.recv(1 << 20)
            frames = [data[at : at + FRAME] for at in range(0, len(data), FRAME)]
            assert len(frames) == ticks() + connection._ahead, "as many as the clock has ticked"
            assert frames.count(SILENCE[:3] + speech) == 2 * 25
            assert frames.count(SILENCE) == len(frames) - 2 * 25

    run(work())


def test_what_is_heard_does_not_depend_on_how_it_is_cut(run: Run) -> None:
    """Whole frames are taken past the reader's events, one by one or several at once."""
    chance = random.Random(20)
    digit, odd, long = (protocol.dtmf_message("5"), protocol.audio_message(8000, b"\7\7"), bytes(640))
    other = [digit, odd, protocol.audio_message(8000, long)]

    async def work() -> None:
        async with Served() as served:
            _, handler = await served.call()
            for number in range(300):
                frame = protocol.audio_message(8000, number.to_bytes(2, "big") * 160)
                sent = [chance.choice([frame, frame, frame, frame, *other]) for _ in range(chance.randrange(1, 9))]
                wire = b"".join(sent)
                ends = [0, *itertools.accumulate(map(len, sent))]
                edges = {0, len(wire), *chance.sample(ends, chance.randrange(len(ends)))}
                edges |= set(chance.sample(range(len(wire)), chance.randrange(3)))
                handler.pcm.clear()
                handler.digits = ""
                handler.connection._bursts = 0  # as if the time had passed that they last
                for start, end in itertools.pairwise(sorted(edges)):
                    handler.connection.data_received(wire[start:end])
                assert handler.pcm == [message[3:] for message in sent if message is not digit]
                assert len(handler.digits) == sent.count(digit)

    run(work())


def test_what_goes_on_is_not_brought_forward(run: Run, ticks: Callable[[], int]) -> None:
    async def work() -> None:
        async with Served() as served:
            _, handler = await served.call()
            connection = handler.connection
            await connection.send(bytes(640))
            await connection.drained()
            before, played = ticks(), connection.played
            await connection.send(bytes(640))  # the line has never been silent: its next frame is due with the tick
            assert (ticks(), connection.played) == (before, played)
            await connection.drained()
            await until(lambda: connection._silent)
            await connection.send(bytes(100))
            assert connection.played == 640, "half a frame waits for the rest of it"

    run(work())


def test_after_a_pause_the_wire_has_at_most_one_more_frame_of_speech(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            connection, speech = handler.connection, bytes([1]) * 320
            sending = asyncio.create_task(connection.send(speech * 50))
            data = await peer.exactly(FRAME * 10)
            connection.pause()
            sent = connection.played // 160
            data += await peer.exactly(FRAME * 20)
            frames = [data[at : at + FRAME] for at in range(0, len(data), FRAME)]
            assert sent <= frames.count(SILENCE[:3] + speech) <= sent + 1
            assert frames[-18:] == [SILENCE] * 18
            connection.clear()
            await asyncio.wait_for(sending, 5)

    run(work())


def test_a_pause_keeps_what_is_queued(run: Run) -> None:
    async def work() -> None:
        async with Served() as served:
            peer, handler = await served.call()
            connection, begun = handler.connection, []
            connection.on_first_frame(lambda: begun.append(connection.played))
            await connection.send(bytes([1]) * 640)
            connection.pause()
            draining = asyncio.create_task(connection.drained())
            await peer.exactly(FRAME * 4)
            held = connection.played
            await peer.exactly(FRAME * 4)
            assert connection.played == held
            assert not draining.done()
            connection.resume()
            await asyncio.wait_for(draining, 5)
            assert connection.played == 320
            assert begun == [160], "told once, with the first frame"
            connection.pause()
            connection.clear()
            await asyncio.wait_for(connection.drained(), 5)

    run(work())


def test_a_loop_that_stood_still_catches_up_within_a_bound(run: Run) -> None:
    async def work() -> None:
        clock, member = PlayoutClock(), Ticks()
        clock.add(member.tick)
        await until(lambda: member.count > 0)
        before = member.count
        time.sleep(0.5)
        await asyncio.sleep(0.001)
        assert member.count - before <= MAX_CATCH_UP + 2
        assert clock.skipped_frames >= 15
        assert clock.late_frames > 0
        clock.close()

    run(work())


def test_members_may_leave_and_come_in_the_middle_of_a_tick(run: Run) -> None:
    async def work() -> None:
        clock = PlayoutClock()
        newcomer = Ticks()

        class Leaver(Ticks):
            def tick(self) -> None:
                super().tick()
                clock.remove(self.tick)
                clock.add(newcomer.tick)
                clock.remove(newcomer.tick)

        leavers = [Leaver() for _ in range(40)]
        for leaver in leavers:
            clock.add(leaver.tick)
        await until(lambda: all(leaver.count == 1 for leaver in leavers))
        await asyncio.sleep(0.05)
        assert all(leaver.count == 1 for leaver in leavers)
        assert not clock.runs

    run(work())
