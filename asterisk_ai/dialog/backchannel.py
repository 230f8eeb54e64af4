"""Words that keep a conversation going without taking the turn: "mm-hm", "okay", "right"."""

from __future__ import annotations

import re
from collections.abc import Iterable

from asterisk_ai.dialog.events import WordsFinal, WordsPartial
from asterisk_ai.dialog.turn_words import turn_words

_NOT_LETTERS = re.compile(r"[^\w']+")


def phrases(language: str) -> tuple[str, ...]:
    """Backchannels and interruptions of ``language`` (``en-US`` is ``en``), for a recogniser's grammar."""
    words = turn_words(language)
    twice = tuple(f"{phrase} {phrase}" for phrase in words.twice)
    return words.backchannels + twice + words.attention + words.interruptions


def is_backchannel(text: str, language: str) -> bool:
    """Whether all that was said is backchannels: "okay" is, "okay, right" is, "okay, wait" is not."""
    words = turn_words(language)
    return _made_of(text, (*words.backchannels, *words.heard_for_them))


def is_hum(text: str, language: str) -> bool:
    """Whether nothing but a hum was heard, which interrupts nobody however long it is."""
    return bool(text) and all(word in turn_words(language).hums for word in _words(text))


def may_be_backchannel(text: str, language: str) -> bool:
    """Whether what was said so far is backchannels or on the way to one, as "uh" is to "uh huh"."""
    words = _words(text)
    known = turn_words(language).backchannels
    for at in range(len(words)):
        begun = " ".join(words[at:]) + " "
        whole = at == 0 or is_backchannel(" ".join(words[:at]), language)
        if whole and any(phrase.startswith(begun) for phrase in known):
            return True
    return is_backchannel(text, language)


def is_call_for_attention(text: str, language: str) -> bool:
    """Whether all that was said asks for silence: the agent has to stop, and there is nothing to answer yet."""
    return _made_of(text, turn_words(language).attention)


def surest(words: WordsFinal, begun: WordsPartial | None) -> float:
    """The confidence of words or of their beginning: the end of a drawl makes a recogniser doubt what it knew."""
    if begun is None or not f"{words.text} ".startswith(f"{begun.text} "):
        return words.confidence
    return max(words.confidence, begun.confidence)


def is_unfinished(text: str, language: str) -> bool:
    """Whether more has to come after the last word: "my number is", "connect me to"."""
    said, known = _words(text), turn_words(language).unfinished
    return bool(said) and (said[-1] in known or " ".join(said[-2:]) in known)


def ends_in_number(text: str, language: str) -> bool:
    """Whether the last word is a digit: more of them may follow."""
    said = _words(text)[-1:]
    return bool(said) and (said[0].isdigit() or said[0] in turn_words(language).numbers)


def _words(text: str) -> list[str]:
    return _NOT_LETTERS.sub(" ", text.lower()).split()


def _made_of(text: str, phrases: Iterable[str]) -> bool:
    known = sorted((tuple(_words(phrase)) for phrase in phrases), key=len)
    words = tuple(_words(text))
    if not words:
        return False
    while words:
        longest = next((phrase for phrase in reversed(known) if words[: len(phrase)] == phrase), None)
        if longest is None:
            return False
        words = words[len(longest) :]
    return True
