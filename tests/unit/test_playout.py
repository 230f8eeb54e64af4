"""What every transport's way out is made of, without a transport: the test is the clock."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.audio.formats import frame_bytes
from asterisk_ai.transport.playout import Playout

FRAME = frame_bytes(100)
"""4 bytes: a rate that nobody has keeps examples short."""


class Line(Playout):
    def __init__(self) -> None:
        super().__init__(100)
        self.sent: list[bytes] = []

    def _transmit(self, pcm: bytes) -> None:
        self.sent.append(pcm)

    def _transmit_silence(self) -> None:
        self.sent.append(b"")

    def ticks(self, count: int) -> list[bytes]:
        """What so many ticks of the clock send."""
        self.sent.clear()
        for _ in range(count):
            self.tick()
        return list(self.sent)


def on_loop(line: Line, *pieces: bytes, whole: bool = True) -> None:
    async def send() -> None:
        for piece in pieces:
            await line.send(piece)
        if whole:
            await line.end_piece()

    asyncio.run(send())


def test_where_nothing_is_queued_there_is_silence() -> None:
    line = Line()
    on_loop(line, b"")
    assert line.ticks(2) == [b"", b""]
    assert line.played == 0


def test_frames_across_pieces_and_the_last_one_padded() -> None:
    line = Line()
    on_loop(line, b"ab", b"cdefgh", b"ijkl", b"mn")
    assert line.ticks(5) == [b"abcd", b"efgh", b"ijkl", b"mn\0\0", b""]
    assert line.played == 7, "padding is not played audio"


def test_clearing_in_the_middle_of_a_piece() -> None:
    line = Line()
    on_loop(line, b"ab", b"cdefghijkl")
    line.ticks(1)
    line.clear()
    assert line.ticks(1) == [b""]
    on_loop(line, b"mnopqr")
    assert line.sent[-1] == b"mnop", "nothing of the old piece, not even its position; ahead of its turn"
    assert line.ticks(2) == [b"qr\0\0"], "which is then left out"


def test_a_late_synthesiser_leaves_a_gap_and_no_cut_frame() -> None:
    line = Line()
    on_loop(line, b"abcdef", whole=False)
    assert line.sent == [b"abcd"], "ahead of its turn"
    assert line.ticks(4) == [b"", b"", b""], "half a frame waits for its other half"
    assert line.underruns == 1, "a gap is one, however long"
    on_loop(line, b"gh", b"ij")
    assert line.ticks(3) == [b"efgh", b"ij\0\0", b""], "each sample once, and not faster than the grid"
    assert line.underruns == 1, "the end of a piece is no gap"


def test_a_pause_and_what_was_dropped_are_no_underruns() -> None:
    line = Line()
    on_loop(line, bytes(12), whole=False)
    line.pause()
    line.ticks(3)
    line.resume()
    line.ticks(1)
    line.clear()
    line.ticks(3)
    assert line.underruns == 0


def test_a_connection_that_is_gone_keeps_nobody_waiting_and_keeps_nothing() -> None:
    async def main() -> None:
        line = Line()
        waiting = [asyncio.create_task(line.send(bytes(1000))), asyncio.create_task(line.drained())]
        await asyncio.sleep(0)
        line._end_playout()
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
            await line.send(bytes(1000))
            await line.drained()
        assert not line._pieces

    asyncio.run(main())


@given(
    st.lists(
        st.one_of(st.binary(max_size=11), st.sampled_from(["tick", "clear", "pause", "resume", "end"])), max_size=40
    )
)
def test_it_is_a_queue_of_bytes_that_leaves_on_the_grid(steps: list[bytes | str]) -> None:
    line, queued, paused, ticks, whole = Line(), b"", False, 0, True
    speech: list[bytes] = []

    async def main() -> None:
        nonlocal queued, paused, ticks, whole
        for step in steps:
            if isinstance(step, bytes):
                before = len(line.sent)
                await line.send(step)
                queued += step
                whole = whole and not step
                for frame in line.sent[before:]:  # ahead of its turn
                    assert frame == queued[:FRAME] != b""
                    queued = queued[FRAME:]
                    speech.append(frame)
            elif step == "tick":
                ticks += 1
                before = len(line.sent)
                line.tick()
                speaks = queued and not paused and (whole or len(queued) >= FRAME)
                for frame in line.sent[before:]:
                    assert frame == (queued[:FRAME].ljust(FRAME, b"\0") if speaks else b"")
                    if frame:
                        speech.append(frame)
                        queued = queued[FRAME:]
            elif step == "end":
                await line.end_piece()
                whole = True
            else:
                getattr(line, step)()
                whole = whole or step == "clear"
                paused = step == "pause" or (paused and step not in ("resume", "clear"))
                queued = b"" if step == "clear" else queued
            assert ticks <= len(line.sent) <= ticks + 1, "one frame a tick, at most one of them ahead"
            assert line._queued == len(queued)

    asyncio.run(main())
