"""Who has answered a call of ours: by words, pauses and the beep of Asterisk's own recordings."""

from __future__ import annotations

import numpy as np
import pytest
import rig
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.audio.beep import BeepDetector
from asterisk_ai.dialog import answered
from asterisk_ai.dialog.answered import Who

LANGUAGE = "en-US"


def hears_beep(samples: np.ndarray, rate: int = 8000, frame: int = 160) -> bool:
    detector = BeepDetector(rate)
    pcm = samples.astype(np.int16).tobytes()
    for at in range(0, len(pcm), 2 * frame):
        detector.push(pcm[at : at + 2 * frame])
    return detector.heard


def tone(hz: float, seconds: float, level: float = 0.2, noise: float = 0.0) -> np.ndarray:
    at = np.arange(int(seconds * 8000)) / 8000
    made = np.random.default_rng(1).normal(0, noise, len(at)) + level * np.sin(2 * np.pi * hz * at)
    return np.asarray(32767 * made)


@pytest.mark.parametrize("hz", [425, 800, 1000, 1400, 2100])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_beep(hz: float, noise: float) -> None:
    assert hears_beep(tone(hz, 0.4, noise=noise))
    assert not hears_beep(tone(hz, 0.1, noise=noise))  # a click


@given(st.integers(1, 400))
def test_it_does_not_matter_how_it_comes(frame: int) -> None:
    assert hears_beep(tone(1000, 0.4), frame=frame)


def test_noise_and_keys_are_no_beep() -> None:
    assert not hears_beep(np.random.default_rng(2).normal(0, 3000, 16000))
    assert not hears_beep(tone(697, 0.5) + tone(1209, 0.5))
    assert not hears_beep(np.zeros(8000))


def test_no_voice_is_a_beep(prompts: dict[str, str]) -> None:
    names = sorted(prompts)[::5]
    wrong = []
    for name in names:
        samples, rate = soundfile.read(rig.SOUNDS / f"{name}.wav", dtype="int16")
        if hears_beep(samples, rate):
            wrong.append(name)
    assert wrong == []
    samples, rate = soundfile.read(rig.SOUNDS / "beep.wav", dtype="int16")
    assert hears_beep(samples, rate)


def test_a_short_greeting_and_silence_is_a_person() -> None:
    heard = answered.offset(answered.onset(answered.begun(0), 0.2), 1.4)
    assert answered.who(heard, 1.8, LANGUAGE) is None
    assert answered.who(heard, 2.3, LANGUAGE) is Who.PERSON


def test_whoever_says_nothing_is_a_person() -> None:
    assert answered.who(answered.begun(0), 1.4, LANGUAGE) is None
    assert answered.who(answered.begun(0), 1.5, LANGUAGE) is Who.PERSON


@pytest.mark.parametrize(
    "words", ["you've reached ann", "Please leave your message after the tone.", "the person is unavailable"]
)
def test_a_machine_says_so(words: str) -> None:
    heard = answered.heard_words(answered.onset(answered.begun(0), 0.1), words)
    assert answered.who(heard, 0.5, LANGUAGE) is Who.MACHINE


@pytest.mark.parametrize("words", ["hello", "good morning example company ann speaking how can i help you", "yes"])
def test_a_person_does_not(words: str) -> None:
    assert not answered.says_machine(words, LANGUAGE)


def test_nobody_talks_on_and_on() -> None:
    heard = answered.onset(answered.begun(0), 0.1)
    assert answered.who(heard, 5.9, LANGUAGE) is None
    assert answered.who(heard, 6.0, LANGUAGE) is Who.MACHINE


def test_a_machine_that_does_not_beep_records_all_the_same() -> None:
    heard = answered.offset(answered.onset(answered.begun(0), 0.1), 5.0)
    assert not answered.records(heard, 6.9)
    assert answered.records(heard, 7.0)
    assert answered.records(answered.beep(heard), 5.0)
    assert answered.records(answered.onset(answered.begun(0), 0.1), 45.0)


def test_other_languages() -> None:
    assert answered.says_machine("Bitte hinterlassen Sie eine Nachricht nach dem Signalton", "de-DE")
    assert not answered.says_machine("Guten Tag", "de-DE")
    assert not answered.says_machine("hello", "xx")
