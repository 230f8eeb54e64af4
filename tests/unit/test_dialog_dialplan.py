"""What the dialplan is told, and what it is spared."""

from __future__ import annotations

import pytest

from asterisk_ai.dialog.dialplan import ActionKind, DialplanAction
from asterisk_ai.errors import LocalProtocolError


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
def test_variables(kind: ActionKind, arguments: dict[str, str], variables: dict[str, str]) -> None:
    assert DialplanAction(kind, arguments).variables() == variables


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
def test_what_it_would_change_is_not_sent(kind: ActionKind, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(LocalProtocolError, match=message):
        DialplanAction(kind, arguments).variables()


def test_there_is_no_action_of_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="fly"):
        DialplanAction("fly")  # type: ignore[arg-type]
    assert DialplanAction("queue").kind is ActionKind.QUEUE  # type: ignore[arg-type]


def test_a_record_of_an_action_is_read_back() -> None:
    action = DialplanAction(ActionKind.TRANSFER, {"exten": "200", "context": "inside"})
    assert action.as_record() == {"kind": "transfer", "arguments": {"exten": "200", "context": "inside"}}
    assert DialplanAction.from_record(action.as_record()) == action
