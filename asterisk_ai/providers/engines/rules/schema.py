"""The ``rules:`` mapping of an agent, checked: what is here can be carried out without a missing name.

Every mistake is a :class:`~asterisk_ai.errors.ConfigError` with the key's path.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from asterisk_ai.dialog import dialplan
from asterisk_ai.dialog.dialplan import ActionKind, DialplanAction
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.engines.rules import hours as opening
from asterisk_ai.providers.engines.rules.basics import basics
from asterisk_ai.providers.engines.rules.node import Node
from asterisk_ai.providers.engines.rules.ruleset import Intent, Outcome, RuleSet, Slot, Unknown
from asterisk_ai.providers.engines.rules.slots import read_slot
from asterisk_ai.providers.grammar import DIGITS, Grammar, parse, slot_names, words

CALLER = ("number", "name", "channel", "dialled")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
REFERENCE = re.compile(r"\{([^{}]*)\}")
_RESERVED = ("caller", "hours")


def load(data: Any, path: str, language: str = "en", targets: Collection[str] = ()) -> RuleSet:
    """Check the rules of one agent, whose key path is ``path``. Raises ConfigError.

    :param targets: the names of the agent's ``transfers``.
    """
    said = basics(language)
    top = Node(data, path)
    keys = top.keys("intents", "slots", "dtmf", "unknown", "declined", "hours", "yes_no", "digit_words")
    digits = _digit_words(keys["digit_words"]) if "digit_words" in keys else said.digits
    spoken = keys["yes_no"].keys("yes", "no") if "yes_no" in keys else {}
    yes = spoken["yes"].phrases() if "yes" in spoken else tuple(map(parse, said.yes))
    no = spoken["no"].phrases() if "no" in spoken else tuple(map(parse, said.no))
    hours = _hours(keys["hours"]) if "hours" in keys else None
    slots = {}
    for name, node in keys["slots"].entries().items() if "slots" in keys else ():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            node.fail("a slot's name is letters, digits and '_', and not 'caller' or 'hours'")
        slots[name] = read_slot(name, node, yes, no)
    templates = _Templates(slots, targets, has_hours=hours is not None)
    for name, slot in slots.items():
        for key in ("ask", "again", "confirm"):
            templates.check(getattr(slot, key), f"{path}.slots.{name}.{key}", {name} if key == "confirm" else set())
    for name, slot in slots.items():
        if slot.secret and (slot.confirm or len(slot.say) > 1):
            top.fail("what is secret is dialled: it is neither said nor repeated", f"slots.{name}")
    if "intents" not in keys or not keys["intents"].entries():
        top.fail("an agent that answers by rules needs at least one intent", "intents")
    intents = {name: _intent(node, slots, templates) for name, node in keys["intents"].entries().items()}
    for name, slot in slots.items():
        if slot.failed and (slot.failed not in intents or name in intents[slot.failed].needs):
            top.fail(f"there is no intent {slot.failed!r} that does without it", f"slots.{name}.failed")
    unknown = _unknown(keys["unknown"], intents, templates) if "unknown" in keys else Unknown()
    menu = _menu(keys["dtmf"], intents) if "dtmf" in keys else {}
    declined = keys["declined"].text() if "declined" in keys else said.declined
    templates.check(declined, f"{path}.declined", set())
    _check_then(intents, path)
    rules = RuleSet(intents, slots, menu, unknown, declined, hours, yes, no, digits)
    _check_reachable(rules, path)
    return rules


def _digit_words(node: Node) -> Mapping[str, tuple[str, ...]]:
    keys = node.keys(*DIGITS)
    spoken = {digit: tuple(" ".join(words(line)) for line in keys[digit].lines()) for digit in DIGITS if digit in keys}
    for digit in DIGITS:
        if digit not in spoken or any(len(name.split()) != 1 for name in spoken[digit]):
            node.fail("expected one word or several ways of saying it, each one word", digit)
    return spoken


def read_hours(data: Any, path: str) -> opening.Hours:
    """Opening hours, as rules and transfers have them. Raises ConfigError."""
    return _hours(Node(data, path))


def _hours(node: Node) -> opening.Hours:
    keys = node.keys("timezone", "open", "closed", "holidays")
    if "open" not in keys:
        node.fail("missing: the days and times, e.g. mon-fri: 9:00-17:00", "open")
    key = "timezone"
    try:
        zone = opening.parse_zone(keys[key].text() if key in keys else "")
        key = "open"
        spans = {day: re.split(r"\s*,\s*", ",".join(item.lines())) for day, item in keys[key].entries().items()}
        week = opening.parse_week(spans)
        key = "closed"
        closed = frozenset(map(opening.parse_date, keys[key].lines())) if key in keys else frozenset[str]()
        key = "holidays"
        holidays = opening.parse_holidays(keys[key].text()) if key in keys else ()
    except ValueError as error:
        node.fail(str(error), key)
    return opening.Hours(week, closed, zone, holidays)


class _Templates:
    """Checks ``{references}`` in texts."""

    def __init__(self, slots: Mapping[str, Slot], targets: Collection[str], *, has_hours: bool) -> None:
        self._slots, self.targets, self.has_hours = slots, targets, has_hours

    def check(self, text: str, path: str, allowed: set[str], *, action: bool = False) -> None:
        """:param allowed: the slots that are filled by then. :param action: no speech, so nothing the caller chose."""
        if "{" in REFERENCE.sub("", text) or "}" in REFERENCE.sub("", text):
            raise ConfigError("a bracket { or } without its other half", path=path)
        for inner in REFERENCE.findall(text):
            problem = self._problem(inner, allowed, action)
            if problem:
                raise ConfigError(f"{{{inner}}}: {problem}", path=path)

    def check_argument(self, kind: ActionKind, name: str, text: str, path: str) -> None:
        """What the dialplan would change is refused, also in what a slot's value may put in."""
        parts = [REFERENCE.sub("", text)]
        for inner in REFERENCE.findall(text):
            slot, _, attribute = inner.partition(":")[0].partition(".")
            fields = self._slots[slot].fields if slot in self._slots else {}
            parts += [more[attribute] if attribute else value for value, more in fields.items()]
        for part in parts:
            problem = dialplan.problem(kind, name, part)
            if problem:
                raise ConfigError(problem, path=path)

    def _problem(self, inner: str, allowed: set[str], action: bool) -> str:
        reference, _, spec = inner.partition(":")
        name, _, attribute = reference.partition(".")
        if spec not in ("", "digits", "number", "count"):
            return "after ':' write digits or number, or count"
        if name == "caller":
            known = ("number", "dialled") if action else CALLER
            return "" if attribute in known else f"known here: {', '.join('caller.' + key for key in known)}"
        if name == "known":  # by the agent's lookup
            return "" if attribute else "write known.NAME, a name of the agent's lookup.variables"
        if name == "hours":
            if action:
                return "is something to be said, not to be dialled"
            if not self.has_hours:
                return "there is no 'hours' in the rules"
            return "" if attribute in ("until", "next", "today") else "known: hours.until, hours.next, hours.today"
        if name not in self._slots:
            return f"there is no slot {name!r} (slots: {', '.join(self._slots) or 'none'})"
        if self._slots[name].secret and spec != "count" and not action:
            return f"it is secret: only how many digits it has can be said, {{{name}:count}}"
        if self._slots[name].words and (action or attribute or spec):
            return "is what the caller said: it can be told, as it is, and not dialled"
        if name not in allowed:
            return f"{name} may not be known when this is said"
        fields = self._slots[name].fields
        lacking = [value for value, more in fields.items() if attribute and attribute not in more]
        if attribute and (lacking or not fields):
            return f"the value {lacking[0]!r} has no {attribute!r}" if lacking else "digits have no fields"
        return ""


