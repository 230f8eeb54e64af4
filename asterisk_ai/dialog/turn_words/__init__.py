"""What callers say beside what they want, by language: to keep a conversation going, or to get a word in.

And what agents say when nothing is heard, nothing can be made, or a call was lost (English: the settings' defaults).

And the words with which no sentence ends, so that whoever pauses after one has more to say. All of it stands in the
YAML files of this folder, one a language; a language without a file has none of it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml

_HERE = __name__


@dataclass(frozen=True, slots=True)
class TurnWords:
    """Of one language."""

    backchannels: tuple[str, ...] = ()
    """Words that keep a conversation going without taking the turn: "mm-hm", "okay", "right"."""
    heard_for_them: tuple[str, ...] = ()
    """What recognisers write for such a sound, and nobody says to get a word in."""
    twice: tuple[str, ...] = ()
    """Those of them that are said twice in a row."""
    hums: frozenset[str] = frozenset()
    """What a hum on the line is heard as."""
    attention: tuple[str, ...] = ()
    """What callers say to get a word in, and that asks for nothing but silence."""
    interruptions: tuple[str, ...] = ()
    """What else is said over any agent's words, whatever it is about. A recogniser with a grammar hears them only if
    they are in it, and takes the nearest backchannel for them where they are not."""
    unfinished: frozenset[str] = frozenset()
    """Words, and pairs of words, after which more has to come."""
    numbers: frozenset[str] = frozenset()
    """Digits as they are spoken: more of them may come."""
    machine: tuple[str, ...] = ()
    """What answering machines say, and people who answer a call do not."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """What agents say of themselves, by the names of :class:`~asterisk_ai.dialog.params.TurnParams`."""


@functools.cache
def turn_words(language: str) -> TurnWords:
    """Of ``language``, as in ``en-US``."""
    file = files(_HERE) / f"{language.replace('_', '-').partition('-')[0].lower()}.yaml"
    if not file.is_file():
        return TurnWords()
    read = yaml.safe_load(file.read_text("utf-8"))
    return TurnWords(
        tuple(read["backchannels"]),
        tuple(read.get("heard_for_them", ())),
        tuple(read["twice"]),
        frozenset(read["hums"]),
        tuple(read["attention"]),
        tuple(read["interruptions"]),
        frozenset((*read["unfinished"].split(), *read.get("unfinished_pairs", ()))),
        frozenset(read["numbers"].split()),
        tuple(read.get("machine", ())),
        {name: tuple(said) if isinstance(said, list) else said for name, said in read.get("prompts", {}).items()},
    )
