"""ARI's events, and the requests that a call's audio needs."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import RemoteProtocolError
from asterisk_ai.protocol import ari
from asterisk_ai.protocol.ari import Digit, Entered, Event, Gone, Left, Other, Replaced, parse

CHANNEL = {"id": "1700000000.5", "name": "PJSIP/200-00000003", "state": "Up", "caller": {"name": "", "number": "200"}}


def event(kind: str, **more: Any) -> str:
    return json.dumps({"type": kind, "application": "asterisk-ai", "timestamp": "2026-05-01T10:00:00.000+0000", **more})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (event("StasisStart", args=["id"], channel=CHANNEL), Entered(CHANNEL["id"], CHANNEL["name"], ("id",))),  # type: ignore[arg-type]
        (event("StasisEnd", channel=CHANNEL), Left("1700000000.5")),
        (event("ChannelDestroyed", channel=CHANNEL, cause=16), Gone("1700000000.5")),
        (event("ChannelHangupRequest", channel=CHANNEL), Gone("1700000000.5")),
        (event("ChannelDtmfReceived", channel=CHANNEL, digit="d", duration_ms=100), Digit("1700000000.5", "D")),
        (event("ApplicationReplaced"), Replaced()),
        (event("ChannelVarset", variable="A", value="1"), Other("ChannelVarset")),
    ],
)
def test_events(text: str, read: Event) -> None:
    assert parse(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        event("StasisStart"),
        event("StasisEnd", channel={"id": ""}),
        event("ChannelDtmfReceived", channel=CHANNEL, digit="12"),
        event("ChannelDtmfReceived", channel=CHANNEL),
    ],
)
def test_what_is_no_event_is_asterisks_fault(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(text)


@given(st.text(max_size=50))
def test_any_text_is_an_event_or_an_error(text: str) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse(text)


def test_names_cannot_leave_their_place_in_the_path() -> None:
    assert ari.leave("../x?y#z").path == "/channels/..%2Fx%3Fy%23z/continue"


def test_where_the_media_comes_from() -> None:
    variables = {"UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1", "UNICASTRTP_LOCAL_PORT": "18000"}
    assert ari.rtp_source({"channelvars": variables}) == ("127.0.0.1", 18000)
    for told in (None, {}, {"channelvars": {}}, {"channelvars": {**variables, "UNICASTRTP_LOCAL_PORT": "0"}}):
        assert ari.rtp_source(told) is None
