"""Words that keep a conversation going without taking the turn: "mm-hm", "okay", "right"."""

from __future__ import annotations

import re

from asterisk_ai.dialog.events import WordsFinal, WordsPartial

WORDS: dict[str, tuple[str, ...]] = {
    "en": (
        "mm hm",
        "mm",
        "hmm",
        "mhm",
        "uh huh",
        "aha",
        "okay",
        "ok",
        "right",
        "all right",
        "alright",
        "i see",
        "sure",
        "yeah",
        "yep",
    ),
}
"""By language. Not in it on purpose: "yes" and "no", which answer, "wait", "stop", "sorry", which interrupt, and
"got it", which the embedded recogniser takes "stop" for."""

HUMS = ("mm",)
"""What a hum on the line is heard as."""

TWICE: dict[str, tuple[str, ...]] = {"en": ("okay", "right", "sure", "yeah", "yep")}
"""Those of them that are said twice in a row."""

ATTENTION: dict[str, tuple[str, ...]] = {
    "en": (
        "wait",
        "wait a minute",
        "wait a second",
        "stop",
        "stop it",
        "hold on",
        "hang on",
        "one moment",
        "one second",
        "just a moment",
        "listen",
        "excuse me",
        "pardon me",
    )
}
"""What callers say to get a word in, and that asks for nothing but silence."""

INTERRUPTIONS: dict[str, tuple[str, ...]] = {
    "en": (
        *ATTENTION["en"],
        "no",
        "no no",
        "sorry",
        "i'm sorry",
        "pardon",
        "hello",
        "goodbye",
        "help",
        "operator",
        "cancel",
        "never mind",
    ),
}
"""The same, and what else is said over any agent's words, whatever it is about. A recogniser with a grammar hears them
only if they are in it, and takes the nearest backchannel for them where they are not."""

_NOT_LETTERS = re.compile(r"[^\w']+")


def phrases(language: str) -> tuple[str, ...]:
    """Backchannels and interruptions of ``language`` (``en-US`` is ``en``), for a recogniser's grammar."""
    base = language.partition("-")[0].lower()
    twice = tuple(f"{words} {words}" for words in TWICE.get(base, ()))
    return WORDS.get(base, ()) + twice + INTERRUPTIONS.get(base, ())


def is_backchannel(text: str, language: str) -> bool:
    """Whether all that was said is backchannels: "okay" is, "okay, right" is, "okay, wait" is not."""
    return _made_of(text, WORDS, language)


def is_hum(text: str) -> bool:
    """Whether nothing but a hum was heard, which interrupts nobody however long it is."""
    return bool(text) and all(word in HUMS for word in text.lower().split())


def may_be_backchannel(text: str, language: str) -> bool:
    """Whether what was said so far is backchannels or on the way to one, as "uh" is to "uh huh"."""
    words = text.lower().split()
    known = WORDS.get(language.partition("-")[0].lower(), ())
    for at in range(len(words)):
        begun = " ".join(words[at:]) + " "
        whole = at == 0 or is_backchannel(" ".join(words[:at]), language)
        if whole and any(phrase.startswith(begun) for phrase in known):
            return True
    return is_backchannel(text, language)


def is_call_for_attention(text: str, language: str) -> bool:
    """Whether all that was said asks for silence: the agent has to stop, and there is nothing to answer yet."""
    return _made_of(text, ATTENTION, language)


def surest(words: WordsFinal, begun: WordsPartial | None) -> float:
    """The confidence of words or of their beginning: the end of a drawl makes a recogniser doubt what it knew."""
    if begun is None or not f"{words.text} ".startswith(f"{begun.text} "):
        return words.confidence
    return max(words.confidence, begun.confidence)


def _made_of(text: str, table: dict[str, tuple[str, ...]], language: str) -> bool:
    known = sorted((tuple(words.split()) for words in table.get(language.partition("-")[0].lower(), ())), key=len)
    words = tuple(_NOT_LETTERS.sub(" ", text.lower()).split())
    if not words:
        return False
    while words:
        longest = next((phrase for phrase in reversed(known) if words[: len(phrase)] == phrase), None)
        if longest is None:
            return False
        words = words[len(longest) :]
    return True
