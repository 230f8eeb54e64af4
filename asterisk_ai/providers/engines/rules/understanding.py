"""What a caller wants: by the phrases of the rules where they say one, else by its meaning."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from asterisk_ai.dialog import values as spoken_values
from asterisk_ai.dialog.backchannel import is_unfinished
from asterisk_ai.providers.engines.rules.meaning import CLOSE, Example, Kind, Likely, Meanings, learned_from
from asterisk_ai.providers.engines.rules.ruleset import RuleSet
from asterisk_ai.providers.engines.rules.small_talk import FOREIGN, TALK, Language
from asterisk_ai.providers.grammar import Grammar, Phrase, SlotGrammar, parse, sentences, slot_names, to_regex, words
from asterisk_ai.providers.knowledge.vectors import Floats, Vectors

MEANING_COUNTS = 2.0
"""What the logarithm of a meaning's certainty is worth beside the log likelihood of the words; 1 to 5 do as well."""
MAX_EXAMPLES = 60
"""Of one phrase with its alternatives."""
_NUMBER = parse("number")  # stands for digits in examples
_AMONG = 0.1  # certainty that is enough where only a few answers are possible
SNATCH_WORDS = 2
_ANY_NAME = r"(?: [^ ]+){1,3}"
HOURS = ("hours", "open_now")
"""What the rules' ``hours`` answer, whether or not an intent is about it."""
DELICATE = ("swearing", "wrong_number")
"""Small talk that is taken for it only where there is no doubt."""
CONFIRM_BELOW, HANG_UP_FROM = 0.35, 0.55
"""Words of which the recogniser is less sure than that lead to nothing that acts, but to a question; nobody is hung up
on by words that are less clear than the second."""


@dataclass(frozen=True, slots=True)
class Wish:
    """An intent of the agent, with the slots' values that were said."""

    intent: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "|".join([self.intent, *(f"{slot}={value}" for slot, value in sorted(self.values.items()))])

    @classmethod
    def of(cls, name: str) -> Wish:
        intent, *pairs = name.split("|")
        return cls(intent, dict(pair.split("=", 1) for pair in pairs))


@dataclass(frozen=True, slots=True)
class Understood:
    """``wishes``: one, two between which to ask, or none; ``talk`` is a name of small talk where it was that.

    ``sure`` is False where it has to be confirmed before anything is done.
    """

    wishes: tuple[Wish, ...] = ()
    talk: str = ""
    sure: bool = True
    certainty: float = 0.0