def _intent(node: Node, slots: Mapping[str, Slot], templates: _Templates) -> Intent:
    keys = node.keys("say", "ask", "confirm", "answer", "do", "then", "if_open", "if_closed", "if_no", "label")
    say = keys["say"].phrases([name for name, one in slots.items() if not one.words]) if "say" in keys else ()
    asked = keys["ask"].lines() if "ask" in keys else []
    for name in asked:
        if name not in slots:
            keys["ask"].fail(f"there is no slot {name!r} (slots: {', '.join(slots) or 'none'})")
    used = [ref.partition(":")[0].partition(".")[0] for ref in REFERENCE.findall(_all_text(node.data))]
    needs = tuple(dict.fromkeys([*asked, *(name for name in used if name in slots)]))
    for name in needs:
        in_phrases = say and all(name in slot_names(phrase) for phrase in say)
        if not slots[name].ask and not in_phrases:
            node.fail(f"has to ask for {name!r} where the caller has not said it: give the slot an 'ask' text")
    outcomes = {}
    for key in ("if_open", "if_closed", "if_no"):
        if key in keys:
            more = keys[key].keys("answer", "do", "then")
            outcomes[key] = _outcome(more, keys[key].path, set(needs), templates)
    if ("if_open" in keys or "if_closed" in keys) and not templates.has_hours:
        node.fail("if_open and if_closed need 'hours' in the rules")
    if "if_no" in keys and "confirm" not in keys:
        node.fail("if_no needs 'confirm', the question that is answered", "if_no")
    confirm = keys["confirm"].text() if "confirm" in keys else ""
    templates.check(confirm, f"{node.path}.confirm", set(needs))
    outcome = _outcome(keys, node.path, set(needs), templates)
    if outcome == Outcome() and not (needs or {"if_open", "if_closed"} <= outcomes.keys()):
        node.fail("does nothing: give it an 'answer' or a 'do'")
    label = keys["label"].text() if "label" in keys else ""
    return Intent(say, needs, confirm, outcome, label=label, **outcomes)


