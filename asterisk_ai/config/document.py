"""YAML text to values that know their line.

The tags are resolved more narrowly than YAML 1.1 does, because a PBX's words
are full of its traps: ``0200`` and ``+4930123`` are extensions and not
numbers, ``9:30`` is a time and not 570, ``no`` is a word. Where a boolean is
expected the reader takes yes/no/on/off as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from asterisk_ai.errors import ConfigError

MAX_NODES = 20_000
"""Keys, values and items, aliases and merges counted wherever they stand: ten times any PBX's."""
MAX_DEPTH = 64
_TAG = "tag:yaml.org,2002:"
_VARIABLE = re.compile(r"\$(?:\$\{|\{([^{}]*)\})")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Scalar = str | int | float | bool | None


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the tags below and no others, for documents of a bounded size and depth."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML's, which goes as deep as the text wants it, to the end of Python's stack."""
        self._nodes += 1
        self._depth += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested more than {MAX_DEPTH} deep", mark)
        if self._nodes > 2 * MAX_NODES:  # a key is a node, too
            raise yaml.composer.ComposerError(None, None, "more keys and values than a configuration has", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?")
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", _BOOLEAN, "tTfF"),
    ("int", _INTEGER, "-0123456789"),
    ("float", _FLOAT, "-0123456789"),
    ("null", _NULL, ["~", "n", "N", ""]),
    ("merge", re.compile("<<"), "<"),
):
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(f"(?:{_pattern.pattern})$"), list(_first))


def loader_class() -> type[yaml.SafeLoader]:
    """The parser with this file's rules, for who needs the marks of its nodes."""
    return _Loader


@dataclass(frozen=True, slots=True)
class Value:
    """A node of the file: a scalar, a list of values or a mapping of them.

    ``from_environment`` is True where a ``${VARIABLE}`` was put in; ``plain``
    where the scalar had no quotes.
    """

    data: Scalar | list[Value] | dict[str, Value]
    line: int
    plain: bool = False
    from_environment: bool = False

    def python(self) -> Any:
        """The value without its lines: mappings, lists and scalars."""
        if isinstance(self.data, dict):
            return {key: item.python() for key, item in self.data.items()}
        return [item.python() for item in self.data] if isinstance(self.data, list) else self.data


class Document:
    """Turns one text into a :class:`Value`, collecting what is wrong with it in ``problems``."""

    def __init__(self, text: str, file: str, environ: Mapping[str, str] | None) -> None:
        """:param environ: what ``${VARIABLE}`` refers to; None leaves it as it is written."""
        self.problems: list[ConfigError] = []
        self._text, self._file, self._environ = text, file, environ
        self._count = 0

    def root(self) -> Value | None:
        """The top of the document, None where it is empty. Raises ConfigError where it is not YAML."""
        try:
            node = yaml.compose(self._text, _Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part)
            raise self._error(f"not valid YAML: {what}{_advice(what)}", line=mark.line + 1 if mark else 0) from None
        except yaml.reader.ReaderError as error:
            line = self._text.count("\n", 0, error.position) + 1
            raise self._error(f"a character that YAML forbids (U+{error.character:04X})", line=line) from None
        except yaml.YAMLError as error:  # nothing else is known to come; the administrator still sees a plain line
            raise self._error(f"not valid YAML: {error}") from None
        return None if node is None else self._value(node, "", 0)

    def _error(self, message: str, path: str = "", line: int = 0) -> ConfigError:
        return ConfigError(message, path=path, line=line, file=self._file)

    def _counted(self, node: yaml.Node, path: str, depth: int) -> int:
        """The node's line. An alias counts as often as it is used: a few lines of them may hold billions of values."""
        self._count += 1
        line = node.start_mark.line + 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise self._error("too large or nested too deeply (does an alias contain itself?)", path[:60], line)
        return line

    def _value(self, node: yaml.Node, path: str, depth: int) -> Value:
        line = self._counted(node, path, depth)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, line)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return Value([self._value(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(node.value)], line)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return Value(self._mapping(node, path, depth), line)
        raise self._error(f"the tag {node.tag} means nothing here", path, line)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Value]:
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(self._error("a key must be a word or a number", path, line))
                continue
            key = key_node.value
            below = f"{path}.{key}" if path else key
            if key_node.tag == _TAG + "merge":
                self._merge(value_node, merged, path, depth)
            elif key in own:
                self.problems.append(self._error(f"given twice, first in line {own[key].line}", below, line))
            else:
                value = self._value(value_node, below, depth + 1)
                own[key] = Value(value.data, line, value.plain, value.from_environment)
        return merged | own

    def _merge(self, node: yaml.Node, into: dict[str, Value], path: str, depth: int) -> None:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            self._counted(source, path, depth + 1)
            if not isinstance(source, yaml.MappingNode):
                self.problems.append(self._error("<< takes a mapping", path, node.start_mark.line + 1))
                continue
            for key, value in self._mapping(source, path, depth + 1).items():
                into.setdefault(key, value)

    def _scalar(self, node: yaml.ScalarNode, path: str, line: int) -> Value:
        text, plain = node.value, node.style is None
        if node.tag == _TAG + "null":
            return Value(None, line, plain)
        if node.tag == _TAG + "bool":
            return Value(text.lower() == "true", line, plain)
        if node.tag == _TAG + "int" and _INTEGER.fullmatch(text) and len(text) < 100:
            return Value(int(text), line, plain)
        if node.tag == _TAG + "float" and _FLOAT.fullmatch(text):
            return Value(float(text), line, plain)
        if node.tag not in (_TAG + "str", _TAG + "merge", _TAG + "int", _TAG + "float"):
            raise self._error(f"the tag {node.tag} means nothing here", path, line)
        if self._environ is None:
            return Value(text, line, plain)
        environ = self._environ
        filled = _VARIABLE.sub(lambda match: self._variable(match, environ, path, line), text)
        return Value(filled, line, plain, from_environment=filled != text)

    def _variable(self, match: re.Match[str], environ: Mapping[str, str], path: str, line: int) -> str:
        name = match[1]
        if name is None:
            return "${"
        if not _VARIABLE_NAME.fullmatch(name):
            self.problems.append(
                self._error(
                    f"${{{name}}} names no environment variable (write $${{ for the characters ${{)", path, line
                )
            )
            return ""
        if name not in environ:
            self.problems.append(self._error(f"the environment variable {name} is not set", path, line))
        return environ.get(name, "")


def plain_scalar(text: str) -> Scalar:
    """What an unquoted scalar with that text would be: for numbers and booleans that come from the environment."""
    if _INTEGER.fullmatch(text) and len(text) < 100:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text.lower() == "true" if _BOOLEAN.fullmatch(text) else text


def _advice(problem: str) -> str:
    """Plain words for the mistakes that administrators make most."""
    if "'\\t'" in problem:
        return " (indent with spaces, not with tabs)"
    if "mapping values are not allowed" in problem:
        return " (a text that holds ': ' needs quotes; or the indentation is wrong)"
    if "expected <block end>" in problem and "<scalar>" in problem:
        return " (a text that begins with [, { or a quote needs quotes around all of it)"
    if "or '}'" in problem or "or ']'" in problem:
        return " (between { } or [ ] a text that holds one of , : [ ] { } needs quotes)"
    if "undefined alias" in problem or "while scanning an alias" in problem:
        return " (a text that begins with * needs quotes)"
    return ""
