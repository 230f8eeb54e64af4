"""Who owes whom a reply: commands given up at any moment, on an Asterisk that may or may not answer them."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol.agi.commands import split_command
from asterisk_ai.protocol.agi.reader import AgiReply
from asterisk_ai.protocol.agi.sequence import APART_SECONDS, CommandSequence


class Channel:
    """Asterisk's side: carries out one command after the other; a further one stops those that can be stopped."""

    def __init__(self) -> None:
        self.replies: deque[AgiReply] = deque()
        self._running: tuple[str, bool] | None = None

    def take(self, text: str, *, stoppable: bool) -> None:
        if self._running is not None:
            name, stopped = self._running
            if not stopped:
                self.replies.append(AgiReply(200, "0", name))
        self._running = (text, stoppable)

    def finish(self) -> None:
        if self._running is not None:
            self.replies.append(AgiReply(200, "0", self._running[0]))
            self._running = None


STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(("answered", "given up", "answered too late"))), max_size=30)


@given(STEPS)
def test_every_reply_is_that_of_the_command_that_waits(steps: list[tuple[bool, str]]) -> None:
    sequence, channel = CommandSequence(), Channel()
    tokens = (f"{number:x}" for number in itertools.count())
    for number, (stoppable, fate) in enumerate(steps):
        name = f"command {number}"
        sequence.sent(number)
        channel.take(name, stoppable=stoppable)
        if fate != "given up":
            channel.finish()
        if fate == "answered":
            assert sequence.received(channel.replies.popleft())
            continue
        marker = sequence.give_up(next(tokens))
        assert marker is not None
        assert not sequence.in_step
        assert marker[1] >= number + APART_SECONDS
        channel.take(split_command(marker[0].decode().strip())[-1], stoppable=False)
        channel.finish()
        while channel.replies:
            assert not sequence.received(channel.replies.popleft())
        assert sequence.in_step
    assert not channel.replies
    assert not sequence.owed


def test_nothing_to_give_up() -> None:
    sequence = CommandSequence()
    assert sequence.give_up("x") is None
    sequence.sent(0)
    assert sequence.received(AgiReply(200, "0"))
    assert sequence.give_up("x") is None
    assert sequence.in_step


def test_a_reply_to_no_command() -> None:
    sequence = CommandSequence()
    with pytest.raises(RemoteProtocolError, match="no command"):
        sequence.received(AgiReply(200, "0"))
    sequence.sent(0)
    sequence.give_up("x")
    assert not sequence.received(AgiReply(200, "0"))
    with pytest.raises(RemoteProtocolError, match="no command"):
        sequence.received(AgiReply(200, "0"))


def test_no_command_before_the_markers_reply() -> None:
    sequence = CommandSequence()
    sequence.sent(0)
    sequence.give_up("x")
    with pytest.raises(LocalProtocolError):
        sequence.sent(1)
