"""The rules: what can be said is what is understood, and what is understood is carried out."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asterisk_ai import config
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api import DialplanAction, Remember, ReplyPart, Say, TurnRequest
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.engines.rules import hours as opening
from asterisk_ai.providers.engines.rules.basics import basics
from asterisk_ai.providers.grammar import parse

SAMPLE = config.parse((config.share_path("etc-asterisk") / "asterisk_ai.yaml").read_text())
MONDAY = datetime(2026, 3, 2, 11, tzinfo=UTC)


def rules(text: str, now: datetime = MONDAY) -> Rules:
    """An agent whose ``rules:`` are that YAML."""
    indented = "".join(f"      {line}\n" for line in text.strip("\n").splitlines())
    agent = config.parse(f"agents:\n  a:\n    rules:\n{indented}").agent()
    return Rules({}, agent.as_mapping(), clock=lambda: now)


@functools.cache
def sample() -> Rules:
    return Rules({}, SAMPLE.agent().as_mapping())


class Call:
    """A caller who talks to the rules; keeps the memory as the session does."""

    def __init__(self, model: Rules, **caller: str) -> None:
        self.model, self.caller = model, caller
        self.memory: Mapping[str, Any] = {}

    def turn(self, text: str, *, dialled: bool = False, understood: bool = True) -> list[ReplyPart]:
        request = TurnRequest(text, understood=understood, dialled=dialled, memory=self.memory, caller=self.caller)
        first, *rest = self.model.answer(request)
        assert isinstance(first, Remember)
        self.memory = first.memory
        return rest

    def say(self, text: str, **how: bool) -> str:
        return " | ".join(part.text if isinstance(part, Say) else repr(part) for part in self.turn(text, **how))

    def dial(self, keys: str) -> str:
        return self.say(keys, dialled=True)

    def action(self, text: str, **how: bool) -> DialplanAction | None:
        return next((part for part in self.turn(text, **how) if isinstance(part, DialplanAction)), None)


ACCOUNT = """
slots:
  account: {digits: {min: 2, max: 4}, ask: Number please., again: Two to four digits., confirm: "{account}, right?"}
  team:
    ask: Which team?
    values:
      sales: {say: [sales, "[the] sales team"], exten: "200", dtmf: 1}
      night_shift: {exten: "300", dtmf: 2}
  sure: {yes_no: true, ask: "Really?"}
intents:
  account: {say: "my number is {account}\\naccount", answer: "Noted {account} for {caller.name}.", ask: account}
  connect:
    say: ["connect me [to {team}]"]
    ask: [team]
    confirm: "Connect you to {team}?"
    answer: "Connecting {team.exten:digits}."
    do: {transfer: "{team.exten}@inside"}
    if_no: {answer: "As you like."}
  delete: {say: delete it, ask: [account, sure], answer: "{sure}, {account:number}"}
  bye: {say: goodbye, do: hangup}
  ring: {say: call back, do: {transfer: {exten: "{caller.number}", context: out, priority: 2}}}
