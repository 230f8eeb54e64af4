"""Cutting a reply into pieces to be spoken one after the other."""

from __future__ import annotations

import re

# A full stop inside a number or an abbreviation of one letter is no end: "3.5", "e.g. this" (lower case follows).
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(\s+)(?=\S)")
_CLAUSE_END = re.compile(r"[,;:\u2013\u2014][\"')\]]*(\s+)(?=\S)")
FIRST_WORDS = 2
"""A first clause has at least so many, else what follows it may not be made when it has been spoken."""
LONG_LETTERS = 200
"""A sentence that is not over by then is cut at a clause: the caller waits for no sentence of a minute."""


def sentences(text: str) -> list[str]:
    """Cut ``text`` where a speaker would pause; joined by blanks it is the text again, white space aside."""
    pieces, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        if not text[end.end()].islower():
            pieces.append(text[start : end.start(1)].strip())
            start = end.end()
    last = text[start:].strip()
    return [*pieces, last] if last else pieces


class Segmenter:
    """Cuts a text that comes bit by bit into pieces that can be spoken while the rest is being made.

    The pieces are sentences, but the first may be a clause: the caller hears
    it while the rest of its sentence is still being written. Joined by blanks
    they are the text again, white space aside.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._first = True

    def push(self, text: str) -> list[str]:
        """The pieces that are whole with ``text``; a piece is whole once the letter after it is known."""
        self._rest += text
        pieces = []
        while cut := self._cut():
            pieces.append(self._rest[:cut].strip())
            self._rest = self._rest[cut:].lstrip()
            self._first = False
        return pieces

    def flush(self) -> list[str]:
        """What is left; the text is over."""
        last, self._rest, self._first = self._rest.strip(), "", True
        return [last] if last else []

    def _cut(self) -> int:
        """Where the next piece ends, 0 where that is not known yet."""
        rest = self._rest
        ends = (end.start(1) for end in _SENTENCE_END.finditer(rest) if not rest[end.end()].islower())
        sentence = next(ends, 0)
        if self._first:
            clauses = (end.start(1) for end in _CLAUSE_END.finditer(rest, 0, sentence or len(rest)))
            return next((at for at in clauses if len(rest[:at].split()) >= FIRST_WORDS), sentence)
        if not sentence and len(rest) > LONG_LETTERS:
            return max((end.start(1) for end in _CLAUSE_END.finditer(rest)), default=0)
        return sentence
