"""Calls of tools that a model wrote as text, because its server did not take them out of the answer.

Each family of models has its own way to write them. Sources: the chat templates of Llama 3.1 to 4, Qwen 2.5 and 3,
Mistral, DeepSeek, GLM 4.5, Kimi K2, Granite, Gemma, Command R and gpt-oss (Harmony) as their makers publish them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_NAMES = ("name", "tool_name", "tool", "function", "function_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "tool_input")
_NAME = r"[A-Za-z_][\w.-]{0,99}"
# <function=NAME>, <invoke name="NAME">: their parameters are tags as well.
_TAGGED = re.compile(
    rf"<(?:function=|invoke\s+name=)[\"']?({_NAME})[\"']?\s*>(.*?)(?:</function>|</invoke>|\Z)", re.DOTALL
)
_PARAMETER = re.compile(
    r"<parameter(?:=|\s+name=)[\"']?([\w.-]+)[\"']?[^>]*>\s*(.*?)\s*(?:</parameter>|(?=<parameter)|\Z)", re.DOTALL
)
_PAIR = re.compile(r"<arg_key>\s*(.*?)\s*</arg_key>\s*<arg_value>\s*(.*?)\s*</arg_value>", re.DOTALL)
# NAME[ARGS]{...}; functions.NAME:0<|...|>{...}; NAME<sep>{...}; to=functions.NAME ... {...}; call:NAME{...}
_BEFORE_JSON = re.compile(rf"(?:to=|call:)?(?:functions\.)?({_NAME})(?::\d+)?(?:\[[A-Z_]+\]|<[^<>]*>|\s|json|```)*\{{")
_NOT_A_NAME = frozenset({"function", "json", "assistant", "commentary", "constrain", "message"})


@dataclass(frozen=True, slots=True)
class ToolText:
    """A tool that the model calls. ``arguments`` is the JSON text of an object."""

    name: str
    arguments: str


def tool_calls(text: str, *, sure: bool = True) -> list[ToolText]:
    """The calls written in ``text``, in order.

    :param sure: it stood in a tool's marks. Else it is JSON like any other, and is a call only if it has arguments too.
    """
    found = list(_tagged(text) if sure else ())
    found = found or list(_json_calls(text, sure=sure))
    if not found and sure:
        found = list(_named_before_json(text))
    return found or list(_written_as_python(text))


def _json_calls(text: str, *, sure: bool) -> Iterator[ToolText]:
    for value in _values(text):
        for item in value if isinstance(value, list) else [value]:
            call = _call(item, sure=sure)
            if call is not None:
                yield call


def _values(text: str) -> Iterator[Any]:
    """The JSON objects and lists that stand one after the other; nothing but marks between them."""
    decoder, at = json.JSONDecoder(strict=False), 0
    while (start := re.compile(r"[{\[]").search(text, at)) is not None:
        if re.search(r"\w", re.sub(r"<[^<>]*>|json|```", "", text[at : start.start()])):
            return
        try:
            value, at = decoder.raw_decode(text, start.start())
        except ValueError:
            at = start.start() + 1
            continue
        yield value


def _call(item: Any, *, sure: bool) -> ToolText | None:
    if not isinstance(item, dict):
        return None
    if isinstance(item.get("function"), dict):
        item = item["function"]
    name = next((item[key] for key in _NAMES if isinstance(item.get(key), str)), "")
    key = next((key for key in _ARGUMENTS if isinstance(item.get(key), (dict, str))), "")
    if not re.fullmatch(_NAME, name) or not (key or sure):
        return None
    arguments = item[key] if key else {}
    return ToolText(name, arguments if isinstance(arguments, str) else json.dumps(arguments))


def _tagged(text: str) -> Iterator[ToolText]:
    for name, body in _TAGGED.findall(text):
        given = {key: _value(value) for key, value in _PARAMETER.findall(body)}
        if not given:
            given = next((value for value in _values(body) if isinstance(value, dict)), {})
        yield ToolText(name, json.dumps(given))
    pairs = _PAIR.findall(text)
    named = re.match(rf"\s*({_NAME})\s*<arg_key>", text)
    if named and pairs:
        yield ToolText(named[1], json.dumps({key: _value(value) for key, value in pairs}))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _named_before_json(text: str) -> Iterator[ToolText]:
    decoder, at = json.JSONDecoder(strict=False), 0
    while (found := _BEFORE_JSON.search(text, at)) is not None:
        at = found.end()
        try:
            arguments, end = decoder.raw_decode(text, found.end() - 1)
        except ValueError:
            continue
        if found[1] not in _NOT_A_NAME:
            at = end
            yield ToolText(found[1], json.dumps(arguments))


def _written_as_python(text: str) -> Iterator[ToolText]:
    """``[get_time(zone="UTC")]`` or ``print(get_time(zone="UTC"))``: read, never run."""
    source = re.sub(r"<[^<>]*>", "", text).strip()
    try:
        tree = ast.parse(source, mode="eval").body if source else ast.Constant(None)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.elts if isinstance(tree, ast.List) else [tree]:
        inner = node.args[0] if isinstance(node, ast.Call) and _called(node) == "print" and node.args else node
        if isinstance(inner, ast.Call) and (name := _called(inner)) and not inner.args:
            try:
                given = {word.arg: ast.literal_eval(word.value) for word in inner.keywords if word.arg}
                yield ToolText(name, json.dumps(given))
            except (ValueError, TypeError):
                continue


def _called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
