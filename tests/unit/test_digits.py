"""Digits that are asked for: checked, begun again, given up, and secret where they are to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from asterisk_ai import config
from asterisk_ai.dialog.caller_input import Entry, Keys, input_due
from asterisk_ai.dialog.events import DigitDialled
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.secret import SecretDigits
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api import DialplanAction, Remember, Say, TurnRequest
from asterisk_ai.providers.engines.rules import Rules

RULES = """
agents:
  a:
    rules:
      slots:
        card: {digits: {min: 4, max: 16}, luhn: true, like: "[45].*", tries: 2, failed: human, ask: Card., again: No.}
        pin: {digits: 4, secret: true, result: true, pause_seconds: 7, ask: Pin., again: Again.}
      intents:
        pay: {say: [i want to pay], ask: [card], answer: "Paid with {card}."}
        pin: {say: [my pin], answer: "{pin:count} digits.", do: {transfer: "{pin}@check"}}
        human: {say: [a person please], answer: "One moment.", do: {queue: help}}
"""


class Call:
    def __init__(self) -> None:
        self.model = Rules({}, config.parse(RULES).agent().as_mapping())
        self.memory: Mapping[str, Any] = {}

    def turn(self, text: str, *, dialled: bool = False) -> list[object]:
        first, *parts = self.model.answer(TurnRequest(text, dialled=dialled, memory=self.memory))
        assert isinstance(first, Remember)
        self.memory = first.memory
        return [part.text if isinstance(part, Say) else part for part in parts]

    def dial(self, keys: str) -> list[object]:
        return self.turn(keys, dialled=True)


def test_digits_are_checked_and_given_up_after_so_many_tries() -> None:
    call = Call()
    assert call.turn("i want to pay") == ["Card."]
    assert call.dial("4111111111111112") == ["No."], "the check digit is wrong"
    assert call.dial("4111111111111111") == ["Paid with 4 1 1, 1 1 1, 1 1 1, 1 1 1, 1 1 1 1."]
    call.turn("i want to pay")
    assert call.turn("6 1 1 1") == ["No."], "spoken ones are, too"
    assert call.dial("") == ["One moment.", DialplanAction("queue", {"queue": "help"})]


def test_what_is_secret_is_for_who_asked_alone() -> None:
    call = Call()
    assert call.turn("my pin") == ["Pin."]
    assert call.model.entry(call.memory) == Entry(4, True, 7.0, True)
    said, action = call.dial("4712")
    assert said == "4 digits."
    assert action == DialplanAction("transfer", {"exten": "4712", "context": "check"})
    assert isinstance(action, DialplanAction)
    assert action.secret
    assert "4712" not in repr(action) + repr(call.memory)
    assert isinstance(call.memory["slots"]["pin"], SecretDigits)
    assert call.memory["slots"]["pin"].result
    call = Call()
    call.turn("my pin")
    assert [call.dial("1")[0], call.dial("2")[0]] == ["Again.", "Again."]
    assert call.dial("3") == [DialplanAction("hangup")], "three tries, and no handoff"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{pin:count} digits.", "It is {pin}.", r"secret: only how many digits it has can be said, \{pin:count\}"),
        ("ask: Pin.,", "ask: Pin., confirm: Right,", "it is neither said nor repeated"),
        ("failed: human", "failed: pay", "there is no intent 'pay' that does without it"),
        ('"[45].*"', '"[45"', "is no regular expression"),
        ("digits: 4,", "values: {a: a},", "is for digits only"),
        ("tries: 2", "tries: 0", "tries"),
    ],
)
def test_what_cannot_be_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rules({}, config.parse(RULES.replace(old, new)).agent().as_mapping())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("do: {queue: help}", "then: nobody", "there is no intent 'nobody'"),
        ("do: {queue: help}", "then: human", "it comes back to itself"),
        ("do: {queue: help}", "do: {queue: help}, then: pay", "there is a 'do' already"),
        ("luhn: true", "words: true", "exactly one of"),
        ("digits: 4, secret: true, result: true, pause_seconds: 7,", "words: true,", "told, as it is, and not dialled"),
    ],
)
def test_what_is_gone_on_with_and_said_freely(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rules({}, config.parse(RULES.replace(old, new)).agent().as_mapping())


def test_the_star_begins_anew_and_a_pause_may_be_longer() -> None:
    params, keys = TurnParams(), Keys()
    for at, digit in enumerate("12*3"):
        pressed = keys.pressed(DigitDialled(digit, 4, True, 9.0), float(at), params)
        assert pressed is not None
        keys = pressed
    assert keys.digits == "3"
    assert input_due(keys, 0.0, params) == 3 + 9
    plain = Keys("1", 0.0).pressed(DigitDialled("*"), 1.0, params)
    assert plain is not None
    assert plain.digits == "1*", "elsewhere it is a key like others"
