"""Sizes, levels, the playout buffer, resampling and voice activity."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.audio.formats import duration, frame_bytes
from asterisk_ai.audio.g711 import decode_mu_law, encode_mu_law
from asterisk_ai.audio.levels import SILENCE_DBOV, dbov
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.vad.energy import EnergyVad, Offset, Onset, VadParams

FRAME = frame_bytes(8000)


def tone(level: float, seconds: float = 0.02, rate: int = 8000, hertz: float = 400.0) -> bytes:
    """A sine of ``level`` dBov."""
    peak = 32768.0 * 10 ** (level / 20) * math.sqrt(2)
    times = np.arange(round(seconds * rate)) / rate
    return np.clip(np.sin(2 * np.pi * hertz * times) * peak, -32768, 32767).astype("<i2").tobytes()


# ---- sizes and levels ---------------------------------------------------------------------


def test_sizes() -> None:
    assert [frame_bytes(rate) for rate in (8000, 16000, 44100, 48000)] == [320, 640, 1764, 1920]
    assert duration(320, 8000) == 0.02


def test_levels() -> None:
    assert dbov(b"") == SILENCE_DBOV
    assert dbov(bytes(320)) == SILENCE_DBOV
    assert dbov(b"\x01\x00" + bytes(31998)) == SILENCE_DBOV, "less than the floor of 16 bits"
    assert dbov(b"\x00\x80" * 160) == pytest.approx(0.0)
    assert dbov(tone(-20, 1.0)) == pytest.approx(-20, abs=0.1)


@given(st.binary(max_size=640).filter(lambda pcm: len(pcm) % 2 == 0))
def test_a_level_is_always_in_range(pcm: bytes) -> None:
    assert SILENCE_DBOV <= dbov(pcm) <= 0.0


@pytest.mark.parametrize("level", [-60, -48, -20, -3])
def test_a_level_is_exact_where_it_decides_anything(level: float) -> None:
    assert dbov(tone(level, 1.0)) == pytest.approx(level, abs=0.3)


# ---- G.711 ----------------------------------------------------------------------------------


def test_mu_law_is_the_standards() -> None:
    """Its decision values: segments of 16 steps that double, from ITU-T G.711, table 2a, scaled to 16 bits."""
    positive = [0, 8, 16, 120, 132, 148, 372, 396, 876, 924, 1884, 1980, 3900, 4092, 7932, 8316, 15996, 16764, 32124]
    decoded = np.frombuffer(decode_mu_law(bytes(range(256))), "<i2")
    assert set(positive) <= set(decoded.tolist())
    assert len(set(decoded.tolist())) == 255, "two codes are zero"
    assert np.array_equal(decoded[:128], -decoded[128:])
    for code in range(256):
        assert decode_mu_law(encode_mu_law(decode_mu_law(bytes([code])))) == decode_mu_law(bytes([code]))


@given(st.integers(-32635, 32635))
def test_mu_law_is_the_nearest_step(sample: int) -> None:
    (near,) = np.frombuffer(decode_mu_law(encode_mu_law(np.array([sample], "<i2").tobytes())), "<i2").tolist()
    assert abs(near - sample) <= max(8, (abs(sample) + 132) / 16 * 0.51 + 4)


# ---- resampling -----------------------------------------------------------------------------


def test_equal_rates_pass_through() -> None:
    resampler = Resampler(8000, 8000)
    assert resampler.push(b"abcd") == b"abcd"
    assert resampler.flush() == b""


@pytest.mark.parametrize(
    ("source", "target"), [(22050, 8000), (8000, 16000), (24000, 8000), (8000, 48000), (16000, 8000)]
)
def test_a_tone_stays_a_tone_of_the_same_length_and_level(source: int, target: int) -> None:
    resampler, pcm = Resampler(source, target), tone(-20, 1.0, source)
    pieces = [resampler.push(pcm[at : at + 998]) for at in range(0, len(pcm), 998)]
    out = b"".join(pieces) + resampler.flush()
    assert len(out) // 2 == pytest.approx(target, abs=target // 100)
    middle = out[len(out) // 4 & ~1 : len(out) // 2 & ~1]
    assert dbov(middle) == pytest.approx(-20, abs=0.5)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(out, "<i2")))
    assert np.argmax(spectrum) * target / (len(out) // 2) == pytest.approx(400, abs=3)


@given(st.lists(st.integers(0, 700), max_size=10))
def test_how_the_pieces_are_cut_does_not_matter(cuts: list[int]) -> None:
    pcm = tone(-20, 0.1, 16000)
    at = sorted(2 * cut for cut in cuts)
    resampler = Resampler(16000, 8000)
    pieces = [resampler.push(pcm[a:b]) for a, b in zip([0, *at], [*at, len(pcm)], strict=True)]
    whole = Resampler(16000, 8000)
    one, other = b"".join(pieces) + resampler.flush(), whole.push(pcm) + whole.flush()
    difference = np.frombuffer(one, "<i2").astype(int) - np.frombuffer(other, "<i2").astype(int)
    assert np.abs(difference).max() <= 4, "no more than the dither"


def test_what_is_too_short_to_convert_comes_at_the_end() -> None:
    resampler = Resampler(22050, 8000)
    assert len(resampler.push(b"\0\0") + resampler.flush()) <= 2


# ---- voice activity ----------------------------------------------------------------------------


class Line:
    """Frames into a detector, one after the other."""

    def __init__(self, params: VadParams | None = None, rate: int = 8000) -> None:
        self.vad, self.now, self.rate = EnergyVad(rate, params), 0.0, rate
        self.events: list[Onset | Offset] = []

    def hear(self, level: float, seconds: float) -> Line:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            event = self.vad.push(tone(level, 0.02, self.rate), self.now)
            if event is not None:
                self.events.append(event)
        return self


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_speech_begins_and_ends(rate: int) -> None:
    line = Line(rate=rate).hear(-70, 1.0).hear(-25, 1.0).hear(-70, 1.0)
    onset, offset = line.events
    assert isinstance(onset, Onset)
    assert onset.at == pytest.approx(1.0, abs=0.001)
    assert isinstance(offset, Offset)
    assert offset.at == pytest.approx(2.0, abs=0.001)
    assert line.vad.voiced_until == pytest.approx(2.0, abs=0.001)
    assert not line.vad.speaking


def test_speech_from_the_first_frame() -> None:
    assert Line().hear(-25, 0.2).events == [Onset(pytest.approx(0.0, abs=0.001))]


@pytest.mark.parametrize("level", [-96.0, -70.0, -50.0])
def test_silence_and_line_noise_are_no_speech(level: float) -> None:
    assert Line().hear(level, 20.0).events == []


def test_a_click_is_no_speech() -> None:
    line = Line().hear(-70, 1.0)
    for _ in range(10):
        line.hear(-20, 0.04).hear(-70, 0.3)
    assert line.events == []


def test_one_weak_frame_in_an_attack_does_not_undo_it() -> None:
    line = Line().hear(-70, 1.0).hear(-25, 0.04).hear(-70, 0.02).hear(-25, 0.06)
    assert len(line.events) == 1


def test_a_closure_inside_a_word_does_not_end_it() -> None:
    line = Line().hear(-70, 1.0).hear(-25, 0.4).hear(-70, 0.14).hear(-25, 0.4)
    assert len(line.events) == 1


def test_a_loud_background_is_learned() -> None:
    line = Line().hear(-70, 1.0)
    level = -70.0
    while level < -35:
        line.hear(level, 0.2)
        level += 1
    assert line.hear(-35, 3.0).events == [], "it rose slowly enough to be followed"
    line.hear(-15, 0.5)
    assert len(line.events) == 1, "and speech above it is still heard"


def test_a_loud_background_that_begins_at_once_does_not_count_as_speech_for_ever() -> None:
    line = Line().hear(-70, 1.0).hear(-35, 30.0)
    assert [type(event) for event in line.events] == [Onset, Offset]
    line.hear(-15, 0.5)
    assert [type(event) for event in line.events] == [Onset, Offset, Onset]


def test_long_speech_with_its_pauses_is_not_taken_for_a_background() -> None:
    line = Line().hear(-70, 1.0)
    for _ in range(60):
        line.hear(-25, 0.4).hear(-60, 0.1)
    assert len(line.events) == 1


def test_without_frames_speech_ends_by_the_clock() -> None:
    line = Line().hear(-70, 1.0).hear(-25, 0.5)
    assert line.vad.expire(1.6) is None
    assert line.vad.expire(1.7) == Offset(pytest.approx(1.5))
    assert line.vad.expire(1.8) is None


@given(st.lists(st.tuples(st.sampled_from([-96.0, -60.0, -45.0, -30.0, -5.0]), st.integers(1, 20)), max_size=30))
def test_onsets_and_offsets_take_turns(segments: list[tuple[float, int]]) -> None:
    line = Line()
    for level, frames in segments:
        line.hear(level, frames * 0.02)
    kinds = [type(event) for event in line.events]
    assert kinds == [Onset, Offset] * (len(kinds) // 2) + [Onset] * (len(kinds) % 2)
    assert line.vad.speaking == (len(kinds) % 2 == 1)
    times = [event.at for event in line.events]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(times))
