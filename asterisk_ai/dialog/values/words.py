"""The words that values are made of, by language. A new language is one more :class:`Words` in ``LANGUAGES``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def _counted(text: str, start: int = 0, step: int = 1) -> dict[str, int]:
    """``"zero/oh one two"``: each word with its number; ways to say the same are parted by slashes."""
    groups = enumerate(text.split())
    return {word.replace("_", " "): start + step * at for at, group in groups for word in group.split("/")}


@dataclass(frozen=True, slots=True)
class Words:
    """One language. All words are in lower case; a blank is written ``_`` where lists are split at blanks."""

    units: Mapping[str, int]
    """0 to 9."""
    teens: Mapping[str, int]
    """10 to 19."""
    tens: Mapping[str, int]
    """20 to 90."""
    multiples: Mapping[str, int]
    """Hundred, thousand: what is before is multiplied, what follows is added."""
    repeats: Mapping[str, int]
    """Double, triple: the next digit is said so many times."""
    joins: frozenset[str]
    """May stand inside a number and mean nothing: three hundred *and* five."""
    alike: Mapping[str, int]
    """Other words that sound like a unit; they are one only beside numbers."""
    letters: Mapping[str, str]
    """What sounds like the name of a letter."""
    spelling: Mapping[str, str]
    """Alphabets for spelling: alpha, bravo."""
    as_in: tuple[str, ...]
    """What stands between a letter and a word that begins with it: m *as in* mike."""
    signs: Mapping[str, str]
    """Signs of e-mail addresses."""
    weekdays: Mapping[str, int]
    months: Mapping[str, int]
    ordinals: Mapping[str, int]
    days: Mapping[str, int]
    """Today, tomorrow: days from today."""
    clock: Mapping[str, int] = field(default_factory=dict)
    """Noon, midnight: minutes of the day."""


_UNITS = _counted("zero/oh/o/nought/naught/nil one two three four five six seven eight nine/niner")
_TEENS = _counted("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 10)
_TENS = _counted("twenty thirty forty/fourty fifty sixty seventy eighty ninety", 20, 10)
_FIRST = _counted("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
                  "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth", 1)  # fmt: skip
_TWENTIES = {f"twenty {unit}": 20 + number for unit, number in _FIRST.items() if number < 10}

ENGLISH = Words(
    units=_UNITS,
    teens=_TEENS,
    tens=_TENS,
    multiples={"hundred": 100, "thousand": 1000, "million": 1_000_000},
    repeats={"double": 2, "triple": 3, "treble": 3, "quadruple": 4},
    joins=frozenset({"and"}),
    alike={"to": 2, "too": 2, "for": 4, "fore": 4, "won": 1, "ate": 8, "tree": 3, "free": 3, "sex": 6, "hate": 8},
    letters={
        **{letter: letter for letter in "abcdefghijklmnopqrstuvwxyz"},
        "ay": "a", "bee": "b", "be": "b", "see": "c", "sea": "c", "dee": "d", "eff": "f", "gee": "g", "aitch": "h",
        "haitch": "h", "eye": "i", "jay": "j", "kay": "k", "okay": "k", "ell": "l", "el": "l", "em": "m", "en": "n",
        "oh": "o", "pee": "p", "queue": "q", "cue": "q", "are": "r", "ar": "r", "ess": "s", "es": "s", "tea": "t",
        "tee": "t", "you": "u", "vee": "v", "double you": "w", "double u": "w", "ex": "x", "why": "y", "zed": "z",
        "zee": "z",
    },
    spelling={
        word: word[0]
        for word in "alpha alfa bravo charlie delta echo foxtrot golf hotel india juliet juliett kilo lima mike "
        "november oscar papa quebec romeo sierra tango uniform victor whiskey whisky xray yankee zulu".split()
    }
    | {"x-ray": "x", "x ray": "x"},
    as_in=("as in", "like in", "like", "for", "as"),
    signs={"at": "@", "dot": ".", "point": ".", "underscore": "_", "dash": "-", "hyphen": "-", "minus": "-",
           "plus": "+"},
    weekdays=_counted("monday tuesday wednesday thursday friday saturday sunday"),
    months=_counted("january february march april may june july august september october november december", 1),
    ordinals=_FIRST | {"thirtieth": 30, "thirty first": 31} | _TWENTIES,
    days={"today": 0, "tonight": 0, "tomorrow": 1, "the day after tomorrow": 2, "yesterday": -1},
    clock={"noon": 720, "midday": 720, "midnight": 0},
)  # fmt: skip

LANGUAGES: Mapping[str, Words] = {"en": ENGLISH}


def of(language: str) -> Words | None:
    """The words of a language tag (``en-GB``), or None where none are known."""
    return LANGUAGES.get(language.lower().replace("_", "-").partition("-")[0])
