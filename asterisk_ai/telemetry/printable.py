"""Text that callers and peers sent, as it may be shown to people."""

from __future__ import annotations

import json


def printable(text: str) -> str:
    """``text`` with its control characters escaped: it begins no line of its own and drives no terminal.

    Those are line ends, escape sequences, and also what turns the direction of writing or is not to be seen.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_json(value: object) -> str:
    """``value`` as one line of JSON that is fit for a terminal, too."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
