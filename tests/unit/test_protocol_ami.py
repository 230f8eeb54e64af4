"""Calling out over AMI: nothing that somebody wrote becomes a header, a variable or dialplan; what events mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import LocalProtocolError
from asterisk_ai.protocol import ami
from asterisk_ai.protocol.ami import Callee, Outcome, Progress, Stage, advanced

CALLEE = Callee("c0ffee", "+15551234", "reminder", "PJSIP/{number}@trunk")


def test_a_number_is_taken_as_people_write_it() -> None:
    assert ami.number_of(" +1 (555) 123-45/67 ") == "+15551234567"
    assert ami.number_of("*97#") == "*97#"


@pytest.mark.parametrize(
    "text",
    ["", "Ann", "555\r\nAction: Command", "555,9", "555&PJSIP/900", "5${SHELL(id)}", "1@other", "5+5", "1" * 41],
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        ami.number_of(text)


@given(st.text(max_size=300))
def test_no_value_is_ever_more_than_a_value(text: str) -> None:
    action = ami.originate(Callee("c0ffee", "5551234", text, "Local/{number}@x", {"NAME": text}))
    for value in action["Variable"]:
        assert not re.search(r'[\r\n\0,$\[\]{}()"\\;&|]', value)
    assert action["Channel"] == "Local/c0ffee@asterisk-ai-out/n"
    assert (action["Context"], action["Exten"], action["Priority"]) == ("asterisk-ai", "s", "1")
    assert "Application" not in action


@given(st.text(max_size=50), st.text(max_size=50))
def test_a_line_break_is_never_sent(name: str, value: str) -> None:
    try:
        action = ami.checked({name: value, "Variable": [value]})
    except LocalProtocolError:
        assert re.search(r"[\r\n\0]", name + value)
    else:
        assert not re.search(r"[\r\n\0]", "".join(action) + value)


@pytest.mark.parametrize("name", ["AI FALLBACK", "A,B", "__X=1", "", "DB(a/b)"])
def test_a_variable_has_a_name(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        ami.originate(Callee("c0ffee", "5551234", "x", "Local/{number}@x", {name: "1"}))


RING = {"Event": "DialState", "Uniqueid": "c0ffee-r", "DialStatus": "RINGING"}
TAKEN = {"Event": "OriginateResponse", "ActionID": "c0ffee", "Response": "Success"}
OURS = {"Event": "VarSet", "Uniqueid": "c0ffee", "Variable": "AI_STATUS", "Value": "OK"}
GONE = {"Event": "Hangup", "Uniqueid": "c0ffee"}


def told(variable: str, value: str) -> dict[str, str]:
    return {"Event": "VarSet", "Uniqueid": "c0ffee", "Variable": variable, "Value": value}


def after(*events: dict[str, str]) -> Progress:
    now = Progress()
    for event in events:
        assert ami.of_call(event) == "c0ffee"
        now = advanced(now, event)
    return now


def test_a_call_that_is_answered() -> None:
    assert after(RING).stage is Stage.RINGING
    assert after(RING, TAKEN).stage is Stage.ANSWERED
    assert after(RING, TAKEN, OURS) == after(RING, OURS, TAKEN)
    end = after(RING, TAKEN, told("AI_CALL_ID", "1f"), OURS, told("AI_RESULT", "outcome=hangup"), GONE)
    assert end == Progress(Stage.ENDED, Outcome.ANSWERED, "1f", "outcome=hangup")


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        ("BUSY", "0", Outcome.BUSY),
        ("NOANSWER", "0", Outcome.NO_ANSWER),
        ("CHANUNAVAIL", "8", Outcome.FAILED),
        ("", "5", Outcome.BUSY),
        ("", "3", Outcome.NO_ANSWER),
        ("", "0", Outcome.FAILED),
    ],
)
def test_a_call_that_is_not_answered(status: str, reason: str, outcome: Outcome) -> None:
    refused = {"Event": "OriginateResponse", "ActionID": "c0ffee", "Response": "Failure", "Reason": reason}
    told_by_dialplan = {**told("AI_OUT_STATUS", status), "Uniqueid": "c0ffee-r"}
    gone = {**GONE, "Uniqueid": "c0ffee-r"}
    for order in ([told_by_dialplan, refused, gone], [refused, told_by_dialplan, gone]):
        end = after(*order)
        assert (end.stage, end.outcome) == (Stage.ENDED, outcome)
    assert ami.given_up(after(gone, refused)).stage is Stage.ENDED


def test_nobody_was_there_for_them() -> None:
    assert after(TAKEN, told("AI_STATUS", "FULL"), GONE).outcome is Outcome.REFUSED
    assert after(TAKEN, OURS, told("AI_RESULT", "outcome=fallback"), GONE).outcome is Outcome.REFUSED


def test_nothing_follows_the_end() -> None:
    end = after(TAKEN, OURS, GONE)
    assert advanced(end, TAKEN) is end
