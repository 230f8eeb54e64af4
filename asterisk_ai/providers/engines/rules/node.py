"""A value of the YAML with its key's path, and readers that check it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from asterisk_ai.config.reader import did_you_mean
from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_scalar
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.grammar import Phrase, parse, slot_names


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the YAML and its path, with readers that check it."""

    data: Any
    path: str

    def fail(self, message: str, below: str = "") -> NoReturn:
        raise ConfigError(message, path=f"{self.path}.{below}" if below else self.path)

    def keys(self, *known: str) -> dict[str, Node]:
        """A mapping with no keys but these."""
        nodes = self.entries()
        for key in nodes:
            if key not in known:
                self.fail(f"unknown key{did_you_mean(key, known)}", key)
        return nodes

    def entries(self) -> dict[str, Node]:
        if self.data is None:
            return {}
        if not isinstance(self.data, Mapping):
            self.fail("expected a mapping of keys")
        return {str(key): Node(value, f"{self.path}.{key}") for key, value in self.data.items() if value is not None}

    def text(self) -> str:
        if isinstance(self.data, bool) or not isinstance(self.data, (str, int)):
            self.fail("expected text (a text with [ ], { } or ': ' in it needs quotes)")
        return " ".join(str(self.data).split())

    def lines(self) -> list[str]:
        """A list of texts, or one text of several lines."""
        if isinstance(self.data, list):
            return [Node(item, f"{self.path}[{n}]").text() for n, item in enumerate(self.data)]
        if isinstance(self.data, str):
            return [" ".join(line.split()) for line in self.data.splitlines() if line.strip()]
        return [self.text()]

    def phrases(self, slots: Iterable[str] = ()) -> tuple[Phrase, ...]:
        known, found = list(slots), []
        for line in self.lines():
            try:
                phrase = parse(line)
            except ValueError as error:
                self.fail(f"the phrase {line!r}: {error}")
            for name in slot_names(phrase):
                if name not in known:
                    self.fail(f"the phrase {line!r}: there is no slot {name!r} (slots: {', '.join(known) or 'none'})")
            found.append(phrase)
        if not found:
            self.fail("expected at least one phrase")
        return tuple(found)

    def flag(self) -> bool:
        return read_scalar(bool, self.data, self.path)

    def whole(self, low: int, high: int) -> int:
        return read_scalar(int, self.data, self.path, Range(low, high))
