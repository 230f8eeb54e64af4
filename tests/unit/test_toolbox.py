"""The functions of a language model: destinations are the administrator's, and such as the dialplan can take."""

from __future__ import annotations

from typing import Any

import pytest

from asterisk_ai.dialog.dialplan import ACTIONS, DialplanAction
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.tools.toolbox import BadToolCall, Toolbox


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({"queue": ["Sales Team"]}, "a.tools.queue.Sales Team: 'Sales Team' cannot be a queue's queue"),
        ({"transfer": {"boss": "200@the office"}}, "the dialplan takes no space in it"),
        ({"transfer": {"boss": "200@"}}, "expected a destination"),
        ({"transfer": {"boss": 200}}, "in which context\\? e.g. 200@from-internal"),
        ({"voicemail": {"boss": "@default"}}, "expected a destination"),
        ({"voicemail": {"boss": "+200"}}, "takes no '\\+' in it"),
    ],
)
def test_a_destination_that_the_dialplan_would_change_is_refused(tools: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Toolbox(tools, "a.tools")


def test_destinations() -> None:
    tools = Toolbox({"transfer": {"sales": "*200#@from-internal"}, "queue": ["sales"]}, "a.tools")
    assert [schema["function"]["name"] for schema in tools.schemas(ACTIONS)] == ["transfer", "queue"]


def test_a_call_without_a_dialplan_is_offered_nobody_and_handed_to_nobody() -> None:
    tools = Toolbox({"transfer": {"sales": "200@from-internal"}, "hangup": True, "digits": True}, "a.tools")
    assert [schema["function"]["name"] for schema in tools.schemas({"hangup"})] == ["hangup", "digits"]
    with pytest.raises(BadToolCall, match="nobody can be reached"):
        tools.carry_out("transfer", '{"to": "sales"}', {"hangup"})
    assert tools.carry_out("hangup", "{}", {"hangup"}) == DialplanAction("hangup")


def test_somebody_is_rung_by_the_name_of_a_transfer_alone() -> None:
    with pytest.raises(ConfigError, match="the agent has no transfers"):
        Toolbox({"connect": True}, "a.tools")
    tools = Toolbox({"connect": True}, "a.tools", ["sales", "support"])
    [schema] = tools.schemas(ACTIONS)
    assert schema["function"]["parameters"]["properties"]["to"]["enum"] == ["sales", "support"]
    found = tools.carry_out("connect", '{"to": "Sales", "about": "An order."}', ACTIONS)
    assert found == DialplanAction("connect", {"to": "sales", "about": "An order."})
    with pytest.raises(BadToolCall, match="one of sales, support"):
        tools.carry_out("connect", '{"to": "PJSIP/200"}', ACTIONS)