dtmf: {"1": connect, "9": bye}
unknown: {say: ["What?", "Sorry?"], offer: "A human?", handoff: human}
"""
ACCOUNT = ACCOUNT.replace("  bye:", "  human: {do: {queue: staff}}\n  bye:")


def test_slots_are_asked_for_confirmed_and_used() -> None:
    call = Call(rules(ACCOUNT), name="Ann")
    assert call.say("Connect me!") == "Which team?"
    assert call.say("the sales team") == "Connect you to sales?"
    assert call.turn("yes please") == [
        Say("Connecting 2 0 0."),
        DialplanAction("transfer", {"exten": "200", "context": "inside"}),
    ]
    assert call.say("connect me to night shift") == "Connect you to night shift?"
    assert call.say("no") == "As you like."
    assert call.say("connect me") == "Which team?", "what was said before is not taken for what is meant now"


def test_spoken_digits_are_confirmed_and_dialled_ones_are_not() -> None:
    call = Call(rules(ACCOUNT), name="Ann")
    assert call.say("account") == "Number please."
    assert call.say("one oh three") == "1 0 3, right?"
    assert call.say("no") == "Number please."
    assert call.say("12 34.") == "1 2 3 4, right?"
    assert call.say("one two") == "1 2, right?", "a caller who corrects it at once is heard"
    assert call.say("that's right") == "Noted 1 2 for Ann."
    assert call.say("account") == "Number please."
    assert call.dial("1234#") == "Noted 1 2 3 4 for Ann."
    assert call.say("my number is 7 8") == "7 8, right?"


def test_a_wrong_number_of_digits_is_asked_for_again() -> None:
    call = Call(rules(ACCOUNT))
    call.say("account")
    assert call.dial("1") == "Two to four digits."
    assert call.dial("12345") == "Two to four digits."
    assert call.dial("12") == "Noted 1 2 for ."


def test_keys_answer_menus_values_and_questions() -> None:
    model = rules(ACCOUNT)
    call = Call(model)
    assert model.digits_wanted({}) == 1
    assert call.dial("1") == "Which team?"
    assert model.digits_wanted(call.memory) == 1
    assert call.dial("7") == "What? | Which team?"
    assert call.dial("2") == "Connect you to night shift?"
    assert model.digits_wanted(call.memory) == 1
    assert call.action("1", dialled=True) == DialplanAction("transfer", {"exten": "300", "context": "inside"})
    assert call.action("9", dialled=True) == DialplanAction("hangup"), "the agent's closing is the call's to say"
    call.say("delete it")
    assert model.digits_wanted(call.memory) == 0, "two to four digits: open"
    call.dial("55")
    assert call.dial("2") == "no, 55"
    assert sample().digits_wanted({"pending": {"intent": "account", "slot": "account"}}) == 4
    assert call.dial("5") == "What?"
    assert call.dial("*") == "Sorry?"


def test_who_is_not_understood_is_asked_again_then_offered_a_human_then_given_one() -> None:
    call = Call(rules(ACCOUNT))
    assert call.say("mumble") == "What?"
    assert call.say("", understood=False) == "Sorry?"
    assert call.say("sales", understood=False) == "A human?"
    assert call.action("mumble") == DialplanAction("queue", {"queue": "staff"})
    for _ in range(2):
        call.say("mumble")
    assert call.say("mumble") == "A human?"
    assert call.say("no thanks") == "All right. What else can I do for you?"
    assert call.say("mumble") == "What?", "and counting begins again"
    call.say("connect me")
    assert call.say("mumble") == "What? | Which team?"
    assert call.say("sales") == "Connect you to sales?"
    assert call.say("mumble") == "What? | Connect you to sales?"


def test_a_new_wish_is_heard_while_something_is_asked() -> None:
    call = Call(rules(ACCOUNT))
    call.say("account")
    assert call.say("connect me to sales") == "Connect you to sales?"
    assert call.turn("goodbye") == [DialplanAction("hangup")]


def test_what_callers_choose_does_not_get_into_the_dialplan() -> None:
    call = Call(rules(ACCOUNT), number="+49(30)1,n,System(x)${EVIL}\r\n#")
    assert call.action("call back") == DialplanAction(
        "transfer", {"exten": "+49301#", "context": "out", "priority": "2"}
    )
    with pytest.raises(ConfigError, match=r"known here: caller.number, caller.dialled"):
        rules('intents: {a: {say: a, do: {play: "{caller.name}"}}}')


def test_polite_words_around_an_answer_are_no_hindrance() -> None:
    call = Call(rules(ACCOUNT))
    assert call.say("Um, hello. Connect me to sales, please!") == "Connect you to sales?"
    assert call.say("er, yes. Thank you").startswith("Connecting")
    assert call.say("please do not connect me to sales") == "What?"


def test_memory_is_json_and_a_damaged_or_outdated_one_is_passed_over() -> None:
    call = Call(rules(ACCOUNT))
    call.say("connect me to sales")
    assert json.loads(json.dumps(call.memory)) == call.memory
    for memory in (
        {"pending": {"intent": "gone", "slot": "team", "confirm": False}},
        {"pending": {"intent": "connect", "slot": "gone"}, "slots": {"gone": "x", "team": "gone"}},
        {"pending": 3, "slots": [], "unknown": "x"},
        {"pending": {"intent": "connect", "slot": "", "confirm": False}},
    ):
        call.memory = memory
        call.model.hints(memory)
        assert call.model.digits_wanted(memory) == 1
        assert call.say("connect me") == "Which team?"
    call.memory = {"pending": {"intent": "connect", "slot": "", "confirm": True}}
    assert call.say("yes") == "Which team?", "what it lacks is asked for again"


def test_a_slot_may_be_kept_for_the_whole_call() -> None:
    model = rules(
        """
        slots: {pin: {digits: 2, ask: "Pin?", keep: true}}
        intents: {a: {say: a, answer: "A {pin}"}, b: {say: b, ask: pin, answer: B}}
        """.replace("\n        ", "\n")
    )
    call = Call(model)
    assert call.say("a") == "Pin?"
    assert call.say("one two") == "A 1 2"
    assert call.say("b") == "B"


def test_reply_is_the_language_model_interface() -> None:
    async def talk() -> list[ReplyPart]:
        model = sample()
        await model.start()
        assert model.readiness().ready
        async with model.reply(TurnRequest("goodbye")) as parts:
            found = [part async for part in parts]
        await model.stop()
        return found

    assert asyncio.run(talk()) == [Remember({"done": ["goodbye"]}), DialplanAction("hangup")]


# ---- opening hours ---------------------------------------------------------

HOURS = """
hours:
  timezone: Europe/Berlin
  open: {mon-thu: "9:00-12:00, 13:00-17:30", fri: ["9:00-12:00"], sat: 22:00-2:00}
  closed: [05-01, 2026-12-24]
