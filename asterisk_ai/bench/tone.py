"""Does a call's audio leave whole? One endless tone through the whole way out, and each sample of it looked at.

    python -m asterisk_ai.bench.tone                      9.9 minutes of a call, the longest that is one reply
    python -m asterisk_ai.bench.tone --minutes 1 --calls 20

The voice makes a tone at 22,050 Hz in pieces of 0.2 s: it is resampled, cut into frames and paced as speech is. Of a
pure tone each sample follows from the two before it, so that a click, a gap, a repetition and a frame that is missing
all show. Ends with status 1 where one is found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from asterisk_ai.bench.target import delay_configuration
from asterisk_ai.config import load
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.simulator.agi_client import run_agi
from asterisk_ai.simulator.local_server import LocalServer, local_server

RATE = 8000
MADE_RATE = 22_050
HERTZ = 215
"""A frame holds no whole number of its periods, so that a frame more or less is a jump."""
DITHER = 24
"""What rounding and the resampler's dither may come to in three samples; the smallest jump of a frame is 200."""
PART_SECONDS = 600
"""The longest that a part of a reply may last."""
EDGE_SECONDS = 0.5
"""At the tone's beginning and end the resampler's filter is not full."""
_TTS = "asterisk_ai.providers.engines.delay:DelayTextToSpeech"


@dataclass(frozen=True, slots=True)
class Found:
    """What was heard of one call."""

    seconds: float
    """Of tone, edges left out."""
    clicks: int
    """Places where it does not go on as it was."""
    silent_frames: int
    """Frames of silence in the middle of it."""

    @property
    def whole(self) -> bool:
        return self.seconds > 0 and not self.clicks and not self.silent_frames


def look_at(samples: npt.NDArray[np.int16]) -> Found:
    """Where a tone of :data:`HERTZ` does not go on as it was; silence around it is none of it."""
    loud = np.flatnonzero(np.abs(samples) > 100)
    edge = int(EDGE_SECONDS * RATE)
    tone = samples[loud[0] + edge : loud[-1] - edge].astype(np.float64) if len(loud) > 2 * edge else samples[:0]
    if len(tone) < 3:
        return Found(0.0, 0, 0)
    off = np.abs(tone[2:] - 2 * math.cos(2 * math.pi * HERTZ / RATE) * tone[1:-1] + tone[:-2]) > DITHER
    clicks = int(np.count_nonzero(off[1:] & ~off[:-1]) + off[0])
    frames = tone[: len(tone) // 160 * 160].reshape(-1, 160)
    return Found(len(tone) / RATE, clicks, int(np.count_nonzero(np.abs(frames).max(axis=1) < 1)))


async def listen(server: LocalServer, seconds: float) -> npt.NDArray[np.int16]:
    """So much of a call to it."""
    config = server.config
    query = "call/start?agent=bench"
    call = (await run_agi(config.fastagi.host, config.fastagi.port, query, timeout=20)).variables
    if "AI_CALL_ID" not in call:
        raise AsteriskAIError(f"the call was refused: {call.get('AI_STATUS')}")
    reader, writer = await asyncio.open_connection(config.audiosocket.host, config.audiosocket.port)
    writer.write(audiosocket.uuid_message(uuid.UUID(call["AI_CALL_ID"])))
    heard = bytearray()
    try:
        while len(heard) < seconds * RATE * 2:
            header = await reader.readexactly(audiosocket.HEADER_BYTES)
            heard += await reader.readexactly(int.from_bytes(header[1:3], "big"))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        told = server.log.read_text("utf-8", "replace")[-1500:]
        raise AsteriskAIError(f"the call ended after {len(heard) / 2 / RATE:.1f} s:\n{told}") from error
    finally:
        writer.close()
        await run_agi(config.fastagi.host, config.fastagi.port, "call/end", arguments=[call["AI_CALL_ID"]], timeout=20)
    return np.frombuffer(bytes(heard), "<i2")


async def measured(minutes: float, calls: int, mode: str) -> list[Found]:
    """Each of so many calls at once, to a server of its own."""
    seconds = 60 * minutes
    settings = delay_configuration(0.2)
    settings["agents"]["bench"].update({"greeting": "Hum.", "downstream_mode": mode})
    settings["agents"]["bench"]["turn"]["part_seconds"] = PART_SECONDS  # else the voice would be taken to be stuck
    settings["providers"][_TTS].update({"speaking": seconds, "rate": MADE_RATE, "hertz": HERTZ})
    with tempfile.TemporaryDirectory(prefix="asterisk-ai-tone-") as folder:
        file = Path(folder) / "tone.yaml"
        file.write_text(yaml.safe_dump(settings), "utf-8")
        limits = {"server": {"max_calls": calls, "max_lateness_ms": 0}}
        with local_server(load(str(file)), limits) as server:
            heard = await asyncio.gather(*(listen(server, seconds + 1) for _ in range(calls)))
    return [look_at(samples) for samples in heard]


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns its exit status."""
    parser = argparse.ArgumentParser("asterisk_ai.bench.tone", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.9)
    parser.add_argument("--calls", type=int, default=1, help="at once")
    parser.add_argument("--mode", choices=("stream", "auto"), default="stream", help="downstream_mode")
    options = parser.parse_args(argv)
    try:
        found = asyncio.run(measured(options.minutes, options.calls, options.mode))
    except AsteriskAIError as error:
        print(error, file=sys.stderr)
        return 2
    for each in found:
        print(json.dumps(asdict(each)))
    return 0 if all(each.whole for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
