"""How soon a caller hears silence after an interruption, and how well we know what was heard: on a real Asterisk.

    python -m asterisk_ai.bench.interruptions --asterisk /var/cache/asterisk-ai/asterisk

A call goes through a private Asterisk and comes back to this process, where each frame that arrives is timed. Numbered
frames are played and interrupted at random moments, over AudioSocket and over chan_websocket. Silence is the time from
the interruption to the end of the last frame that arrives; position is what the connection takes for heard minus what
arrived. Both in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import uvloop

from asterisk_ai.audio.formats import PTIME_MS, SAMPLE_BYTES
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator.installation import installed, unpacked
from asterisk_ai.simulator.ports import free_port
from asterisk_ai.simulator.private_asterisk import PrivateAsterisk
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.audiosocket.handshake import Connect
from asterisk_ai.transport.audiosocket.server import AudioSocketServer
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import MediaConnection
from asterisk_ai.transport.websocket.server import WebSocketServer

RATE = 8000
SAMPLES = RATE * PTIME_MS // 1000
WAYS = ("audiosocket", "websocket")
_LOUD, _STEP, _NUMBERS = 1000, 40, 500
_SECONDS = 4.0
"""Of frames that are queued for one interruption."""


class End:
    """One end of the call: keeps the number of the last frame that was none of silence, and when it came."""

    rate = RATE

    def __init__(self, connection: MediaConnection) -> None:
        self.connection = connection
        self.number, self.at = -1, 0.0
        self.begun = asyncio.Event()

    def on_begin(self, rate: int) -> None:
        self.begun.set()

    def on_audio(self, pcm: bytes) -> None:
        level = int(np.frombuffer(pcm[:SAMPLE_BYTES], "<i2")[0])
        if level >= _LOUD:
            self.number, self.at = (level - _LOUD) // _STEP, time.monotonic()

    def on_digit(self, digit: str) -> None: ...

    def on_closed(self, reason: str) -> None: ...


class Ends:
    """The ends of the calls, by id, over every transport."""

    def __init__(self) -> None:
        self._found: dict[str, asyncio.Future[End]] = {}
        self.clock = PlayoutClock()

    def expect(self, call_id: str) -> asyncio.Future[End]:
        self._found[call_id] = asyncio.get_running_loop().create_future()
        return self._found[call_id]

    def accept(self, call_id: str, connect: Connect) -> End:
        return self.accept_media(call_id, connect(AudioSocketConnection))

    def accept_media(self, call_id: str, connection: MediaConnection) -> End:
        end = End(connection)
        self._found[call_id].set_result(end)
        return end


def frames() -> bytes:
    """Numbered ones: all samples of a frame are its number."""
    numbers = np.arange(int(_SECONDS * 1000 / PTIME_MS), dtype="<i2")
    return (_LOUD + numbers * _STEP).repeat(SAMPLES).astype("<i2").tobytes()


def dialplan(port: int) -> str:
    return f"""
[far]
exten => s,1,Answer()
 same => n,AudioSocket(${{FAR}},127.0.0.1:{port})
[near-audiosocket]
exten => s,1,Answer()
 same => n,AudioSocket(${{NEAR}},127.0.0.1:{port})
[near-websocket]
exten => s,1,Answer()
 same => n,Dial(WebSocket/asterisk-ai/c(slin)nv(call=${{NEAR}}),10,g)
"""


async def measured(near: End, far: End, count: int, chance: random.Random) -> tuple[list[float], list[float]]:
    """Silence and position of so many interruptions."""
    silence, position = [], []
    pcm = frames()
    for _ in range(count):
        far.number, base = -1, near.connection.played
        sending = asyncio.ensure_future(near.connection.send(pcm))
        await asyncio.sleep(chance.uniform(0.5, _SECONDS - 1))
        at = time.monotonic()
        near.connection.clear()
        heard = near.connection.played - base
        await asyncio.sleep(0.4)
        await sending
        silence.append(max(0.0, far.at - at) * 1000 + PTIME_MS)
        position.append((heard - (far.number + 1) * SAMPLES) * 1000 / RATE)
    return silence, position


async def run(asterisk: PrivateAsterisk, ends: Ends, way: str, count: int, seed: int) -> None:
    call = {"FAR": str(uuid.uuid4()), "NEAR": str(uuid.uuid4())}
    found = [ends.expect(call_id) for call_id in call.values()]
    place(asterisk, f"near-{way}", call)
    far, near = await asyncio.wait_for(asyncio.gather(*found), 20)
    await asyncio.wait_for(near.begun.wait(), 10)
    await asyncio.sleep(1)
    chance = random.Random(seed)  # noqa: S311 - the same moments each time, and no secret
    silence, position = await measured(near, far, count, chance)
    off = sorted(map(abs, position))
    print(
        f"{way:12} {count:5} {_at(silence, 0.5):8.1f} {_at(silence, 0.99):8.1f} {max(silence):8.1f}"
        f" {float(np.mean(position)):8.1f} {_at(off, 0.5):8.1f} {_at(off, 0.99):8.1f}",
        flush=True,
    )
    near.connection.hang_up()
    await asyncio.sleep(1)


def place(asterisk: PrivateAsterisk, context: str, variables: dict[str, str]) -> None:
    lines = ["Channel: Local/s@far/n", f"Context: {context}", "Extension: s", "Priority: 1", "MaxRetries: 0",
             *(f"Setvar: __{name}={value}" for name, value in variables.items())]  # fmt: skip
    draft = asterisk.folder / "spool/tmp" / context
    draft.write_text("\n".join(lines) + "\n", "utf-8")
    draft.rename(asterisk.folder / "spool/outgoing" / context)


def _at(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share))


async def work(asterisk: PrivateAsterisk, port: int, arguments: argparse.Namespace) -> None:
    ends = Ends()
    sockets = AudioSocketServer(ends.accept, ends.clock)
    media = WebSocketServer(ends.accept_media, ends.clock, asterisk="ws://127.0.0.1:1/media")
    await sockets.start("127.0.0.1", port)
    await media.start("127.0.0.1", asterisk.websocket_port)
    try:
        print(f"{'':12} {'count':>5} {'silence':>8} {'p99':>8} {'most':>8} {'position':>8} {'off by':>8} {'p99':>8}")
        for way in arguments.ways or WAYS:
            await run(asterisk, ends, way, arguments.count, arguments.seed)
    finally:
        await media.stop()
        await sockets.stop()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m asterisk_ai.bench.interruptions", description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )  # fmt: skip
    parser.add_argument("ways", nargs="*", metavar="|".join(WAYS), help="which transports (both)")
    parser.add_argument("--asterisk", help="a folder with an unpacked Asterisk; the machine's own if not given")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    found = unpacked(Path(arguments.asterisk)) if arguments.asterisk else installed()
    if found is None:
        raise AsteriskAIError("there is no Asterisk on this machine: name one with --asterisk")
    port = free_port()
    with PrivateAsterisk(found, "127.0.0.1:1", dialplan=dialplan(port), websocket_port=free_port()) as asterisk:
        uvloop.run(work(asterisk, port, arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
