"""Cutting a text into pieces to be spoken one after the other: sentences, by the rules of the language."""

from __future__ import annotations

import re

import sentencex

_ENDS = ".!?\u2026。？！؟।۔"
_CLOSES = "\"')\\]»”’」』）"
# These end a sentence whatever follows, and no blank follows in scripts that have none.
_FULL_STOP = re.compile(rf"[。？！؟।۔][{_CLOSES}]*$")
_SENTENCE_END = re.compile(rf"[{_ENDS}][{_CLOSES}]*(\s+)\S+\s$")
_CLAUSE_END = re.compile(rf"[,;:\u2013\u2014、，；：][{_CLOSES}]*(\s+)(?=\S)")
# What sentencex does not know: titles before a name, by language; and "no" is a word, too, where no number follows.
_BEFORE_A_NAME = {"fr": re.compile(r"\b(?:MM?|Mmes?|Mlles?|Mgr|Me)\.$"), "nl": re.compile(r"\b[Mm]evr\.$")}
_NUMBER_SIGN = re.compile(r"\b[Nn]o\.$")
FIRST_WORDS = 2
"""A first clause has at least so many, else what follows it may not be made when it has been spoken."""
LONG_LETTERS = 200
"""A sentence that is not over by then is cut at a clause: the caller waits for no sentence of a minute."""
MOST_LETTERS = 400
"""No piece is longer, whatever is in it."""


class Segmenter:
    """Cuts a text that comes bit by bit into pieces that can be spoken while the rest is being made.

    The pieces are sentences, but the first may be a clause: the caller hears
    it while the rest of its sentence is still being written. Joined by blanks
    they are the text again, white space aside. It does not matter in which
    bits the text comes. A line break always ends a piece.

    :param first_clause: letters that the first sentence has at least, to be cut at its first clause.
    """

    def __init__(self, language: str = "en", *, first_clause: int = 0) -> None:
        self._language = language.partition("-")[0].lower()
        self._first_clause = first_clause
        self._rest = ""
        self._first = True

    def push(self, text: str) -> list[str]:
        """The pieces that are whole with ``text``; a piece is whole once the word after it is known."""
        pieces: list[str] = []
        for letter in text:
            if letter == "\n":
                pieces += self.flush(last=False)
                continue
            self._rest += letter
            if cut := self._cut(letter):
                pieces += self._take(cut)
        return pieces

    def flush(self, *, last: bool = True) -> list[str]:
        """What is left; the text, or with ``last`` False only a line of it, is over."""
        self._rest = self._rest.rstrip()
        pieces: list[str] = []
        if self._rest:
            end = _SENTENCE_END.search(self._rest + " ")
            if end is not None and self._is_end(end.start(1), self._rest):
                pieces += self._take(end.start(1))
            pieces += self._take(len(self._rest))
        if last:
            self._first = True
        return pieces

    def forget(self) -> None:
        """What is left was not meant to be heard."""
        self._rest = ""

    def _take(self, cut: int) -> list[str]:
        piece, self._rest = self._rest[:cut].strip(), self._rest[cut:].lstrip()
        self._first = self._first and not piece
        return [piece] if piece else []

    def _cut(self, letter: str) -> int:
        """Where the next piece ends, 0 where that is not known yet."""
        rest = self._rest
        if letter not in _ENDS and not re.match(f"[{_CLOSES}]", letter) and _FULL_STOP.search(rest[:-1]):
            return len(rest) - 1
        end = _SENTENCE_END.search(rest) if letter.isspace() else None
        if end is not None and self._is_end(end.start(1), rest):
            return end.start(1)
        if self._first and len(rest) > self._first_clause:
            return self._clause(rest)
        if len(rest) > LONG_LETTERS and (clause := max((e.start(1) for e in _CLAUSE_END.finditer(rest)), default=0)):
            return clause
        return (rest.rfind(" ") if " " in rest.strip() else len(rest)) if len(rest) > MOST_LETTERS else 0

    def _clause(self, rest: str) -> int:
        ends = (end.start(1) for end in _CLAUSE_END.finditer(rest))
        return next((at for at in ends if len(rest[:at].split()) >= FIRST_WORDS), 0)

    def _is_end(self, at: int, rest: str) -> bool:
        """Whether the sentence ends at ``at``, where ``rest`` has one whole word more."""
        before, after = rest[:at], rest[at:].strip()
        if after[:1].islower() or before.strip(" .").isdecimal():  # or the number of an item
            return False
        if before.rstrip(_CLOSES)[-1:] != ".":
            return True
        titles = _BEFORE_A_NAME.get(self._language)
        if titles and titles.search(before):
            return False
        if _NUMBER_SIGN.search(before):
            return not after[:1].isdecimal()
        return len(sentencex.segment(self._language, f"{before} {after}")[0]) <= len(before) + 1


def sentences(text: str, language: str = "en") -> list[str]:
    """Cut ``text`` where a speaker would pause; joined by blanks it is the text again, white space aside."""
    segmenter = Segmenter(language, first_clause=MOST_LETTERS + 1)
    return [*segmenter.push(text), *segmenter.flush()]
