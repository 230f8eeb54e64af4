"""A conversation that fits into what a model can be told at once. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

LETTERS_PER_TOKEN = 3.0
"""Of plain European text a token has four and more; other scripts, digits and names have fewer."""
OF_A_MESSAGE = 6
"""Tokens beside its text."""
MAX_TURNS = 60
STEP = 8
"""So many turns are left out at a time: what is told stays the same from turn to turn, and services keep it."""
LIKELY_ANSWER = 300
"""Tokens, where its length has no limit."""
LEFT_OUT = "(The beginning of the conversation is left out.)"
Turn = tuple[str, str]


def tokens(*texts: object) -> int:
    """About as many as that, rather too many."""
    written = (text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in texts)
    return sum(OF_A_MESSAGE + math.ceil(_letters(text) / LETTERS_PER_TOKEN) for text in written)


def fitting(turns: Sequence[Turn], limit: int = 0, beside: int = 0) -> list[Turn]:
    """The last of the turns, as many as fit; the very last always does.

    :param limit: in tokens; 0: only so many turns as :data:`MAX_TURNS`.
    :param beside: tokens that are told besides.
    """
    sizes = [tokens(text) for _, text in turns]
    first = _stepped(len(turns) - MAX_TURNS)
    while limit and first < len(turns) - 1 and beside + tokens(LEFT_OUT) * bool(first) + sum(sizes[first:]) > limit:
        first += STEP
    first = max(0, min(first, len(turns) - 1))
    return [*([("user", LEFT_OUT)] if first else []), *turns[first:]]


def room(context: int | None, answer: int | None) -> int:
    """What is left of a model's context for what it is told; 0 where nobody says how much it takes."""
    return max(1, context - (answer or LIKELY_ANSWER)) if context else 0


def alternating(turns: Sequence[Turn]) -> list[Turn]:
    """The user first, and never two of a kind in a row: the templates of many models refuse anything else."""
    found: list[Turn] = []
    if turns[0][0] != "user":
        found.append(("user", "(The caller is on the line.)"))
    for role, text in turns:
        if found and found[-1][0] == role:
            found[-1] = (role, f"{found[-1][1]}\n{text}")
        else:
            found.append((role, text))
    return found


def _stepped(turns: int) -> int:
    return math.ceil(max(0, turns) / STEP) * STEP


def _letters(text: str) -> int:
    """Each of a script that is written without blanks counts as a whole token."""
    return sum(1 if ord(char) < 0x2E80 else round(LETTERS_PER_TOKEN) for char in text)
