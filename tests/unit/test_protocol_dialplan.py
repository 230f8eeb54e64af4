"""What the dialplan is told, and what it is spared."""

from __future__ import annotations

import pytest

from asterisk_ai.errors import LocalProtocolError
from asterisk_ai.protocol.dialplan import channel_variables


@pytest.mark.parametrize(
    ("kind", "arguments", "variables"),
    [
        ("talk", {}, {}),
        ("hangup", {}, {}),
        ("queue", {"queue": "sales"}, {"AI_QUEUE": "sales"}),
        ("voicemail", {"mailbox": "100"}, {"AI_MAILBOX": "100"}),
        ("voicemail", {"mailbox": "100", "context": "default"}, {"AI_MAILBOX": "100@default"}),
        (
            "transfer",
            {"exten": "200", "context": "inside"},
            {"AI_EXTEN": "200", "AI_CONTEXT": "inside", "AI_PRIORITY": ""},
        ),
    ],
)
def test_variables(kind: str, arguments: dict[str, str], variables: dict[str, str]) -> None:
    assert channel_variables(kind, arguments) == variables


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("queue", {}, "there is no queue"),
        ("queue", {"queue": "Sales Team"}, "takes no space"),
        ("transfer", {"exten": "", "context": "inside"}, "there is no exten"),
        ("transfer", {"exten": "200;x", "context": "inside"}, "takes no ';'"),
        ("play", {"file": "a&b"}, "takes no '&'"),
    ],
)
def test_what_it_would_change_is_not_sent(kind: str, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        channel_variables(kind, arguments)
