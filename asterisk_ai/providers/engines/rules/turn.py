"""One turn of a call with the rules: what the caller did is understood, and :class:`Flow` makes of it what follows."""

from __future__ import annotations

import re

from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.providers.api import TurnRequest, Wait
from asterisk_ai.providers.engines.rules.asked_hours import AskedHours
from asterisk_ai.providers.engines.rules.flow import EITHER, FAREWELL, OFFER, Flow
from asterisk_ai.providers.engines.rules.ruleset import RuleSet, Slot
from asterisk_ai.providers.engines.rules.small_talk import Language
from asterisk_ai.providers.engines.rules.texts import Texts
from asterisk_ai.providers.engines.rules.understanding import HANG_UP_FROM, Understanding, Understood, Wish
from asterisk_ai.providers.grammar import Grammar
from asterisk_ai.providers.knowledge import ENOUGH, Knowledge

# Said around an answer by callers of recognisers that take free speech.
_FILLERS = ("um", "uh", "er", "well", "hello", "hi", "please", "thanks", "thank you")
MAX_WORDS = 500
"""Characters of what is said freely."""
_EDGE = "|".join(_FILLERS)
_FILLED = re.compile(rf"^(?: (?:{_EDGE}))*(?P<rest>.*?)(?: (?:{_EDGE}))*$")


