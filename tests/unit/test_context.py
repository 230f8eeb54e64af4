"""A long conversation fits into what a model can be told, without breaking what belongs together."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.providers.net.context import (
    LEFT_OUT,
    MAX_TURNS,
    STEP,
    Turn,
    alternating,
    fitting,
    room,
    tokens,
)

TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=200)), min_size=1, max_size=150)


@given(TURNS, st.integers(0, 3000), st.integers(0, 3000))
def test_what_is_told_fits_and_ends_with_the_caller(turns: list[Turn], limit: int, beside: int) -> None:
    told = fitting(turns, limit, beside)
    assert told[-1] == turns[-1]
    own = [turn for turn in told if turn != ("user", LEFT_OUT)]
    assert own == turns[len(turns) - len(own) :]
    assert (told[0] == ("user", LEFT_OUT)) == (len(own) < len(turns))
    assert len(own) <= MAX_TURNS
    if limit and len(own) > 1:
        assert beside + sum(tokens(text) for _, text in told) <= limit
    roles = [role for role, _ in alternating(told)]
    assert roles[0] == "user"
    assert all(one != other for one, other in pairwise(roles))


def test_what_is_left_out_changes_seldom_so_that_services_can_keep_the_beginning() -> None:
    call: list[Turn] = [("user" if number % 2 else "assistant", f"turn {number} " * 5) for number in range(200)]
    begins = [fitting(call[:length], 1000)[1][1] for length in range(100, 180)]
    assert len(set(begins)) <= 80 // STEP + 1


def test_tokens_are_rather_too_many() -> None:
    assert tokens("The quick brown fox jumps over the lazy dog.") >= 10
    assert tokens("今日は営業していますか") >= 11
    assert tokens({"a": [1]}) > tokens("")


def test_room() -> None:
    assert (room(None, None), room(4096, 96), room(4096, None), room(500, 1000)) == (0, 4000, 3796, 1)
