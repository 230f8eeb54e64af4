"""Phrases that callers may say: read once, then a recogniser's grammar (JSGF), sentences, words, and a matcher.

All come from one tree, so what the grammar accepts the matcher understands.
A phrase is words with ``[optional ones]``, ``(one|of these)`` and ``{slots}``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from asterisk_ai.dialog.values import in_digits

DIGITS: Mapping[str, tuple[str, ...]] = {
    "0": ("zero", "oh"),
    "1": ("one",),
    "2": ("two",),
    "3": ("three",),
    "4": ("four",),
    "5": ("five",),
    "6": ("six",),
    "7": ("seven",),
    "8": ("eight",),
    "9": ("nine",),
}
_CURLY = "\N{RIGHT SINGLE QUOTATION MARK}"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_TOKEN = re.compile(r"\s*(?:([^\W_]+(?:'[^\W_]+)*)|\{([^{}]*)\}|([\[\]()|])|[.,;:!?\"“”-]|(\S))")
MAX_WORDS = 200
TOO_MANY = 3
"""Digits beyond the most that a grammar lets be heard."""
MAX_SENTENCES = 1000
"""That :attr:`Expected.sentences` holds at most."""
MAX_VARIANTS = 64
"""Ways to say one phrase that are told apart in it."""


@dataclass(frozen=True, slots=True)
class Word:
    text: str


@dataclass(frozen=True, slots=True)
class SlotReference:
    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of ``options``, or none of them where it is ``optional``."""

    options: tuple[Phrase, ...]
    optional: bool


Phrase = tuple[Word | SlotReference | Choice, ...]


def words(text: str) -> list[str]:
    """Lower-case words without punctuation, apostrophes kept; at most 200 of them."""
    return _WORD.findall(text.lower().replace(_CURLY, "'"))[:MAX_WORDS]


def parse(text: str) -> Phrase:
    """Read one phrase. Raises ValueError, in plain words, where it cannot be one."""
    tokens = [match for match in _TOKEN.finditer(text.replace(_CURLY, "'")) if match[0].strip()]
    phrase, rest = _sequence(tokens, 0)
    if rest < len(tokens):
        raise ValueError(f"{tokens[rest][0].strip()!r} without its beginning")
    if len(phrase) != 1 or len(phrase[0]) == 0:
        raise ValueError("alternatives need brackets: (this|that)" if len(phrase) > 1 else "has no words")
    if not _required(phrase[0]):
        raise ValueError("all of its words are optional")
    names = list(slot_names(phrase[0]))
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{{{min(twice)}}} is in it twice")
    return phrase[0]


def _sequence(tokens: Sequence[re.Match[str]], at: int) -> tuple[list[Phrase], int]:
    """Alternatives from ``tokens[at:]`` up to a closing bracket."""
    options: list[Phrase] = []
    items: list[Word | SlotReference | Choice] = []
    while at < len(tokens):
        word, slot, mark, strange = tokens[at].groups()
        if strange:
            raise ValueError(f"the character {strange!r} cannot be spoken")
        if word is not None:
            if any(char.isdigit() for char in word):
                raise ValueError(f"write {word!r} in words, as it is spoken")
            items.append(Word(word.lower()))
        elif slot is not None:
            items.append(SlotReference(slot.strip()))
        elif mark == "|":
            options.append(tuple(items))
            items = []
        elif mark in ("[", "("):
            inner, at = _sequence(tokens, at + 1)
            if at >= len(tokens) or tokens[at][3] != ("]" if mark == "[" else ")"):
                raise ValueError(f"{mark!r} is not closed")
            if any(not option for option in inner):
                raise ValueError("has empty brackets")
            items.append(Choice(tuple(inner), mark == "["))
        elif mark:
            break
        at += 1
    return [*options, tuple(items)], at


def _required(phrase: Phrase) -> bool:
    """Whether something in it must be said."""
    return any(
        not isinstance(item, Choice) or (not item.optional and all(_required(option) for option in item.options))
        for item in phrase
    )


def slot_names(phrase: Phrase) -> Iterable[str]:
    """The slots in it, in order. A slot in two alternatives comes twice."""
    for item in phrase:
        if isinstance(item, SlotReference):
            yield item.name
        elif isinstance(item, Choice):
            for option in item.options:
                yield from slot_names(option)


