"""Parts of the configuration that others own (settings of engines, tools), read by dataclasses as the file is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, TypeVar

from asterisk_ai.config.document import Document, Value
from asterisk_ai.config.reader import Reader, unit_range
from asterisk_ai.config.schema.types import Range, Secret
from asterisk_ai.errors import ConfigError

S = TypeVar("S")


def read_settings(kind: type[S], settings: Mapping[str, Any], path: str) -> S:
    """An instance of the dataclass ``kind``: its fields are the keys, their annotations the types and ranges.

    A field with ``metadata={"needed": "what to do"}`` must be given and not empty.

    :param path: of the mapping, such as ``providers.vosk``.
    :raises ConfigError: the first thing that is wrong, with its key's path and what was probably meant. The line is
        added by :meth:`~asterisk_ai.config.schema.Config.located`.
    """
    problems: list[ConfigError] = []
    found: S = Reader("", problems).read_class(kind, _value(settings), path)
    if problems:
        raise problems[0]
    return found


def read_scalar(kind: type[S], data: Any, path: str, limits: Range | None = None) -> S:
    """One value. Raises ConfigError as :func:`read_settings` does."""
    problems: list[ConfigError] = []
    found: S = Reader("", problems).scalar(kind, _value(data), path, limits or unit_range(""))
    if problems:
        raise problems[0]
    return found


def read_json(kind: type[S], data: Any, file: str, text: str = "") -> S:
    """As :func:`read_settings`, of a whole file of JSON, in which null is as good as nothing.

    :param data: what the file holds.
    :param text: of the file, for the line of a mistake; without it there is none.
    :raises ConfigError: the first thing that is wrong.
    """
    problems: list[ConfigError] = []
    found: S = Reader(file, problems).read_class(kind, _value(_told(data)), "")
    if problems:
        raise in_file(problems[0].message, problems[0].path, file, text)
    return found


def in_file(message: str, path: str, file: str, text: str = "") -> ConfigError:
    """A mistake at a key of a file of JSON, with its line where ``text`` is given."""
    reader = Reader(file, [])
    with contextlib.suppress(ConfigError):  # tabs are JSON and not YAML: no line is told
        if root := Document(text, file, environ=None).root():
            reader.free(root, "", secret=False)
    return ConfigError(message, path=path, line=reader.lines.get(path, 0), file=file)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``under`` with what ``over`` says: mappings in both are merged, all else is replaced."""
    found = dict(under)
    for key, value in over.items():
        below = found.get(key)
        found[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return found


def _told(data: Any) -> Any:
    """Without what is null."""
    if isinstance(data, dict):
        return {key: _told(item) for key, item in data.items() if item is not None}
    return [_told(item) for item in data] if isinstance(data, list) else data


def _value(data: Any) -> Value:
    """Plain Python values as the reader takes them. A secret text may have come from the environment."""
    if isinstance(data, Mapping):
        return Value({str(key): _value(item) for key, item in data.items()}, 0)
    if isinstance(data, (list, tuple)):
        return Value([_value(item) for item in data], 0)
    return Value(data, 0, plain=isinstance(data, str), from_environment=isinstance(data, Secret))
