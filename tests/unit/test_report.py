"""What others are told of a call: its summary from the record, and the e-mail."""

from __future__ import annotations

import email
import json
import time
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.config import MailConfig, MessageConfig, parse
from asterisk_ai.config.schema.mail import EndedAs
from asterisk_ai.dialog.dialplan import ActionKind, DialplanAction
from asterisk_ai.errors import ConfigError
from asterisk_ai.server.after.mail import message_of
from asterisk_ai.session.backends.deliveries import delivery
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord, new_call_id
from asterisk_ai.session.report import event, report, summary


def call(**fields: Any) -> CallSession:
    made = CallSession(new_call_id(), "desk", ended_at=time.time(), outcome=Outcome.HANGUP)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def said(*texts: str, understood: bool = True) -> list[TurnRecord]:
    return [TurnRecord("caller", text, 1.0, understood=understood) for text in texts]


def test_a_summary_by_intents_and_slots() -> None:
    transfer = DialplanAction(ActionKind.TRANSFER, {"exten": "200", "context": "default"})
    one = call(
        memory={"done": ["order_status", "order_status", "human"], "slots": {"order_number": "4711"}},
        history=said("where is my order", "four seven one one") + said("", understood=False),
        outcome=Outcome.TRANSFER,
        pending=transfer,
    )
    assert summary(one) == (
        "Dealt with: order status, human. Told: order number 4711. 1 of 3 turns of the caller were not understood. "
        "Transferred (200@default)."
    )
    assert report(one)["intents"] == ["order_status", "order_status", "human"]


def test_a_summary_where_no_intent_was_carried_out() -> None:
    assert summary(call(history=said("are you open"))) == 'Asked: "are you open". The caller hung up.'
    assert summary(call()) == "The caller said nothing. The caller hung up."
    assert report(call(summary="They want a call back."))["summary"] == "They want a call back."


def test_a_message_may_name_every_outcome_that_a_call_can_have() -> None:
    assert set(get_args(EndedAs)) == set(Outcome) - {Outcome.NONE, Outcome.OTHER, Outcome.REFUSED}


MAIL = MailConfig(sender="Desk <pbx@example.com>")


def mailed(message: MessageConfig, one: CallSession) -> EmailMessage:
    made = message_of(MAIL, message, delivery(one, "mail/sales", "call.ended"), one)
    return cast(EmailMessage, email.message_from_bytes(bytes(made), policy=default))


def test_an_e_mail_about_a_call() -> None:
    one = call(caller={"number": "5550100", "name": "Anna Müller"}, history=said("are you open"))
    mail = mailed(MessageConfig(to=("sales@example.com", "Boss <b@example.com>")), one)  # type: ignore[arg-type]
    assert mail["Subject"] == "Call from 5550100 Anna Müller: hangup"
    assert [address.addr_spec for address in mail["To"].addresses] == ["sales@example.com", "b@example.com"]
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert text.startswith('Asked: "are you open". The caller hung up.')
    assert "caller: are you open" in text
    again = mailed(MessageConfig(to=("sales@example.com",)), one)  # type: ignore[arg-type]
    assert again["Message-ID"] == mail["Message-ID"], "a repeat is known by it"


HOSTILE = [
    "A\r\nBcc: evil@example.com",
    "A\nBcc: e@example.com\n\nbody",
    "\x1b[31mA\u2028Bcc: x@y",
    "{transcript}",
    "=?utf-8?q?A=0ABcc:_x?=",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_callers_are_called_makes_no_header(name: str) -> None:
    one = call(caller={"number": name, "name": name}, history=said(f"{name}\r\n.\r\nMAIL FROM:<x@y>", "\ud83d"))
    mail = mailed(MessageConfig(to=("sales@example.com",)), one)  # type: ignore[arg-type]
    assert mail["Bcc"] is None
    assert [address.addr_spec for address in mail["To"].addresses] == ["sales@example.com"]
    assert len(mail["Subject"].splitlines()) == 1
    if name == "{transcript}":
        assert "{transcript}" in mail["Subject"], "it is filled in once"


AGENTS = "agents: {desk: {}}\ndefault_agent: desk\n"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("messages: {a: {to: b@example.com}}", "mail.sender: name the address"),
        ("sender: pbx@example.com, messages: {a: {}}", "mail.messages.a.to: name who is to get it"),
        ("sender: pbx@example.com, messages: {a: {to: nobody}}", "'nobody' is no e-mail address"),
        ("sender: 'pbx@example.com, x@y', messages: {a: {to: a@b}}", "is no e-mail address"),
        ("sender: p@e.com, messages: {a: {to: a@b, text: '{cal}'}}", "mail.messages.a.text: nothing is known of {cal}"),
        ("sender: p@e.com, messages: {a: {to: a@b, outcomes: [gone]}}", "must be one of hangup"),
        ("sender: p@e.com, messages: {a: {to: a@b, agents: dsk}}", "did you mean 'desk'"),
        ("sender: p@e.com, user: u, password: p, messages: {a: {to: a@b}}", "a password is not sent without"),
    ],
)  # fmt: skip
def test_mail_that_cannot_be_sent_is_told_of_at_once(keys: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"{AGENTS}mail: {{{keys}}}")
    assert told in str(error.value)


def test_rules_write_no_summary() -> None:
    with pytest.raises(ConfigError, match="rules write no summaries"):
        parse("agents: {desk: {summary_by: rules}}\n")


ANY_TEXT = st.text(st.characters(), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.builds(
    TurnRecord, st.sampled_from(["caller", "agent", "?"]), ANY_TEXT, st.floats(0, 4e9), st.booleans(), st.booleans()
)


@given(
    caller=st.dictionaries(st.sampled_from(["number", "name", "dialled", "known.x"]), ANY_TEXT),
    history=st.lists(RECORDS, max_size=4),
    memory=st.dictionaries(st.sampled_from(["slots", "done", "other"]), JSON),
    troubles=st.lists(st.dictionaries(st.sampled_from(["text", "at"]), JSON, max_size=2), max_size=2),
    summary=ANY_TEXT,
)
def test_whatever_is_in_a_record_can_be_told(**fields: Any) -> None:
    """One that could not would hold up the others."""
    one = CallSession.from_json(call(**fields).to_json())
    assert json.loads(json.dumps(event("call.ended", one)))["data"]["id"] == one.call_id
    made = mailed(MessageConfig(to=("sales@example.com",)), one)  # type: ignore[arg-type]
    assert made["Bcc"] is None
    assert made.get_content().rstrip().endswith(f"Call {one.call_id}")
