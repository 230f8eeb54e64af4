"""Replies cut into pieces to be spoken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.dialog.spoken.segments import LONG_LETTERS, Segmenter, sentences

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)
PARTS = [
    "Yes.",
    "No!",
    "A word",
    "and more",
    "3.5",
    "e.g.",
    '"Why?"',
    "(Well.)",
    "well,",
    "1,000",
    "so:",
    "\u2014 that",
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("   ", []),
        ("Hello.", ["Hello."]),
        ("Hello. How are you? Fine!", ["Hello.", "How are you?", "Fine!"]),
        ("It costs 3.5 euros. Really.", ["It costs 3.5 euros.", "Really."]),
        ("Ask for it, e.g. this one.", ["Ask for it, e.g. this one."]),
        ('He said "yes." Then he left.', ['He said "yes."', "Then he left."]),
        ("No end", ["No end"]),
        ("One.\n\nTwo.", ["One.", "Two."]),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    assert sentences(text) == pieces


@given(WORDS)
def test_sentences_keep_every_letter(text: str) -> None:
    kept = "".join("".join(sentences(text)).split())
    assert kept == "".join(text.split()), text


@given(st.lists(st.sampled_from(["Yes.", "No!", "A word", "and more", "3.5", "e.g.", '"Why?"', "(Well.)"]), max_size=8))
def test_sentences_joined_are_the_text(words: list[str]) -> None:
    text = " ".join(words)
    assert " ".join(sentences(text)) == text


def streamed(text: str, sizes: list[int]) -> list[str]:
    segmenter, pieces, at = Segmenter(), [], 0
    for size in sizes:
        pieces += segmenter.push(text[at : at + size])
        at += size
    return [*pieces, *segmenter.push(text[at:]), *segmenter.flush()]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("Hello.", ["Hello."]),
        ("Good morning, what can I do for you? Tell me.", ["Good morning,", "what can I do for you?", "Tell me."]),
        ("Yes, we are open today, until six.", ["Yes, we are open today,", "until six."]),
        ("It costs 1,000 euros. Or more, really.", ["It costs 1,000 euros.", "Or more, really."]),
        ("No comma here. One, two, three.", ["No comma here.", "One, two, three."]),
    ],
)
def test_the_first_piece_may_be_a_clause(text: str, pieces: list[str]) -> None:
    assert streamed(text, [1] * len(text)) == pieces


def test_a_sentence_without_end_is_cut_at_a_clause() -> None:
    text = "Well. " + "and so on, " * 40
    pieces = streamed(text, [3] * len(text))
    assert len(pieces) > 2
    assert max(map(len, pieces)) <= LONG_LETTERS + len("and so on, ")


@given(TEXTS, st.lists(st.integers(0, 9), max_size=60))
def test_streamed_pieces_are_the_text_however_it_comes(text: str, sizes: list[int]) -> None:
    pieces = streamed(text, sizes)
    assert " ".join(pieces) == text
    assert pieces == streamed(text, [1] * len(text)), "the split of the stream does not show"


@given(WORDS, st.lists(st.integers(0, 9), max_size=20))
def test_streamed_pieces_keep_every_letter(text: str, sizes: list[int]) -> None:
    assert "".join("".join(streamed(text, sizes)).split()) == "".join(text.split())
