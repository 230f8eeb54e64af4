"""A language model that is a set of rules: intents with their phrases, slots, answers and actions from the YAML.

It needs no download and makes nothing up. What the caller can say now makes
the recogniser's grammar (:meth:`Rules.hints`); what was heard is matched with
the same phrases, and else by its meaning.

Memory on the session, a JSON mapping: ``slots`` (name to value), ``done`` (intents), ``pending``
(what was asked: ``intent``, ``slot``, ``confirm``, or ``options`` between
which to choose), ``unknown`` (how often in a row the caller was not
understood), ``slow`` (the caller wants it slower).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers import knowledge
from asterisk_ai.providers.api import Hints, LanguageModel, Remember, ReplyPart, TurnRequest
from asterisk_ai.providers.engines.rules.asked_hours import AskedHours
from asterisk_ai.providers.engines.rules.schema import load
from asterisk_ai.providers.engines.rules.small_talk import language
from asterisk_ai.providers.engines.rules.texts import MAX_TOPICS, Texts
from asterisk_ai.providers.engines.rules.turn import Turn
from asterisk_ai.providers.engines.rules.understanding import Understanding
from asterisk_ai.providers.grammar import Expected, Grammar, Phrase, example, vocabulary
from asterisk_ai.providers.knowledge.vectors import vectors


class Rules(LanguageModel):
    """The ``rules`` engine: one for each agent, shared by its calls, without state of its own.

    :param agent: ``name``, ``language``, ``rules`` and ``knowledge`` of the agent.
    :param clock: gives the time, with its zone, for opening hours.
    :raises ConfigError: the rules cannot be carried out; with the key's path.
    """

    streams = "its texts at once"

    def __init__(
        self,
        settings: Mapping[str, Any],
        agent: Mapping[str, Any],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        tag = str(agent.get("language") or "en-US")
        path = f"agents.{agent.get('name') or '?'}"
        transfers = agent.get("transfers") or {}
        rules = self.rules = load(agent.get("rules"), f"{path}.rules", tag, tuple(transfers))
        for name, target in transfers.items():
            if target.otherwise and target.otherwise not in rules.intents:
                raise ConfigError(f"there is no intent {target.otherwise!r}", path=f"{path}.transfers.{name}.otherwise")
        self._grammar = Grammar({name: slot.grammar for name, slot in rules.slots.items()}, rules.digits, tag)
        self._language, self._talk = tag, language(tag)
        found = vectors() if self._talk and self._talk.code == "en" else None  # they know English words
        self.understanding = Understanding(rules, self._grammar, self._talk, found)
        self._knowledge = knowledge.read(agent.get("knowledge") or (), f"{path}.knowledge", tag)
        self._texts = Texts(rules, tag, clock, self._knowledge.topics(MAX_TOPICS))
        self._hours = AskedHours(rules.hours, self._talk, tag, clock) if rules.hours and self._talk else None
        self._hints: dict[tuple[str, bool], Hints] = {}
        for slot in ("", *rules.slots):
            for confirm in (False, True):
                phrases = tuple(self._sayable(slot, confirm))
                expected = Expected(phrases, self._grammar.slots, rules.digits)
                free = slot in rules.slots and rules.slots[slot].words and not confirm
                self._hints[slot, confirm] = Hints(expected, tag, free, self.understanding.examples())

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

    def weaknesses(self) -> list[str]:
        """What it does not do as well in the agent's language as in English, for ``asterisk-ai check``."""
        if self._talk is None:
            return [f"in {self._language} callers are understood by the rules' phrases alone, without small talk"]
        if self._talk.code != "en":
            return [f"in {self._language} meaning is told by words and letters, which is weaker than in English"]
        return []

    def sample(self) -> str:
        """Something that callers may say first and that is answered, for trials; empty where nothing is so simple."""
        phrases = (example(phrase) for intent in self.rules.intents.values() for phrase in intent.say)
        return next(filter(None, phrases), "")

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        pending = self._turn(TurnRequest("", memory=memory)).flow.pending
        return self._hints[pending.get("slot", ""), bool(pending.get("confirm"))]

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return self._turn(TurnRequest("", memory=memory)).digits_wanted()

    def likeliest(self, readings: Sequence[tuple[str, float]], memory: Mapping[str, Any]) -> str:
        """The reading that means something here; where a value was asked for, the likeliest by its sound."""
        pending = self._turn(TurnRequest("", memory=memory)).flow.pending
        if pending.get("slot") and not pending.get("confirm"):
            return readings[0][0]
        return self.understanding.likeliest(readings)

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        """Whether the words are an answer that need not go on; digits of open length may always go on."""
        return self._turn(TurnRequest(text, memory=memory)).is_complete()

    def entry(self, memory: Mapping[str, Any]) -> Entry:
        """See :class:`~asterisk_ai.providers.api.Collecting`."""
        return self._turn(TurnRequest("", memory=memory)).entry()

    def offered(self, memory: Mapping[str, Any], wish: str) -> Mapping[str, Any]:
        if wish not in self.rules.intents:
            return memory
        return {**memory, "pending": {"intent": wish, "slot": "", "confirm": True}}

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        async def parts() -> AsyncIterator[ReplyPart]:
            for part in self.answer(request):
                yield part

        yield parts()

    def answer(self, request: TurnRequest) -> list[ReplyPart]:
        """The whole reply to one turn. Pure but for the clock."""
        turn = self._turn(request)
        turn.take()
        return [Remember(turn.flow.memory()), *turn.flow.parts]

    def _turn(self, request: TurnRequest) -> Turn:
        return Turn(
            request,
            self.rules,
            grammar=self._grammar,
            understanding=self.understanding,
            texts=self._texts,
            language=self._talk,
            hours=self._hours,
            knowledge=self._knowledge,
        )

    def _sayable(self, slot: str, confirm: bool) -> list[Phrase]:
        rules = self.rules
        phrases: list[Phrase] = [*rules.yes, *rules.no] if confirm else []
        phrases += rules.slots[slot].say if slot else ()
        return phrases + [phrase for intent in rules.intents.values() for phrase in intent.say]
