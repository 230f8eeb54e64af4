"""The ``slots`` of an agent's rules, checked: values, yes or no, digits, words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from asterisk_ai.providers.engines.rules.node import Node
from asterisk_ai.providers.engines.rules.ruleset import Slot
from asterisk_ai.providers.grammar import Phrase, SlotGrammar, parse, slot_names

_OF_DIGITS = ("luhn", "like", "pause_seconds", "secret", "result", "tries", "failed")


def read_slot(name: str, node: Node, yes: tuple[Phrase, ...], no: tuple[Phrase, ...]) -> Slot:
    """One slot. Raises ConfigError."""
    keys = node.keys("digits", "values", "yes_no", "say", "ask", "again", "confirm", "keep", "words", *_OF_DIGITS)
    if sum(key in keys for key in ("digits", "values", "yes_no", "words")) != 1:
        node.fail("needs exactly one of digits, values, yes_no, words")
    fields: Mapping[str, Mapping[str, str]] = {}
    if "digits" in keys:
        grammar = _digits(keys["digits"])
    elif "values" in keys:
        grammar, fields = _values(keys["values"])
    elif "words" in keys:
        keys["words"].flag()
        grammar = SlotGrammar({})
    else:
        keys["yes_no"].flag()
        grammar, fields = SlotGrammar({"yes": yes, "no": no}), {"yes": {"name": "yes"}, "no": {"name": "no"}}
    say = keys["say"].phrases([name]) if "say" in keys else ()
    if any(name not in slot_names(phrase) for phrase in say):
        keys["say"].fail(f"each phrase needs {{{name}}} in it")
    texts: dict[str, Any] = {key: keys[key].text() if key in keys else "" for key in ("ask", "again", "confirm")}
    keep = "keep" in keys and keys["keep"].flag()
    given = [key for key in _OF_DIGITS if key in keys]
    if given and "digits" not in keys:
        keys[given[0]].fail("is for digits only")
    if "words" in keys and say:
        keys["say"].fail("what is said freely is no part of a phrase")
    phrases = () if "words" in keys else (parse(f"{{{name}}}"), *say)
    return Slot(grammar, phrases, keep=keep, fields=fields, words="words" in keys, **texts, **_checks(keys))


def _checks(keys: Mapping[str, Node]) -> dict[str, Any]:
    """What makes digits right, and what becomes of wrong ones."""
    found: dict[str, Any] = {key: keys[key].flag() for key in ("luhn", "secret", "result") if key in keys}
    found |= {key: keys[key].text() for key in ("like", "failed") if key in keys}
    try:
        re.compile(found.get("like", ""))
    except re.error as error:
        keys["like"].fail(f"is no regular expression: {error}")
    if "pause_seconds" in keys:
        found["pause_seconds"] = float(keys["pause_seconds"].whole(1, 60))
    found["tries"] = keys["tries"].whole(1, 20) if "tries" in keys else 3 if found.get("secret") else 0
    return found


def _digits(node: Node) -> SlotGrammar:
    if not isinstance(node.data, Mapping):
        length = node.whole(1, 20)
        return SlotGrammar({}, length, length)
    keys = node.keys("min", "max")
    if "max" not in keys:
        node.fail("missing", "max")
    low, high = keys["min"].whole(1, 20) if "min" in keys else 1, keys["max"].whole(1, 20)
    if low > high:
        node.fail("min is more than max")
    return SlotGrammar({}, low, high)


def _values(node: Node) -> tuple[SlotGrammar, Mapping[str, Mapping[str, str]]]:
    """``sales: [sales, the sales team]`` or ``sales: {say: ..., exten: "200", ...}``."""
    grammar: dict[str, tuple[Phrase, ...]] = {}
    fields: dict[str, dict[str, str]] = {}
    taken: dict[str, str] = {}
    for value, item in node.entries().items():
        more = item.entries() if isinstance(item.data, Mapping) else {"say": item}
        say = more.pop("say", Node(value.replace("_", " "), item.path))
        grammar[value] = say.phrases()
        for phrase in map(str, grammar[value]):
            if taken.setdefault(phrase, value) != value:
                say.fail(f"{taken[phrase]!r} has the same phrase")
        fields[value] = {"name": value.replace("_", " "), **{key: entry.text() for key, entry in more.items()}}
    if not grammar:
        node.fail("expected at least one value")
    keys = [entry["dtmf"] for entry in fields.values() if "dtmf" in entry]
    if len(set(keys)) < len(keys) or any(not re.fullmatch("[0-9*]", key) for key in keys):
        node.fail("dtmf must be one key, and another one for each value")
    return SlotGrammar(grammar), fields