class Turn:
    """Made for one turn and forgotten."""

    def __init__(
        self,
        request: TurnRequest,
        rules: RuleSet,
        *,
        grammar: Grammar,
        understanding: Understanding,
        texts: Texts,
        language: Language | None,
        hours: AskedHours | None,
        knowledge: Knowledge,
    ) -> None:
        self._hours, self._knowledge = hours, knowledge
        self._rules, self._grammar, self._understanding, self._texts = rules, grammar, understanding, texts
        self._request, self._language = request, language
        self.flow = Flow(request, rules, texts, language)

    def take(self) -> None:
        """Take what the caller did and make the answer."""
        request = self._request
        spoken = request.understood and not request.dialled
        if not (self._dialled() if request.dialled else spoken and (self._heard() or self._meant())):
            self.flow.not_understood()

    def is_complete(self) -> bool:
        """Whether the words need not go on. Leaves the turn used up."""
        text = self._request.text
        if self._asked_words():
            return False
        if self._heard():
            limits = {name: self._rules.slots[name].grammar for name in self.flow.slots}
            return all(
                limits[name].values or len(value) >= limits[name].maximum for name, value in self.flow.slots.items()
            )
        if not self._understanding.finished(text):
            return False
        if self.flow.pending.get("slot") and not self.flow.pending.get("confirm"):
            limits_of = self._rules.slots[self.flow.pending["slot"]].grammar
            if not limits_of.values:
                return False
        understood = self._understanding.wish(text)
        return understood is not None and understood.sure and understood.talk != "foreign"

    def digits_wanted(self) -> int:
        slot = self._rules.slots.get(self.flow.pending.get("slot", ""))
        if self.flow.pending.get("confirm"):
            return 1
        if slot:
            limits = slot.grammar
            return 1 if limits.values else limits.maximum if limits.minimum == limits.maximum else 0
        lengths = {len(key) for key in self._rules.menu}
        return lengths.pop() if len(lengths) == 1 else 0

    def entry(self) -> Entry:
        """What is waited for on the keys now."""
        slot = self._rules.slots.get(self.flow.pending.get("slot", ""))
        if slot is None or slot.grammar.values or slot.words or self.flow.pending.get("confirm"):
            return Entry(self.digits_wanted())
        return Entry(self.digits_wanted(), True, slot.pause_seconds, slot.secret)

    # ---- what the caller said, by the phrases -------------------------------------------

    def _heard(self) -> bool:
        """Match the words: an answer to what was asked comes before a new wish."""
        if self._asked_words():
            self.flow.fill(self.flow.pending["slot"], self._request.text.strip()[:MAX_WORDS], sure=False)
            return True
        readings = self._grammar.readings(self._request.text)
        bare = [found["rest"] for found in map(_FILLED.match, readings) if found]
        texts = filter(None, dict.fromkeys((*readings, *bare)))
        return any(self._answered(text) or self._wished(text) for text in texts)

    def _asked_words(self) -> bool:
        """Whether all that the caller says is the answer."""
        slot = self._rules.slots.get(self.flow.pending.get("slot", ""))
        asked = slot is not None and slot.words and not self.flow.pending.get("confirm")
        return asked and bool(self._request.text.strip())

    def _answered(self, spoken: str) -> bool:
        slot = self.flow.pending.get("slot", "")
        if slot and not self._is_yes_no_of_confirmation(slot):
            for phrase in self._rules.slots[slot].say:
                values = self._grammar.match(self._grammar.pattern(phrase), spoken)
                if values:
                    self.flow.fill(slot, values[slot], sure=False)
                    return True
        if self.flow.pending.get("confirm"):
            for phrases, yes in ((self._rules.yes, True), (self._rules.no, False)):
                if any(self._grammar.pattern(phrase).fullmatch(spoken) for phrase in phrases):
                    self.flow.decide(yes)
                    return True
        return False

    def _is_yes_no_of_confirmation(self, slot: str) -> bool:
        """A yes to "is that right?" is about the value, also where the value is itself a yes or a no."""
        return bool(self.flow.pending.get("confirm")) and set(self._rules.slots[slot].grammar.values) == {"yes", "no"}

    def _wished(self, spoken: str) -> bool:
        for name, intent in self._rules.intents.items():
            for phrase in intent.say:
                values = self._grammar.match(self._grammar.pattern(phrase), spoken)
                if values is not None:
                    self.flow.wish(
                        Wish(name, values), sure=self._understanding.is_clear(name, self._request.confidence)
                    )
                    return True
        return False

    # ---- what the caller said, by its meaning ----------------------------------------------

    def _meant(self) -> bool:
        text = self._request.text
        if self.flow.pending.get("confirm") and (self._corrected(text) or self._decided(text)):
            return True
        if self.flow.pending.get("intent") == EITHER:
            chosen = self._understanding.one_of(text, self.flow.options(self.flow.pending))
            if chosen is not None:
                self.flow.wish(chosen, sure=True)
                return True
        if self._filled_freely(text):
            return True
        understood = self._understanding.wish(text, self._request.confidence)
        if understood is not None and self._hours and self._understanding.asks_for_hours(understood):
            answer = self._hours.answer(text, otherwise_now=bool(understood.talk))
            if answer:
                self.flow.answer(answer)
                return True
        if self._known(text, understood):
            return True
        if understood is None or understood.talk == "foreign":
            return False
        if understood.talk and self._language is not None:
            self._small_talk(understood.talk, self._language)
        elif len(understood.wishes) == 2:
            self.flow.either(understood)
        else:
            self.flow.wish(understood.wishes[0], sure=understood.sure)
        return True

    def _known(self, text: str, understood: Understood | None) -> bool:
        """A question that what the company knows answers better than the rules do."""
        if not self._knowledge:
            return False
        wanted = understood is not None and understood.sure and understood.talk != "foreign"
        found = self._knowledge.search(text, least=max(ENOUGH, understood.certainty if understood and wanted else 0.0))
        if found:
            self.flow.answer(found[0].text, found[0].passage.source)
        return bool(found)

    def _decided(self, text: str) -> bool:
        yes = self._understanding.yes_or_no(text)
        if yes is not None:
            self.flow.decide(yes)
        return yes is not None

    def _corrected(self, text: str) -> bool:
        """Another value than the one that is to be confirmed: "no, 4712, not 4217", "no, in the afternoon"."""
        intent, slot = self.flow.pending["intent"], self.flow.pending.get("slot", "")
        known = self._rules.intents.get(intent)
        for name in [slot] if slot else known.needs if known else ():
            if self._rules.slots[name].words or set(self._rules.slots[name].grammar.values) == {"yes", "no"}:
                continue
            said = self.flow.slots.get(name, "")
            named = set(self._understanding.values_in(self._not_denied(text), name))
            if named == {said} and slot and not self._understanding.is_negated(text):
                self.flow.decide(True)
                return True
            if named == {said} and not slot:
                continue
            others = named - {said} or named
            if len(others) == 1:
                self.flow.pending = {"intent": intent, "slot": name, "confirm": False}
                self.flow.fill(name, others.pop(), sure=False)
                return True
        return False

    def _not_denied(self, text: str) -> str:
        """What is before "not 4217"."""
        denies = self._language.denies if self._language else ""
        return re.split(rf"(?<=\w)\W+(?:{denies})\b", text.lower())[0] if denies else text

    def _filled_freely(self, text: str) -> bool:
        """The value that was asked for, somewhere in a sentence."""
        slot = self.flow.pending.get("slot", "")
        if not slot:
            return False
        named = self._understanding.values_in(text, slot)
        if len(named) == 1:
            self.flow.fill(slot, named[0], sure=False)
            return True
        if self.flow.pending.get("confirm") or named:
            return False
        value = self._understanding.value_meant(text, slot, (self.flow.pending["intent"],))
        if value:
            self.flow.fill(slot, value, sure=False)
        return bool(value)

    # ---- small talk ----------------------------------------------------------------------------

    def _small_talk(self, name: str, language: Language) -> None:
        """What every agent understands. What was asked before is asked again."""
        self.flow.unknown, handoff = 0, self._rules.unknown.handoff
        if name == "hold_on":
            self.flow.parts.append(Wait(language.hold_seconds))
        elif name == "goodbye":
            self.flow.wish(Wish(self._texts.farewell() or FAREWELL), sure=self._request.confidence >= HANG_UP_FROM)
        elif name in ("repeat", "slower"):
            self.flow.slow = self.flow.slow or name == "slower"
            self._talk(name, language)
        elif name == "human" and handoff:
            self.flow.wish(Wish(handoff), sure=True)
        elif name == "swearing" and handoff and self._rules.unknown.offer:
            self._talk(name, language)
            self.flow.say(self._rules.unknown.offer)
            self.flow.ask(OFFER, confirm=True)
        else:
            if name == "nothing":
                self.flow.pending = {}
            self._talk(name, language)
            if name not in ("nothing", "wrong_number"):
                self.flow.say(self.flow.question())

    def _talk(self, name: str, language: Language) -> None:
        last = next((one.text for one in reversed(self._request.history) if one.role == "agent"), "")
        text = language.answers[name if last or name not in ("repeat",) else "greeting"]
        offers = language.listed(self._texts.offers(self.flow.can))
        if name == "help" and "help" in self._rules.intents:
            self.flow.begin("help", {})
            return
        if self.flow.pending and name not in ("repeat", "slower", "robot", "help", "human"):
            text = re.sub(r" [^.!?]*\?$", "", text)  # the question that was asked follows, not another one
        self.flow.say(text.replace("{offers}", offers).replace("{last}", last), filled=True)

    # ---- keys ------------------------------------------------------------------------------------

    def _dialled(self) -> bool:
        keys = self._request.text.strip().rstrip("#")
        slot_name = self.flow.pending.get("slot", "")
        if self.flow.pending.get("confirm") and keys in ("1", "2"):
            self.flow.decide(keys == "1")
        elif self.flow.pending.get("intent") == EITHER and keys in ("1", "2"):
            self.flow.wish(self.flow.options(self.flow.pending)[int(keys) - 1], sure=True)
        elif slot_name:
            value = self._dialled_value(self._rules.slots[slot_name], keys)
            if value:
                self.flow.fill(slot_name, value, sure=True)
            return bool(value)
        elif keys in self._rules.menu:
            self.flow.begin(self._rules.menu[keys], {})
        else:
            return keys.isdigit() and self._wished(self._grammar.spoken(keys))
        return True

    @staticmethod
    def _dialled_value(slot: Slot, keys: str) -> str:
        limits = slot.grammar
        if not limits.values:
            return keys if keys.isascii() and keys.isdigit() and limits.minimum <= len(keys) <= limits.maximum else ""
        if set(limits.values) == {"yes", "no"}:
            return {"1": "yes", "2": "no"}.get(keys, "")
        return next((value for value, more in slot.fields.items() if more.get("dtmf") == keys), "")
