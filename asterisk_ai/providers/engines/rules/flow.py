"""What follows from what a caller did: slots are filled and asked for, wishes confirmed and carried out, and what is
remembered of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asterisk_ai.dialog.dialplan import HANG_UP
from asterisk_ai.dialog.secret import SecretDigits
from asterisk_ai.providers.api import ReplyPart, Say, TurnRequest
from asterisk_ai.providers.engines.rules.ruleset import Outcome, RuleSet
from asterisk_ai.providers.engines.rules.schema import REFERENCE
from asterisk_ai.providers.engines.rules.small_talk import Language
from asterisk_ai.providers.engines.rules.texts import Texts
from asterisk_ai.providers.engines.rules.understanding import Understood, Wish

OFFER, EITHER, MEANT = "<offer>", "<either>", "<meant>"
"""Stand in ``pending`` for questions that are no intent of the administrator's: the offer of a human, a choice between
two wishes, and whether a doubtful wish was meant."""
FAREWELL = "<farewell>"  # an end of the call that the rules have no intent for
SLOW = 0.8
MAX_DONE = 20
"""Intents that are remembered as carried out; the oldest go."""


class Flow:
    """Of one turn. ``parts`` is the answer so far."""

    def __init__(self, request: TurnRequest, rules: RuleSet, texts: Texts, language: Language | None) -> None:
        self._request, self._rules, self._texts, self._language = request, rules, texts, language
        known = request.memory.get("slots")
        said = dict(known) if isinstance(known, Mapping) else {}
        said = {key: value if isinstance(value, SecretDigits) else str(value) for key, value in said.items()}
        self.slots = {name: value for name, value in said.items() if self._is_value(name, value)}
        self.pending = self._asked(request.memory.get("pending"))
        count = request.memory.get("unknown", 0)
        self.unknown = count if isinstance(count, int) else 0
        self.slow = request.memory.get("slow") is True
        done = request.memory.get("done")
        self.done = [str(name) for name in done][-MAX_DONE:] if isinstance(done, list) else []
        self.parts: list[ReplyPart] = []

    def memory(self) -> dict[str, Any]:
        left = {"slots": self.slots, "pending": self.pending, "unknown": self.unknown, "slow": self.slow}
        left["done"] = self.done
        return {key: value for key, value in left.items() if value}

    # ---- what was asked ----

    def ask(self, intent: str, slot: str = "", *, confirm: bool = False, options: tuple[Wish, ...] = ()) -> None:
        self.pending = {"intent": intent, "slot": slot, "confirm": confirm}
        if options:
            self.pending["options"] = [[one.intent, dict(one.values)] for one in options]

    def _asked(self, pending: object) -> dict[str, Any]:
        """What was asked; nothing where the rules have been changed since and no longer know it."""
        if not isinstance(pending, Mapping):
            return {}
        intent, slot, confirm = pending.get("intent"), pending.get("slot", ""), pending.get("confirm", False)
        if intent in (EITHER, MEANT):
            options = self.options(pending)
            asked = {"intent": intent, "slot": "", "confirm": intent == MEANT, "options": pending.get("options")}
            return asked if options else {}
        known = (intent in self._rules.intents or intent == OFFER) and (slot == "" or slot in self._rules.slots)
        return {"intent": intent, "slot": slot, "confirm": bool(confirm)} if known and (slot or confirm) else {}

    def options(self, pending: Mapping[str, Any]) -> list[Wish]:
        options = pending.get("options")
        found = []
        for one in options if isinstance(options, list) else ():
            if not (isinstance(one, (list, tuple)) and len(one) == 2 and isinstance(one[1], Mapping)):
                continue
            if one[0] == FAREWELL or one[0] in self._rules.intents:
                found.append(Wish(one[0], {k: v for k, v in one[1].items() if self._is_value(k, str(v))}))
        return found

    def _is_value(self, name: str, value: str) -> bool:
        slot = self._rules.slots.get(name)
        if slot is None or slot.words:
            return slot is not None
        return value in slot.grammar.values or (not slot.grammar.values and value.isdigit())

    # ---- wishes ----

    def wish(self, wish: Wish, *, sure: bool) -> None:
        if wish.intent == FAREWELL and sure:
            self.pending, self.unknown = {}, 0
            self.parts.append(HANG_UP)
        elif wish.intent != FAREWELL and (sure or not self._rules.intents[wish.intent].acts):
            self.begin(wish.intent, wish.values)
        else:
            self._doubt(wish)

    def _doubt(self, wish: Wish) -> None:
        """It may have been meant, but it does something: ask first."""
        if self._language is None:
            self.begin(wish.intent, wish.values)
            return
        ends = wish.intent in (FAREWELL, self._texts.farewell())
        label = "" if ends else self._texts.label(wish.intent, wish.values)
        self.say(self._language.answers["confirm_hangup" if ends else "confirm"].replace("{label}", label))
        self.ask(MEANT, confirm=True, options=(wish,))

    def either(self, understood: Understood) -> None:
        first, second = (self._texts.label(one.intent, one.values) for one in understood.wishes)
        question = self._language.answers["either"] if self._language else "{first} / {second}?"
        first = first[:1].upper() + first[1:]
        self.say(question.replace("{first}", first).replace("{second}", second))
        self.ask(EITHER, options=understood.wishes)

    # ---- what follows ----

    def begin(self, name: str, values: Mapping[str, str]) -> None:
        if not self.can(name):
            self.pending, self.unknown = {}, 0
            self._cannot()
            return
        for needed in self._rules.intents[name].needs:
            if not self._rules.slots[needed].keep:
                self.slots.pop(needed, None)
        self.pending, self.unknown = {}, 0
        values = {slot: value for slot, value in values.items() if self._rules.slots[slot].accepts(value)}
        unsure = [slot for slot in values if self._rules.slots[slot].confirm]
        self.slots.update(values)
        if unsure and unsure[0] in self._rules.intents[name].needs:
            self._confirm_slot(name, unsure[0])
        else:
            self._go_on(name)

    def fill(self, slot: str, value: str, *, sure: bool) -> None:
        """:param sure: it was dialled, so that there is no doubt what was meant."""
        known = self._rules.slots[slot]
        if not known.accepts(value):
            self.not_understood()
            return
        value = SecretDigits(value, result=known.result) if known.secret else value
        intent, self.slots[slot] = self.pending["intent"], value
        self.pending, self.unknown = {}, 0
        if self._rules.slots[slot].confirm and not sure:
            self._confirm_slot(intent, slot)
        else:
            self._go_on(intent)

    def _confirm_slot(self, intent: str, slot: str) -> None:
        self.say(self._rules.slots[slot].confirm)
        self.ask(intent, slot, confirm=True)

    def decide(self, yes: bool) -> None:
        name, slot = self.pending["intent"], self.pending["slot"]
        options = self.options(self.pending)
        self.pending = {}
        if name in (OFFER, MEANT):
            self.unknown = 0
            if not yes:
                self.say(self._rules.declined)
            elif name == OFFER:
                self.carry_out(self._rules.unknown.handoff)
            else:
                self.wish(options[0], sure=True)
        elif slot and not yes:
            self.slots.pop(slot, None)
            self.unknown += 1
            self._go_on(name)
        elif yes:
            self.unknown = 0
            self._go_on(name) if slot else self.carry_out(name)
        else:
            self.unknown = 0
            self._finish(self._rules.intents[name].if_no or Outcome(self._rules.declined))

    def _go_on(self, name: str) -> None:
        """Ask for the next slot that is missing, then for a confirmation, then carry the intent out."""
        intent = self._rules.intents[name]
        missing = next((slot for slot in intent.needs if slot not in self.slots), "")
        if missing:
            self.say(self._rules.slots[missing].ask)
            self.ask(name, missing)
        elif intent.if_no and self._asks_for_nothing(intent.confirm):
            self._finish(intent.if_no)
        elif intent.confirm:
            self.say(intent.confirm)
            self.ask(name, confirm=True)
        else:
            self.carry_out(name)

    def _asks_for_nothing(self, question: str) -> bool:
        """Whether what it asks the caller to confirm, such as their number, is not known."""
        asked = [inner.partition(":")[0] for inner in REFERENCE.findall(question)]
        return any(not self._request.caller.get(one.removeprefix("caller.")) for one in asked if one[:7] == "caller.")

    def carry_out(self, name: str) -> None:
        intent = self._rules.intents[name]
        if any(slot not in self.slots for slot in intent.needs):
            self._go_on(name)
        else:
            self.done = [*self.done, name][-MAX_DONE:]
            self._finish(self._texts.case(intent))

    def can(self, name: str) -> bool:
        """Whether what the intent does can be done for this call."""
        do = self._texts.case(self._rules.intents[name]).do
        return do is None or do.kind in self._request.actions

    def _cannot(self) -> None:
        """Nothing may be promised that the dialplan cannot do."""
        self.say(self._texts.basics.unreachable, filled=True)

    def _finish(self, outcome: Outcome) -> None:
        if outcome.do and outcome.do.kind not in self._request.actions:
            self._cannot()
            return
        self.say(outcome.answer)
        if outcome.then:
            self._go_on(outcome.then)
        if outcome.do:
            self.parts.append(self._texts.do(outcome.do, self.slots, self._request.caller))

    def not_understood(self) -> None:
        """Ask again, in other words each time; then offer a human; then do not ask any more."""
        unknown = self._rules.unknown
        self.unknown += 1
        asked = self._rules.slots.get(self.pending.get("slot", ""))
        if asked is not None and asked.tries and self.unknown >= asked.tries and not self.pending.get("confirm"):
            self._give_up(asked.failed or unknown.handoff)
            return
        again = unknown.say or self._own_words()
        if unknown.handoff and self.unknown > len(again) and self.can(unknown.handoff):
            offered = self.pending.get("intent") == OFFER
            self.pending = {}
            if unknown.offer and not offered:
                self.say(unknown.offer)
                self.ask(OFFER, confirm=True)
            else:
                self.unknown = 0
                self.carry_out(unknown.handoff)
            return
        slot = self._rules.slots.get(self.pending.get("slot", ""))
        in_other_words = slot.again if slot and not self.pending.get("confirm") else ""
        self.say(in_other_words or again[min(self.unknown, len(again)) - 1], filled=not unknown.say)
        if not in_other_words:
            self.say(self.question())

    def _give_up(self, instead: str) -> None:
        """There were too many wrong ones."""
        self.pending, self.unknown = {}, 0
        if instead and self.can(instead):
            self.carry_out(instead)
        else:
            self.parts.append(HANG_UP)

    def _own_words(self) -> tuple[str, ...]:
        """What is said where the rules have no words for who is not understood."""
        if self._language is None:
            return (self._texts.basics.unclear,)
        offers = self._language.listed(self._texts.offers(self.can))
        foreign = self._language.answers["foreign"].replace("{offers}", offers)
        unclear = self._language.answers["unclear"]
        if self.pending:
            return (unclear, unclear)
        return (foreign, foreign) if self._request.understood and self._request.text else (unclear, foreign)

    def question(self) -> str:
        """What was asked last, to be asked again."""
        name, slot, confirm = (self.pending.get(key, "") for key in ("intent", "slot", "confirm"))
        if name == OFFER:
            return self._rules.unknown.offer
        if name in (EITHER, MEANT):
            return ""
        if slot:
            return self._rules.slots[slot].confirm if confirm else self._rules.slots[slot].ask
        return self._rules.intents[name].confirm if confirm else ""

    def answer(self, text: str, source: str = "") -> None:
        """A question was answered beside what is being done: what was asked before is asked again."""
        self.unknown = 0
        self.say(text, filled=True, source=source)
        self.say(self.question())

    def say(self, template: str, *, filled: bool = False, source: str = "") -> None:
        text = template if filled else self._texts.say(template, self.slots, self._request.caller)
        if text:
            named = not filled and "sound:" in template
            self.parts.append(Say(text, speed=SLOW if self.slow else 1.0, source=source, script=named))