def _all_text(data: Any) -> str:
    """The texts in which an intent uses slots (its phrases are no such texts)."""
    if isinstance(data, Mapping):
        return " ".join(_all_text(value) for key, value in data.items() if key not in ("say", "ask"))
    return str(data) if isinstance(data, str) else ""


def _outcome(keys: Mapping[str, Node], path: str, filled: set[str], templates: _Templates) -> Outcome:
    answer = keys["answer"].text() if "answer" in keys else ""
    templates.check(answer, f"{path}.answer", filled)
    if "do" in keys and "then" in keys:
        keys["then"].fail("there is a 'do' already, which ends the conversation")
    do = _action(keys["do"], filled, templates) if "do" in keys else None
    return Outcome(answer, do, keys["then"].text() if "then" in keys else "")


def _action(node: Node, filled: set[str], templates: _Templates) -> DialplanAction:
    """``hangup``, ``{transfer: "200@from-internal"}`` or ``{transfer: {exten: "200", context: from-internal}}``."""
    entries = node.entries() if isinstance(node.data, Mapping) else {node.text(): Node({}, node.path)}
    if len(entries) != 1:
        node.fail("expected one action")
    word, arguments = next(iter(entries.items()))
    if word not in dialplan.ACTIONS:
        node.fail(f"there is no action {word!r}; known: {', '.join(dialplan.ACTIONS)}")
    kind = ActionKind(word)
    names = tuple(dialplan.ACTIONS[kind])
    if isinstance(arguments.data, Mapping):
        given = {key: item.text() for key, item in arguments.keys(*names).items()}
    elif not names:
        node.fail(f"{kind} takes no arguments")
    else:
        first, _, second = arguments.text().partition("@")
        given = {names[0]: first} | ({names[1]: second} if second and len(names) > 1 else {})
        if second and len(names) == 1:
            arguments.fail(f"{kind} takes only one argument, no @")
    for name, argument in dialplan.ACTIONS[kind].items():
        if argument.required and not given.get(name):
            example = ", ".join(f"{key}: ..." for key, each in dialplan.ACTIONS[kind].items() if each.required)
            node.fail(f"{kind} needs {name!r}, e.g. {{{kind}: {{{example}}}}}")
    for key, text in given.items():
        spoken = dialplan.ACTIONS[kind][key].spoken
        templates.check(text, f"{arguments.path}.{key}", filled, action=not spoken)
        templates.check_argument(kind, key, text, f"{arguments.path}.{key}")
    if kind is ActionKind.CONNECT and given["to"] not in templates.targets:
        known = ", ".join(templates.targets) or "none"
        arguments.fail(f"there is no {given['to']!r} in the agent's transfers ({known})")
    return DialplanAction(kind, given)


