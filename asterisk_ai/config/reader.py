"""Values of the file to the dataclasses of the schema, by their type annotations."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from asterisk_ai.config.document import Value, plain_scalar
from asterisk_ai.config.schema import Names, Pattern, Range, Secret
from asterisk_ai.errors import ConfigError

_WORDS = {"yes": True, "on": True, "no": False, "off": False, "true": True, "false": False}
_SECRET = re.compile(r"(?:^|_)(?:key|token|secret|password|passphrase|credential)s?$", re.IGNORECASE)
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


# Parameters of turn-taking for which the unit's range would let nonsense pass.
_RANGES = {
    "endpoint_ms": Range(100, 10_000),
    "barge_in_ms": Range(20, 5_000),
    "hangover_ms": Range(60, 1_000),
    "sounds_finished": Range(0, 1),
    "sounds_over": Range(0, 1),
    "sounds_unfinished": Range(0, 1),
    "sure": Range(0, 1),
    "backchannel_drawn_out": Range(1, 10),
    "backchannel_whole": Range(1, 10),
    "part_seconds": Range(1, 600),
    "max_utterance_seconds": Range(1, 600),
    "no_input_seconds": Range(1, 600),
    "digit_timeout_ms": Range(200, 60_000),
    "answer_seconds": Range(1, 600),
    "max_call_seconds": Range(1, 604_800),
}


def unit_range(name: str) -> Range:
    """The range of a number that the schema gives none: by the unit in its name."""
    if name in _RANGES:
        return _RANGES[name]
    if name.endswith("_ms"):
        return Range(0, 3_600_000)
    if name.endswith("_seconds"):
        return Range(0, 86_400)
    return Range(0, 1_000_000)


class Reader:
    """Reads one document; goes on after a mistake, so that all are reported at once."""

    def __init__(self, file: str, problems: list[ConfigError]) -> None:
        """:param problems: the mistakes found so far, to which others are added."""
        self.problems = problems
        self.lines: dict[str, int] = {}
        self._file = file
        self._shapes: dict[type[Any], tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]] = {}

    def problem(self, message: str, path: str, line: int) -> None:
        self.problems.append(ConfigError(message, path=path, line=line, file=self._file))

    def read_class(self, kind: type[Any], value: Value, path: str) -> Any:
        """An instance of the dataclass ``kind``; keys that are wrong are reported and keep their default."""
        if value.data is None:
            return kind()
        if not isinstance(value.data, dict):
            self.problem(f"expected a mapping of keys, found {_describe(value)}", path, value.line)
            return kind()
        hints, fields = self._shape(kind)
        found: dict[str, Any] = {}
        for key, item in value.data.items():
            below = _join(path, key)
            self.lines[below] = item.line
            if key not in fields:
                self.problem(f"unknown key{did_you_mean(key, fields)}", below, item.line)
                continue
            before = len(self.problems)
            read = self.read(hints[key], item, below, key)
            if len(self.problems) == before:
                found[key] = read
        for key, one in fields.items():
            if (message := one.metadata.get("needed")) and not found.get(key) and not self._told(_join(path, key)):
                self.problem(message, _join(path, key), value.line)
        try:
            return kind(**found)
        except ValueError as error:  # a dataclass that checks itself, e.g. one field against another
            key, _, rest = str(error).partition(": ")  # "key: what is wrong with it", or about the whole
            at = value.data.get(key) if key in fields else None
            self.problem(rest if at else str(error), _join(path, key) if at else path, (at or value).line)
            return kind()

    def _shape(self, kind: type[Any]) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
        """The annotations of a dataclass, which are costly to have, and its fields that are keys."""
        if kind not in self._shapes:
            fields = {item.name: item for item in dataclasses.fields(kind) if item.metadata.get("key", True)}
            self._shapes[kind] = typing.get_type_hints(kind, include_extras=True), fields
        return self._shapes[kind]

    def _told(self, path: str) -> bool:
        return any(problem.path == path for problem in self.problems)

    def read(self, kind: Any, value: Value, path: str, name: str) -> Any:
        """A value of the annotated type ``kind``; what comes back after a problem is not to be used."""
        origin, arguments = get_origin(kind), get_args(kind)
        if kind is Any:
            return self.free(value, path, secret=False)
        if kind is Names:
            return self.names(value, path)
        if origin is Annotated:
            limits = next((item for item in arguments[1:] if isinstance(item, Range)), None)
            data = self.scalar(arguments[0], value, path, limits or unit_range(name))
            like = next((item for item in arguments[1:] if isinstance(item, Pattern)), None)
            if like is not None and isinstance(data, str) and not re.fullmatch(like.text, data):
                self.problem(f"{data!r} is not allowed here"[:300], path, value.line)
            return data
        if origin in (Union, types.UnionType):
            return self.optional(arguments, value, path, name)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.read_class(kind, value, path)
        if origin is Literal:
            return self.choice(arguments, value, path)
        if origin is tuple or origin in (list, frozenset) or (isinstance(origin, type) and issubclass(origin, tuple)):
            return self.sequence(arguments[0], value, path, name)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return self.mapping(arguments[1], value, path)
        return self.scalar(kind, value, path, unit_range(name))

    def optional(self, kinds: tuple[Any, ...], value: Value, path: str, name: str) -> Any:
        """``X | None``: null and false switch it off."""
        if value.data is None or value.data is False or (value.plain and value.data in ("no", "off")):
            return None
        return self.read(next(kind for kind in kinds if kind is not type(None)), value, path, name)

    def scalar(self, kind: type[Any], value: Value, path: str, limits: Range) -> Any:
        data = value.data
        if value.from_environment and kind is not str and isinstance(data, str):
            data = plain_scalar(data)
        if kind is bool and isinstance(data, str) and (value.plain or value.from_environment):
            data = _WORDS.get(data.lower(), data)
        if kind is float and isinstance(data, int) and not isinstance(data, bool):
            data = float(data) if abs(data) < 1e300 else math.inf
        if isinstance(data, bool) != (kind is bool) or not isinstance(data, kind):
            self.problem(f"expected {_NAMES.get(kind, kind.__name__)}, found {_describe(value)}", path, value.line)
        elif kind in (int, float) and not limits.low <= data <= limits.high:
            self.problem(f"must be between {limits.low:g} and {limits.high:g}, found {data:g}", path, value.line)
        return data

    def choice(self, choices: tuple[Any, ...], value: Value, path: str) -> Any:
        if value.data is False and "off" in choices:
            return "off"
        if value.data not in choices or isinstance(value.data, (list, dict)):
            known = ", ".join(str(choice) for choice in choices)
            self.problem(f"must be one of {known}, found {_describe(value)}", path, value.line)
        return value.data

    def names(self, value: Value, path: str) -> Names:
        """One name, or a list of them."""
        items = value.data if isinstance(value.data, list) else [value]
        if not items:
            self.problem("name at least one", path, value.line)
        return Names(self.scalar(str, item, path, unit_range("")) for item in items)

    def sequence(self, kind: Any, value: Value, path: str, name: str) -> tuple[Any, ...]:
        if not isinstance(value.data, list):
            self.problem(f"expected a list, found {_describe(value)}", path, value.line)
            return ()
        return tuple(self.read(kind, item, f"{path}[{n}]", name) for n, item in enumerate(value.data))

    def mapping(self, kind: Any, value: Value, path: str) -> Mapping[str, Any]:
        if value.data is None:
            return {}
        if not isinstance(value.data, dict):
            self.problem(f"expected a mapping of keys, found {_describe(value)}", path, value.line)
            return {}
        if kind is Any:
            read = self.free(value, path, secret=path.startswith("providers.") or path.endswith(".tools"))
            return dict(read)
        entries: dict[str, Any] = {}
        for key, item in value.data.items():
            below = _join(path, key)
            self.lines[below] = item.line
            if not re.fullmatch(r"[A-Za-z0-9_.:-]+", key):
                self.problem("a name is made of letters, digits, '_' and '-'", below, item.line)
            entries[key] = self.read(kind, item, below, key)
        return entries

    def free(self, value: Value, path: str, *, secret: bool, hide: bool = False) -> Any:
        """A part that somebody else checks: plain Python values. Where ``secret``, keys and passwords are hidden."""
        if isinstance(value.data, dict):
            result = {}
            for key, item in value.data.items():
                below = _join(path, key)
                self.lines[below] = item.line
                result[key] = self.free(item, below, secret=secret, hide=hide or bool(_SECRET.search(key)))
            return result
        if isinstance(value.data, list):
            for n, item in enumerate(value.data):
                self.lines[f"{path}[{n}]"] = item.line
            return [self.free(item, f"{path}[{n}]", secret=secret, hide=hide) for n, item in enumerate(value.data)]
        if secret and isinstance(value.data, str) and (hide or value.from_environment):
            return Secret(value.data)
        return value.data


def did_you_mean(key: str, known: typing.Iterable[str]) -> str:
    """Words to follow "unknown key": the nearest known one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(key.lower().replace("-", "_"), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(names)}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _describe(value: Value) -> str:
    """What was found, without showing a long text or what the environment holds."""
    data = value.data
    if value.from_environment:
        return "the text of an environment variable"
    match data:
        case None:
            return "nothing"
        case bool():
            return "true" if data else "false"
        case int() | float():
            return f"the number {data}"[:60]
        case str():
            return f"the text {data!r}" if len(data) <= 40 else f"a text of {len(data)} characters"
        case list():
            return "a list"
        case dict():
            return "a mapping"
