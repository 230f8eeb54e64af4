"""What callers say beside what they want, in each language that has a file of it."""

from __future__ import annotations

from importlib.resources import files

import pytest

from asterisk_ai.call.staged.recognition import completeness
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
from asterisk_ai.providers.api import Transcript

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


def test_what_is_heard_for_a_hum_interrupts_nobody() -> None:
    assert is_backchannel("And him.", "en-US")
    assert not is_backchannel("and him i want sales", "en-US")
    assert "and him" not in phrases("en-US"), "no recogniser is to expect it"


def test_what_was_heard_freely_has_to_be_whole_too() -> None:
    whole = {"where are you", "what are your hours", "four seven one two", "thank you"}

    def told(text: str, free: str = "", *, accepted: bool = True) -> tuple[bool | None, bool]:
        words = Transcript(text, accepted, free=free)
        return completeness(words, "en-US", lambda said: said.lower().strip("?.") in whole)

    assert told("where are you", "Where are you?") == (True, False), "a phrase may end with any word"
    assert told("where are you", "Where do I") == (False, True), "a beginning is taken for the phrase it is most like"
    assert told("thank you", "Blue giraffes") == (False, False)
    assert told("four seven one two", "Or seven, one two.") == (True, False), "digits are looked for beside it"
    assert told("four seven") == (False, True)
    assert told("", accepted=False) == (False, False)
    assert completeness(Transcript("my number is"), "en-US", lambda said: None) == (None, True)
    assert completeness(Transcript("it is broken"), "en-US", lambda said: None) == (None, False)


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
