"""What a caller typed on the keys and nobody is to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MASK = "****"
"""Stands for it where it would be told."""


class SecretDigits(str):
    """A PIN or the like: the text itself for who has asked for it, and nothing for what is kept, logged or shown.

    ``result``: the dialplan is given it, with what else was asked for (``AI_RESULT_*``).
    """

    result: bool

    def __new__(cls, digits: str, *, result: bool = False) -> SecretDigits:
        made = super().__new__(cls, digits)
        made.result = result
        return made

    def __repr__(self) -> str:
        return MASK


def without_secrets(value: Any) -> Any:
    """JSON values as they may be kept: mappings and lists lack what is secret."""
    if isinstance(value, Mapping):
        return {key: without_secrets(one) for key, one in value.items() if not isinstance(one, SecretDigits)}
    if isinstance(value, (list, tuple)):
        return [without_secrets(one) for one in value if not isinstance(one, SecretDigits)]
    return value
