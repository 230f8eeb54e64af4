"""Who has to make room among peers that have not said what they want."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import Refusal
from asterisk_ai.protocol.door import MAX_SOURCES, Door
from asterisk_ai.protocol.strangers import Strangers


def test_the_oldest_of_the_greediest_source_goes() -> None:
    strangers: Strangers[str] = Strangers(3)
    assert [strangers.add(f"a{n}", "a") for n in range(2)] == [None, None]
    assert strangers.add("b0", "b") is None
    assert strangers.add("b1", "b") in ("a0", "b0")
    strangers = Strangers(3)
    for n in range(3):
        strangers.add(f"a{n}", "a")
    assert strangers.add("b0", "b") == "a0"
    assert strangers.add("b1", "b") == "a1"
    assert strangers.discard("b0")
    assert not strangers.discard("b0")
    assert len(strangers) == 2
    assert strangers.add("a3", "a") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.integers(1, 5))
def test_there_are_never_more_than_the_limit_and_the_newest_is_always_let_in(
    moves: list[tuple[str, bool]], limit: int
) -> None:
    strangers: Strangers[int] = Strangers(limit)
    inside: list[int] = []
    for number, (source, speaks) in enumerate(moves):
        gone = strangers.add(number, source)
        inside.append(number)
        assert (gone is not None) == (len(inside) > limit)
        if gone is not None:
            assert gone != number or limit == 0
            inside.remove(gone)
        if speaks:
            assert strangers.discard(number)
            inside.remove(number)
        assert len(strangers) == len(inside) <= limit


# ---- the door -------------------------------------------------------------------------------


def test_addresses_and_networks_that_may_connect() -> None:
    door = Door(["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"])
    for source in ("192.0.2.7", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "2001:db8::1%eth0"):
        assert door.refuses(source, 0.0) is None
    for source in ("192.0.2.8", "127.0.0.1", "::1", "2001:db9::1", "", "nonsense"):
        assert door.refuses(source, 0.0) is Refusal.SOURCE
    with pytest.raises(ValueError, match="300"):
        Door(["300.1.1.1"])


def test_who_connects_too_often_waits_and_the_others_do_not() -> None:
    door = Door(per_second=10)
    assert [door.refuses("a", 5.0) for _ in range(100)] == [None] * 100, "a PBX may come with all its calls"
    assert door.refuses("a", 5.0) is Refusal.RATE
    assert door.refuses("b", 5.0) is None
    assert door.refuses("a", 5.05) is Refusal.RATE
    assert door.refuses("a", 5.16) is None
    assert [door.refuses("a", 100.0) for _ in range(101)][-1] is Refusal.RATE, "no more is saved up than that"


def test_sources_without_end_take_no_memory_without_end() -> None:
    door = Door(per_second=1)
    for number in range(3 * MAX_SOURCES):
        door.refuses(f"192.0.2.{number}", float(number))
    assert len(door._left) == MAX_SOURCES
