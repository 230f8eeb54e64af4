"""What of a reply was heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.dialog.heard import Spoken, heard_text, unheard_text

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
PIECES = st.lists(st.builds(Spoken, WORDS, st.integers(0, 50_000)), max_size=5)


def test_nothing_played_is_nothing_heard() -> None:
    assert heard_text([Spoken("Hello there.", 8000)], 0) == ""
    assert heard_text([], 8000) == ""


def test_all_played_is_all_heard() -> None:
    assert heard_text([Spoken("Hello there.", 8000), Spoken("Bye.", 4000)], 12000) == "Hello there. Bye."


def test_a_word_that_was_begun_is_not_heard() -> None:
    piece = Spoken("one two six ten", 1600)
    assert heard_text([piece], 399) == ""
    assert heard_text([piece], 400) == "one"
    assert heard_text([piece], 1199) == "one two"
    assert heard_text([piece], 1599) == "one two six"
    assert heard_text([piece], 1600) == "one two six ten"


def test_the_first_piece_is_played_before_the_second_begins() -> None:
    pieces = [Spoken("one two", 800), Spoken("six ten", 800)]
    assert heard_text(pieces, 800) == "one two"
    assert heard_text(pieces, 1200) == "one two six"


@given(PIECES, st.integers(-10, 200_000))
def test_what_was_heard_is_a_prefix_of_what_was_said(pieces: list[Spoken], played: int) -> None:
    said = " ".join(piece.text for piece in pieces).split()
    heard = heard_text(pieces, played).split()
    assert heard == said[: len(heard)]


@given(PIECES, st.integers(0, 100_000), st.integers(0, 100_000))
def test_playing_more_never_takes_a_word_back(pieces: list[Spoken], played: int, more: int) -> None:
    assert len(heard_text(pieces, played).split()) <= len(heard_text(pieces, played + more).split())


def test_word_times_say_what_was_heard() -> None:
    piece = Spoken("No, supercalifragilistic is short.", 8000, ((1000, 1), (1500, 2), (7000, 3)))
    heard = [heard_text([piece], played) for played in (999, 1000, 1499, 1500, 6999, 7999, 8000)]
    assert heard == ["", "No,", "No,", "No, supercalifragilistic", "No, supercalifragilistic",
                     "No, supercalifragilistic is", "No, supercalifragilistic is short."]  # fmt: skip


def test_what_was_not_played_to_its_end_is_not_heard() -> None:
    pieces = [Spoken("one two", 100), Spoken("three", 100), Spoken("not made yet", 0)]
    assert unheard_text(pieces, 0) == "one two three not made yet"
    assert unheard_text(pieces, 150) == "three not made yet"
    assert unheard_text(pieces, 200) == "not made yet"
    assert unheard_text(pieces[:2], 200) == ""
