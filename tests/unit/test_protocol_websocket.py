"""chan_websocket's control messages, in both of their forms."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol import websocket as protocol
from asterisk_ai.protocol.websocket import (
    CommandRefused,
    Digit,
    MarkProcessed,
    MediaStart,
    QueueDrained,
    QueueFull,
    QueueReady,
    Status,
    Unknown,
    parse,
)

START = MediaStart("agent", "WebSocket/agent/0x7f", "slin16", 640, 20)
FORMS = [
    (
        "MEDIA_START connection_id:agent channel:WebSocket/agent/0x7f channel_id:17.4 format:slin16 "
        "optimal_frame_size:640 ptime:20",
        START,
    ),
    (
        '{"event":"MEDIA_START","connection_id":"agent","channel":"WebSocket/agent/0x7f","channel_id":"17.4",'
        '"format":"slin16","optimal_frame_size":640,"ptime":20,"channel_variables":{"A":"1"}}',
        START,
    ),
    ("DTMF_END digit:# channel_id:17.4", Digit("#")),
    ('{"event":"DTMF_END","channel_id":"17.4","digit":"a"}', Digit("A")),
    ("MEDIA_XOFF", QueueFull()),
    ('{"event":"MEDIA_XON","channel_id":"17.4"}', QueueReady()),
    ("QUEUE_DRAINED", QueueDrained()),
    ("MEDIA_MARK_PROCESSED m7", MarkProcessed("m7")),
    ('{"event":"MEDIA_MARK_PROCESSED","channel_id":"17.4","correlation_id":"m7"}', MarkProcessed("m7")),
    (
        "STATUS channel_id:17.4 queue_length:43 xon_level:800 xoff_level:900 queue_full:false bulk_media:true "
        "media_paused:false",
        Status(43),
    ),
    ('{"event":"STATUS","channel_id":"17.4","queue_length":43,"queue_full":false}', Status(43)),
    (
        '{"event":"ERROR","channel_id":"17.4","error_text":"MARK_MEDIA not supported in passthrough mode"}',
        CommandRefused("MARK_MEDIA not supported in passthrough mode"),
    ),
    ("ERROR channel_id:17.4 error_text:Unable to parse", CommandRefused("Unable to parse")),
]


@pytest.mark.parametrize(("text", "event"), FORMS, ids=[text[:40] for text, _ in FORMS])
def test_events_in_both_forms(text: str, event: protocol.Event) -> None:
    assert parse(text) == event


def test_events_of_later_releases_are_no_error() -> None:
    event = parse("SOMETHING_NEW a:1")
    assert isinstance(event, Unknown)
    assert (event.name, event.values["a"]) == ("SOMETHING_NEW", "1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "{}",
        '{"event": []}',
        "MEDIA_START",
        "MEDIA_START connection_id:a format:slin optimal_frame_size:x ptime:20",
        "MEDIA_START connection_id:a format:slin optimal_frame_size:-1 ptime:20",
        "DTMF_END",
        "DTMF_END digit:12",
        "STATUS queue_length:many",
        '{"a":' * 50_000,
    ],
)
def test_what_is_no_event_is_asterisks_fault(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_is_an_event_or_an_error(text: str) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse(text)


def test_marks() -> None:
    assert protocol.mark("m7", json_form=False) == "MARK_MEDIA m7"
    in_json = {"command": "MARK_MEDIA", "correlation_id": "m7"}
    assert json.loads(protocol.mark("m7", json_form=True)) == in_json
    assert protocol.command(protocol.HANGUP, json_form=False) == "HANGUP"
    assert json.loads(protocol.command(protocol.HANGUP, json_form=True)) == {"command": "HANGUP"}
    for name in ("", "two words", "line\nbreak", "x" * 120, "ä"):
        with pytest.raises(LocalProtocolError):
            protocol.mark(name, json_form=False)