def vocabulary(phrase: Phrase) -> Iterable[str]:
    """All words in it."""
    for item in phrase:
        if isinstance(item, Word):
            yield item.text
        elif isinstance(item, Choice):
            for option in item.options:
                yield from vocabulary(option)


def to_jsgf(phrase: Phrase, open_slots: Collection[str] = ()) -> str:
    """The expansion of the phrase; slots are rules named ``<slot_NAME>``.

    :param open_slots: may be left out where the phrase has other words: their value may come after a pause.
    """
    parts = []
    bare = not any(_required((item,)) for item in phrase if not isinstance(item, SlotReference))
    for item in phrase:
        match item:
            case Word(text):
                parts.append(text)
            case SlotReference(name):
                parts.append(f"[ <slot_{name}> ]" if name in open_slots and not bare else f"<slot_{name}>")
            case Choice(options, optional):
                inner = " | ".join(to_jsgf(option, open_slots) for option in options)
                parts.append(f"[ {inner} ]" if optional else f"( {inner} )")
    return " ".join(parts)


def example(phrase: Phrase) -> str:
    """What a caller may say, optional words and all; empty where it needs a slot's value."""
    parts: list[str] = []
    for item in phrase:
        match item:
            case Word(text):
                parts.append(text)
            case SlotReference():
                return ""
            case Choice(options, optional):
                said = next(filter(None, map(example, options)), "")
                if not said and not optional:
                    return ""
                parts.append(said)
    return " ".join(filter(None, parts))


def sentences(phrase: Phrase, slots: Mapping[str, SlotGrammar]) -> Iterator[str]:
    """Every way to say the phrase; none where it holds spoken digits, whose ways are too many."""
    ways: list[list[str]] = []
    for item in phrase:
        match item:
            case Word(text):
                ways.append([text])
            case SlotReference(name):
                values = slots[name].values.values()
                ways.append([said for phrases in values for other in phrases for said in sentences(other, slots)])
            case Choice(options, optional):
                some = [said for option in options for said in sentences(option, slots)]
                ways.append([*some, ""] if optional else some)
    for parts in itertools.product(*ways):
        yield " ".join(filter(None, parts))


def to_regex(phrase: Phrase, slots: Mapping[str, str]) -> str:
    """A pattern for words that are each preceded by a space; ``slots`` gives the pattern of each slot."""
    parts = []
    for item in phrase:
        match item:
            case Word(text):
                parts.append(" " + re.escape(text))
            case SlotReference(name):
                parts.append(f"(?P<{name}>{slots[name]})")
            case Choice(options, optional):
                inner = "|".join(to_regex(option, slots) for option in options)
                parts.append(f"(?:{inner})" + ("?" if optional else ""))
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class SlotGrammar:
    """What fills a slot: ``values`` (each with its phrases), or spoken digits where that is empty."""

    values: Mapping[str, tuple[Phrase, ...]]
    minimum: int = 0
    maximum: int = 0

    def regex(self, digits: Mapping[str, tuple[str, ...]]) -> str:
        if self.values:
            return "|".join(to_regex(phrase, {}) for phrases in self.values.values() for phrase in phrases)
        names = "|".join(re.escape(word) for spoken in digits.values() for word in spoken)
        return f"(?: (?:{names})){{{self.minimum},{self.maximum}}}"

    def jsgf(self) -> str:
        if self.values:
            return " | ".join(to_jsgf(phrase) for phrases in self.values.values() for phrase in phrases)
        # From one digit on, and some too many: a recogniser must hear that it is another number, and make nothing up.
        more = self.maximum + TOO_MANY - 1
        return "<digit>" + " [ <digit>" * more + " ]" * more

    def value(self, spoken: str, digits: Mapping[str, tuple[str, ...]]) -> str:
        """The value that ``spoken`` (a match of :meth:`regex`) stands for: its name, or the digits."""
        for name, phrases in self.values.items():
            if any(re.fullmatch(to_regex(phrase, {}), spoken) for phrase in phrases):
                return name
        meaning = {word: digit for digit, names in digits.items() for word in names}
        return "".join(meaning[word] for word in spoken.split())


