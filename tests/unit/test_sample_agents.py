"""The sample agents do what their files say."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_providers_rules import Call

from asterisk_ai import config
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.providers.engines.rules import Rules

FILES = sorted((config.share_path("etc-asterisk") / "agents").glob("*.yaml"))


def caller(name: str) -> Call:
    file = config.share_path("etc-asterisk") / "agents" / f"{name}.yaml"
    return Call(Rules({}, config.load(str(file)).agent(name).as_mapping()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_is_a_whole_configuration(file: Path) -> None:
    read = config.load(str(file))
    assert set(read.agents) == {file.stem}
    assert read.default_agent == file.stem


def test_questions_are_answered() -> None:
    call = caller("faq")
    assert call.say("where can I park my car").startswith("You can park behind the building")
    assert call.say("can I pay with a credit card").startswith("We accept cash")
    other = "I am sorry, I cannot help you with that. I can help you with parking, payment, delivery and a person."
    assert call.say("tell me about the moon landing") == other
    assert call.say("are you open on Sunday").endswith(" we are closed.")


def test_a_message_is_taken() -> None:
    call = caller("message")
    assert call.say("I'd like to leave a message for support") == "May I have your name, please?"
    assert call.say("This is Ann Goodbye") == "And what is it about?", "whatever is said is the name"
    asked = call.say("My printer does not work, one two three.")
    assert asked.startswith("Which number can we call you back on?"), "nothing is read back of a withheld number"
    assert call.say("oh double four one two three four five") == "I heard 0 4 4, 1 2 3, 4 5. Is that right?"
    assert call.action("yes that is right") == DialplanAction("voicemail", {"mailbox": "300", "context": "default"})
    slots = call.memory["slots"]
    assert (slots["name"], slots["matter"]) == ("This is Ann Goodbye", "My printer does not work, one two three.")


def test_the_number_that_calls_is_read_back() -> None:
    call = caller("message")
    call.caller = {"number": "5551234"}
    call.say("a message for sales")
    call.say("Ann")
    assert call.model.hints(call.memory).free, "anything may be said now"
    assert call.say("an order") == "Can we call you back on 5 5 5, 1 2 3 4?"
    assert not call.model.hints(call.memory).free
    assert call.say("no").startswith("Which number can we call you back on?")
    assert call.action("12345#", dialled=True) == DialplanAction("voicemail", {"mailbox": "200", "context": "default"})
    call = caller("message")
    call.caller = {"number": "5551234"}
    for said in ("a message for sales", "Ann", "an order"):
        call.say(said)
    assert call.action("yes") == DialplanAction("voicemail", {"mailbox": "200", "context": "default"})


@pytest.mark.parametrize(
    "said", ["no, 4712, not 4217", "no it's four seven one two", "4712", "that is wrong, forty-seven twelve"]
)
def test_a_number_is_corrected_in_one_sentence(said: str) -> None:
    call = caller("pin")
    assert call.say("my pin is four two one seven") == "I heard 4 2 1 7. Is that right?"
    assert call.say(said) == "I heard 4 7 1 2. Is that right?"
    assert call.say("no, 4712 instead of 4217") == "I heard 4 7 1 2. Is that right?", "asked again, not forgotten"
    assert call.action("yes, 4712") == DialplanAction("transfer", {"exten": "4712", "context": "pin"})


def test_one_of_several_values_is_corrected_in_one_sentence() -> None:
    call = caller("appointment")
    call.say("I would like an appointment on Tuesday")
    call.say("in the morning")
    assert call.say("no, in the afternoon") == "You would like to come on tuesday in the afternoon. Is that right?"
    assert call.say("Thursday, not Tuesday") == "You would like to come on thursday in the afternoon. Is that right?"


def test_a_pin_is_passed_on() -> None:
    call = caller("pin")
    assert call.say("my pin is four seven one two") == "I heard 4 7 1 2. Is that right?"
    assert call.action("correct") == DialplanAction("transfer", {"exten": "4712", "context": "pin"})
    assert caller("pin").say("hello") == "Hello! How can I help you?"


def test_an_appointment_is_asked_for() -> None:
    call = caller("appointment")
    assert call.say("hi I need to see the doctor on tuesday, an appointment please").startswith(("On which", "In the"))
    call = caller("appointment")
    assert call.say("I would like an appointment on Tuesday") == "In the morning or in the afternoon?"
    said = call.say("after lunch would be best")
    assert said == "You would like to come on tuesday in the afternoon. Is that right?"
    assert call.action("yes") == DialplanAction("voicemail", {"mailbox": "100", "context": "default"})