class Understanding:
    """Of one agent. Without sentences of its language, it understands the phrases of its rules alone."""

    def __init__(self, rules: RuleSet, grammar: Grammar, language: Language | None, vectors: Vectors | None) -> None:
        self._rules, self._grammar, self._language = rules, grammar, language
        self._acts = frozenset(name for name, intent in rules.intents.items() if intent.acts)
        self._ends = frozenset(name for name, intent in rules.intents.items() if intent.ends)
        self._number = next((name for name, slot in grammar.slots.items() if not slot.values), "")
        own = {wish.name: texts for wish, texts in self._own()}
        about = learned_from(own, language.common) if language else {}
        self._hours = frozenset(about[name] for name in HOURS if name in about)
        self.meanings: Meanings | None = None
        if language and own:
            self.meanings = Meanings(
                self._examples(own, language, about, hours=rules.hours is not None),
                language.fillers,
                vectors,
                about={name: self._described(Wish.of(name)) for name in own},
                language=language.code,
                alike=[day.partition("-")[0] for day in language.weekdays],
            )

    # ---- examples ------------------------------------------------------------------

    def _own(self) -> Iterator[tuple[Wish, list[str]]]:
        """What the rules' phrases mean, and all of them."""
        found: dict[str, list[str]] = {}
        for name, intent in self._rules.intents.items():
            for phrase in intent.say:
                for wish, text in self._said(name, phrase):
                    found.setdefault(wish.name, []).append(text)
        for name, texts in found.items():
            yield Wish.of(name), texts

    def _said(self, intent: str, phrase: Phrase) -> Iterator[tuple[Wish, str]]:
        slots = dict(self._grammar.slots)
        numbers = {name: SlotGrammar({"": (_NUMBER,)}) for name, slot in slots.items() if not slot.values}
        named = [name for name in dict.fromkeys(slot_names(phrase)) if name not in numbers]
        for chosen in itertools.product(*(slots[name].values for name in named)):
            one = {
                name: SlotGrammar({value: slots[name].values[value]}) for name, value in zip(named, chosen, strict=True)
            }
            for text in itertools.islice(sentences(phrase, slots | numbers | one), MAX_EXAMPLES):
                said = {
                    slot: value for slot, value in zip(named, chosen, strict=True) if self._names(slot, value, text)
                }
                yield Wish(intent, said), text

    def _described(self, wish: Wish) -> str:
        """By its label and its answer, or by its name."""
        intent = self._rules.intents[wish.intent]
        said = re.sub(r"\{[^}]*\}", " ", f"{intent.label} {intent.outcome.answer}").strip()
        return " ".join([*wish.values.values(), said or wish.intent.replace("_", " ")])

    def _names(self, slot: str, value: str, text: str) -> bool:
        """Whether the value is in the text; an optional one may be left out."""
        return value in self.values_in(text, slot)

    @staticmethod
    def _examples(
        own: Mapping[str, Sequence[str]], language: Language, about: Mapping[str, str], *, hours: bool
    ) -> Iterator[Example]:
        for name, texts in own.items():
            yield from (Example(name, text, Kind.OWN) for text in texts)
        for name, (_, texts) in language.common.items():
            meaning, kind = about.get(name, FOREIGN + name), Kind.OWN if name in about else Kind.FOREIGN
            if name in HOURS and name not in about and hours:
                meaning, kind = TALK + name, Kind.TALK
            yield from (Example(meaning, text, kind) for text in texts)
        same = learned_from(own, {name: (pattern, ()) for name, pattern in language.about.items()})
        for name, texts in language.talk.items():
            kind = Kind.OWN if name in same else Kind.TALK
            yield from (Example(same.get(name, TALK + name), text, kind) for text in texts)
        for name, texts in language.foreign.items():
            yield from (Example(FOREIGN + name, text, Kind.FOREIGN) for text in texts)

    # ---- wishes ----------------------------------------------------------------------

    def wish(self, text: str, confidence: float = 1.0) -> Understood | None:
        """What the words mean by themselves; None where they mean nothing.

        :param confidence: the recogniser's, 0 to 1.
        """
        if self.meanings is None:
            return None
        ranked = self._ranked(text, self.meanings)
        return replace(self._meant(text, ranked, self.meanings, confidence), certainty=ranked[0].certainty)

    def _meant(self, text: str, ranked: list[Likely], meanings: Meanings, confidence: float) -> Understood:
        best = ranked[0]
        own = [one for one in ranked if not one.meaning.startswith(TALK)]
        ends = best.meaning == f"{TALK}goodbye" or Wish.of(best.meaning).intent in self._ends
        if best.certainty < meanings.weak or (ends and not self._is_farewell(text, best.meaning, meanings)):
            return Understood(talk="foreign")
        if best.meaning.startswith(TALK):
            return self._talk(best.meaning.removeprefix(TALK), own, best, meanings)
        if len(own) > 1 and self._rivals(own[0], own[1], meanings):
            first, second = (self._filled(Wish.of(one.meaning), text) for one in own[:2])
            return Understood((first, second), sure=False)
        wish = Wish.of(best.meaning)
        named = self._otherwise_named(wish, text)
        if named:
            return Understood((self._filled(named[0], text), self._filled(named[1], text)), sure=False)
        if wish.intent in self._acts and self._is_snatch(text, best.meaning, meanings):
            return Understood(talk="foreign") if wish.intent in self._ends else self._one(wish, text, sure=False)
        clear = self.is_clear(wish.intent, confidence) and not self._is_unknown_name(wish, text)
        sure = best.certainty >= meanings.sure and clear
        return self._one(wish, text, sure=sure)

    def is_clear(self, intent: str, confidence: float) -> bool:
        """Whether the recogniser is sure enough of the words for what the intent does."""
        return confidence >= (HANG_UP_FROM if intent in self._ends else CONFIRM_BELOW)

    def _otherwise_named(self, wish: Wish, text: str) -> list[Wish]:
        """The wish and its like, where the words name another value than the one that is meant: to be asked about."""
        for slot, value in wish.values.items():
            if not self._grammar.slots[slot].values:
                continue
            named = self.values_in(text, slot)
            others = [one for one in named if one != value]
            if len(others) == 1:
                both = sorted((value, others[0]), key=lambda one: named.index(one) if one in named else -1)
                return [replace(wish, values={**wish.values, slot: one}) for one in both]
        return []

    def _is_unknown_name(self, wish: Wish, text: str) -> bool:
        """Whether a phrase was said with a name that is none of ours: "connect me to fail" may have been anything."""
        spoken = self._grammar.spoken(text)
        for slot in wish.values:
            if not self._grammar.slots[slot].values or self.values_in(text, slot):
                continue
            for phrase in self._rules.intents[wish.intent].say:
                if set(slot_names(phrase)) == {slot}:
                    frame = re.compile(to_regex(phrase, {slot: _ANY_NAME}))
                    if frame.fullmatch(spoken) and not frame.fullmatch(" x"):
                        return True
        return False

    def _is_snatch(self, text: str, meaning: str, meanings: Meanings) -> bool:
        """A word or two that are no example themselves and name nothing: "see" is no "see you"."""
        core, values = meanings.core(text), Wish.of(meaning).values
        named = bool(values) and all(value in self.values_in(text, slot) for slot, value in values.items())
        return len(core.split()) <= SNATCH_WORDS and not named and not meanings.has(meaning, core)

    def _rivals(self, first: Likely, second: Likely, meanings: Meanings) -> bool:
        """Whether to ask which of two was meant: one of them does something, and they are told apart by their names."""
        if first.value - second.value >= CLOSE or second.certainty < meanings.weak:
            return False
        one, other = Wish.of(first.meaning), Wish.of(second.meaning)
        apart = one.intent != other.intent or bool(one.values and other.values)
        return apart and bool({one.intent, other.intent} & self._acts)

    def _one(self, wish: Wish, text: str, *, sure: bool) -> Understood:
        return Understood((self._filled(wish, text),), sure=sure or wish.intent not in self._acts)

    def _talk(self, name: str, own: list[Likely], best: Likely, meanings: Meanings) -> Understood:
        """Small talk, or the agent's own intent that is nearly as like: it knows better what to do."""
        near = bool(own) and best.value - own[0].value < CLOSE / 2
        if near and Wish.of(own[0].meaning).intent not in self._acts:
            return Understood((Wish.of(own[0].meaning),))
        if name in DELICATE and best.certainty < meanings.sure:
            return Understood(talk="foreign")
        return Understood(talk=name)

    def likeliest(self, readings: Sequence[tuple[str, float]]) -> str:
        """The reading of an utterance that is likely by its sound and by what it would mean."""

        def worth(reading: tuple[str, float]) -> float:
            understood = self.wish(reading[0])
            certainty = understood.certainty if understood else 0.0
            strange = understood is None or understood.talk == "foreign"
            return reading[1] + MEANING_COUNTS * math.log(max(min(certainty, 0.3) if strange else certainty, 0.02))

        return max(readings, key=worth)[0]

    def _is_farewell(self, text: str, meaning: str, meanings: Meanings) -> bool:
        """Whether the words are one. By letters alone it has to be one of the examples, or to hold the word for it."""
        if meanings.by_vectors or self._language is None:
            return True
        named = re.search(rf"\b(?:{self._language.about['goodbye']})\b", text.lower())
        return bool(named) or meanings.has(meaning, meanings.core(text))

    def examples(self) -> tuple[str, ...]:
        """Sentences that callers may say, in words."""
        return (*self.meanings.texts, *self._language.fillers) if self.meanings and self._language else ()

    def rows(self, text: str) -> tuple[list[str], Floats]:
        """How like a sentence is to each meaning, for fitting."""
        if self.meanings is None:
            return [], np.zeros((0, 0), np.float32)
        return self.meanings.rows(self._plain(text))

    def _ranked(self, text: str, meanings: Meanings) -> list[Likely]:
        said = self._plain(text)
        ranked = meanings.rank(said)
        if self.is_negated(said):
            ranked = [one for one in ranked if not self._denies(one.meaning, meanings)] or ranked[-1:]
        return ranked

    def _denies(self, meaning: str, meanings: Meanings) -> bool:
        """Whether a no in the sentence turns this meaning into its opposite: it acts, and no example of it has one."""
        negations = self._language.negations if self._language else frozenset[str]()
        return Wish.of(meaning).intent in self._acts and not meanings.any_has(meaning, negations)

    def is_negated(self, text: str) -> bool:
        return bool(self._language and self._language.negations & set(words(text)))

    def _plain(self, text: str) -> str:
        """With "number" for digits, as the examples have it."""
        if not self._number:
            return text
        return re.sub(r"\b\d{3,}\b", "number", spoken_values.in_digits(text))

    def _filled(self, wish: Wish, text: str) -> Wish:
        """With the digits that were said, for an intent that needs some."""
        more = {}
        for slot in self._rules.intents[wish.intent].needs:
            found = self.values_in(text, slot)
            if slot not in wish.values and len(found) == 1:
                more[slot] = found[0]
        return replace(wish, values={**wish.values, **more})

    def finished(self, text: str) -> bool:
        """Whether a sentence may end with its last word."""
        return bool(words(text)) and not (self._language and is_unfinished(text, self._language.code))

    def asks_for_hours(self, understood: Understood) -> bool:
        """Whether it is a question that the rules' ``hours`` can answer for any day."""
        return understood.talk in HOURS or any(one.name in self._hours for one in understood.wishes[:1])

    # ---- answers to questions ------------------------------------------------------------

    def values_in(self, text: str, slot: str) -> list[str]:
        """The values of a slot that are named somewhere in the text."""
        limits = self._grammar.slots[slot]
        if limits.values:
            spoken = self._grammar.spoken(text)
            return [
                value
                for value, phrases in limits.values.items()
                if any(re.search(rf"{self._grammar.pattern(phrase).pattern}(?= |$)", spoken) for phrase in phrases)
            ]
        found = [run.digits for run in spoken_values.runs(spoken_values.tokens(text))]
        return [run for run in found if limits.minimum <= len(run) <= limits.maximum]

    def yes_or_no(self, text: str) -> bool | None:
        """None where it is neither."""
        if self.meanings is None:
            return None
        best = self.meanings.rank(text)[0]
        if best.meaning in (f"{TALK}yes", f"{TALK}no") and best.certainty >= _AMONG:
            return best.meaning == f"{TALK}yes"
        return None

    def one_of(self, text: str, options: Sequence[Wish]) -> Wish | None:
        """Which of two was chosen; None where that is not clear."""
        said = " ".join(words(text))
        if self._language and len(options) == 2:
            for number, named in enumerate((self._language.first, self._language.second)):
                if said in named or (self.meanings and self.meanings.core(text) in named):
                    return options[number]
        named_values = [one for one in options if one.values and all(
            value in self.values_in(text, slot) for slot, value in one.values.items())]  # fmt: skip
        if len(named_values) == 1:
            return named_values[0]
        if self.meanings is None:
            return None
        bare = {Wish(one.intent, {k: v for k, v in one.values.items() if self._grammar.slots[k].values}).name: one
                for one in options}  # fmt: skip
        ranked = self.meanings.rank(text, among=bare)
        lead = ranked[0].value - ranked[1].value if len(ranked) > 1 else CLOSE
        if not ranked or ranked[0].certainty < _AMONG or lead < CLOSE:
            return None
        return bare[ranked[0].meaning]

    def value_meant(self, text: str, slot: str, intents: Collection[str]) -> str:
        """The value of an asked slot that the words mean without naming it: "it is broken" for support."""
        if self.meanings is None:
            return ""
        for one in self._ranked(text, self.meanings)[:1]:
            wish = Wish.of(one.meaning)
            if one.certainty >= self.meanings.weak and wish.intent in intents:
                return wish.values.get(slot, "")
        return ""
