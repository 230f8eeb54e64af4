"""Callers in their own words: what they mean is understood; what acts is sure, or asked about."""

from __future__ import annotations

from collections import Counter

import pytest
from meaning import judged, lists, outcome, reception
from test_providers_rules import Call, rules

from asterisk_ai import config
from asterisk_ai.providers.api import DialplanAction, Message, Say, TurnRequest, Wait
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.engines.rules.understanding import Understanding
from asterisk_ai.providers.grammar import Grammar

HELP = "I can help you with our opening hours and a person."
SNATCHES = (
    "hi|hello|hey|yes|yeah|no|okay|ok|thanks|thank you|hmm|uh|um|what|sorry|right|well|hold on|wait|huh|you|the|and|so|"
    "please|cool|great|good|fine|sure|alright|oh|ah|hi there|good morning|see|by|buy|hang on|i see|mhm|really|why"
).split("|")
DESK = """
slots:
  account: {digits: 4, ask: "Your number?"}
  team: {ask: "Which team?", values: {sales: {say: sales, exten: 200}, support: {say: support, exten: 300}}}
intents:
  hours: {label: our opening hours, say: when are you open, answer: From nine to five.}
  connect: {say: ["connect me to {team}", "{team}"], answer: "Connecting.", do: {transfer: "{team.exten}@inside"}}
  account: {say: my account, ask: account, answer: "Noted {account}."}
  human: {label: a person, say: a person please, do: {queue: staff}}
unknown: {offer: "A person?", handoff: human}
"""

SALES = DialplanAction("transfer", {"exten": "200", "context": "inside"})  # type: ignore[arg-type]


def first(text: str) -> str:
    return Call(rules(DESK)).say(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("hi, I was wondering how late you are open today", "From nine to five."),
        ("could you tell me what time you open", "From nine to five."),
        ("Can you connect me to sales?", f"Connecting. | {SALES}"),
        ("there is something about my account I would like to ask", "Your number?"),
        ("my account is forty-seven twelve", "Noted 4 7 1 2."),
        ("I want to talk to a real human", f"{DialplanAction('queue', {'queue': 'staff'})}"),
    ],
)  # fmt: skip
def test_what_is_meant_is_understood(text: str, answer: str) -> None:
    assert first(text) == answer


def test_what_may_be_meant_is_asked_about_before_anything_is_done() -> None:
    call = Call(rules(DESK))
    assert call.say("connect me to support or to sales I think") == "Sales, or support?"
    assert call.action("the first one") == DialplanAction("transfer", {"exten": "200", "context": "inside"})
    call = Call(rules(DESK))
    call.say("support or sales")
    assert call.action("I think support") == DialplanAction("transfer", {"exten": "300", "context": "inside"})
    doubtful = TurnRequest("connect me to sales", confidence=0.2)
    _, *parts = rules(DESK).answer(doubtful)
    assert parts == [Say("Did you mean sales?")], "the recogniser was not sure of the words"


@pytest.mark.parametrize("name", ["fail", "sails team", "the moon", "feil please", "miller"])
def test_nobody_is_connected_by_a_name_that_is_none_of_ours(name: str) -> None:
    model = Rules({}, config.load().agent().as_mapping())
    for text in (f"connect me to {name}", f"i want to speak to {name}"):
        assert not any(isinstance(part, DialplanAction) for part in model.answer(TurnRequest(text))), text


def test_a_doubtful_wish_is_done_once_it_was_confirmed() -> None:
    call = Call(rules(DESK))
    first, *_ = rules(DESK).answer(TurnRequest("connect me to sales", confidence=0.2))
    call.memory = first.memory  # type: ignore[union-attr]
    assert call.action("yeah that would be great") == DialplanAction("transfer", {"exten": "200", "context": "inside"})
    call.memory = first.memory  # type: ignore[union-attr]
    assert call.say("no I don't think so") == "All right. What else can I do for you?"


def test_who_asks_for_something_else_hears_what_there_is() -> None:
    said = first("I would like to book a flight to Madrid")
    assert said == "I am sorry, I cannot help you with that. I can help you with our opening hours and a person."


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("hello there", "Hello! How can I help you?"),
        ("thanks a lot", "You are welcome. What else can I do for you?"),
        ("are you a real human being", f"I am an automated assistant. {HELP}"),
        ("are you still there", "Yes, I can hear you. How can I help you?"),
        ("never mind", "All right. What else can I do for you?"),
        ("you stupid machine", "I am sorry that I was no help. | A person?"),
        ("can I please speak to a human", f"{DialplanAction('queue', {'queue': 'staff'})}"),
        ("okay goodbye then", f"{DialplanAction('hangup')}"),
    ],
)  # fmt: skip
def test_small_talk_is_understood_by_every_agent(text: str, answer: str) -> None:
    assert first(text) == answer


