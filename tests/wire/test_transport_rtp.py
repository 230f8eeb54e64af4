"""RTP over real sockets: what is heard, what is sent and when, strangers, loss, and ports."""

from __future__ import annotations

import asyncio
import audioop
import functools
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec

import pytest
import uvloop

from asterisk_ai.call.diagnostic import OVER_ANY, tone_frame
from asterisk_ai.errors import CallRefused
from asterisk_ai.protocol.rtp import Sender, parse
from asterisk_ai.session.model import CallSession, new_call_id
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.rtp.connection import RtpConnection
from asterisk_ai.transport.rtp.formats import FORMATS
from asterisk_ai.transport.rtp.ports import RtpPorts

P = ParamSpec("P")


def on_both_loops(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The test on asyncio's loop, then on uvloop's."""

    @functools.wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
            with asyncio.Runner(loop_factory=loop) as runner:
                runner.run(test(*arguments, **named))

    return run


TONE = b"\x10\x20" * 160  # 20 ms at 8 kHz


@dataclass
class Handler:
    rate: int = 0
    heard: list[bytes] = field(default_factory=list)
    digits: str = ""
    closed: list[str] = field(default_factory=list)
    began: int = 0

    def on_begin(self, rate: int) -> None:
        self.began = rate

    def on_audio(self, pcm: bytes) -> None:
        self.heard.append(pcm)

    def on_digit(self, digit: str) -> None:
        self.digits += digit

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)


class Peer:
    """Asterisk's side: a socket, and what comes to it."""

    def __init__(self, name: str = "slin") -> None:
        self.format = FORMATS[name]
        self.coder = self.format.coder()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.sender = Sender(self.format.payload_types[-1], 7, 65_530, 0)

    def packet(self, pcm: bytes = TONE) -> bytes:
        return self.sender.packet(self.coder.encode(pcm), len(pcm) * self.format.clock_rate // (2 * self.format.rate))

    def send(self, connection: RtpConnection, packet: bytes | None = None) -> None:
        host, _, port = connection.address.rpartition(":")
        self.socket.sendto(self.packet() if packet is None else packet, (host, int(port)))

    async def receive(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 2000), 5)

    async def hear(self, tone: bytes) -> None:
        """Until a frame comes that sounds as ``tone``: exactly so, but for a coder that remembers."""
        while True:
            heard = self.coder.decode(parse(await self.receive()).payload)
            if self.coder.remembers:
                if 0.7 < audioop.rms(heard, 2) / audioop.rms(tone, 2) < 1.4:
                    return
            elif heard == self.coder.decode(self.coder.encode(tone)):
                return


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(
    name: str = "slin", refuse: str = "", agent: str = ""
) -> AsyncIterator[tuple[RtpPorts, RtpConnection, Handler, Peer]]:
    handler, clock, peer = Handler(), PlayoutClock(), Peer(name)
    running: set[asyncio.Task[None]] = set()

    def accept(call_id: str, connection: RtpConnection) -> MediaHandler:
        if refuse:
            raise CallRefused(refuse)
        if not agent:
            return handler
        call = OVER_ANY[agent](CallSession(call_id, agent), connection)
        running.add(asyncio.ensure_future(call.run()))
        return call

    ports = RtpPorts(FORMATS[name], clock, accept, host="127.0.0.1", first=31_000, last=39_999)
    connection = await ports.open()
    try:
        yield ports, connection, handler, peer
    finally:
        connection.close("test")
        await asyncio.wait_for(asyncio.gather(*running), 5)
        clock.close()
        peer.socket.close()
        await asyncio.sleep(0.01)  # the loop closes the sockets


@pytest.mark.parametrize("name", list(FORMATS))
@on_both_loops
async def test_both_ways_in_every_format(name: str) -> None:
    async with opened(name) as (_, connection, handler, peer):
        tone = tone_frame(FORMATS[name].rate)
        connection.lock(peer.socket.getsockname())
        connection.begin("call")
        assert handler.began == FORMATS[name].rate
        peer.send(connection, peer.packet(tone))
        await until(lambda: handler.heard)
        coder = FORMATS[name].coder()
        assert handler.heard[0] == coder.decode(coder.encode(tone))
        await connection.send(tone)
        await connection.send(tone)
        await peer.hear(tone)  # silence before it
        await until(lambda: connection.played == len(tone))


@on_both_loops
async def test_what_is_sent_is_numbered_and_stamped_without_a_gap() -> None:
    async with opened() as (_, connection, _, peer):
        connection.lock(peer.socket.getsockname())
        connection.begin("call")
        sent = [parse(await peer.receive()) for _ in range(10)]
        for before, after in itertools.pairwise(sent):
            assert (after.sequence - before.sequence) % 0x10000 == 1
            assert (after.timestamp - before.timestamp) % 0x100000000 == 160
            assert after.ssrc == before.ssrc


@on_both_loops
async def test_the_first_sender_is_kept_and_strangers_are_counted() -> None:
    async with opened() as (ports, connection, handler, peer):
        connection.begin("call")
        stranger = Peer()
        peer.send(connection)
        await until(lambda: handler.heard)
        stranger.send(connection)
        peer.send(connection, b"\x80\xc8" + bytes(26))  # a report, which is none of the call's audio
        peer.send(connection, b"not RTP at all")
        peer.send(connection)
        await until(lambda: len(handler.heard) == 2)
        assert (ports.counters.strangers, ports.counters.damaged) == (1, 1)
        assert parse(await peer.receive()).ssrc != 7, "it answers the first sender"
        stranger.socket.close()


@on_both_loops
async def test_an_address_told_by_asterisk_is_the_only_one() -> None:
    async with opened() as (ports, connection, handler, peer):
        connection.lock(("127.0.0.1", 9))
        connection.begin("call")
        peer.send(connection)
        await until(lambda: ports.counters.strangers)
        assert handler.heard == []


@on_both_loops
async def test_lost_packets_are_silence_of_their_length_and_late_ones_nothing() -> None:
    async with opened() as (ports, connection, handler, peer):
        connection.begin("call")
        first, second, third, fourth = (peer.packet() for _ in range(4))
        for packet in (first, third):
            peer.send(connection, packet)
        await until(lambda: len(handler.heard) == 3)
        peer.send(connection, second)
        peer.send(connection, fourth)
        await until(lambda: len(handler.heard) == 4)
        assert handler.heard == [TONE, bytes(len(TONE)), TONE, TONE]
        connection.close("hangup")
        assert (ports.counters.lost, ports.counters.late) == (1, 1)


@on_both_loops
async def test_it_ends_once_and_nobody_waits_any_more() -> None:
    async with opened() as (_, connection, handler, _):
        connection.begin("call")
        connection.digit("5")
        sending = asyncio.ensure_future(connection.send(bytes(16_000 * 10)))
        await asyncio.sleep(0)
        connection.hang_up()
        connection.close("hangup")
        await asyncio.wait_for(asyncio.gather(sending, connection.closed()), 5)
        assert (handler.closed, handler.digits) == (["ended by us"], "5")


@on_both_loops
async def test_a_call_that_is_refused_has_no_audio() -> None:
    async with opened(refuse="UNKNOWN") as (_, connection, handler, _):
        with pytest.raises(CallRefused):
            connection.begin("call")
        assert handler.began == 0


@on_both_loops
async def test_ports_are_even_taken_in_turn_and_told_when_they_are_used_up() -> None:
    clock = PlayoutClock()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        for first in range(41_000, 49_000, 4):
            try:
                taken.bind(("127.0.0.1", first))
                break
            except OSError:
                continue
        ports = RtpPorts(
            FORMATS["ulaw"], clock, lambda *_: Handler(), host="127.0.0.1", first=first - 1, last=first + 2
        )
        connection = await ports.open()
        assert connection.address == f"127.0.0.1:{first + 2}"
        with pytest.raises(OSError, match=r"ari\.rtp_ports"):
            await ports.open()
        connection.close("test")
    clock.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", list(FORMATS))
@on_both_loops
async def test_echo_and_tone_without_a_conversation(name: str) -> None:
    tone = tone_frame(FORMATS[name].rate)
    for agent in ("echo", "milliwatt"):
        async with opened(name, agent=agent) as (_, connection, _, peer):
            connection.lock(peer.socket.getsockname())
            connection.begin(new_call_id())
            if agent == "echo":
                peer.send(connection, peer.packet(tone))
                peer.send(connection, peer.packet(tone))
            await peer.hear(tone)
