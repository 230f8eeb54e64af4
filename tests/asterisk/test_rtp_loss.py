"""Human voices over RTP on a bad network: what the recogniser makes of them before and after."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from rig import why_not
from test_recognition import errors, plain, prompts

from asterisk_ai.protocol.rtp import Sender
from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.engines.moonshine import Moonshine
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.rtp.connection import RtpConnection
from asterisk_ai.transport.rtp.formats import FORMATS
from asterisk_ai.transport.rtp.ports import RtpPorts

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.slow, pytest.mark.timeout(400)]

SPOKEN = 10
"""Prompts, all of them at once over each network."""
FRAME = 320


@dataclass(frozen=True)
class Network:
    name: str
    loss: float = 0.0
    jitter: float = 0.0
    """Seconds; each packet takes up to so much longer, so that many overtake others."""
    stranger: bool = False
    """Somebody else sends to the port, too, from another address."""
    worse: float = 0.05
    """The share of words that may be wrong more than without it. What it does here is luck, within that."""


NETWORKS = (
    Network("whole"),
    Network("1 % lost", loss=0.01),
    Network("5 % lost", loss=0.05, worse=0.08),
    Network("10 % lost", loss=0.10, worse=0.12),
    Network("60 ms of jitter", jitter=0.06),
    Network("5 % lost, 60 ms of jitter", loss=0.05, jitter=0.06, worse=0.08),
    Network("another sender", stranger=True),
)


@dataclass
class Ear:
    """A call's side of the connection."""

    rate: int = 0
    heard: bytearray = field(default_factory=bytearray)

    def on_begin(self, rate: int) -> None: ...

    def on_audio(self, pcm: bytes) -> None:
        self.heard += pcm

    def on_digit(self, digit: str) -> None: ...

    def on_closed(self, reason: str) -> None: ...


class Line:
    """One caller, on one network."""

    def __init__(self, network: Network, connection: RtpConnection, pcm: bytes, chance: random.Random) -> None:
        self.ear, self.connection = Ear(), connection
        self.socket, self.stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        sender, other = Sender(0, 1, 65_500, 0), Sender(0, 2, 65_500, 0)
        encode = FORMATS["ulaw"].coder().encode
        noise = encode(bytes(chance.randbytes(FRAME)))
        self.departures: list[tuple[float, socket.socket, bytes]] = []
        for number, at in enumerate(range(0, len(pcm), FRAME)):
            packet = sender.packet(encode(pcm[at : at + FRAME].ljust(FRAME, b"\0")), FRAME // 2)
            if not number or chance.random() >= network.loss:
                due = number * 0.02 + (chance.uniform(0, network.jitter) if number else 0.0)
                self.departures.append((due, self.socket, packet))
            if network.stranger and number:
                self.departures.append((number * 0.02, self.stranger, other.packet(noise, FRAME // 2)))

    def close(self) -> None:
        self.connection.close("test")
        self.socket.close()
        self.stranger.close()


async def spoken(said: Sequence[bytes]) -> tuple[dict[str, list[bytes]], RtpPorts]:
    """What is heard of each prompt over each network; all lines at the same time, in real time."""
    clock, ears = PlayoutClock(), dict[str, Ear]()
    ports = RtpPorts(
        FORMATS["ulaw"], clock, lambda call_id, connection: ears[call_id], host="127.0.0.1", first=31_000, last=39_999
    )
    lines: dict[str, list[Line]] = {}
    for network in NETWORKS:
        chance = random.Random(network.name)
        lines[network.name] = [Line(network, await ports.open(), pcm, chance) for pcm in said]
        for number, line in enumerate(lines[network.name]):
            ears[call_id := f"{network.name} {number}"] = line.ear
            line.connection.begin(call_id)
    every = [line for found in lines.values() for line in found]
    departures = sorted(
        ((due, number, sock, packet) for number, line in enumerate(every) for due, sock, packet in line.departures),
        key=lambda each: each[:2],
    )
    began = asyncio.get_running_loop().time()
    for due, number, sock, packet in departures:
        if (early := began + due - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(early)
        host, _, port = every[number].connection.address.rpartition(":")
        sock.sendto(packet, (host, int(port)))
    await asyncio.sleep(0.3)  # what still waits behind a gap, at the longest
    for line in every:
        line.close()
    await asyncio.sleep(0.05)
    clock.close()
    return {name: [bytes(line.ear.heard) for line in found] for name, found in lines.items()}, ports


async def word_errors(heard: Sequence[bytes], wanted: Sequence[list[str]], engine: Moonshine) -> float:
    wrong = 0
    for words, pcm in zip(wanted, heard, strict=True):
        async with engine.open(rate=8000, hints=Hints()) as stream:
            stream.feed(pcm)
            wrong += errors(words, plain((await stream.finish()).text))
    return wrong / sum(map(len, wanted))


def test_speech_stays_understandable_on_a_bad_network() -> None:
    pairs = prompts()[:SPOKEN]

    async def main() -> tuple[dict[str, float], RtpPorts]:
        heard, ports = await spoken([pcm for _, pcm in pairs])
        engine = Moonshine({})
        await engine.start()
        try:
            words = [words for words, _ in pairs]
            found = {name: await word_errors(pcm, words, engine) for name, pcm in heard.items()}
            return {"before": await word_errors([pcm for _, pcm in pairs], words, engine), **found}, ports
        finally:
            await engine.stop()

    found, ports = asyncio.run(main())
    print(", ".join(f"{name}: {share:.1%}" for name, share in found.items()), ports.counters)
    for network in NETWORKS:
        assert found[network.name] <= found["before"] + network.worse, found
    assert ports.counters.lost > 0
    assert ports.counters.reordered > 0
    assert ports.counters.strangers > 100, "what another sends is refused"
    assert ports.counters.damaged == 0
