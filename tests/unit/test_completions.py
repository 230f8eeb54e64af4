"""Streams of chat completions as servers send them, in every split; made anew after their documents and issues."""

from __future__ import annotations

import json
from typing import Any

import pytest
from completion_streams import STREAMS, chunk
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import ProviderUnavailable, RemoteProtocolError
from asterisk_ai.providers.net.context import alternating
from asterisk_ai.providers.net.sse import MAX_EVENT, EventReader
from asterisk_ai.providers.vendors.openai.client import ChatSettings
from asterisk_ai.providers.vendors.openai.completion import Completion


def read(pieces: list[bytes]) -> tuple[str, list[tuple[str, Any]], bool]:
    reader, completion = EventReader(), Completion("x")
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.end()
    text = "".join([completion.feed(event) for event in events])
    ids = [one.id for one in completion.calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    return text, [(one.name, json.loads(one.arguments or "{}")) for one in completion.calls], completion.ended


@pytest.mark.parametrize("server", STREAMS)
def test_every_server_in_every_split(server: str) -> None:
    data, text, calls = STREAMS[server]
    for at in range(len(data) + 1):
        assert read([data[:at], data[at:]]) == (text, calls, True), at
    assert read([data[at : at + 1] for at in range(len(data))]) == (text, calls, True)


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_events_or_none(pieces: list[bytes]) -> None:
    reader = EventReader()
    split = [event for piece in pieces for event in reader.feed(piece)] + reader.end()
    whole = EventReader()
    assert split == whole.feed(b"".join(pieces)) + whole.end()


def test_an_event_has_a_bound() -> None:
    reader, line = EventReader(), b"data: " + b"x" * 1000 + b"\n"
    for _ in range(MAX_EVENT // 1100):
        reader.feed(line)
    with pytest.raises(RemoteProtocolError):
        reader.feed(line * 200)


@pytest.mark.parametrize("data", ["{", "[]", "7", '{"error": {"message": "overloaded"}}', chunk(reason="error")])
def test_what_is_no_chunk_is_a_failure(data: str) -> None:
    with pytest.raises(ProviderUnavailable):
        Completion("x").feed(data)


def test_the_user_is_first_and_roles_take_turns() -> None:
    turns = [("assistant", "Hello."), ("user", "hi"), ("user", "hours"), ("assistant", "Nine."), ("assistant", "Five.")]
    assert alternating([*turns, ("user", "thanks")]) == [
        ("user", "(The caller is on the line.)"),
        ("assistant", "Hello."),
        ("user", "hi\nhours"),
        ("assistant", "Nine.\nFive."),
        ("user", "thanks"),
    ]


def test_parameters_are_sent_where_they_are_set_under_the_name_that_the_model_takes() -> None:
    assert ChatSettings("llama3.2").parameters() == {"model": "llama3.2", "stream": True}
    some = ChatSettings("gpt-4o", 0.3, 300).parameters()
    assert some == {"model": "gpt-4o", "temperature": 0.3, "max_tokens": 300, "stream": True}
    for model in ("gpt-5-mini", "o4-mini", "openai/gpt-5", "o1"):
        found = ChatSettings(model, None, 300).parameters()
        assert found == {"model": model, "max_completion_tokens": 300, "stream": True}