def _unknown(node: Node, intents: Mapping[str, Intent], templates: _Templates) -> Unknown:
    keys = node.keys("say", "offer", "handoff")
    say = tuple(keys["say"].lines()) if "say" in keys else ()
    offer, handoff = (keys[key].text() if key in keys else "" for key in ("offer", "handoff"))
    for text in (*say, offer):
        templates.check(text, node.path, set())
    if handoff and handoff not in intents:
        node.fail(f"there is no intent {handoff!r}", "handoff")
    if offer and not handoff:
        node.fail("missing: the intent that is carried out when the caller says yes", "handoff")
    return Unknown(say, offer, handoff)


def _menu(node: Node, intents: Mapping[str, Intent]) -> Mapping[str, str]:
    menu = {}
    for key, item in node.entries().items():
        if not re.fullmatch(r"[0-9*A-D]{1,8}", key):
            item.fail("a menu's key is one or more of 0 to 9 and * (# ends what is dialled)")
        menu[key] = item.text()
        if menu[key] not in intents:
            item.fail(f"there is no intent {menu[key]!r}")
    for key in menu:
        if any(other != key and other.startswith(key) for other in menu):
            node.fail(f"{key} begins a longer key too")
    return menu


def _check_then(intents: Mapping[str, Intent], path: str) -> None:
    """What intents go on with is there, and comes to an end."""
    following = {
        name: [one.then for one in (intent.outcome, intent.if_open, intent.if_closed, intent.if_no) if one and one.then]
        for name, intent in intents.items()
    }
    for name, more in following.items():
        seen: set[str] = set()
        while more:
            here = more.pop()
            if here not in intents or here == name:
                why = "it comes back to itself" if here == name else f"there is no intent {here!r}"
                raise ConfigError(why, path=f"{path}.intents.{name}.then")
            more += [one for one in following[here] if one not in seen]
            seen.add(here)


def _check_reachable(rules: RuleSet, path: str) -> None:
    """Every intent can be said or dialled, and no phrase stands for two of them."""
    grammar = Grammar({name: slot.grammar for name, slot in rules.slots.items()}, rules.digits)
    outcomes = (
        one
        for intent in rules.intents.values()
        for one in (intent.outcome, intent.if_open, intent.if_closed, intent.if_no)
    )
    elsewhere = {one.then for one in outcomes if one} | {slot.failed for slot in rules.slots.values()}
    taken: dict[str, str] = {}
    for name, intent in rules.intents.items():
        led_to = name in (rules.unknown.handoff, *elsewhere)
        if not intent.say and name not in rules.menu.values() and not led_to:
            raise ConfigError("cannot be reached: it has no 'say' and no key in dtmf", path=f"{path}.intents.{name}")
        for phrase in intent.say:
            text = grammar.pattern(phrase).pattern
            if taken.setdefault(text, name) != name:
                message = f"the intent {taken[text]!r} has the same phrase"
                raise ConfigError(message, path=f"{path}.intents.{name}.say")