def test_a_caller_who_wants_a_moment_gets_one_and_is_asked_again_afterwards() -> None:
    call = Call(rules(DESK))
    call.say("my account")
    assert call.turn("hold on a second please") == [Wait(60.0)]
    assert call.say("thank you") == "You are welcome. | Your number?"
    assert call.say("it is one two three four") == "Noted 1 2 3 4."


def test_what_was_said_is_said_again_and_more_slowly() -> None:
    model = rules(DESK)
    history = [Message("agent", "From nine to five."), Message("caller", "what")]
    remembered, said = model.answer(TurnRequest("sorry could you repeat that", history=history))
    assert said == Say("From nine to five.")
    remembered, said = model.answer(TurnRequest("not so fast please", history=history))
    assert said == Say("Of course. From nine to five.", speed=0.8)
    _, said = model.answer(TurnRequest("when are you open", memory=remembered.memory))  # type: ignore[union-attr]
    assert said == Say("From nine to five.", speed=0.8)


@pytest.mark.parametrize("text", SNATCHES)
def test_nobody_is_hung_up_on_or_sent_away_by_a_word_that_is_no_clear_wish(text: str) -> None:
    assert not outcome(text)[1]
    assert not outcome(f"{text} {text}")[1]


def test_a_farewell_that_was_hardly_heard_is_asked_about() -> None:
    assert outcome("bye") == ("goodbye", True)
    assert outcome("bye", 0.2) == ("asked", False)
    assert outcome("that's all", 0.5) == ("asked", False), "to hang up takes more than to connect"
    assert outcome("connect me to sales", 0.5) == ("sales", True)


def test_agents_without_an_intent_for_it_hang_up_on_clear_farewells_alone() -> None:
    for confidence in (0.2, 0.9):
        _, *parts = rules(DESK).answer(TurnRequest("goodbye", confidence=confidence))
        assert any(isinstance(part, DialplanAction) for part in parts) == (confidence > 0.5)


def test_a_no_is_no_wish() -> None:
    for text in ("please do not connect me to sales", "I never asked for sales", "don't put me through to sales"):
        assert not any(isinstance(part, DialplanAction) for part in Call(rules(DESK)).turn(text)), text


def test_of_several_readings_the_one_is_meant_that_means_something() -> None:
    model = reception()
    prices = [("I have a question about your prizes", -0.6), ("I have a question about your prices", -1.0)]
    assert model.likeliest(prices, {}) == prices[1][0]
    assert model.likeliest([prices[0], (prices[1][0], -9.0)], {}) == prices[0][0], "it must be likely by its sound, too"
    asked = {"pending": {"intent": "account", "slot": "account"}}
    assert model.likeliest(prices, asked) == prices[0][0], "a value is what was heard"


def test_whole_wishes_need_not_go_on_and_unfinished_ones_do() -> None:
    model = reception()
    for text in ("could you tell me what time you close today", "where can I find your office", "hold on please"):
        assert model.complete(text, {}), text
    for text in ("could you tell me the", "I would like to", "where is your", "when do you open and", "blue giraffes"):
        assert not model.complete(text, {}), text


@pytest.mark.parametrize("held_out", [False, True])
def test_the_sample_reception_with_whole_lists_of_sentences(held_out: bool) -> None:
    requests, other = lists(held_out)
    verdicts = Counter(judged(wanted, text) for wanted, text in requests)
    assert verdicts["acted"] <= 0.01 * len(requests), verdicts
    assert verdicts["right"] >= 0.88 * len(requests), verdicts
    assert sum(outcome(text)[1] for text in other) <= 0.02 * len(other)


def test_without_vectors_or_a_language_the_phrases_are_understood_all_the_same() -> None:
    agent = {"name": "a", "language": "xx", "rules": {"intents": {"a": {"say": "opening hours", "answer": "Nine."}}}}
    model = Rules({}, agent)
    assert model.answer(TurnRequest("opening hours"))[1:] == [Say("Nine.")]
    assert model.answer(TurnRequest("when"))[1:] == [Say("Sorry, I did not understand. Please say that again.")]
    known = rules(DESK)
    slots = {name: slot.grammar for name, slot in known.rules.slots.items()}
    by_letters = Understanding(known.rules, Grammar(slots), known._talk, None)
    understood = by_letters.wish("when are you guys open")
    assert understood is not None
    assert [wish.intent for wish in understood.wishes] == ["hours"]
