"""What callers say beside what they want, in each language that has a file of it."""

from __future__ import annotations

from importlib.resources import files

import pytest

from asterisk_ai.dialog import turn_words
from asterisk_ai.dialog.backchannel import (
    ends_in_number,
    is_backchannel,
    is_call_for_attention,
    is_hum,
    is_unfinished,
    may_be_backchannel,
    phrases,
)

LANGUAGES = sorted(file.name[:2] for file in files(turn_words).iterdir() if file.name.endswith(".yaml"))


def test_there_are_words_of_the_languages_that_agents_speak() -> None:
    assert LANGUAGES == ["de", "en", "es", "fr", "it", "nl", "pt"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_tells_backchannels_from_interruptions(language: str) -> None:
    words = turn_words.turn_words(language)
    for text in (*words.backchannels, *words.twice, *(f"{word} {word}" for word in words.twice)):
        assert is_backchannel(text, f"{language}-XX"), text
        assert not is_call_for_attention(text, language), text
    for text in (*words.attention, *words.interruptions):
        assert not is_backchannel(text, language), text
    for text in words.attention:
        assert is_call_for_attention(f"{text}, {text}!", language), text
    assert set(words.backchannels) | set(words.attention) <= set(phrases(language))


def test_a_language_without_a_file_has_none() -> None:
    assert turn_words.turn_words("tlh") == turn_words.TurnWords()
    assert phrases("tlh") == ()
    assert not is_backchannel("mm hm", "tlh")


def test_a_hum_is_one_however_it_is_written() -> None:
    for text in ("mm", "Mm-hmm.", "hmm hmm"):
        assert is_hum(text, "en-US"), text
    for text in ("", "uh huh", "mm no"):
        assert not is_hum(text, "en-US"), text
    assert may_be_backchannel("Uh", "en")


@pytest.mark.parametrize(
    ("language", "unfinished", "whole"),
    [
        ("en", ("my number is", "Can you connect me to", "where do I", "could you", "connect me"), ("where is it",)),
        ("de", ("ich möchte mit", "wann haben Sie", "das ist die"), ("ich möchte bezahlen",)),
        ("fr", ("je voudrais", "est-ce que vous avez"), ("vous ouvrez demain",)),
        ("es", ("quisiera", "mi número es"), ("abren mañana",)),
        ("it", ("vorrei", "il mio numero è"), ("aprite domani",)),
        ("nl", ("mijn nummer is", "ik wil"), ("bent u morgen open",)),
        ("pt", ("o meu número é", "gostaria"), ("abrem amanhã",)),
        ("tlh", (), ("my number is",)),
    ],
)
def test_words_that_no_sentence_ends_with(language: str, unfinished: tuple[str, ...], whole: tuple[str, ...]) -> None:
    for text in unfinished:
        assert is_unfinished(text, language), text
    for text in (*whole, ""):
        assert not is_unfinished(text, language), text


def test_digits_may_go_on() -> None:
    for text in ("my number is 55", "five five", "It is four, seven"):
        assert ends_in_number(text, "en-US"), text
    assert ends_in_number("vier zwei", "de")
    assert not ends_in_number("five please", "en")
    assert not ends_in_number("", "en")
