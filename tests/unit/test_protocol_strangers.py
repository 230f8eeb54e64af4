"""Who has to make room among peers that have not said what they want."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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
