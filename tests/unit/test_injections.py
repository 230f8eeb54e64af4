"""Nothing that a caller chooses becomes dialplan, an AGI command, an instruction, or an act of the model's tools."""

from __future__ import annotations

import json
import logging
import re
import uuid
from pathlib import Path

import pytest
from injections import injections

from asterisk_ai.cli.calls import summary, turn_line
from asterisk_ai.config import load
from asterisk_ai.dialog.caller import instructions, name_as_data, spoken
from asterisk_ai.dialog.dialplan import ACTIONS, ActionKind, DialplanAction
from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError
from asterisk_ai.pbx.caller import caller_of
from asterisk_ai.protocol import audiosocket
from asterisk_ai.protocol.agi.commands import set_variable_line, split_command
from asterisk_ai.providers.api import TurnRequest
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.tools.toolbox import BadToolCall, Toolbox
from asterisk_ai.session.model import CallSession, TurnRecord, new_call_id
from asterisk_ai.telemetry.logs import JsonFormatter, TextFormatter

TEXTS = injections()
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
OURS = {"200", "300", "100", "from-internal", "default", "reception"}
"""All destinations of the sample agent."""
SAMPLE = Path(__file__).parents[2] / "etc-asterisk" / "asterisk_ai.yaml"


def test_there_are_enough_of_them() -> None:
    assert len(set(TEXTS)) >= 200


def test_a_variable_for_the_dialplan_is_one_command_with_that_very_value() -> None:
    for text in TEXTS:
        try:
            line = set_variable_line("AI_VALUE", text)
        except LocalProtocolError:
            continue
        assert line.count(b"\n") == 1
        assert split_command(line.decode()[:-1]) == ["SET", "VARIABLE", "AI_VALUE", text]


def test_an_action_has_only_what_the_dialplan_keeps() -> None:
    for kind in (ActionKind.TRANSFER, ActionKind.QUEUE, ActionKind.VOICEMAIL, ActionKind.PLAY, ActionKind.CONNECT):
        for text in TEXTS:
            try:
                found = DialplanAction(kind, dict.fromkeys(ACTIONS[kind], text)).variables()
            except LocalProtocolError:
                continue
            assert all(re.fullmatch(r"[A-Za-z0-9_.*#+/@\-]*", value) for value in found.values()), (kind, text)


def test_a_model_is_told_the_name_as_data_and_of_the_number_its_digits() -> None:
    for text in TEXTS:
        caller = caller_of({"agi_callerid": text, "agi_calleridname": text, "agi_dnid": text})
        prompt = instructions("You are {caller.name}'s helper.", caller, ["transfer"])
        rest = prompt.replace("You are the caller, whose name the first message tells,'s helper.", "")
        rest = rest.replace("You are the caller's helper.", "").replace("The caller: number", "")
        assert re.fullmatch(r"[0-9*#+.\s]*", rest), prompt
        data = name_as_data(caller)
        if data:
            assert data.count("\n") == 0
            assert len(json.loads(data[data.index(': "') + 2 : -1])) <= 60


def test_what_is_said_of_a_caller_plays_no_sound() -> None:
    for text in TEXTS:
        assert "sound:" not in spoken("Hello {caller.name}.", caller_of({"agi_calleridname": text})).lower()


def test_tools_take_no_names_but_the_administrator_s() -> None:
    tools = Toolbox({"transfer": {"desk": "200@from-internal"}, "queue": ["line"], "hangup": True}, "a.tools")
    for text in TEXTS:
        for name in ("transfer", "queue", "voicemail"):
            with pytest.raises(BadToolCall):
                tools.carry_out(name, json.dumps({"to": text}), ACTIONS)
        if text != "hangup":
            with pytest.raises(BadToolCall):
                tools.carry_out(text, "{}", ACTIONS)


def test_rules_lead_to_the_administrator_s_destinations_alone() -> None:
    agent = load(str(SAMPLE)).agents["reception"]
    model = Rules({}, agent.as_mapping())
    for text in TEXTS:
        caller = caller_of({"agi_callerid": text, "agi_calleridname": text})
        parts = model.answer(TurnRequest(text, caller=caller))
        for part in parts:
            if isinstance(part, DialplanAction):  # "queue:sales" are words that ask for the sales department
                assert set(part.arguments.values()) <= OURS, (text, part)


def test_a_log_line_is_one_line_and_drives_no_terminal() -> None:
    for text in TEXTS:
        record = logging.LogRecord("asterisk_ai.x", logging.INFO, __file__, 1, "channel %s", (text,), None)
        record.call_id, record.transcript = "1", text
        for formatter in (TextFormatter(), JsonFormatter()):
            line = formatter.format(record)
            assert not CONTROL.search(line), (formatter, text)
        assert json.loads(JsonFormatter().format(record))["transcript"] == text


def test_a_record_keeps_it_as_it_is_and_shows_it_as_text() -> None:
    for text in TEXTS:
        session = CallSession(new_call_id(), "a", caller={"number": text, "name": text})
        session.history.append(TurnRecord("caller", text, 1.0))
        again = CallSession.from_json(session.to_json())
        assert (again.caller["name"], again.history[0].text) == (text, text)
        assert summary(session).isprintable()
        assert turn_line(session.history[0]).isprintable()


def test_a_key_is_one_that_a_telephone_has() -> None:
    for byte in range(256):
        reader = audiosocket.Reader()
        data = audiosocket.uuid_message(uuid.uuid4()) + bytes((3, 0, 1, byte))
        try:
            keys = [event.digit for event in reader.receive(data) if isinstance(event, audiosocket.Digit)]
        except RemoteProtocolError:
            keys = []
        assert keys in ([], [chr(byte).upper()])
        assert not keys or keys[0] in "0123456789*#ABCD"
