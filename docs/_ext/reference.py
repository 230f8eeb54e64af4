"""Directives that write the reference from the code, so that it cannot tell anything else.

``.. config-reference::`` from the schema's dataclasses, ``.. metrics-reference::`` from the server's metrics, and
``.. cli-reference::`` from the commands' parsers.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import os
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, get_args, get_origin

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from asterisk_ai.cli import main as command_line
from asterisk_ai.config import Config
from asterisk_ai.config.reader import unit_range
from asterisk_ai.config.schema import Names, Range
from asterisk_ai.telemetry.metrics import Metrics


def described(kind: type[Any]) -> dict[str, str]:
    """The text behind each field of a dataclass."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    found = {}
    for field, after in pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the configuration file, or a section of keys (``section`` is then its class)."""

    path: str
    text: str
    type: str = ""
    default: str = ""
    section: type[Any] | None = None


def schema_keys(kind: type[Any] = Config, path: str = "") -> Iterator[Key]:
    """All keys below ``kind``, each section before its keys."""
    texts = described(kind)
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if not field.metadata.get("key", True):
            continue
        here, hint = f"{path}{field.name}", _without_none(hints[field.name])
        inner, below = _section(hint, here)
        text = texts.get(field.name) or (_first_paragraph(inner) if inner else "")
        if inner is None:
            yield Key(here, text, _type(hint, field.name), _default(field))
        else:
            yield Key(below, text, section=inner)
            yield from schema_keys(inner, f"{below}.")


def _section(hint: Any, path: str) -> tuple[type[Any] | None, str]:
    """The dataclass below a key, and the path that its own keys begin with."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hint, path
    origin = get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        inner = get_args(hint)[1]
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            return inner, f"{path}.NAME"
    return None, path


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (typing.Union, types.UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _type(hint: Any, name: str) -> str:
    limits = None
    if get_origin(hint) is Annotated:
        limits = next((item for item in get_args(hint)[1:] if isinstance(item, Range)), None)
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return ", ".join(str(choice) for choice in get_args(hint))
    if hint in (int, float):
        limits = limits or unit_range(name)
        return f"{'whole number' if hint is int else 'number'} from {_number(limits.low)} to {_number(limits.high)}"
    origin = get_origin(hint) or hint
    if hint is Names:
        return "one name, or a list of names"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping"
    if isinstance(origin, type) and issubclass(origin, (tuple, frozenset, list)):
        return "list of texts"
    return {bool: "true or false", str: "text"}.get(hint, getattr(hint, "__name__", str(hint)))


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if "\n" in value:
            return "a text of several lines"
        return f'"{value}"' if not isinstance(value, Names) else str(value) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return ", ".join(f'"{item}"' for item in value) or "none"
    if isinstance(value, Mapping):
        return "none" if not value else ", ".join(value)
    return str(value)


def _first_paragraph(kind: type[Any]) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


class ConfigReference(SphinxDirective):
    """Every key as a ``confval``, by sections."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for key in schema_keys():
            if key.section is not None:
                lines += [f".. rubric:: {key.path}", "", key.text, ""]
                continue
            lines += [f".. confval:: {key.path}", f"   :type: {key.type}"]
            lines += [f"   :default: ``{key.default}``", "", f"   {key.text}", ""]
        return self.parse_text_to_nodes("\n".join(lines))


class MetricsReference(SphinxDirective):
    """Every metric with its kind, its labels and its help text."""

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: 45 15 40", ""]
        lines += ["   * - Name, and its labels", "     - Kind", "     - Meaning"]
        for metric in sorted(Metrics().registry.collect(), key=lambda metric: metric.name):
            name = metric.name + ("_total" if metric.type == "counter" else "")
            lines += [f"   * - ``{name}``", f"     - {metric.type}", f"     - {metric.documentation}"]
        return self.parse_text_to_nodes("\n".join(lines))


class CliReference(SphinxDirective):
    """What each command prints with ``--help``."""

    def run(self) -> list[nodes.Node]:
        os.environ["COLUMNS"] = "96"
        lines: list[str] = []
        for words, parser in _parsers(command_line.parser(), ["asterisk-ai"]):
            title = " ".join(words)
            lines += [f".. rubric:: {title}", "", ".. code-block:: text", ""]
            lines += [f"   {line}".rstrip() for line in parser.format_help().splitlines()] + [""]
        return self.parse_text_to_nodes("\n".join(lines))


def _parsers(parser: argparse.ArgumentParser, words: list[str]) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    yield words, parser
    for action in parser._actions:  # argparse has no public way to its subparsers
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from _parsers(inner, [*words, name])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("config-reference", ConfigReference)
    app.add_directive("metrics-reference", MetricsReference)
    app.add_directive("cli-reference", CliReference)
    return {"version": "1", "parallel_read_safe": True}