class Grammar:
    """Compiles phrases of slots and intents, each once."""

    def __init__(
        self,
        slots: Mapping[str, SlotGrammar],
        digits: Mapping[str, tuple[str, ...]] = DIGITS,
        language: str = "en",
    ) -> None:
        self.slots, self.digits, self._language = slots, digits, language
        self._patterns = {name: slot.regex(digits) for name, slot in slots.items()}
        self._compiled: dict[Phrase, re.Pattern[str]] = {}  # of the phrases there are

    def pattern(self, phrase: Phrase) -> re.Pattern[str]:
        if phrase not in self._compiled:
            self._compiled[phrase] = re.compile(to_regex(phrase, self._patterns))
        return self._compiled[phrase]

    def spoken(self, text: str) -> str:
        """``text`` as patterns take it: numerals become the words of their digits."""
        return self._spoken(words(text))

    def readings(self, text: str) -> tuple[str, ...]:
        """All that ``text`` may be for patterns: its words, and with its numbers digit by digit ("double four")."""
        return tuple(dict.fromkeys((self.spoken(text), self._spoken(in_digits(text, self._language).split()))))

    def _spoken(self, said: Iterable[str]) -> str:
        out: list[str] = []
        for word in said:
            if word.isascii() and word.isdigit():
                out.extend(self.digits[digit][0] for digit in word)
            else:
                out.append(word)
        return "".join(f" {word}" for word in out[:MAX_WORDS])

    def match(self, pattern: re.Pattern[str], spoken: str) -> dict[str, str] | None:
        """The slots' values where the whole of ``spoken`` is the phrase, else None."""
        found = pattern.fullmatch(spoken)
        if found is None:
            return None
        groups = found.groupdict().items()
        return {name: self.slots[name].value(said, self.digits) for name, said in groups if said is not None}


@dataclass(frozen=True)
class Expected:
    """Phrases that may be said now, and what fills their slots. Each form of them is made when it is first asked for.

    Equal phrases in equal order give equal text, whoever made them.
    """

    phrases: tuple[Phrase, ...] = ()
    slots: Mapping[str, SlotGrammar] = field(default_factory=dict)
    digits: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: DIGITS)

    def widened(self, phrases: Iterable[str]) -> Expected:
        """With some more phrases, whose slots must be known."""
        return replace(self, phrases=(*self.phrases, *map(parse, phrases)))

    @cached_property
    def _used(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for phrase in self.phrases for name in slot_names(phrase)))

    @cached_property
    def _counts(self) -> bool:
        """Whether digits are expected."""
        return any(not self.slots[name].values for name in self._used)

    @cached_property
    def asks_number(self) -> bool:
        """Whether digits alone are an answer."""
        numbers = {(SlotReference(name),) for name in self._used if not self.slots[name].values}
        return any(phrase in numbers for phrase in self.phrases)

    @cached_property
    def words(self) -> frozenset[str]:
        values = (self.slots[name].values.values() for name in self._used)
        inside = (phrase for named in values for phrases in named for phrase in phrases)
        spoken = (word for names in self.digits.values() for word in names) if self._counts else ()
        return frozenset(spoken).union(*map(vocabulary, (*self.phrases, *inside)))

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Everything that can be said but what holds spoken digits, within bounds; what comes first counts most."""
        found = (itertools.islice(sentences(phrase, self.slots), MAX_VARIANTS) for phrase in self.phrases)
        return tuple(itertools.islice(dict.fromkeys(itertools.chain.from_iterable(found)), MAX_SENTENCES))

    @cached_property
    def jsgf(self) -> str:
        """A whole grammar; empty where nothing is expected."""
        if not self.phrases:
            return ""
        counted = [name for name in self._used if not self.slots[name].values]
        expansions = dict.fromkeys(to_jsgf(phrase, counted) for phrase in self.phrases)
        rules = ["#JSGF V1.0;", "grammar rules;", "public <utterance> = " + "\n  | ".join(expansions) + ";"]
        rules += [f"<slot_{name}> = {self.slots[name].jsgf()};" for name in self._used]
        if self._counts:
            rules.append("<digit> = " + " | ".join(word for spoken in self.digits.values() for word in spoken) + ";")
        return "\n".join(rules) + "\n"
