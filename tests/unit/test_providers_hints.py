"""What recognisers are told of the caller's next words."""

from __future__ import annotations

import pytest

from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.grammar import MAX_SENTENCES, MAX_VARIANTS


def test_phrases_as_sentences_words_and_grammar() -> None:
    hints = Hints.of("[please] call (me|him)", "Goodbye", language="en-GB")
    assert hints.phrases == ("please call me", "please call him", "call me", "call him", "goodbye")
    assert hints.words == {"please", "call", "me", "him", "goodbye"}
    assert "public <utterance> = [ please ] call ( me | him )\n  | goodbye;" in hints.grammar
    assert hints == Hints.of("[please] call (me|him)", "goodbye", language="en-GB")


def test_the_rules_expect_their_phrases_with_the_values_of_slots() -> None:
    intents = {"team": {"say": "connect me to {team}", "answer": "Hold on."}, "pin": {"say": "my pin is {pin}"}}
    slots = {
        "team": {"ask": "Who?", "values": {"sales": ["the sales team", "sales"]}},
        "pin": {"ask": "?", "digits": 4},
    }
    intents["pin"]["answer"] = "Thanks."
    hints = Rules({}, {"name": "desk", "rules": {"intents": intents, "slots": slots}}).hints({})
    assert hints.phrases == ("connect me to the sales team", "connect me to sales")
    assert {"my", "pin", "sales", "four"} <= hints.words
    assert "<slot_pin> = <digit>" in hints.grammar


def test_widened_hints_expect_more_and_those_that_expect_nothing_do_not() -> None:
    wide = Hints.of("hello").widened(("uh huh", "wait"))
    assert wide.phrases == ("hello", "uh huh", "wait")
    assert Hints().widened(("uh huh",)) == Hints()
    assert (Hints().grammar, Hints().phrases, Hints().words) == ("", (), frozenset())


def test_sentences_are_bounded() -> None:
    many = " ".join(["(a|b)"] * 20)
    assert len(Hints.of(many).phrases) == MAX_VARIANTS
    some = [f"{first}{second}x (a|b|c|d)" for first in "abcdefghijklmnopqrst" for second in "abcdefghijklmnopqrst"]
    assert len(Hints.of(*some).phrases) == MAX_SENTENCES


def test_what_is_no_phrase_is_told() -> None:
    with pytest.raises(ValueError, match="not closed"):
        Hints.of("call (me")