intents:
  open: {say: open, if_open: {answer: "until {hours.until}"}, if_closed: {answer: "{hours.next} ({hours.today})"}}
  both: {say: both, answer: anyhow, if_closed: {do: {voicemail: 1@x}}}
"""


@pytest.mark.parametrize(
    ("utc", "heard"),
    [
        ("2026-03-02T08:00", "until noon"),  # Monday
        ("2026-03-02T07:59", "today at 9 AM (9 AM to noon and 1 PM to 5:30 PM)"),
        ("2026-03-02T11:00", "today at 1 PM (9 AM to noon and 1 PM to 5:30 PM)"),
        ("2026-03-02T16:29", "until 5:30 PM"),
        ("2026-03-02T16:30", "tomorrow at 9 AM (9 AM to noon and 1 PM to 5:30 PM)"),
        ("2026-07-06T07:00", "until noon"),  # summer time
        ("2026-03-07T22:30", "until 2 AM"),  # Saturday night
        ("2026-03-08T00:59", "until 2 AM"),
        ("2026-03-08T01:00", "tomorrow at 9 AM (closed)"),
        ("2026-03-06T12:00", "tomorrow at 10 PM (9 AM to noon)"),
        ("2026-05-01T08:00", "tomorrow at 10 PM (closed)"),  # a holiday of every year
        ("2026-12-24T08:00", "tomorrow at 9 AM (closed)"),
        ("2025-12-24T08:00", "until noon"),
    ],
)
def test_opening_hours(utc: str, heard: str) -> None:
    assert Call(rules(HOURS, datetime.fromisoformat(utc).replace(tzinfo=UTC))).say("open") == heard


@pytest.mark.parametrize(
    ("place", "utc", "heard"),
    [
        ("DE-BY", "2026-01-06T09:00", "tomorrow at 9 AM (closed)"),  # Epiphany, in Bavaria
        ("DE", "2026-01-06T09:00", "until noon"),
        ("DE", "2026-04-03T09:00", "tomorrow at 10 PM (closed)"),  # Good Friday moves
        ("US", "2026-04-03T09:00", "until noon"),
    ],
)
def test_public_holidays(place: str, utc: str, heard: str) -> None:
    data = HOURS.replace("intents:", f"  holidays: {place}\nintents:")
    assert Call(rules(data, datetime.fromisoformat(utc).replace(tzinfo=UTC))).say("open") == heard


def test_open_on_a_holiday_that_is_asked_for() -> None:
    hours = opening.Hours(opening.parse_week({"mon-fri": ["9:00-17:00"]}), holidays=opening.parse_holidays("GB-ENG"))
    assert hours.spans(date(2026, 4, 6)) == []  # Easter Monday
    assert hours.spans(date(2026, 4, 7)) != []


def test_one_of_the_cases_may_be_the_usual_one() -> None:
    assert Call(rules(HOURS, datetime(2026, 3, 2, 9, tzinfo=UTC))).say("both") == "anyhow"
    closed = Call(rules(HOURS, datetime(2026, 3, 8, 12, tzinfo=UTC)))
    assert closed.turn("both") == [DialplanAction("voicemail", {"mailbox": "1", "context": "x"})]


def test_spans_that_join_are_one() -> None:
    week = opening.parse_week({"mon-sun": ["0:00-24:00"], "tue": ["0:00-12:00", "12:00-18:00"]})
    hours = opening.Hours(week, zone=UTC)
    assert hours.open_until(MONDAY) == datetime(2026, 3, 3, 18, tzinfo=UTC)
    never = opening.Hours(((),) * 7, zone=UTC)
    assert never.next_opening(MONDAY) is None
    assert never.fields(MONDAY, basics("en")) == {"until": "", "next": "", "today": "closed"}
    assert opening.Hours(week).open_until(MONDAY) is not None, "the machine's own zone"


# ---- the grammar ------------------------------------------------------------


class Jsgf:
    """A reader of JSGF that knows nothing of ours: says sentences of a grammar."""

    def __init__(self, text: str) -> None:
        assert text.startswith("#JSGF V1.0;\ngrammar rules;\npublic <utterance> = ")
        self._rules = dict(re.findall(r"(<\w+>) = ([^;]*);", text))

    def sentence(self, choose: Callable[[int], int], rule: str = "<utterance>") -> list[str]:
        tokens = [*re.findall(r"<\w+>|[\[\]()|]|[^\s\[\]()|<>]+", self._rules[rule]), ")"]
        said, rest = self._alternatives(tokens, 0, choose)
        assert rest == len(tokens)
        return said

    def _alternatives(self, tokens: list[str], at: int, choose: Callable[[int], int]) -> tuple[list[str], int]:
        options: list[list[str]] = [[]]
        while tokens[at] not in ")]":
            token, at = tokens[at], at + 1
            if token == "|":
                options.append([])
            elif token in "([":
                inner, at = self._alternatives(tokens, at, choose)
                options[-1] += inner if token == "(" or choose(2) else []
            elif token.startswith("<"):
                options[-1] += self.sentence(choose, token)
            else:
                options[-1].append(token)
        return options[choose(len(options))], at + 1


MODELS = {"sample": sample(), "account": rules(ACCOUNT), "hours": rules(HOURS)}


def pendings(model: Rules) -> list[dict[str, Any]]:
    """Every state in which the caller can be."""
    found: list[dict[str, Any]] = [{}]
    for name, intent in model.rules.intents.items():
        found += [{"intent": name, "slot": slot, "confirm": sure} for slot in intent.needs for sure in (False, True)]
        found += [{"intent": name, "slot": "", "confirm": True}] if intent.confirm else []
    return found


def whole_numbers(model: Rules, grammar: str) -> str:
    """The grammar without what only keeps a recogniser from making digits up: too few of them, too many, none."""
    for name, slot in model.rules.slots.items():
        if not slot.grammar.values:
            least, more = slot.grammar.minimum, slot.grammar.maximum - slot.grammar.minimum
            whole = " ".join(["<digit>"] * least) + " [ <digit>" * more + " ]" * more
            grammar = grammar.replace(f"[ <slot_{name}> ]", f"<slot_{name}>")
            grammar = re.sub(rf"(<slot_{name}> =)[^;]*;", rf"\1 {whole};", grammar)
    return grammar


@functools.cache
def sayable(name: str) -> tuple[frozenset[str], list[tuple[dict[str, Any], Jsgf]]]:
    """The words that a model knows, and its states, each with what can be said then."""
    model, states = MODELS[name], []
    for pending in pendings(model):
        memory = {"pending": pending, "unknown": 1} if pending else {"unknown": 1}
        states.append((memory, Jsgf(whole_numbers(model, model.hints(memory).grammar))))
    return model.vocabulary(), states


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_every_sentence_of_the_grammar_is_understood(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(MODELS)))
    model, (vocabulary, states) = MODELS[name], sayable(name)
    memory, grammar = data.draw(st.sampled_from(states))
    pending: dict[str, Any] = memory.get("pending", {})
    choice = random.Random(data.draw(st.integers(0, 2**32)))  # drawing every word takes ten times as long
    words = grammar.sentence(choice.randrange)
    remembered = model.answer(TurnRequest(" ".join(words), memory=memory))[0]
    assert isinstance(remembered, Remember)
    confirmed_no = pending.get("slot") and pending["confirm"] and "pending" in remembered.memory
    assert "unknown" not in remembered.memory or confirmed_no
    assert set(words) <= vocabulary


def test_hints_say_what_can_be_said_now() -> None:
    model = rules(ACCOUNT)
    grammar = model.hints({}).grammar
    assert "connect me [ to <slot_team> ]" in grammar
    assert "<slot_team> = sales | [ the ] sales team | night shift;" in grammar
    fewer_and_more = "<digit>" + " [ <digit>" * 6 + " ]" * 6
    assert f"<slot_account> = {fewer_and_more};" in grammar, "what is no whole number must not be forced into one"
    assert " yes" not in grammar
    asked = model.hints({"pending": {"intent": "connect", "slot": "", "confirm": True}}).grammar
    assert "| yeah" in asked.replace("\n", " ")
    assert model.hints({"pending": {"intent": "connect", "slot": "team"}}).grammar.count("<slot_team>") == 3
    assert rules(ACCOUNT).hints({}) == model.hints({}), "the same rules make the same text"


def test_numbers_are_understood_however_they_are_said() -> None:
    asked = {"pending": {"intent": "account", "slot": "account"}}
    model = rules(ACCOUNT)
    for said in ("double one four two", "eleven forty two", "1142", "11 42", "one 142", "One, one. Four-two!"):
        assert model.complete(said, asked), said
    for said in ("five", "one two three four five", "double", "the number i have is"):
        assert not model.complete(said, asked), said


def test_pocketsphinx_takes_every_grammar_of_the_sample_and_knows_its_words() -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL")
    model = sample()
    unknown = [word for word in model.vocabulary() if decoder.lookup_word(word) is None]
    assert unknown == []
    for number, pending in enumerate(pendings(model)):
        decoder.add_jsgf_string(f"g{number}", model.hints({"pending": pending}).grammar)
        decoder.activate_search(f"g{number}")


def test_any_text_at_all_is_answered() -> None:
    model = rules(ACCOUNT)

    @settings(max_examples=100, deadline=None)
    @given(st.text(), st.booleans(), st.sampled_from(pendings(model)))
    def check(text: str, dialled: bool, pending: dict[str, Any]) -> None:
        assert len(model.answer(TurnRequest(text, dialled=dialled, memory={"pending": pending}))) > 1

    check()
    assert len(model.answer(TurnRequest("the " * 100_000))) > 1


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("", "has no words"),
        ("[please]", "all of its words are optional"),
        ("(a|[b])", "all of its words are optional"),
        ("[a", r"'\[' is not closed"),
        ("a]", "without its beginning"),
        ("a (b]", "is not closed"),
        ("a|b", "alternatives need brackets"),
        ("open 24 hours", "in words, as it is spoken"),
        ("a $ b", "cannot be spoken"),
        ("a [] b", "empty brackets"),
        ("{a} {a}", "in it twice"),
    ],
)
def test_phrases_that_are_none(phrase: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(phrase)


# ---- mistakes in the rules ----------------------------------------------------

GOOD: dict[str, Any] = {
    "slots": {
        "team": {"values": {"sales": {"exten": 200}, "it": {}}, "ask": "Which?"},
        "pin": {"digits": 4, "ask": "Pin?"},
        "dumb": {"digits": 2},
    },
    "intents": {"a": {"say": "go to {team}", "answer": "x"}, "b": {"say": ["bee"], "do": "hangup"}},
}


@pytest.mark.parametrize(
    ("path", "value", "where", "message"),
    [
        ("", None, "intents", "at least one intent"),
        ("", "x", "", "expected a mapping"),
        ("intent", {}, "intent", "did you mean 'intents'"),
        ("intents.a.say", "go to {teem}", "intents.a.say", "there is no slot 'teem'"),
        ("intents.a.say", "[please]", "intents.a.say", "optional"),
        ("intents.a.say", [["please"]], "intents.a.say[0]", "quotes"),
        ("intents.a.say", "", "intents.a.say", "at least one phrase"),
        ("intents.a.ask", ["nope"], "intents.a.ask", "there is no slot 'nope'"),
        ("intents.a.ask", ["dumb"], "intents.a", "give the slot an 'ask'"),
        ("intents.a.answr", "x", "intents.a.answr", "did you mean 'answer'"),
        ("intents.a.answer", "{tean}", "intents.a.answer", "there is no slot"),
        ("intents.a.answer", "{team.exten}", "intents.a.answer", "the value 'it' has no 'exten'"),
        ("intents.a.answer", "{pin.x}", "intents.a.answer", "digits have no fields"),
        ("intents.a.answer", "{pin:loud}", "intents.a.answer", "digits or number"),
        ("intents.a.answer", "{hours.until}", "intents.a.answer", "no 'hours'"),
        ("intents.a.answer", "{caller.age}", "intents.a.answer", "caller.number"),
        ("intents.a.answer", "a { b", "intents.a.answer", "without its other half"),
        ("intents.a.answer", 1.5, "intents.a.answer", "expected text"),
        ("intents.a", {"say": "x"}, "intents.a", "does nothing"),
        ("intents.a", {"answer": "x"}, "intents.a", "cannot be reached"),
        ("intents.b.say", ["go to {team}"], "intents.b.say", "the intent 'a' has the same phrase"),
        ("intents.a.if_no", {"answer": "x"}, "intents.a.if_no", "needs 'confirm'"),
        ("intents.a.if_open", {"answer": "x"}, "intents.a", "need 'hours'"),
        ("intents.b.do", "fly", "intents.b.do", "there is no action 'fly'"),
        ("intents.b.do", {"transfer": {}}, "intents.b.do", "transfer needs 'exten'"),
        ("intents.b.do", {"transfer": {"ext": 1}}, "intents.b.do.transfer.ext", "did you mean 'exten'"),
        ("intents.b.do", {"queue": "a@b"}, "intents.b.do.queue", "no @"),
        ("intents.b.do", {"hangup": "x"}, "intents.b.do", "takes no arguments"),
        ("intents.b.do", {"hangup": {}, "queue": "x"}, "intents.b.do", "one action"),
        ("intents.b.do", {"play": "a\x07b"}, "intents.b.do.play.file", "takes no '\\x07'"),
        ("intents.b.do", {"transfer": "200"}, "intents.b.do", "needs 'context', e.g. {transfer: {exten: ..., context"),
        ("intents.b.do", {"play": "we&you"}, "intents.b.do.play.file", "takes no '&'"),
        ("intents.b.do", {"queue": "Sales Team"}, "intents.b.do.queue.queue", "takes no space"),
        ("intents.b.do", {"voicemail": "1@my box"}, "intents.b.do.voicemail.context", "takes no space"),
        ("intents.b.do", {"transfer": f"{'2' * 80}@inside"}, "intents.b.do.transfer.exten", "longer than the 79"),
        ("intents.b.do", {"transfer": {"exten": 1, "context": "a b"}}, "intents.b.do.transfer.context", "no space"),
        ("intents.b.do", "play", "intents.b.do", "play needs 'file'"),
        ("slots.caller", {"digits": 1}, "slots.caller", "not 'caller'"),
        ("slots.a b", {"digits": 1}, "slots.a b", "letters"),
        ("slots.pin.digits", 0, "slots.pin.digits", "between 1 and 20"),
        ("slots.pin.digits", {"min": 3, "max": 2}, "slots.pin.digits", "more than max"),
        ("slots.pin.digits", {"min": 3}, "slots.pin.digits.max", "missing"),
        ("slots.pin.values", {"a": {}}, "slots.pin", "exactly one of"),
        ("slots.pin.say", "my pin", "slots.pin.say", "each phrase needs {pin}"),
        ("slots.pin.confirm", "{team}?", "slots.pin.confirm", "may not be known"),
        ("slots.pin.keep", 3, "slots.pin.keep", "true or false"),
        ("slots.team.values", {}, "slots.team.values", "at least one value"),
        ("slots.team.values", {"a": "x", "b": "x"}, "slots.team.values.b", "'a' has the same phrase"),
        ("slots.team.values", {"a": {"dtmf": 1}, "b": {"dtmf": 1}}, "slots.team.values", "dtmf must be one key"),
        ("dtmf", {"1": "nope"}, "dtmf.1", "there is no intent"),
        ("dtmf", {"x": "a"}, "dtmf.x", "0 to 9"),
        ("dtmf", {"1": "a", "12": "b"}, "dtmf", "1 begins a longer key"),
        ("unknown", {"handoff": "nope"}, "unknown.handoff", "there is no intent"),
        ("unknown", {"offer": "Human?"}, "unknown.handoff", "missing"),
        ("hours", {"open": {"mo-fr": "9:00-17:00"}}, "hours.open", "no weekday"),
        ("hours", {"open": {"mon": "9-17"}}, "hours.open", "written like 9:00-17:00"),
        ("hours", {"open": {"mon": "9:00-24:30"}}, "hours.open", "written like 9:00-17:00"),
        ("hours", {"open": {}, "timezone": "Mars/Base"}, "hours.timezone", "no time zone"),
        ("hours", {"open": {}, "closed": ["31.12."]}, "hours.closed", "must be a date"),
        ("hours", {"open": {}, "closed": ["02-30"]}, "hours.closed", "day "),
        ("hours", {"closed": []}, "hours.open", "missing"),
        ("hours", {"open": {}, "holidays": "XX"}, "hours.holidays", "write a country, as DE"),
        ("hours", {"open": {}, "holidays": "DE-QQ"}, "hours.holidays", "or a part of one, as DE-BY"),
        ("yes_no", {"yes": ["[x"]}, "yes_no.yes", "not closed"),
        ("digit_words", {"0": "null"}, "digit_words.1", "one word"),
    ],
)
def test_mistakes_name_their_key(path: str, value: Any, where: str, message: str) -> None:
    data = copy.deepcopy(GOOD)
    below: Any = data
    *parents, last = path.split(".") if path else [""]
    for key in parents:
        below = below[key]
    if path:
        below[last] = value
    else:
        data = value
    with pytest.raises(ConfigError) as caught:
        Rules({}, {"name": "x", "rules": data})
    assert caught.value.path == "agents.x.rules" + (f".{where}" if where else "")
    assert message in caught.value.message


def test_a_slots_value_that_the_dialplan_would_change_is_refused() -> None:
    data = copy.deepcopy(GOOD)
    data["slots"]["team"]["values"]["it"] = {"exten": "IT desk"}
    Rules({}, {"name": "x", "rules": data})  # nothing is done with it
    data["intents"]["a"]["do"] = {"transfer": "{team.exten}@inside"}
    with pytest.raises(ConfigError, match="'IT desk' cannot be a transfer's exten: the dialplan takes no space"):
        Rules({}, {"name": "x", "rules": data})
    data["hours"] = {"open": {}}
    data["intents"]["a"]["do"] = {"queue": "{hours.today}"}
    with pytest.raises(ConfigError, match="something to be said"):
        Rules({}, {"name": "x", "rules": data})


def test_another_language() -> None:
    german = {str(n): word for n, word in enumerate("null eins zwei drei vier fünf sechs sieben acht neun".split())}
    german["2"] = ["zwei", "zwo"]  # type: ignore[assignment]
    data = {
        "digit_words": german,
        "yes_no": {"yes": "ja", "no": "nein"},
        "slots": {"nummer": {"digits": 2, "ask": "Nummer?", "confirm": "{nummer}?"}},
        "intents": {"konto": {"say": "mein konto", "answer": "Konto {nummer}"}},
    }
    call = Call(Rules({}, {"name": "x", "language": "de-DE", "rules": data}))
    assert call.say("Mein Konto") == "Nummer?"
    assert call.say("zwo fünf") == "2 5?"
    assert call.say("ja") == "Konto 2 5"
    assert call.model.hints({}).language == "de-DE"


def test_a_system_without_time_zones_has_those_of_a_dependency() -> None:
    program = "from asterisk_ai.providers.engines.rules.hours import parse_zone; print(parse_zone('Europe/Berlin').key)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": ""}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("Europe/Berlin", 0), done.stderr
