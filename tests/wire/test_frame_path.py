"""The short cuts of the frame path give what the long way gives."""

from __future__ import annotations

import itertools
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asterisk_ai.audio.levels import dbov
from asterisk_ai.protocol import audiosocket
from asterisk_ai.vad.energy import EnergyVad

frames = st.sampled_from([320, 2, 160, 318, 322, 640]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
messages = st.one_of(
    frames.map(lambda pcm: audiosocket.audio_message(8000, pcm)),
    frames.map(lambda pcm: audiosocket.audio_message(16000, pcm)),
    st.sampled_from([audiosocket.dtmf_message("5"), audiosocket.HANGUP_MESSAGE, b"\xff\x00\x01\x01", b"\x10\x00\x00"]),
)


def events(pieces: list[bytes], *, short_cut: bool) -> list[object]:
    reader, found = audiosocket.Reader(), []
    for piece in pieces:
        if short_cut and (frames := reader.frames(piece)):
            found += [audiosocket.Audio(8000, pcm) for pcm in frames]
            continue
        try:
            found += reader.receive(piece)
        except audiosocket.RemoteProtocolError as error:
            found.append(str(error))
            break
    return found


@settings(max_examples=300)
@given(st.lists(messages, max_size=8), st.lists(st.integers(0, 3000), max_size=12), st.booleans())
def test_the_readers_short_cut_changes_nothing(sent: list[bytes], cuts: list[int], whole: bool) -> None:
    sent = [audiosocket.uuid_message(uuid.UUID(int=1)), *sent]
    wire = b"".join(sent)
    if whole:
        pieces = sent  # a message a read, as it comes from Asterisk
    else:
        ends = list(itertools.accumulate(map(len, sent)))  # several whole ones in some of the reads, too
        edges = [0, *sorted(ends[cut % len(ends)] if cut % 2 else cut for cut in cuts if cut < len(wire)), len(wire)]
        pieces = [wire[a:b] for a, b in itertools.pairwise(edges)]
    assert events(pieces, short_cut=True) == events(pieces, short_cut=False)


def test_the_short_cut_is_taken_for_whole_frames_between_messages_only() -> None:
    reader, frame = audiosocket.Reader(), audiosocket.audio_message(8000, b"\1\2" * 160)
    assert (reader.between, reader.frames(frame)) == (False, [])  # not before the UUID
    reader.receive(audiosocket.uuid_message(uuid.UUID(int=1)))
    assert (reader.between, reader.frames(frame)) == (True, [b"\1\2" * 160])
    assert reader.frames(3 * frame) == 3 * [b"\1\2" * 160]
    for other in (audiosocket.dtmf_message("5"), audiosocket.audio_message(8000, bytes(322)), frame[:-1], b""):
        assert reader.frames(frame + other + frame) == ([] if other else 2 * [frame[3:]])
    reader.receive(frame[:10])
    assert (reader.between, reader.frames(2 * frame)) == (False, [])
    reader.receive(frame[10:])
    assert reader.frames(frame)
    with pytest.raises(audiosocket.RemoteProtocolError):
        reader.receive(b"\x03\x00\x00")
    assert (reader.between, reader.frames(frame)) == (False, [])  # dead


@given(st.lists(st.floats(-96, 0), max_size=300), st.integers(0, 3))
def test_what_the_detector_skips_would_have_changed_nothing(levels: list[float], quiet_between: int) -> None:
    fast, slow = EnergyVad(8000), EnergyVad(8000)
    now = 0.0
    for level in levels:
        for one in (level, *[-90.0] * 40 * quiet_between):
            now += 0.02
            slow._calm = False
            assert fast.push_level(one, 0.02, now) == slow.push_level(one, 0.02, now)
            assert fast._floor == pytest.approx(slow._floor, abs=0.02)


def test_pcm_and_levels_are_decided_alike() -> None:
    random = np.random.default_rng(4)
    one, other, now = EnergyVad(8000), EnergyVad(8000), 0.0
    for second in range(20):
        for _ in range(50):
            now += 0.02
            amplitude = 5000 if second % 3 == 1 else 20
            pcm = random.integers(-amplitude, amplitude + 1, 160, "<i2").tobytes()
            assert one.push(pcm, now) == other.hear(pcm, dbov(pcm), now)
