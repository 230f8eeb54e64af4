"""RTP's codec and the order of its packets: any datagram, any loss, any order."""

from __future__ import annotations

import contextlib
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import RemoteProtocolError
from asterisk_ai.protocol.rtp import Packet, ReorderBuffer, Sender, build, is_rtcp, parse

packets = st.builds(
    Packet,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=400),
    marker=st.booleans(),
)


@given(packets)
def test_what_is_built_is_read(packet: Packet) -> None:
    assert parse(build(packet)) == packet


@given(st.binary(max_size=80))
def test_any_datagram_is_a_packet_or_an_error(datagram: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert len(parse(datagram).payload) <= len(datagram) - 12


def test_sources_extension_and_padding_are_no_audio() -> None:
    plain = build(Packet(118, 7, 160, 5, b"audio"))
    sources = bytes((plain[0] | 2,)) + plain[1:12] + b"s" * 8 + plain[12:]
    extended = bytes((plain[0] | 0x10,)) + plain[1:12] + b"\xbe\xde\x00\x01" + b"e" * 4 + plain[12:]
    padded = bytes((plain[0] | 0x20,)) + plain[1:] + b"\x00\x00\x03"
    assert {parse(datagram).payload for datagram in (plain, sources, extended, padded)} == {b"audio"}


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x80" * 11,
        b"\x00" * 12,
        b"\x8f" + b"\0" * 20,
        b"\x90" + b"\0" * 11,
        b"\x90" + b"\0" * 13 + b"\xff\xff",
        b"\xa0" + b"\0" * 12,
        b"\xa0" + b"\0" * 11 + b"\x40",
    ],
)
def test_damaged_packets_are_the_peers_fault(damage: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(damage)


def test_reports_are_told_apart() -> None:
    assert is_rtcp(b"\x80\xc8" + b"\0" * 26)  # a sender report
    assert not is_rtcp(build(Packet(118, 1, 1, 1, b"", marker=True)))
    assert not is_rtcp(b"")


def test_numbers_wrap_around() -> None:
    sender = Sender(118, 9, 0xFFFF, 0xFFFFFFFF)
    first, second = parse(sender.packet(b"a", 160, marker=True)), parse(sender.packet(b"b", 160))
    assert (first.sequence, first.timestamp, first.marker) == (0xFFFF, 0xFFFFFFFF, True)
    assert (second.sequence, second.timestamp, second.marker) == (0, 159, False)


def stream(count: int, start: int = 0xFFF0) -> list[Packet]:
    sender = Sender(118, 1, start, 0)
    return [parse(sender.packet(number.to_bytes(2, "big"), 160)) for number in range(count)]


def numbers(given_: list[Packet | None]) -> list[int | None]:
    return [None if packet is None else int.from_bytes(packet.payload, "big") for packet in given_]


def test_in_order_nothing_waits() -> None:
    buffer = ReorderBuffer(8000)
    for number, packet in enumerate(stream(40)):
        assert numbers(buffer.put(packet, number * 0.02)) == [number]
    assert buffer.deadline() == math.inf
    assert (buffer.counters.lost, buffer.counters.late, buffer.counters.reordered) == (0, 0, 0)


def test_two_that_changed_places_come_in_order() -> None:
    buffer, sent = ReorderBuffer(8000), stream(4)
    assert numbers(buffer.put(sent[0], 0.0)) == [0]
    assert numbers(buffer.put(sent[2], 0.02)) == []
    assert numbers(buffer.put(sent[1], 0.03)) == [1, 2]
    assert numbers(buffer.put(sent[1], 0.04)) == []  # a copy
    assert (buffer.counters.reordered, buffer.counters.late) == (1, 1)


def test_a_lost_packet_is_told_when_it_is_waited_for_no_longer() -> None:
    buffer, sent = ReorderBuffer(8000), stream(4)
    buffer.put(sent[0], 0.0)
    assert numbers(buffer.put(sent[3], 0.06)) == []
    assert buffer.due(0.06) == []
    assert buffer.deadline() == pytest.approx(0.10)
    assert numbers(buffer.due(0.10)) == [None, None, 3]
    assert numbers(buffer.put(sent[1], 0.11)) == []
    assert (buffer.counters.lost, buffer.counters.late) == (2, 1)


def test_patience_grows_with_the_jitter() -> None:
    calm, shaken, random_ = ReorderBuffer(8000), ReorderBuffer(8000), random.Random(1)
    for number, packet in enumerate(stream(200)):
        calm.put(packet, number * 0.02)
        shaken.put(packet, number * 0.02 + random_.uniform(0, 0.06))
    assert calm.jitter < 0.001
    assert 0.01 < shaken.jitter < 0.06
    late = Packet(118, (0xFFF0 + 201) % 0x10000, 201 * 160, 1, b"\0\0")
    for buffer in (calm, shaken):
        buffer.put(late, 10.0)
    assert shaken.deadline() > calm.deadline()


def test_a_new_numbering_goes_on_at_once() -> None:
    buffer = ReorderBuffer(8000)
    buffer.put(stream(1)[0], 0.0)
    assert numbers(buffer.put(stream(1, start=20_000)[0], 0.02)) == [0]
    assert numbers(buffer.put(Packet(118, 5, 0, 77, b"\0\7"), 0.04)) == [7]  # another SSRC
    assert buffer.counters.restarts == 2


@given(st.lists(st.tuples(st.integers(0, 120), st.floats(0, 0.3)), max_size=200))
def test_whatever_comes_each_place_is_given_once_and_in_order(arrivals: list[tuple[int, float]]) -> None:
    buffer, sent, now = ReorderBuffer(8000), stream(121), 0.0
    given_: list[Packet | None] = buffer.put(sent[0], now)
    for number, wait in arrivals:
        now += wait
        given_ += buffer.due(now)
        given_ += [sent[number]] if buffer.passes(sent[number], now) else buffer.put(sent[number], now)
        assert len(buffer._waiting) <= buffer.MOST_WAITING
    given_ += buffer.due(now + 10)
    for place, number in enumerate(numbers(given_)):
        assert number in (place, None)
    assert numbers(given_).count(None) == buffer.counters.lost
    assert buffer.deadline() == math.inf
