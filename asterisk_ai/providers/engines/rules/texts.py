"""The agent's texts with what is known filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from asterisk_ai.dialog.caller import without_sounds
from asterisk_ai.dialog.dialplan import ACTIONS
from asterisk_ai.dialog.secret import SecretDigits
from asterisk_ai.providers.api import DialplanAction
from asterisk_ai.providers.engines.rules.basics import basics
from asterisk_ai.providers.engines.rules.ruleset import Intent, Outcome, RuleSet
from asterisk_ai.providers.engines.rules.schema import REFERENCE

MAX_OFFERS = 6
MAX_TOPICS = 3


class Texts:
    """Of one agent. ``clock`` gives the time, with its zone, for opening hours."""

    def __init__(
        self, rules: RuleSet, language: str, clock: Callable[[], datetime], topics: Sequence[str] = ()
    ) -> None:
        """``topics``: what else it knows about."""
        self._topics = list(topics)
        self._rules, self._clock = rules, clock
        self.basics = basics(language)

    def say(self, template: str, slots: Mapping[str, str], caller: Mapping[str, str]) -> str:
        """For the caller's ear."""
        return self._fill(template, slots, caller, speech=True).strip()

    def _argument(self, template: str, slots: Mapping[str, str], caller: Mapping[str, str], *, speech: bool) -> str:
        """One of an action's: secret, where something secret is in it."""
        names = {inner.partition(":")[0].partition(".")[0] for inner in REFERENCE.findall(template)}
        filled = self._fill(template, slots, caller, speech=speech)
        secret = not speech and any(isinstance(slots.get(name), SecretDigits) for name in names)
        return SecretDigits(filled) if secret else filled

    def _fill(self, template: str, slots: Mapping[str, str], caller: Mapping[str, str], *, speech: bool) -> str:
        return REFERENCE.sub(lambda match: self._resolve(match[1], slots, caller, speech=speech), template)

    def do(self, action: DialplanAction, slots: Mapping[str, str], caller: Mapping[str, str]) -> DialplanAction:
        """For the dialplan."""
        filled = {
            key: self._argument(template, slots, caller, speech=ACTIONS[action.kind][key].spoken)
            for key, template in action.arguments.items()
        }
        return DialplanAction(action.kind, filled)

    def case(self, intent: Intent) -> Outcome:
        """What follows at this time of day."""
        hours = self._rules.hours
        if hours is None:
            return intent.outcome
        case = intent.if_open if hours.open_until(self._clock()) else intent.if_closed
        return case or intent.outcome

    def label(self, name: str, values: Mapping[str, str] | None = None) -> str:
        """What an intent is called: by the values that it was asked with, by its label, or by its name."""
        named = [
            self._rules.slots[slot].fields[value]["name"]
            for slot, value in (values or {}).items()
            if value in self._rules.slots[slot].fields
        ]
        return " ".join(named) or self._rules.intents[name].label or name.replace("_", " ")

    def offers(self, can: Callable[[str], bool]) -> list[str]:
        """What the agent can do, in its own words: every label, or else the names of what answers or acts."""
        intents = {name: intent for name, intent in self._rules.intents.items() if can(name)}
        labelled = [intent.label for intent in intents.values() if intent.label]
        if labelled:
            return (self._topics + labelled)[:MAX_OFFERS]
        useful = [name for name, intent in intents.items() if intent.say and not intent.ends]
        return (self._topics + [name.replace("_", " ") for name in useful])[:MAX_OFFERS]

    def farewell(self) -> str:
        """The intent that ends the call; empty where there is none."""
        return next((name for name, intent in self._rules.intents.items() if intent.ends), "")

    def _resolve(self, reference: str, slots: Mapping[str, str], caller: Mapping[str, str], *, speech: bool) -> str:
        path, _, spec = reference.partition(":")
        name, _, attribute = path.partition(".")
        if name in ("caller", "known"):
            value = str(caller.get(attribute if name == "caller" else path, ""))
            # Whoever calls chooses these: only what a telephone number is made of gets into the dialplan.
            value = without_sounds(value) if speech else re.sub(r"[^0-9*#+]", "", value)
            spec = spec or ("digits" if attribute in ("number", "dialled") else "")
        elif name == "hours" and self._rules.hours:
            value = self._rules.hours.fields(self._clock(), self.basics)[attribute]
        else:
            slot, value = self._rules.slots[name], slots.get(name, "")
            if slot.grammar.values:
                field = attribute or ("name" if speech else "")
                value = slot.fields[value][field] if field and value in slot.fields else value
            elif slot.words:
                return without_sounds(value)
            else:
                spec = spec or "digits"
        if spec == "count":
            return str(len(value))
        return in_groups(value) if speech and spec == "digits" else value


def in_groups(digits: str) -> str:
    """As one reads a number out: three digits at a time, with a short pause between; up to four in one go."""
    groups = []
    while len(digits) > 4:
        groups.append(digits[:3])
        digits = digits[3:]
    return ", ".join(" ".join(group) for group in (*groups, digits))
