"""Values out of spoken words."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.dialog import values

SATURDAY = dt.date(2026, 11, 28)
SAID = "zero one two three four five six seven eight nine".split()


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("four seven one two", "4712"),
        ("Four-seven, one, two.", "4712"),
        ("4712", "4712"),
        ("47-12", "4712"),
        ("forty-seven twelve", "4712"),
        ("four seventy one two", "4712"),
        ("double one four two", "1142"),
        ("triple seven two", "7772"),
        ("nought two four six", "0246"),
        ("oh seven seven double oh nine", "077009"),
        ("O two, o seven, double nine, four.", "0207994"),
        ("double 4 1", "441"),
        ("two hundred and five", "205"),
        ("five thousand", "5000"),
        ("two thousand three hundred and five", "2305"),
        ("nineteen eighty four", "1984"),
        ("twenty twenty six", "2026"),
        ("One to three for.", "1234"),
        ("five five", "55"),
        ("my number is five five one two please", "5512"),
        ("I want to go for it", ""),
        ("double room", ""),
        ("the number I have is", ""),
        ("", ""),
    ],
)
def test_digits(text: str, digits: str) -> None:
    assert values.digits(text) == digits


@given(st.lists(st.integers(0, 9), max_size=12), st.sampled_from((" ", ", ", "-")))
def test_single_digits_are_read_as_they_are_and_no_more(said: list[int], between: str) -> None:
    assert values.digits(between.join(SAID[one] for one in said)) == "".join(map(str, said))


def test_numbers_among_words_and_in_languages_without_words() -> None:
    assert values.in_digits("Call double four one, please") == "call 441 please"
    assert values.in_digits("meine Nummer ist 47 12", "de-DE") == "meine nummer ist 4712"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("m i l l e r", "miller"),
        ("M. I. double L. E. R.", "miller"),
        ("m as in mike, i, l, l, e, r", "miller"),
        ("mike india lima lima echo romeo", "miller"),
        ("S. C. H. M. I. D. T..", "schmidt"),
        ("double you a tea s o en", "watson"),
        ("see who he's in", ""),
        ("my name is miller", ""),
        ("a", ""),
    ],
)
def test_spelled(text: str, word: str) -> None:
    assert values.spelled(text) == word


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("john dot smith at example dot com", "john.smith@example.com"),
        ("my email is john dot smith at example dot com", "john.smith@example.com"),
        ("john underscore smith forty two at mail dash house dot co dot uk", "john_smith42@mail-house.co.uk"),
        ("It's J.Smith@Example.com.", "j.smith@example.com"),
        ("j s at example dot org", "js@example.org"),
        ("call me at home", ""),
        ("at", ""),
    ],
)
def test_email(text: str, address: str) -> None:
    assert values.email(text) == address


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", dt.date(2026, 11, 28)),
        ("tomorrow morning", dt.date(2026, 11, 29)),
        ("the day after tomorrow", dt.date(2026, 11, 30)),
        ("on Monday", dt.date(2026, 11, 30)),
        ("next Saturday", dt.date(2026, 12, 5)),
        ("in three days", dt.date(2026, 12, 1)),
        ("in a week", dt.date(2026, 12, 5)),
        ("the fifth of May", dt.date(2027, 5, 5)),
        ("December 24th", dt.date(2026, 12, 24)),
        ("May twenty third twenty twenty eight", dt.date(2028, 5, 23)),
        ("the thirtieth of February", None),
        ("whenever", None),
    ],
)
def test_dates(text: str, day: dt.date | None) -> None:
    assert values.date(text, SATURDAY) == day


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("half past nine", dt.time(9, 30)),
        ("quarter to five", dt.time(16, 45)),
        ("ten past eight in the evening", dt.time(20, 10)),
        ("nine thirty", dt.time(9, 30)),
        ("3 p.m.", dt.time(15)),
        ("three o'clock", dt.time(15)),
        ("five in the morning", dt.time(5)),
        ("17:30", dt.time(17, 30)),
        ("at noon", dt.time(12)),
        ("twelve o'clock", dt.time(12)),
        ("soon", None),
    ],
)
def test_times(text: str, time: dt.time | None) -> None:
    assert values.time(text) == time


def test_a_language_without_words_gives_no_guess() -> None:
    assert values.spelled("m i l l e r", "de") == values.email("john at example dot com", "de") == ""
    assert values.date("tomorrow", SATURDAY, "de") is values.time("noon", "de") is None
