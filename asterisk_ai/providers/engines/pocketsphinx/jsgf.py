"""Reading a JSGF grammar as far as pocketsphinx leaves that to its caller."""

from __future__ import annotations

import re

COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/|\{(?:\\.|[^}\\])*\}", re.DOTALL)
"""Comments and tags of a JSGF grammar."""
NOT_WORDS = re.compile(
    r"#JSGF[^;]*;|//[^\n]*|/\*.*?\*/|<[^>]*>|\{(?:\\.|[^}\\])*\}|/\s*[\d.eE+-]+\s*/|\b(?:grammar|import)\b[^;]*;|\bpublic\b(?=\s*<)",
    re.DOTALL,
)
"""All of a JSGF grammar that is no word: header, comments, rule names, tags, weights, declarations."""


def words_of(grammar: str) -> set[str]:
    """The words of a JSGF grammar."""
    return set(re.split(r"[\s|()\[\]*+=;\"]+", NOT_WORDS.sub(" ", grammar))) - {""}


def undefined(grammar: str) -> list[str]:
    """The rules that a JSGF grammar uses and does not have; pocketsphinx takes such for words that nobody says."""
    text = COMMENTS.sub(" ", grammar)
    known = {"<NULL>", "<VOID>", *re.findall(r"(<[^>]*>)\s*=", text), *re.findall(r"\bimport\s*(<[^>]*>)", text)}
    return sorted(set(re.findall(r"<[^>]*>", text)) - known)


def lowered(grammar: str) -> str:
    """The grammar with its words in lower case, as the dictionary has them; all else as it was."""
    parts: list[str] = []
    end = 0
    for other in NOT_WORDS.finditer(grammar):
        parts += [grammar[end : other.start()].lower(), other.group()]
        end = other.end()
    return "".join([*parts, grammar[end:].lower()])
