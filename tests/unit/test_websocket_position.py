"""How far Asterisk has played, told by marks and by the time between them."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.transport.websocket.position import MARK_FRAMES, MOST_AHEAD, Position

FRAME = 320


class Asterisk:
    """Its queue, and its timer that is ``phase`` behind ours (a part of a frame)."""

    def __init__(self) -> None:
        self.queue: deque[int | str] = deque()
        self.played = 0

    def tick(self) -> list[str]:
        marks = []
        while self.queue and isinstance(self.queue[0], str):
            marks.append(str(self.queue.popleft()))
        if self.queue:
            self.played += int(self.queue.popleft())
        return marks


def send(position: Position, asterisk: Asterisk, now: float, size: int = FRAME) -> None:
    if mark := position.mark():
        asterisk.queue.append(mark)
    position.sent(size, now)
    asterisk.queue.append(size)


@given(
    phase=st.floats(0.001, 0.019),
    stall=st.integers(0, 5),
    speech=st.lists(st.booleans(), min_size=50, max_size=50),
)
def test_the_position_is_known_to_a_frame_though_our_clock_was_late(
    phase: float, stall: int, speech: list[bool]
) -> None:
    """Frames that a late clock sends at once wait in Asterisk; the next mark behind them tells how many."""
    position, asterisk, sent = Position(), Asterisk(), 0
    for turn, said in enumerate(speech):
        now = turn * 0.02
        late = 20 <= turn < 20 + stall
        for _ in range(0 if late else 1 + stall if turn == 20 + stall else 1):
            size = FRAME if said else 0
            send(position, asterisk, now, size)
            sent += size
        for mark in asterisk.tick():
            position.processed(mark, now + phase)
        if turn < 20 or turn > 20 + stall + MARK_FRAMES + stall:
            assert abs(asterisk.played - (sent - position.unheard(now + phase + 0.0001))) <= FRAME


def test_what_is_flushed_is_not_heard_and_what_follows_is_counted_anew() -> None:
    position, asterisk = Position(), Asterisk()
    for turn in range(5):
        send(position, asterisk, turn * 0.02)
    for mark in asterisk.tick():
        position.processed(mark, 0.08)
    assert position.unheard(0.085) == 4 * FRAME, "the first is with the caller"
    position.flushed(0.09)
    assert position.unheard(0.09) == 0
    assert position.mark(), "the next frame tells at once where Asterisk is"
    position.sent(FRAME, 0.1)
    assert position.unheard(0.1) == FRAME
    assert position.unheard(0.13) == 0


def test_a_pause_stands_still() -> None:
    position = Position()
    for _ in range(4):
        position.sent(FRAME, 0.0)
    position.hold(0.021)
    assert position.unheard(5.0) == 3 * FRAME
    position.go_on(6.0)
    assert position.unheard(6.041) == FRAME


def test_silence_is_left_out_until_the_queue_is_short() -> None:
    position = Position()
    mark = position.mark()
    for _ in range(8):
        position.sent(0, 0.0)
    position.processed(mark, 0.0)
    assert 8 - position.skip == MOST_AHEAD - 1
    position = Position()
    mark = position.mark()
    for _ in range(MOST_AHEAD):
        position.sent(0, 0.0)
    position.processed(mark, 0.0)
    assert position.skip == 0


def test_marks_come_every_so_often_and_three_times_where_none_is_answered() -> None:
    position = Position()
    marks = []
    for frame in range(100):
        if mark := position.mark():
            marks.append(int(mark))
        position.sent(0, frame * 0.02)
    assert marks == [0, MARK_FRAMES, 2 * MARK_FRAMES]
    position.processed("20", 2.0)
    assert position.mark() == "100"


@pytest.mark.parametrize("name", ["", "x", "-1", "9", "１２"])
def test_marks_that_we_did_not_send_are_left_out(name: str) -> None:
    position = Position()
    position.sent(FRAME, 0.0)
    position.processed(name, 0.0)
    assert not position.known
