"""A language model that is a set of rules: intents with their phrases, slots, answers and actions from the YAML.

It needs no download and makes nothing up. What the caller can say now makes
the recogniser's grammar (:meth:`Rules.hints`), and what the recogniser heard
is matched against the same phrases.

Memory on the session, a JSON mapping: ``slots`` (name to value), ``pending``
(what was asked: ``intent``, ``slot``, ``confirm``), ``unknown`` (how often
in a row the caller was not understood).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from asterisk_ai.providers.api import Do, Hints, Readiness, Remember, ReplyPart, Say, TurnRequest
from asterisk_ai.providers.engines.rules.schema import REFERENCE, Action, Intent, Outcome, Slot, load
from asterisk_ai.providers.grammar import Expected, Grammar, Phrase, example, vocabulary

# Said around an answer by callers of recognisers that take free speech.
_FILLERS = ("um", "uh", "er", "well", "hello", "hi", "please", "thanks", "thank you")
_EDGE = "|".join(_FILLERS)
_FILLED = re.compile(rf"^(?: (?:{_EDGE}))*(?P<rest>.*?)(?: (?:{_EDGE}))*$")
OFFER = "<offer>"  # stands in `pending` for the offer of a human, which is no intent of the administrator's


@dataclass(slots=True)
class _Turn:
    """One turn in the making."""

    request: TurnRequest
    slots: dict[str, str]
    pending: dict[str, Any]
    unknown: int
    parts: list[ReplyPart] = field(default_factory=list)

    def ask(self, intent: str, slot: str = "", *, confirm: bool = False) -> None:
        self.pending = {"intent": intent, "slot": slot, "confirm": confirm}


class Rules:
    """The ``rules`` engine: one for each agent, shared by its calls, without state of its own.

    :param agent: ``name``, ``language`` and ``rules`` of the agent.
    :param clock: gives the time, with its zone, for opening hours.
    :raises ConfigError: the rules cannot be carried out; with the key's path.
    """

    uses_tools = False

    def __init__(
        self,
        settings: Mapping[str, Any],
        agent: Mapping[str, Any],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._language = str(agent.get("language") or "en-US")
        self.rules = load(agent.get("rules"), f"agents.{agent.get('name') or '?'}.rules")
        self._clock = clock
        rules = self.rules
        slots = {name: slot.grammar for name, slot in rules.slots.items()}
        self._grammar = Grammar(slots, rules.digits, self._language)
        pattern = self._grammar.pattern
        self._intents = [(name, pattern(phrase)) for name, it in rules.intents.items() for phrase in it.say]
        self._answers = {name: [pattern(phrase) for phrase in slot.say] for name, slot in rules.slots.items()}
        self._yes, self._no = [pattern(phrase) for phrase in rules.yes], [pattern(phrase) for phrase in rules.no]
        self._hints: dict[tuple[str, bool], Hints] = {}
        for slot in ("", *rules.slots):
            for confirm in (False, True):
                phrases = tuple(self._sayable(slot, confirm))
                self._hints[slot, confirm] = Hints(Expected(phrases, self._grammar.slots, rules.digits), self._language)

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to free."""

    def readiness(self) -> Readiness:
        return Readiness(True)

    def vocabulary(self) -> frozenset[str]:
        """Every word a caller can be understood by, for checking against a recogniser's dictionary."""
        grammars = [slot.grammar for slot in self.rules.slots.values()]
        named = [phrase for grammar in grammars for phrases in grammar.values.values() for phrase in phrases]
        spoken = [phrase for slot in ("", *self.rules.slots) for phrase in self._sayable(slot, True)]
        digits = [word for said in self.rules.digits.values() for word in said]
        counted = any(not grammar.values for grammar in grammars)
        return frozenset(word for phrase in [*named, *spoken] for word in vocabulary(phrase)) | frozenset(
            digits if counted else ()
        )

    def sample(self) -> str:
        """Something that callers may say first and that is answered, for trials; empty where nothing is so simple."""
        phrases = (example(phrase) for intent in self.rules.intents.values() for phrase in intent.say)
        return next(filter(None, phrases), "")

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        pending = self._pending(memory)
        return self._hints[pending.get("slot", ""), pending.get("confirm", False)]

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        pending = self._pending(memory)
        slot = self.rules.slots.get(pending.get("slot", ""))
        if pending.get("confirm"):
            return 1
        if slot:
            limits = slot.grammar
            return 1 if limits.values else limits.maximum if limits.minimum == limits.maximum else 0
        lengths = {len(key) for key in self.rules.menu}
        return lengths.pop() if len(lengths) == 1 else 0

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        """Whether the words are an answer that need not go on; digits of open length may always go on."""
        turn = _Turn(TurnRequest(text, memory=memory), {}, dict(self._pending(memory)), 0)
        if not self._heard(turn):
            return False
        limits = {name: self.rules.slots[name].grammar for name in turn.slots}
        return all(limits[name].values or len(value) >= limits[name].maximum for name, value in turn.slots.items())

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        async def parts() -> AsyncIterator[ReplyPart]:
            for part in self.answer(request):
                yield part

        yield parts()

    def answer(self, request: TurnRequest) -> list[ReplyPart]:
        """The whole reply to one turn. Pure but for the clock."""
        memory = request.memory
        known = memory.get("slots")
        slots = {key: str(value) for key, value in known.items()} if isinstance(known, Mapping) else {}
        slots = {name: value for name, value in slots.items() if self._is_value(name, value)}
        count = memory.get("unknown", 0)
        turn = _Turn(request, slots, dict(self._pending(memory)), count if isinstance(count, int) else 0)
        heard = self._dialled(turn) if request.dialled else self._heard(turn) if request.understood else False
        if not heard:
            self._not_understood(turn)
        left = {"slots": turn.slots, "pending": turn.pending, "unknown": turn.unknown}
        return [Remember({key: value for key, value in left.items() if value}), *turn.parts]

    # ---- what the caller did ----------------------------------------------

    def _pending(self, memory: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was asked; nothing where the rules have been changed since and no longer know it."""
        pending = memory.get("pending")
        if not isinstance(pending, Mapping):
            return {}
        intent, slot, confirm = pending.get("intent"), pending.get("slot", ""), pending.get("confirm", False)
        known = (intent in self.rules.intents or intent == OFFER) and (slot == "" or slot in self.rules.slots)
        return {"intent": intent, "slot": slot, "confirm": bool(confirm)} if known and (slot or confirm) else {}

    def _is_value(self, name: str, value: str) -> bool:
        slot = self.rules.slots.get(name)
        return slot is not None and (value in slot.grammar.values or (not slot.grammar.values and value.isdigit()))

    def _sayable(self, slot: str, confirm: bool) -> list[Phrase]:
        rules = self.rules
        phrases: list[Phrase] = [*rules.yes, *rules.no] if confirm else []
        phrases += rules.slots[slot].say if slot else ()
        return phrases + [phrase for intent in rules.intents.values() for phrase in intent.say]

    def _heard(self, turn: _Turn) -> bool:
        """Match the words: an answer to what was asked comes before a new wish."""
        readings = self._grammar.readings(turn.request.text)
        bare = [found["rest"] for found in map(_FILLED.match, readings) if found]
        for text in dict.fromkeys((*readings, *bare)):
            if text and (self._answered(turn, text) or self._wished(turn, text)):
                return True
        return False

    def _answered(self, turn: _Turn, spoken: str) -> bool:
        slot = turn.pending.get("slot", "")
        for pattern in self._answers.get(slot, ()):
            values = self._grammar.match(pattern, spoken)
            if values and not self._is_yes_no_of_confirmation(turn, slot):
                self._fill(turn, slot, values[slot], sure=False)
                return True
        if turn.pending.get("confirm"):
            for patterns, yes in ((self._yes, True), (self._no, False)):
                if any(pattern.fullmatch(spoken) for pattern in patterns):
                    self._decided(turn, yes)
                    return True
        return False

    def _is_yes_no_of_confirmation(self, turn: _Turn, slot: str) -> bool:
        """A yes to "is that right?" is about the value, also where the value is itself a yes or a no."""
        return bool(turn.pending.get("confirm")) and set(self.rules.slots[slot].grammar.values) == {"yes", "no"}

    def _wished(self, turn: _Turn, spoken: str) -> bool:
        for name, pattern in self._intents:
            values = self._grammar.match(pattern, spoken)
            if values is not None:
                self._begin(turn, name, values)
                return True
        return False

    def _dialled(self, turn: _Turn) -> bool:
        keys = turn.request.text.strip().rstrip("#")
        slot_name = turn.pending.get("slot", "")
        if turn.pending.get("confirm") and keys in ("1", "2"):
            self._decided(turn, keys == "1")
        elif slot_name:
            value = self._dialled_value(self.rules.slots[slot_name], keys)
            if value:
                self._fill(turn, slot_name, value, sure=True)
            return bool(value)
        elif keys in self.rules.menu:
            self._begin(turn, self.rules.menu[keys], {})
        else:
            return keys.isdigit() and self._wished(turn, self._grammar.spoken(keys))
        return True

    @staticmethod
    def _dialled_value(slot: Slot, keys: str) -> str:
        limits = slot.grammar
        if not limits.values:
            return keys if keys.isascii() and keys.isdigit() and limits.minimum <= len(keys) <= limits.maximum else ""
        if set(limits.values) == {"yes", "no"}:
            return {"1": "yes", "2": "no"}.get(keys, "")
        return next((value for value, more in slot.fields.items() if more.get("dtmf") == keys), "")

    # ---- what follows -----------------------------------------------------

    def _begin(self, turn: _Turn, name: str, values: Mapping[str, str]) -> None:
        for needed in self.rules.intents[name].needs:
            if not self.rules.slots[needed].keep:
                turn.slots.pop(needed, None)
        turn.pending, turn.unknown = {}, 0
        unsure = [slot for slot in values if self.rules.slots[slot].confirm]
        turn.slots.update(values)
        if unsure and unsure[0] in self.rules.intents[name].needs:
            self._confirm_slot(turn, name, unsure[0])
        else:
            self._go_on(turn, name)

    def _fill(self, turn: _Turn, slot: str, value: str, *, sure: bool) -> None:
        """:param sure: it was dialled, so that there is no doubt what was meant."""
        intent, turn.slots[slot] = turn.pending["intent"], value
        turn.pending, turn.unknown = {}, 0
        if self.rules.slots[slot].confirm and not sure:
            self._confirm_slot(turn, intent, slot)
        else:
            self._go_on(turn, intent)

    def _confirm_slot(self, turn: _Turn, intent: str, slot: str) -> None:
        self._say(turn, self.rules.slots[slot].confirm)
        turn.ask(intent, slot, confirm=True)

    def _decided(self, turn: _Turn, yes: bool) -> None:
        name, slot = turn.pending["intent"], turn.pending["slot"]
        turn.pending = {}
        if name == OFFER:
            turn.unknown = 0
            if yes:
                self._carry_out(turn, self.rules.unknown.handoff)
            else:
                self._say(turn, self.rules.declined)
        elif slot and not yes:
            turn.slots.pop(slot, None)
            turn.unknown += 1
            self._go_on(turn, name)
        elif yes:
            turn.unknown = 0
            self._go_on(turn, name) if slot else self._carry_out(turn, name)
        else:
            turn.unknown = 0
            self._finish(turn, self.rules.intents[name].if_no or Outcome(self.rules.declined))

    def _go_on(self, turn: _Turn, name: str) -> None:
        """Ask for the next slot that is missing, then for a confirmation, then carry the intent out."""
        intent = self.rules.intents[name]
        missing = next((slot for slot in intent.needs if slot not in turn.slots), "")
        if missing:
            self._say(turn, self.rules.slots[missing].ask)
            turn.ask(name, missing)
        elif intent.confirm:
            self._say(turn, intent.confirm)
            turn.ask(name, confirm=True)
        else:
            self._carry_out(turn, name)

    def _carry_out(self, turn: _Turn, name: str) -> None:
        intent = self.rules.intents[name]
        if any(slot not in turn.slots for slot in intent.needs):
            self._go_on(turn, name)
        else:
            self._finish(turn, self._case(intent))

    def _case(self, intent: Intent) -> Outcome:
        hours = self.rules.hours
        if hours is None:
            return intent.outcome
        case = intent.if_open if hours.open_until(self._clock()) else intent.if_closed
        return case or intent.outcome

    def _finish(self, turn: _Turn, outcome: Outcome) -> None:
        self._say(turn, outcome.answer)
        if outcome.do:
            turn.parts.append(self._do(turn, outcome.do))

    def _not_understood(self, turn: _Turn) -> None:
        """Ask again, in other words each time; then offer a human; then do not ask any more."""
        unknown = self.rules.unknown
        turn.unknown += 1
        if unknown.handoff and turn.unknown > len(unknown.say):
            offered = turn.pending.get("intent") == OFFER
            turn.pending = {}
            if unknown.offer and not offered:
                self._say(turn, unknown.offer)
                turn.ask(OFFER, confirm=True)
            else:
                turn.unknown = 0
                self._carry_out(turn, unknown.handoff)
            return
        slot = self.rules.slots.get(turn.pending.get("slot", ""))
        again = slot.again if slot and not turn.pending.get("confirm") else ""
        self._say(turn, again or unknown.say[min(turn.unknown, len(unknown.say)) - 1])
        if not again:
            self._say(turn, self._question(turn))

    def _question(self, turn: _Turn) -> str:
        """What was asked last, to be asked again."""
        name, slot, confirm = (turn.pending.get(key, "") for key in ("intent", "slot", "confirm"))
        if name == OFFER:
            return self.rules.unknown.offer
        if slot:
            return self.rules.slots[slot].confirm if confirm else self.rules.slots[slot].ask
        return self.rules.intents[name].confirm if confirm else ""

    # ---- texts --------------------------------------------------------------

    def _say(self, turn: _Turn, template: str) -> None:
        text = REFERENCE.sub(lambda match: self._resolve(turn, match[1], speech=True), template).strip()
        if text:
            turn.parts.append(Say(text))

    def _do(self, turn: _Turn, action: Action) -> Do:
        filled = {
            key: REFERENCE.sub(lambda match: self._resolve(turn, match[1], speech=False), template)
            for key, template in action.arguments.items()
        }
        return Do(action.kind, filled)

    def _resolve(self, turn: _Turn, reference: str, *, speech: bool) -> str:
        """The text for one ``{reference}``: for the caller's ear where ``speech``, else for the dialplan."""
        path, _, spec = reference.partition(":")
        name, _, attribute = path.partition(".")
        if name == "caller":
            value = str(turn.request.caller.get(attribute, ""))
            # Whoever calls chooses these: only what a telephone number is made of gets into the dialplan.
            value = value if speech else re.sub(r"[^0-9*#+]", "", value)
            spec = spec or ("digits" if attribute in ("number", "dialled") else "")
        elif name == "hours" and self.rules.hours:
            english = self._language.lower().startswith("en")
            value = self.rules.hours.fields(self._clock(), english=english)[attribute]
        else:
            slot, value = self.rules.slots[name], turn.slots.get(name, "")
            if slot.grammar.values:
                value = (
                    slot.fields[value][attribute or "name"] if value in slot.fields and (attribute or speech) else value
                )
            else:
                spec = spec or "digits"
        return " ".join(value) if speech and spec == "digits" else value
