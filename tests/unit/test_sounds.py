"""Sound files that agents speak with, and the ambience behind what they say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asterisk_ai.agents.sounds import Sounds
from asterisk_ai.audio.ambience import Ambience, looped
from asterisk_ai.audio.levels import dbov
from asterisk_ai.cli.sound_check import sounds
from asterisk_ai.config import parse
from asterisk_ai.config.paths import sounds_directory
from asterisk_ai.dialog.spoken import Piece, Sound, script
from asterisk_ai.errors import ProviderRejected

RATE = 8000


def tone(seconds: float = 1.0, rate: int = RATE, amplitude: float = 8000) -> np.ndarray:
    return np.asarray(amplitude * np.sin(2 * math.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype("<i2")


def put(path: Path, samples: np.ndarray, rate: int = RATE, **how: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **how)


@pytest.mark.parametrize(
    ("extension", "how"),
    [
        ("wav", {"format": "WAV", "subtype": "PCM_16"}),
        ("WAV", {"format": "WAV", "subtype": "GSM610"}),
        ("gsm", {"format": "RAW", "subtype": "GSM610"}),
        ("ulaw", {"format": "RAW", "subtype": "ULAW"}),
        ("alaw", {"format": "RAW", "subtype": "ALAW"}),
        ("sln", {"format": "RAW", "subtype": "PCM_16", "endian": "LITTLE"}),
    ],
)
def test_every_format_of_asterisks(tmp_path: Path, extension: str, how: dict[str, str]) -> None:
    put(tmp_path / f"en/hello.{extension}", tone(), **how)
    pcm = Sounds(tmp_path, "en-US").read("hello", RATE)
    assert len(pcm) == pytest.approx(2 * RATE, abs=700)
    assert dbov(pcm) == pytest.approx(dbov(tone().tobytes()), abs=1.0)


def test_another_rate_and_two_channels(tmp_path: Path) -> None:
    put(tmp_path / "hello.sln16", tone(rate=16_000), 16_000, format="RAW", subtype="PCM_16", endian="LITTLE")
    put(tmp_path / "both.wav", np.stack([tone(rate=48_000)] * 2, axis=1), 48_000)
    for name in ("hello", "both"):
        pcm = Sounds(tmp_path, "en-US").read(name, RATE)
        assert len(pcm) == pytest.approx(2 * RATE, abs=4)


def test_the_language_comes_first(tmp_path: Path) -> None:
    sounds = Sounds(tmp_path, "en-US")
    assert sounds.find("digits/1") is None
    put(tmp_path / "digits/1.wav", tone())
    assert sounds.find("digits/1") == tmp_path / "digits/1.wav"
    put(tmp_path / "en/digits/1.gsm", tone(), format="RAW", subtype="GSM610")
    assert sounds.find("digits/1") == tmp_path / "en/digits/1.gsm"
    put(tmp_path / "en_US/digits/1.wav", tone())
    assert sounds.find("digits/1") == tmp_path / "en_US/digits/1.wav"
    assert sounds.find("digits/1.wav") == tmp_path / "en_US/digits/1.wav", "with its extension, too"
    put(tmp_path / "elsewhere/mine.wav", tone())
    assert sounds.find(str(tmp_path / "elsewhere/mine")) == tmp_path / "elsewhere/mine.wav"


def test_what_is_not_there_or_no_sound_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProviderRejected, match=r"no sound 'custom/none' in .* \(languages en-US, en_US, en, none;"):
        Sounds(tmp_path, "en-US").read("custom/none", RATE)
    (tmp_path / "text.wav").write_text("no sound at all")
    with pytest.raises(ProviderRejected, match=r"text\.wav cannot be read"):
        Sounds(tmp_path, "en-US").read("text", RATE)


def test_a_text_that_names_sounds() -> None:
    def shown(text: str) -> list[str]:
        return [f"<{part.name}>" if isinstance(part, Sound) else part.written for part in script(text, "en-US")]

    assert shown("sound:custom/welcome") == ["<custom/welcome>"]
    assert shown("sound:beep. Hello there. sound:digits/1") == ["<beep>", "Hello there.", "<digits/1>"]
    assert shown("It makes a sound: beep.") == ["It makes a sound: beep."]
    assert shown("sound:../../etc/passwd") == ["<../../etc/passwd>"], (
        "the administrator's own: any file that is a sound"
    )
    assert isinstance(script("Hello.", "en-US")[0], Piece)


def test_ambience_has_its_level_and_no_seam() -> None:
    pcm = looped(tone(3.0).tobytes(), RATE, -45.0)
    assert dbov(pcm) == pytest.approx(-45.0, abs=0.5)
    ambience = Ambience(pcm)
    twice = np.frombuffer(b"".join(ambience.next(320) for _ in range(2 * len(pcm) // 320)), "<i2").astype(int)
    assert (
        np.abs(np.diff(twice)).max() <= 1.6 * np.abs(np.diff(np.frombuffer(pcm[1600:-1600], "<i2").astype(int))).max()
    )
    with pytest.raises(ValueError, match="silent"):
        looped(bytes(16_000), RATE, -45.0)
    with pytest.raises(ValueError, match="short"):
        looped(tone(0.1).tobytes(), RATE, -45.0)


def test_speech_before_ambience_is_added_and_never_wraps_around() -> None:
    ambience = Ambience(np.full(1000, 100, "<i2").tobytes())
    assert np.frombuffer(ambience.behind(np.full(160, 1000, "<i2").tobytes()), "<i2").tolist() == [1100] * 160
    assert np.frombuffer(ambience.behind(np.full(160, 32_760, "<i2").tobytes()), "<i2").tolist() == [32_767] * 160


def test_check_tells_which_sounds_are_missing(tmp_path: Path) -> None:
    put(tmp_path / "en/welcome.wav", tone())
    (tmp_path / "broken.wav").write_text("no sound at all")
    rules = "{intents: {hi: {say: hello, answer: 'sound:beep Hello.'}}}"
    text = f"""
        playback: {{sounds: {tmp_path}}}
        pipelines: {{spoken: {{realtime: openai_realtime}}, offline: {{stt: pocketsphinx, llm: rules, tts: espeak}}}}
        agents:
          good: {{greeting: sound:welcome}}
          bad: {{greeting: 'Hello. sound:custom/none', ambience: broken, rules: {rules}}}
          spoken: {{pipeline: spoken, greeting: sound:welcome}}
        default_agent: good
        """
    found = list(sounds(parse(text)))
    assert [finding.ok for finding in found] == [False] * 4
    told = " ".join(finding.text for finding in found)
    for part in (
        "agents.bad.greeting: sound:custom/none: ",
        "agents.bad.rules.intents.hi.answer: sound:beep: ",
        "agents.bad.ambience: sound:broken: ",
        "agents.spoken.greeting: sound:welcome: services of speech to speech play no sounds",
    ):
        assert part in told
    assert "playback.sounds" in found[0].remedy
    good = text.split("bad:", maxsplit=1)[0].rstrip() + "\n        default_agent: good"
    assert [finding.text for finding in sounds(parse(good))] == ["all 1 sounds that agents name are there"]
    assert not list(sounds(parse("agents: {a: {greeting: 'It makes a sound: beep.'}}"))), "nothing named, nothing told"


def test_where_asterisks_sounds_are(tmp_path: Path) -> None:
    (tmp_path / "data/sounds").mkdir(parents=True)
    (tmp_path / "asterisk.conf").write_text(f"[directories]\nastdatadir => {tmp_path}/data\n")
    assert sounds_directory(tmp_path) == tmp_path / "data/sounds"
