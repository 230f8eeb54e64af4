"""From a synthesiser to the line: nothing lost, nothing doubled, and a start buffer as its pace wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from asterisk_ai.agents.pace import MAX_SECONDS, UNKNOWN_SECONDS, Delivery, Pace
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.call.staged.synthesis import PlaybackManager
from asterisk_ai.dialog.spoken import Piece
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.transport.playout import Playout

HELLO = Piece("Hello there.", "Hello there.")


class Line(Playout):
    """Keeps what it sends; :meth:`run_dry` is the clock, until all was sent."""

    def __init__(self, rate: int = 8000) -> None:
        super().__init__(rate)
        self.pcm = b""

    def _transmit(self, pcm: bytes) -> None:
        self.pcm += pcm

    def _transmit_silence(self) -> None:
        self.pcm += bytes(self._frame)

    def hang_up(self) -> None: ...


class Voice:
    """A synthesiser that yields ``chunks``; a None among them is where it fails, once."""

    name = "voice"

    def __init__(self, chunks: list[bytes | None], rate: int) -> None:
        self.chunks, self.sample_rate = chunks, rate
        self.opened = 0

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened += 1
        yield self._audio(self.opened)

    async def _audio(self, time: int) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if chunk is not None:
                yield chunk
            elif time == 1:
                raise ProviderUnavailable("voice", "gone")


def sweep(seconds: float, rate: int) -> bytes:
    """A tone that rises: no two of its milliseconds are alike."""
    at = np.arange(int(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * (200 + 300 * at) * at)).astype("<i2").tobytes()


def cut(pcm: bytes, size: int) -> list[bytes | None]:
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


async def say(line: Line, voice: Voice, pace: Pace | None = None) -> PlaybackManager:
    playback = PlaybackManager(line, voice, pace=pace)  # type: ignore[arg-type]
    playback.begin()
    saying = asyncio.ensure_future(playback.say(HELLO))
    while not saying.done() or line._queued:
        line.tick()
        await asyncio.sleep(0)
    await saying
    return playback


@pytest.mark.parametrize("size", [1, 2, 317, 320, 1000, 4410, 50_000])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000])
def test_what_is_heard_is_sample_for_sample_what_was_made(rate: int, size: int) -> None:
    """However the engine cuts it: no gap, no click and no repetition where one chunk ends and the next begins."""
    made = sweep(0.8 if size < 10 else 3.0, rate)
    resampler = Resampler(rate, 8000)
    expected = resampler.push(made) + resampler.flush()
    line = Line()
    playback = asyncio.run(say(line, Voice(cut(made, size), rate)))
    frames = [line.pcm[at : at + 320] for at in range(0, len(line.pcm), 320)]
    spoken = b"".join(frame for frame in frames if any(frame))[: len(expected)]
    difference = np.frombuffer(spoken, "<i2").astype(int) - np.frombuffer(expected, "<i2").astype(int)
    assert np.abs(difference).max() <= (0 if rate == 8000 else 4), "soxr dithers, and no two times alike"
    assert line.played == len(expected) // 2
    assert playback.heard() == "Hello there."


def test_the_start_buffer_follows_from_the_pace() -> None:
    pace = Pace()
    assert pace.start_buffer == UNKNOWN_SECONDS
    pace.made(0.0)
    assert pace.start_buffer == 0, "made faster than it is played: heard at once"
    pace.made(0.3)
    assert pace.start_buffer == pytest.approx(0.32)
    pace.made(30)
    assert pace.start_buffer == MAX_SECONDS
    for _ in range(8):
        pace.made(0.0)
    assert pace.start_buffer == 0, "it got better"


def test_what_a_delivery_would_have_needed_in_hand() -> None:
    even = Delivery(10.0)
    for number in range(5):
        even.came(10.0 + 0.1 * number, 0.1)
    assert even.needed == pytest.approx(0.0)
    late = Delivery(10.0)
    late.came(10.0, 0.1)
    late.came(10.4, 0.1)
    assert late.needed == pytest.approx(0.3)


def test_nothing_is_sent_before_the_start_buffer_is_full() -> None:
    async def main() -> None:
        pace = Pace()
        pace.made(0.08)  # so 0.1 s, which is five frames
        line, arrived = Line(), asyncio.Event()

        class Slow(Voice):
            async def _audio(self, time: int) -> AsyncIterator[bytes]:
                yield sweep(0.06, 8000)
                await arrived.wait()
                yield sweep(0.06, 8000)

        saying = asyncio.ensure_future(PlaybackManager(line, Slow([], 8000), pace=pace).say(HELLO))  # type: ignore[arg-type]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not line._queued
        arrived.set()
        await saying
        assert line._queued + line._taken == 2 * 960

    asyncio.run(main())


def test_a_voice_that_fails_in_the_middle_goes_on_where_it_stopped_once_there_is_a_way() -> None:
    made = sweep(1.0, 8000)

    class Falling(Line):
        reasons: tuple[str, ...] = ()

        def fall_back(self, reason: str) -> bool:
            self.reasons += (reason,)
            return True

    line, voice = Falling(), Voice([made[:4000], None, made[4000:]], 8000)
    asyncio.run(say(line, voice))
    assert line.reasons == ("engine",)
    assert line.pcm.strip(b"\0") == made.strip(b"\0"), "nothing twice, nothing left out"
    with pytest.raises(ProviderUnavailable):
        asyncio.run(say(Line(), Voice([made, None], 8000)))
