"""Audio over chan_websocket on real sockets: Asterisk's part is played here, release by release."""

from __future__ import annotations

import asyncio
import audioop
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from asterisk_ai.errors import CallRefused, ControlError, Refusal
from asterisk_ai.protocol.websocket import RATES
from asterisk_ai.transport import stream
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import MediaConnection
from asterisk_ai.transport.websocket.connection import WebSocketConnection
from asterisk_ai.transport.websocket.position import MARK_FRAMES
from asterisk_ai.transport.websocket.server import WebSocketServer

LOOPS: dict[str, Any] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
Run = Callable[[Awaitable[None]], None]
TONE = b"\x10\x20" * 160


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def run_on(work: Any) -> None:
        unhandled: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: unhandled.append(context))
            runner.run(work)
        assert not unhandled

    return run_on


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Handler:
    connection: WebSocketConnection
    rate: int = 0
    began: int = 0
    pcm: list[bytes] = field(default_factory=list)
    digits: str = ""
    closed: list[str] = field(default_factory=list)

    def on_begin(self, rate: int) -> None:
        self.began = rate

    def on_audio(self, pcm: bytes) -> None:
        self.pcm.append(pcm)

    def on_digit(self, digit: str) -> None:
        self.digits += digit

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)


class Channel:
    """Asterisk's end: a queue from which a frame is played where the test says so, as chan_websocket.c does it.

    :param marks: whether this release knows MARK_MEDIA.
    """

    def __init__(self, socket: ClientConnection | ServerConnection, *, json_form: bool, marks: bool) -> None:
        self.socket, self.json, self.marks = socket, json_form, marks
        self.commands: list[str] = []
        self.queue: list[bytes | str] = []
        self.heard: list[bytes] = []
        self.paused = self.drain = False

    async def start(self, sound_format: str = "slin") -> None:
        size = str(len(TONE) * RATES.get(sound_format, 8000) // 8000)
        await self.tell(
            "MEDIA_START", connection_id="asterisk-ai", channel="WebSocket/asterisk-ai/0x1", channel_id="1.2",
            format=sound_format, optimal_frame_size=size, ptime="20",
        )  # fmt: skip

    async def tell(self, event: str, **values: str) -> None:
        words = " ".join((event, *(f"{name}:{value}" for name, value in values.items())))
        await self.socket.send(json.dumps({"event": event, **values}) if self.json else words)

    async def read(self) -> None:
        """Take what comes until the connection is closed."""
        try:
            async for message in self.socket:
                if isinstance(message, bytes):
                    self.queue.append(message)
                else:
                    await self._obey(message)
        except ConnectionClosed:
            pass

    async def _obey(self, text: str) -> None:
        words = dict(zip(("command", "correlation_id"), text.split(" "), strict=False))
        command = json.loads(text) if self.json else words
        name = command["command"]
        self.commands.append(name)
        if name == "MARK_MEDIA" and self.marks:
            self.queue.append(command["correlation_id"])
        elif name == "FLUSH_MEDIA":
            self.queue.clear()
        elif name in ("PAUSE_MEDIA", "CONTINUE_MEDIA"):
            self.paused = name == "PAUSE_MEDIA"
        elif name == "REPORT_QUEUE_DRAINED":
            self.drain = True
        elif name == "HANGUP":
            await self.socket.close()

    async def play(self) -> None:
        """One tick of Asterisk's timer."""
        if self.paused:
            return
        while self.queue and isinstance(mark := self.queue[0], str):
            self.queue.pop(0)
            if self.json:
                await self.tell("MEDIA_MARK_PROCESSED", correlation_id=mark)
            else:
                await self.socket.send(f"MEDIA_MARK_PROCESSED {mark}")
        if self.queue:
            self.heard.append(bytes(self.queue.pop(0)))  # type: ignore[arg-type] - no mark any more
        elif self.drain:
            self.drain = False
            await self.tell("QUEUE_DRAINED")

    async def run(self) -> None:
        """Play by a clock, which is not late for ever where it was late once."""
        due = asyncio.get_running_loop().time()
        while True:
            await self.play()
            due += 0.02
            await asyncio.sleep(due - asyncio.get_running_loop().time())

    def speech(self) -> list[bytes]:
        return [frame for frame in self.heard if frame.strip(b"\0")]


class Served:
    def __init__(self, **limits: Any) -> None:
        self.handlers: dict[str, Handler] = {}
        self.clock = PlayoutClock()
        self.server = WebSocketServer(self.accept, self.clock, **{"asterisk": "ws://127.0.0.1:1/media", **limits})
        self.port = 0

    def accept(self, call_id: str, connection: MediaConnection) -> Handler:
        if call_id.startswith("dead"):
            raise CallRefused(Refusal.UNKNOWN, f"call {call_id} is not registered")
        assert isinstance(connection, WebSocketConnection)
        self.handlers[call_id] = Handler(connection)
        return self.handlers[call_id]

    @property
    def refused(self) -> dict[Refusal, int]:
        return self.server.counters.refused

    def url(self, call_id: str) -> str:
        return f"ws://127.0.0.1:{self.port}/media?call={call_id}"

    @asynccontextmanager
    async def call(
        self, sound_format: str = "slin", *, json_form: bool = False, marks: bool = True, plays: bool = True
    ) -> AsyncIterator[tuple[Channel, Handler]]:
        """A call that Asterisk has brought; it plays what comes where ``plays``."""
        call_id = str(uuid.uuid4())
        async with connect(self.url(call_id), subprotocols=["media"], compression=None) as socket:  # type: ignore[list-item]
            channel = Channel(socket, json_form=json_form, marks=marks)
            tasks = [asyncio.ensure_future(channel.read())]
            if plays:
                tasks.append(asyncio.ensure_future(channel.run()))
            await channel.start(sound_format)
            await until(lambda: call_id in self.handlers)
            try:
                yield channel, self.handlers[call_id]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[Served]:
    it = Served(**limits)
    it.port = await it.server.start("127.0.0.1", 0)
    try:
        yield it
    finally:
        await it.server.stop()
        await until(lambda: len(it.server) == 0)
        it.clock.close()
        assert all(len(handler.closed) == 1 for handler in it.handlers.values()), "each is told once"


@pytest.mark.parametrize("json_form", [False, True])
@pytest.mark.parametrize("sound_format", ["slin", "slin16", "slin48", "ulaw", "alaw"])
def test_both_ways_in_every_format_and_form(run: Run, sound_format: str, json_form: bool) -> None:
    async def work() -> None:
        async with served() as it, it.call(sound_format, json_form=json_form) as (channel, handler):
            rate = RATES[sound_format]
            assert handler.began == handler.connection.rate == rate
            tone = b"\x10\x20" * (rate // 50)
            encode, decode = {
                "ulaw": (audioop.lin2ulaw, audioop.ulaw2lin),
                "alaw": (audioop.lin2alaw, audioop.alaw2lin),
            }.get(sound_format, (lambda pcm, _: pcm, lambda pcm, _: pcm))
            await channel.socket.send(encode(tone, 2))
            await channel.tell("DTMF_END", digit="7", channel_id="1.2")
            await until(lambda: handler.digits)
            assert (handler.pcm, handler.digits) == ([decode(encode(tone, 2), 2)], "7")
            await handler.connection.send(tone * 5)
            await asyncio.wait_for(handler.connection.drained(), 20)
            silence = encode(bytes(len(tone)), 2)
            await until(lambda: [frame for frame in channel.heard if frame != silence] == [encode(tone, 2)] * 5)
            assert handler.connection.played == len(tone) * 5 // 2
            assert channel.commands[0] == "ANSWER"

    run(work())


@pytest.mark.parametrize("size", [1, 2, 7, 327, 328, 329, 1000])
def test_audio_and_digits_in_any_pieces(run: Run, size: int) -> None:
    """Whole frames are read apart from all else: however they are cut, nothing is lost, doubled or out of order."""

    async def work() -> None:
        async with served() as it, it.call(plays=False) as (channel, handler):
            frames = [bytes((number, 1)) * 160 for number in range(12)]
            for number, frame in enumerate(frames):
                channel.socket.protocol.send_binary(frame)
                if number % 4 == 3:
                    channel.socket.protocol.send_text(b"DTMF_END digit:5 channel_id:1.2")
            sent = b"".join(channel.socket.protocol.data_to_send())
            for at in range(0, len(sent), size):
                channel.socket.transport.write(sent[at : at + size])
                if size > 7:
                    await asyncio.sleep(0.002)  # so that it is a piece of its own
            await until(lambda: len(handler.digits) == 3)
            assert (handler.pcm, handler.digits, handler.closed) == (frames, "555", [])

    run(work())


def test_what_was_heard_is_what_asterisk_played(run: Run) -> None:
    """However much waits in its queue, and whatever becomes of it at an interruption."""

    async def work() -> None:
        async with served() as it, it.call(plays=False) as (channel, handler):
            await until(lambda: "MARK_MEDIA" in channel.commands)
            await channel.play()  # marks are known from here on
            await until(lambda: handler.connection._position.known)
            await handler.connection.send(TONE * 100)
            await until(lambda: len([frame for frame in channel.queue if frame == TONE]) >= 30)
            playing = asyncio.ensure_future(channel.run())
            await until(lambda: len(channel.speech()) > 15)
            apart = [handler.connection.played - 160 * len(channel.speech())]
            while len(channel.speech()) < 35:
                await asyncio.sleep(0.01)
                apart.append(handler.connection.played - 160 * len(channel.speech()))
            assert abs(sorted(apart)[len(apart) // 2]) <= 320, "a frame; this Asterisk runs in our own loop"
            playing.cancel()
            played = handler.connection.played
            handler.connection.clear()
            after = handler.connection.played
            assert played <= after <= played + 160
            await until(lambda: "FLUSH_MEDIA" in channel.commands)
            heard = len(channel.speech())
            for _ in range(50):
                await channel.play()
            assert len(channel.speech()) == heard, "nothing of it is played any more"
            assert handler.connection.played == after

    run(work())


def test_a_queue_that_a_late_clock_has_filled_is_emptied_by_leaving_silence_out(run: Run) -> None:
    async def work() -> None:
        async with served() as it, it.call(plays=False) as (channel, handler):
            await until(lambda: "MARK_MEDIA" in channel.commands)
            await channel.play()
            await until(lambda: len(channel.queue) > 12)
            playing = asyncio.ensure_future(channel.run())
            await until(lambda: len(channel.queue) <= 4)
            await handler.connection.send(TONE)
            await asyncio.wait_for(handler.connection.drained(), 20)
            await until(lambda: channel.speech() == [TONE])
            playing.cancel()

    run(work())


def test_a_pause_is_at_once_and_loses_nothing(run: Run) -> None:
    async def work() -> None:
        async with served() as it, it.call() as (channel, handler):
            await until(lambda: handler.connection._position.known)
            await handler.connection.send(b"".join(bytes((number, 1)) * 160 for number in range(40)))
            await until(lambda: len(channel.speech()) > 5)
            handler.connection.pause()
            await until(lambda: channel.paused)
            held, played = len(channel.speech()), handler.connection.played
            await asyncio.sleep(0.2)
            assert (len(channel.speech()), handler.connection.played) == (held, played)
            handler.connection.resume()
            await asyncio.wait_for(handler.connection.drained(), 20)
            await until(lambda: channel.speech() == [bytes((number, 1)) * 160 for number in range(40)])

    run(work())


def test_an_interruption_ends_a_pause(run: Run) -> None:
    async def work() -> None:
        async with served() as it, it.call() as (channel, handler):
            await until(lambda: handler.connection._position.known)
            await handler.connection.send(TONE * 40)
            await until(lambda: len(channel.speech()) > 2)
            handler.connection.pause()
            handler.connection.clear()
            await until(lambda: "CONTINUE_MEDIA" in channel.commands and not channel.paused)
            assert channel.commands.index("PAUSE_MEDIA") < channel.commands.index("FLUSH_MEDIA")
            await handler.connection.send(b"\x01\x02" * 160)
            await asyncio.wait_for(handler.connection.drained(), 20)
            await until(lambda: channel.speech()[-1] == b"\x01\x02" * 160)

    run(work())


def test_a_release_that_knows_no_marks_gets_no_silence_and_few_of_them(run: Run) -> None:
    async def work() -> None:
        async with served() as it, it.call(marks=False) as (channel, handler):
            await handler.connection.send(TONE * MARK_FRAMES * 4)
            await asyncio.wait_for(handler.connection.drained(), 20)
            await until(lambda: channel.heard == [TONE] * MARK_FRAMES * 4)
            assert channel.commands.count("MARK_MEDIA") <= 3
            assert handler.connection.played == 160 * MARK_FRAMES * 4

    run(work())


def test_asterisk_may_have_us_wait(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with served() as it, it.call() as (channel, handler):
            await until(lambda: channel.heard)
            await channel.tell("MEDIA_XOFF")
            await until(lambda: handler.connection._full)
            await handler.connection.send(TONE * 10)
            await asyncio.sleep(0.1)
            assert not channel.speech()
            await channel.tell("MEDIA_XON")
            await asyncio.wait_for(handler.connection.drained(), 20)
            await until(lambda: channel.speech() == [TONE] * 10)
            monkeypatch.setattr(stream, "STALL_SECONDS", 0.1)
            monkeypatch.setattr("asterisk_ai.transport.websocket.connection.STALL_SECONDS", 0.1)
            await channel.tell("MEDIA_XOFF")
            await until(lambda: handler.closed)
            assert handler.closed == ["Asterisk takes no audio"]

    run(work())


def test_the_last_frames_are_played_before_we_hang_up(run: Run) -> None:
    async def work() -> None:
        async with served() as it, it.call() as (channel, handler):
            await until(lambda: handler.connection._position.known)
            await handler.connection.send(TONE * 3)
            await until(lambda: handler.connection._queued == 0)
            handler.connection.hang_up()
            handler.connection.hang_up()
            await until(lambda: handler.closed)
            assert handler.closed == ["ended by us"]
            assert channel.speech() == [TONE] * 3
            assert channel.commands.count("HANGUP") == 1

    run(work())


@pytest.mark.parametrize("way", ["goodbye", "reset"])
def test_the_callers_hang_up(run: Run, way: str) -> None:
    async def work() -> None:
        async with served() as it, it.call() as (channel, handler):
            if way == "goodbye":
                await channel.socket.close()
            else:
                channel.socket.transport.abort()
            sending = asyncio.ensure_future(handler.connection.send(bytes(16_000 * 10)))
            await until(lambda: handler.closed)
            await asyncio.wait_for(sending, 20)
            assert handler.closed == ["hangup"] or way == "reset"

    run(work())


@pytest.mark.parametrize(
    "bad",
    ["MEDIA_", '{"event":', "STATUS queue_length:x", ["pieces"], b"\0" * 70_000],
    ids=["later event", "half of JSON", "no number", "pieces", "too much"],
)
def test_a_fault_ends_that_call_only(run: Run, bad: Any) -> None:
    async def work() -> None:
        async with served() as it, it.call() as (channel, handler), it.call() as (_, other):
            await channel.socket.send(bad)
            if bad == "MEDIA_":  # an event of some later release
                await until(lambda: it.server.counters.unknown_messages)
                assert handler.closed == []
            else:
                await until(lambda: handler.closed)
                assert it.refused == {"PROTOCOL": 1}
            assert other.closed == []

    run(work())


@pytest.mark.parametrize(
    ("path", "subprotocols", "status"),
    [
        ("/media?call=nobody", ["media"], 404),
        ("/other?call={}", ["media"], 404),
        ("/media?call={}", None, 400),
        ("/media?call={}", ["chat"], 400),
    ],
)
def test_requests_that_are_no_call_are_refused(run: Run, path: str, subprotocols: Any, status: int) -> None:
    async def work() -> None:
        async with served() as it:
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{it.port}{path.format(uuid.uuid4())}", subprotocols=subprotocols)
            assert refused.value.response.status_code == status
            await until(lambda: it.refused == {"PROTOCOL": 1})

    run(work())


@pytest.mark.parametrize(
    ("call_id", "message", "reason"),
    [
        ("dead0000-0000-4000-8000-000000000000", "", "UNKNOWN"),
        ("", "MEDIA_XON", "PROTOCOL"),
        ("", "nonsense", "PROTOCOL"),
        ("", "MEDIA_START connection_id:a format:opus optimal_frame_size:0 ptime:20", "FORMAT"),
    ],
)
def test_connections_that_are_no_call_are_closed(run: Run, call_id: str, message: str, reason: str) -> None:
    async def work() -> None:
        async with served() as it, connect(it.url(call_id or str(uuid.uuid4())), subprotocols=["media"]) as socket:  # type: ignore[list-item]
            channel = Channel(socket, json_form=False, marks=True)
            await (socket.send(message) if message else channel.start())
            await asyncio.wait_for(channel.read(), 20)
            assert it.refused == {reason: 1}

    run(work())


def test_who_says_nothing_is_closed_and_makes_room(run: Run) -> None:
    async def work() -> None:
        async with served(max_connections=3, handshake_seconds=0.3) as it, it.call() as (_, handler):
            silent = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(5)]
            await until(lambda: it.refused == {"FULL": 2, "TIMEOUT": 3})
            assert handler.closed == []
            for _, writer in silent:
                writer.close()

    run(work())


def test_who_sends_faster_than_time_passes_is_no_telephone(run: Run) -> None:
    async def work() -> None:
        async with served() as it, it.call() as (channel, handler):
            channel.socket.transport.write(b"")  # the socket is there
            try:
                while not handler.closed:
                    await channel.socket.send(TONE * 50)
            except ConnectionClosed:
                pass
            await until(lambda: handler.closed)
            assert "ahead of the time" in handler.closed[0]

    run(work())


def test_we_connect_to_asterisk(run: Run) -> None:
    async def work() -> None:
        channels: list[Channel] = []
        paths: list[str] = []

        async def media(socket: ServerConnection) -> None:
            assert socket.request is not None
            paths.append(socket.request.path)
            channel = Channel(socket, json_form=False, marks=True)
            channels.append(channel)
            await channel.start()
            playing = asyncio.ensure_future(channel.run())
            await channel.read()
            playing.cancel()

        async with serve(media, "127.0.0.1", 0, subprotocols=["media"]) as asterisk:  # type: ignore[list-item]
            port = next(iter(asterisk.sockets)).getsockname()[1]
            async with served(asterisk=f"ws://127.0.0.1:{port}/media") as it:
                call_id = str(uuid.uuid4())
                await asyncio.wait_for(it.server.connect(call_id, "0a1b"), 20)
                handler = it.handlers[call_id]
                await channels[0].socket.send(TONE)
                await until(lambda: handler.pcm)
                await handler.connection.send(TONE * 3)
                await asyncio.wait_for(handler.connection.drained(), 20)
                await until(lambda: channels[0].speech() == [TONE] * 3)
                assert (paths, handler.pcm) == (["/media/0a1b"], [TONE])
                handler.connection.hang_up()
                await until(lambda: handler.closed)

    run(work())


def test_an_asterisk_that_will_not_have_us_is_told(run: Run) -> None:
    async def work() -> None:
        async def media(socket: ServerConnection) -> None:
            await socket.close()

        async with serve(media, "127.0.0.1", 0) as asterisk:
            port = next(iter(asterisk.sockets)).getsockname()[1]
            async with served(asterisk=f"ws://127.0.0.1:{port}/media", handshake_seconds=5) as it:
                with pytest.raises(ControlError, match="/media/0a1b"):
                    await asyncio.wait_for(it.server.connect(str(uuid.uuid4()), "0a1b"), 20)
        async with served(asterisk="ws://127.0.0.1:1/media") as it:
            with pytest.raises(ControlError, match=r"enabled=yes in http\.conf"):
                await it.server.connect(str(uuid.uuid4()), "0a1b")

    run(work())
