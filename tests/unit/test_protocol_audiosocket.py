"""AudioSocket's codec: every kind, every fault, any bytes and any split of them."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol import audiosocket as protocol
from asterisk_ai.protocol.audiosocket import Audio, BadAudio, CallId, Digit, Event, Hangup, PeerError, Reader, Unknown

CALL = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
HELLO = protocol.uuid_message(CALL)


def message(kind: int, payload: bytes = b"") -> bytes:
    return bytes((kind, len(payload) >> 8, len(payload) & 255)) + payload


def read(stream: bytes, cuts: list[int] | None = None) -> tuple[list[Event], str]:
    """All events of a stream fed in pieces, and the fault it ended with."""
    reader, events, start = Reader(), [], 0
    try:
        for end in [*sorted(cut % (len(stream) + 1) for cut in cuts or ()), len(stream)]:
            events += reader.receive(stream[start:end])
            start = end
        reader.receive(b"")
    except RemoteProtocolError as error:
        return events, str(error)
    return events, ""


def greeted() -> Reader:
    reader = Reader()
    assert reader.receive(HELLO) == [CallId(CALL)]
    return reader


# ---- what Asterisk sends ------------------------------------------------------------------


def test_the_uuid_comes_first() -> None:
    assert b"\x01\x00\x10" + CALL.bytes == HELLO
    assert read(HELLO) == ([CallId(CALL)], "")


@pytest.mark.parametrize(("rate", "kind"), protocol.KIND_BY_RATE.items())
def test_audio_of_every_rate(rate: int, kind: int) -> None:
    pcm = bytes(range(200)) * 2
    assert greeted().receive(message(kind, pcm)) == [Audio(rate, pcm)]


def test_the_kinds_are_asterisks() -> None:
    assert protocol.KIND_BY_RATE[8000] == 0x10
    assert protocol.KIND_BY_RATE[192000] == 0x18
    assert len(protocol.RATE_BY_KIND) == 9


@pytest.mark.parametrize("length", [2, 320, 640, 65534])
def test_audio_of_every_length(length: int) -> None:
    assert greeted().receive(message(0x10, bytes(length))) == [Audio(8000, bytes(length))]


@pytest.mark.parametrize("digit", "0123456789ABCD*#")
def test_digits(digit: str) -> None:
    reader = greeted()
    assert reader.receive(protocol.dtmf_message(digit)) == [Digit(digit)]
    assert reader.receive(protocol.dtmf_message(digit.lower())) == [Digit(digit)]


def test_hangup_error_and_what_nobody_knows_yet() -> None:
    stream = message(0x00) + message(0xFF, b"\x04") + message(0x7E, b"later") + message(0x03, b"f")
    assert greeted().receive(stream) == [Hangup(), PeerError(b"\x04"), Unknown(0x7E, 5), Unknown(0x03, 1)]


def test_a_message_byte_by_byte() -> None:
    stream = HELLO + message(0x10, b"\1\2") + message(0x03, b"5")
    assert read(stream, list(range(len(stream)))) == ([CallId(CALL), Audio(8000, b"\1\2"), Digit("5")], "")


# ---- what nobody may send -----------------------------------------------------------------


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",  # TLS
        b"\x10\x01\x40",
        b"\x01\x00\x0f",
        b"\x01\xff\xff",
        b"\x00\x00\x00",
        b"\x00" * 100,
    ],
)
def test_a_stranger_is_known_by_three_bytes(stream: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="UUID"):
        Reader().receive(stream[:3])
    assert read(stream)[0] == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (HELLO, "second UUID"),
        (message(0x01, b"short"), "second UUID"),
        (message(0x03), "DTMF"),
        (message(0x03, b"12"), "DTMF"),
    ],
)
def test_faults(bad: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        greeted().receive(bad)


@pytest.mark.parametrize(("bad", "length"), [(message(0x10), 0), (message(0x10, b"abc"), 3), (message(0x18, b"a"), 1)])
def test_audio_without_whole_samples_is_no_fault(bad: bytes, length: int) -> None:
    after = message(0x10, b"\1\2")
    assert greeted().receive(bad + after) == [BadAudio(length), Audio(8000, b"\1\2")]


def test_after_a_fault_the_reader_is_dead() -> None:
    reader = greeted()
    for data in (message(0x03), message(0x03, b"1"), b""):
        with pytest.raises(RemoteProtocolError, match="DTMF"):
            reader.receive(data)


def test_what_came_before_a_fault_is_not_lost() -> None:
    reader = Reader()
    assert reader.receive(HELLO + message(0x03, b"7") + message(0x03)) == [CallId(CALL), Digit("7")]
    assert reader.error is not None
    with pytest.raises(RemoteProtocolError):
        reader.receive(b"")


def test_the_longest_payload_is_waited_for_and_no_more_is_kept() -> None:
    reader = greeted()
    assert reader.receive(message(0x10, bytes(65534))[:-1]) == []
    assert reader.receive(b"\0" + message(0x03, b"1")) == [Audio(8000, bytes(65534)), Digit("1")]


MESSAGES = st.one_of(
    st.builds(message, st.integers(0, 255), st.binary(max_size=40)),
    st.builds(message, st.sampled_from([0x00, 0x03, 0x10, 0xFF]), st.sampled_from([b"", b"1", b"12", bytes(320)])),
)


@given(st.lists(MESSAGES, max_size=8), st.binary(max_size=8), st.lists(st.integers(0, 4000), max_size=12))
def test_any_split_gives_the_same(messages: list[bytes], tail: bytes, cuts: list[int]) -> None:
    stream = HELLO + b"".join(messages) + tail
    assert read(stream, cuts) == read(stream)


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(0, 400), max_size=12))
def test_any_bytes_give_events_or_the_peers_fault(data: bytes, hello: bool, cuts: list[int]) -> None:
    stream = HELLO * hello + data
    events, fault = read(stream, cuts)
    assert (events, fault) == read(stream)
    for event in events:
        if isinstance(event, Audio):
            assert event.pcm
            assert len(event.pcm) % 2 == 0


def fast(pieces: list[bytes]) -> tuple[list[Event], str]:
    """As the transport reads: by :meth:`Reader.frames` where it applies."""
    reader, events = Reader(), []
    try:
        for piece in pieces:
            frames = reader.frames(piece)
            events += [Audio(8000, pcm) for pcm in frames] or reader.receive(piece)
        reader.receive(b"")
    except RemoteProtocolError as error:
        return events, str(error)
    return events, ""


FRAME = message(0x10, bytes(320))
HALVES = [FRAME[:3], FRAME[3:], FRAME[:100], FRAME[100:], b"", b"\x10"]
OTHERS = [message(0x12, bytes(320)), message(0x03, b"1"), message(0x10), message(0x10, bytes(318))]
PIECES = st.sampled_from([HELLO, FRAME, FRAME * 2, *HALVES, *OTHERS])


@given(st.lists(PIECES, max_size=10), st.booleans())
def test_the_short_way_for_whole_frames_gives_the_same(pieces: list[bytes], hello: bool) -> None:
    pieces = [HELLO] * hello + pieces
    assert fast(pieces) == read(b"".join(pieces))


# ---- what we send ---------------------------------------------------------------------------


@pytest.mark.parametrize("rate", protocol.KIND_BY_RATE)
def test_what_we_send_is_read_back(rate: int) -> None:
    pcm = bytes(rate // 50 * 2)
    assert greeted().receive(protocol.audio_message(rate, pcm)) == [Audio(rate, pcm)]
    assert protocol.audio_header(rate, len(pcm)) + pcm == protocol.audio_message(rate, pcm)


@pytest.mark.parametrize(
    ("rate", "length"), [(8000, 0), (8000, 319), (8000, 65536), (8000, -2), (11025, 320), (0, 320)]
)
def test_what_would_make_asterisk_drop_the_call_is_never_sent(rate: int, length: int) -> None:
    with pytest.raises(LocalProtocolError):
        protocol.audio_header(rate, length)


@pytest.mark.parametrize("digit", ["", "12", "x", "é", "\r"])
def test_no_digit(digit: str) -> None:
    with pytest.raises(LocalProtocolError):
        protocol.dtmf_message(digit)


def test_the_simulated_caller_is_as_strict_as_asterisk() -> None:
    protocol.check_from_server(0x10, bytes(320), 8000)
    for kind, payload in ((0x12, bytes(320)), (0x10, b""), (0x10, b"abc"), (0x01, CALL.bytes)):
        with pytest.raises(RemoteProtocolError):
            protocol.check_from_server(kind, payload, 8000)
    assert message(protocol.KIND_HANGUP) == protocol.HANGUP_MESSAGE
