"""What was expected and what was heard, weighed: a phrase, a number, other words, or nothing.

The rule was fitted on five synthetic voices over mu-law and judged on five others with other sentences; see
``decide``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from asterisk_ai.providers.engines.moonshine.model import Floats
from asterisk_ai.providers.engines.moonshine.tokens import Tokens
from asterisk_ai.providers.engines.moonshine.within import NUMBERS

MOST = 12
"""Phrases that are judged for one utterance: those whose beginning and letters are likeliest ..."""
NEAR = 7.0
"""... and not so much less likely than the best one's. Judged are 6 of a hundred so; of 560 right ones 31 are not."""
ALIKE = 8.0
"""What the same letters as the free text's are worth, beside the log likelihood of the beginning."""
KNOWN = 2000
"""Phrases whose tokens are kept; those not used for longest go first."""
SMALL = tuple(
    "hi|hello|hey|good morning|thanks|thank you|okay|hmm|mm hmm|uh|uh huh|well|sorry|what|please|one moment|hold on|"
    "wait|right|great|you know|never mind|excuse me|alright|yes|no".split("|")
)
"""What callers say anywhere. Judged beside what is expected, so that "hi" need not be "bye"."""
CONFUSED: Mapping[str, str] = MappingProxyType({"bye": "hi", "bye bye": "hi", "goodbye": "good morning"})
"""The model writes the first for the second without a doubt of its own, so the second is judged too ..."""
DOUBT = 6.5
"""... and the first is in doubt with less of a lead: nine of ten voices that meant it had 7 and more, of ten that said
"hi" none had."""
UNLIKE = 0.45
"""So few letters in common with the free text leave a doubt, too."""
SENTENCE, MORE = 3, 1.5
"""So many free words are a sentence of their own, and so many times the phrase's are more than it."""
DOUBTFUL = 0.2
"""Confidence in doubt: enough to be answered, too little for anything that cannot be undone."""
UNCLEAR, UNCLEAR_AT_MOST = 0.8, 0.5
"""Fewer letters in common leave no more confidence than that: enough for all but to hang up ("that's fine" is near
"that's all")."""
WEAK = 0.35
"""A phrase of less confidence leads to a question; the caller's own sentence of more words is better understood."""
VARIANTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "okay": ("Ok", "O.K"),
        "goodbye": ("Good-bye",),
        "bye": ("By",),
        "alright": ("All right",),
        "good morning": ("Good-morning",),
        "mm hmm": ("Mm-hmm",),
        "uh huh": ("Uh-huh",),
    }
)
"""How else the model writes some words."""
_TODAYS: Mapping[str, str] = MappingProxyType(
    {
        "good-bye": "goodbye", "good-morning": "good morning", "to-day": "today", "to-morrow": "tomorrow",
        "to-night": "tonight", "some one": "someone", "some body": "somebody", "any one": "anyone", "o.k": "okay",
        "ok": "okay",
    }
)  # fmt: skip
"""Its old-fashioned spellings, and today's."""
_OLD = re.compile(rf"\b(?:{'|'.join(map(re.escape, _TODAYS))})\b", re.IGNORECASE)
INVENTED = frozenset(
    {
        "", "you", "thank you for watching", "thanks for watching", "thank you very much for watching", "the end",
        "the", "a", "i", "oh", "so", "and", "it", "bye bye bye", "please subscribe", "music", "i'm sorry",
    }
)  # fmt: skip
"""What it writes where nobody spoke: clicks, coughs, hum and music."""
NUMBER_LACK = 1.0
"""What a number may lack against the free text, by word, in log likelihood."""
FREE_CONFIDENCE = 0.6
"""Of free text: its own likelihood says little about it."""
READINGS = 3
"""Free texts that are told of: 182 of 210 tuned requests are understood from the one that means something to the agent,
177 from the likeliest."""
SHORT = frozenset({"the", "a", "i", "oh", "so", "and", "it"})
"""Those of them that it writes for short words, too."""
_LETTERS = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One that is expected, as the model would write it."""

    text: str
    tokens: tuple[int, ...]
    small: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What may be said: phrases, whether spoken digits are among them, and sentences that it may be like."""

    phrases: tuple[str, ...] = ()
    digits: bool = False
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """The words of a piece of speech. ``phrase`` is the expected one that they were taken for, ``free`` what was heard
    without any expectation, ``readings`` the likeliest free texts, if it is one, with their log likelihoods for their
    lengths."""

    text: str = ""
    accepted: bool = False
    confidence: float = 0.0
    phrase: bool = False
    free: str = ""
    readings: tuple[tuple[str, float], ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        return asdict(self)


class Expectations:
    """Phrases by their tokens, kept from utterance to utterance."""

    def __init__(self, tokens: Tokens) -> None:
        self._encode = tokens.encode
        self._known: OrderedDict[str, tuple[Phrase, ...]] = OrderedDict()
        self._small = [one for text in SMALL for one in self._of(text, small=True)]

    def worth(self, phrases: Sequence[str], free: str, first: Floats) -> list[Phrase]:
        """Those of ``phrases``, and of the small words, that are worth to be judged.

        :param first: the log likelihood of each token to be the text's first one.
        """
        if not phrases:
            return []
        expected = set(phrases)
        every = [one for text in phrases for one in self._of(text)]
        every += [one for one in self._small if one.text not in expected]
        likely = sorted(every, key=lambda one: -float(first[one.tokens[0]]))[: 4 * MOST]
        words = difflib.SequenceMatcher(None, "", plain(free))  # knows its second text better

        worth = []
        for one in likely:
            words.set_seq1(one.text)
            worth.append((float(first[one.tokens[0]]) + ALIKE * words.ratio(), one))
        worth.sort(key=lambda pair: -pair[0])
        chosen = [one for value, one in worth[:MOST] if value > worth[0][0] - NEAR]
        rivals = {CONFUSED[one.text] for one in chosen if one.text in CONFUSED} - {one.text for one in chosen}
        return chosen + [one for one in every if one.text in rivals]

    def _of(self, text: str, *, small: bool = False) -> tuple[Phrase, ...]:
        key = f"{text}\n" if small else text
        if key not in self._known:
            ways = (written(text), *VARIANTS.get(text, ()))
            self._known[key] = tuple(Phrase(text, tuple(self._encode(way)), small) for way in ways)
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def written(phrase: str) -> str:
    """A phrase as the model writes it, without the mark at its end."""
    words = ["I" + word[1:] if word == "i" or word.startswith("i'") else word for word in phrase.split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def plain(text: str) -> str:
    """Words in lower case without marks, in today's spelling."""
    return " ".join(_LETTERS.findall(_modern(text).lower()))


def tidy(text: str) -> str:
    """The free text without what is no speech: inventions, circles, signs."""
    words = plain(text).split()
    if " ".join(words) in INVENTED or len(set(words)) * 3 < len(words):
        return ""
    return _modern(text).strip(" ,")


def _modern(text: str) -> str:
    def todays(old: re.Match[str]) -> str:
        new = _TODAYS[old[0].lower()]
        return new.capitalize() if old[0][0].isupper() else new

    return _OLD.sub(todays, text)


def decide(free: str, own: float, seconds: float, judged: Sequence[tuple[Phrase, float]]) -> Heard:
    """The words: the phrase that explains the sound nearly as well as the free text does, else the free text.

    :param own: natural log likelihood of the free text; the phrases' are in ``judged``.
    :param seconds: how long the sound is, with 0.2 s of silence on both sides.
    """
    best: dict[str, tuple[Phrase, float]] = {}
    for one, score in judged:
        if one.text not in best or best[one.text][1] < score:
            best[one.text] = one, score
    ranked = sorted(best.values(), key=lambda pair: -pair[1])
    text = tidy(free)
    if ranked:
        one, score = ranked[0]
        second = ranked[1][1] if len(ranked) > 1 else score - _LEAD_CAP
        sure = certainty(one.text, plain(free), own - score, score - second, seconds)
        # Where it wrote what it writes for a noise "thank you" is as likely as any word, and a phrase is in doubt.
        invented = not text and plain(free) not in SHORT
        if text and _is_a_sentence(plain(free), one.text):
            return Heard(text, True, FREE_CONFIDENCE, False, text)
        if sure >= 0.5 and not _leaves_words(one.text, plain(free)) and not (invented and one.small):
            rival = best.get(CONFUSED.get(one.text, ""))
            doubt = (
                invented or (rival is not None and score - rival[1] < DOUBT) or alike(one.text, plain(free)) < UNLIKE
            )
            clear = alike(one.text, plain(free)) >= UNCLEAR
            confidence = min(2.0 * sure - 1.0, DOUBTFUL if doubt else 1.0 if clear else UNCLEAR_AT_MOST)
            if confidence < WEAK and len(text.split()) > max(SENTENCE, len(one.text.split())):
                return Heard(text, True, FREE_CONFIDENCE, False, text)
            return Heard(one.text, True, round(confidence, 3), not one.small, text)
    return Heard(text, bool(text), FREE_CONFIDENCE if text else 0.0, False, text)


def certainty(phrase: str, free: str, lack: float, lead: float, seconds: float) -> float:
    """The probability that a phrase is what was said: logistic regression.

    Fitted on 420 utterances of five synthetic voices over mu-law, judged on 430 of five others: of 280 that were
    phrases or small words 206 were taken for what they were at 0.7, 12 for others (most of them "nope" for "no"); of
    150 others 6 were taken for one, none of those for a phrase that acts.

    :param lack: what it lacks in log likelihood against the free text; ``lead``: what it has before the next phrase.
    """
    slow = max(0.0, seconds - 0.8 - 0.11 * len(phrase))  # a short word does not fill a long sound
    values = (1.0, max(lack, 0.0), min(lead, _LEAD_CAP), min(len(phrase.split()), 4), slow, alike(phrase, free))
    value = sum(weight * one for weight, one in zip(_WEIGHTS, values, strict=True))
    return 1.0 / (1.0 + math.exp(-min(max(value, -30.0), 30.0)))


def _leaves_words(phrase: str, free: str) -> bool:
    """Whether the free text is the phrase and more: "thank you, goodbye" is no "thank you"."""
    rest = f" {free} ".replace(f" {phrase} ", " ", 1).split()
    return len(rest) < len(free.split()) and bool(set(rest) - set(phrase.split()))


def _is_a_sentence(free: str, phrase: str) -> bool:
    """Whether the free text is one of its own, whatever the phrase's likelihood: it is unlike it, or much longer. "How
    late are you open" is no "hang up", and "what's your location" no "what"."""
    said, expected = free.split(), phrase.split()
    more = len(said) >= MORE * len(expected) and bool(set(said) - set(expected))
    return len(said) >= SENTENCE and (more or alike(phrase, free) < UNLIKE)


def alike(phrase: str, free: str) -> float:
    """The share of letters in common, 0 to 1."""
    return difflib.SequenceMatcher(None, phrase, free).ratio()


_WEIGHTS = (-2.41, -0.31, 0.59, 1.09, -3.94, 1.18)
_LEAD_CAP = 8.0


def weigh_numbers(heard: Heard, own: float, number: str, likelihood: float) -> Heard:
    """The free text, or the number that was read where only words of numbers were allowed.

    :param own: natural log likelihood of the free text, ``likelihood`` that of the number.
    """
    words = plain(number).split()
    lack = (own - likelihood) / max(1, len(words))
    if lack > NUMBER_LACK or not set(words) & set(NUMBERS):
        return heard
    return Heard(" ".join(words), True, round(1.0 / (1.0 + math.exp(2.0 * lack - 2.0)), 3), False, heard.free)


def with_readings(heard: Heard, texts: Iterable[tuple[str, float]]) -> Heard:
    """The free text with what else it may have been; a phrase or a number as it is."""
    if not heard.text or heard.text != heard.free:
        return heard
    different: dict[str, tuple[str, float]] = {}
    for text, likelihood in texts:
        if tidy(text):
            different.setdefault(plain(text), (tidy(text), round(likelihood, 3)))
    return replace(heard, readings=tuple(different.values())[:READINGS])


def joined(pieces: Sequence[Heard]) -> Heard:
    """One result of the pieces of a long utterance."""
    if len(pieces) == 1:
        return pieces[0]
    spoken = [piece for piece in pieces if piece.accepted]
    text = " ".join(piece.free or piece.text for piece in spoken)
    return replace(Heard(), text=text, free=text, accepted=bool(text),
                   confidence=min((piece.confidence for piece in spoken), default=0.0))  # fmt: skip
