"""The interruption battery's sounds: what a caller's line brings while the agent speaks, and whether to stop for it.

Human recordings are Asterisk's prompts; short words that are not among them
are spoken by espeak-ng in several voices, in sets from 2 on by flite too
(``apt-get install flite``); the rest is made here, the same at every run.

Rules are tuned on sets 1 to 4. Further sets share no recording, no voice and
no random number with them: they tell how well the rules do with what nobody
has listened to.

Music on hold is that of Debian's ``asterisk-moh-opsound-wav``, in a folder
``moh`` beside Asterisk's folder of ``sounds``.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.providers.engines.espeak import Espeak

RATE = 8000
SHORT_PROMPTS = ("hello", "sorry", "vm-no", "one-moment-please", "vm-goodbye", "im-sorry", "cancelled")
SHORT_WORDS = ("wait", "stop", "no", "hold on", "excuse me", "hello")
BACKCHANNELS = ("mm-hm", "okay", "right", "uh-huh", "yeah", "i see")
VOICES = ("en-us+f3", "en-us+m3", "en-us", "en-us+m7")
MORE_SHORT_WORDS = (
    ("wait a minute", "stop it", "no no", "hang on", "pardon me", "hello there", "excuse me", "operator",
     "goodbye", "help", "cancel", "question", "wait", "stop", "no", "hold on"),
    ("wait", "stop", "no", "hold on", "excuse me", "sorry", "hello", "one second", "what was that", "thank you",
     "start over", "go back", "wait wait", "that's wrong", "bye bye", "but I need"),
    ("wait a second", "stop", "no no no", "hold on please", "excuse me", "sorry", "hello", "one moment", "never mind",
     "listen to me", "I have a question", "not that", "can I ask something", "yes but", "cancel that", "no"),
    ("wait wait wait", "stop stop", "no thanks", "hang on a second", "sorry what", "hello hello", "help me", "hold it",
     "excuse me", "just a second", "that is not it", "pardon", "I said sales", "let me talk", "no wait", "goodbye"),
)  # fmt: skip
"""Of sets 2, 3, 4 and 5, then again; so with the voices."""
MORE_BACKCHANNELS = ("okay", "right", "yeah", "i see", "sure", "all right", "yep", "uh-huh", "okay okay", "yeah yeah",
                     "mm-hm", "aha", "oh okay", "mm")  # fmt: skip
ESPEAK_VOICES = (
    ("en", "en-us+m1", "en-gb-scotland", "en-us+f4"),
    ("en-us+f1", "en+f2", "en-us-nyc", "en-us+m5"),
    ("en-us+f5", "en-us+m6", "en-029", "en-gb-x-rp"),
    ("en+m4", "en-us+m2", "en-gb-x-gbclan", "en+f3"),
)
FLITE_VOICES = (("slt", "rms"), ("awb", "kal"), ("slt quick", "rms quick"), ("awb quick", "kal quick"))
SPELLING = {"mm-hm": "um-hum", "mm": "hmm"}
"""Synthesisers read the names of the letters where they are not spelled like this."""
FLITE_PHONES = {"mm": "pau m m m pau"}
"""flite reads the names of the letters of any such spelling: "hmm" was "aitch em em"."""
KINDS = ("long", "short", "backchannel", "click", "cough", "noise", "hum", "music")

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sound:
    """One sound, 16-bit PCM at RATE; ``true``: the agent has to stop for it."""

    name: str
    kind: str
    pcm: bytes

    @property
    def true(self) -> bool:
        return self.kind in ("long", "short")


def battery(sounds: Path, known: Mapping[str, str], number: int = 1) -> list[Sound]:
    """All of one set. ``known``: names of prompts below the folder ``sounds``, each a sentence."""
    if number == 1:
        return [*human(sounds, known), *spoken(), *synthetic(), *music_on_hold(sounds)]
    return [
        *more_human(sounds, known, number),
        *more_spoken(number),
        *more_synthetic(number),
        *music_on_hold(sounds, 20 + 17 * (number - 1)),
    ]


def human(sounds: Path, known: Mapping[str, str]) -> Iterator[Sound]:
    """Whole sentences and short words, from recordings."""
    for name in _long(known, 1):
        yield Sound(name, "long", recording(sounds / f"{name}.wav"))
    for name in SHORT_PROMPTS:
        if (sounds / f"{name}.wav").exists():
            yield Sound(name, "short", recording(sounds / f"{name}.wav"))


def more_human(sounds: Path, known: Mapping[str, str], number: int) -> Iterator[Sound]:
    """Other sentences, and things of one or two words that callers say: digits, days, names of letters, nouns."""
    for name in _long(known, number):
        yield Sound(name, "long", recording(sounds / f"{name}.wav"))
    names = sorted(set(short_prompts(sounds)) - set(SHORT_PROMPTS))
    random.Random(4).shuffle(names)
    for name in names[14 * (number - 2) : 14 * (number - 1)]:
        yield Sound(name, "short", recording(sounds / f"{name}.wav"))


def _long(known: Mapping[str, str], number: int) -> list[str]:
    """40 names for set 1, 36 for each further one as long as there are any, none twice."""
    first = random.Random(2).sample(sorted(known), 40)
    others = sorted(set(known) - set(first))
    random.Random(3).shuffle(others)
    return first if number == 1 else others[36 * (number - 2) : 36 * (number - 1)]


def short_prompts(sounds: Path) -> Iterator[str]:
    """Names of the recordings of one or two words that a caller may say for an answer, at least 0.3 s long."""
    for name, words in wording(sounds):
        folder = name.partition("/")[0]
        said = re.fullmatch(r"[A-Za-z' ]+[.!]?", words) and len(words.split()) <= 2
        if said and folder not in ("letters", "silence", "dictate") and not name.startswith("spy-"):
            file = sounds / f"{name}.wav"
            if file.exists() and _voiced_seconds(recording(file)) >= 0.3:
                yield name


def wording(sounds: Path) -> list[tuple[str, str]]:
    """Prompts and their words, as the package of prompts lists them."""
    text = next(sounds.parents[3].rglob("core-sounds-en.txt.gz"), None) or next(sounds.rglob("core-sounds-en.txt.gz"))
    lines = gzip.decompress(text.read_bytes()).decode("utf-8", "replace").splitlines()
    return [(name, words.strip()) for name, colon, words in (line.partition(":") for line in lines) if colon]


def _voiced_seconds(pcm: bytes) -> float:
    """From the first to the last frame above -45 dBov."""
    levels = np.frombuffer(pcm[: len(pcm) // 320 * 320], "<i2").astype(float).reshape(-1, 160)
    loud = np.flatnonzero(np.sqrt((levels**2).mean(axis=1)) > 184)
    return float(loud[-1] - loud[0] + 1) * 0.02 if len(loud) else 0.0


def recording(path: Path) -> bytes:
    """A WAV of RATE."""
    samples, rate = soundfile.read(path, dtype="int16")
    if rate != RATE:
        raise ValueError(f"{path}: {rate} Hz, not {RATE}")
    return bytes(samples.tobytes())


def spoken() -> list[Sound]:
    """Short interruptions and backchannels by espeak-ng."""
    wanted = [("short", words, voice) for words in SHORT_WORDS for voice in VOICES[:2]]
    wanted += [("backchannel", words, voice) for words in BACKCHANNELS for voice in VOICES]
    return asyncio.run(_by_espeak(wanted, 170))


def more_spoken(number: int) -> list[Sound]:
    """The like with other words, speeds and voices, by espeak-ng and flite."""
    rng = random.Random(number)
    choice = (number - 2) % len(ESPEAK_VOICES)
    short, espeak, flite = MORE_SHORT_WORDS[choice], ESPEAK_VOICES[choice], FLITE_VOICES[choice]
    wanted = [("short", words, rng.choice(espeak)) for words in short]
    wanted += [("backchannel", words, rng.choice(espeak)) for words in MORE_BACKCHANNELS]
    found = asyncio.run(_by_espeak(wanted, rng.choice((145, 160, 185, 200))))
    for kind, texts in (("short", short), ("backchannel", MORE_BACKCHANNELS)):
        found += [_by_flite(kind, words, rng.choice(flite)) for words in rng.sample(texts, 10)]
    return found


async def _by_espeak(wanted: Sequence[tuple[str, str, str]], words_per_minute: int) -> list[Sound]:
    engine = Espeak({"words_per_minute": words_per_minute})
    await engine.start()
    try:
        return [Sound(f"{words} {voice}", kind, await _said(engine, words, voice)) for kind, words, voice in wanted]
    finally:
        await engine.stop()


def _by_flite(kind: str, words: str, voice: str) -> Sound:
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/said.wav"
        name, _, quick = voice.partition(" ")
        options = ["--setf", "duration_stretch=0.85", "--setf", "int_f0_target_mean=140"] if quick else []
        said = ["-p", FLITE_PHONES[words]] if words in FLITE_PHONES else ["-t", SPELLING.get(words, words)]
        subprocess.run(["flite", "-voice", name, *options, *said, "-o", file], check=True)
        samples, rate = soundfile.read(file, dtype="int16")
    resampler = Resampler(rate, RATE) if rate != RATE else None
    pcm = bytes(samples.tobytes())
    return Sound(f"{words} flite {voice}", kind, resampler.push(pcm) + resampler.flush() if resampler else pcm)


async def _said(engine: Espeak, words: str, voice: str) -> bytes:
    resampler = Resampler(engine.sample_rate, RATE)
    async with engine.open(SPELLING.get(words, words), voice=voice) as audio:
        return b"".join([resampler.push(piece) async for piece in audio]) + resampler.flush()


def synthetic() -> Iterator[Sound]:
    """Clicks, coughs, noise of several colours and levels, hum, and music."""
    rng = np.random.default_rng(7)
    for number in range(12):
        yield Sound(f"click {number}", "click", _pcm(_click(rng)))
    for number in range(16):
        yield Sound(f"cough {number}", "cough", _pcm(_cough(rng)))
    for level in (-60, -50, -45, -40, -35, -30, -25):
        yield Sound(f"white noise {level} dBov", "noise", _pcm(_at(level, rng.normal(0, 1, 2 * RATE))))
    for level in (-45, -35, -25):
        yield Sound(f"pink noise {level} dBov", "noise", _pcm(_at(level, _pink(rng, 2 * RATE))))
    for level in (-40, -25):
        yield Sound(f"hum {level} dBov", "hum", _pcm(_at(level, _tones((50, 100, 150, 250), 2.0))))
    for number, level in enumerate((-40, -30, -25, -20)):
        yield Sound(f"chords {level} dBov", "music", _pcm(_at(level, _chords(rng, 0.4 + 0.15 * number))))


def more_synthetic(number: int) -> Iterator[Sound]:
    """The like from other random numbers, with other lengths, levels and colours."""
    rng = np.random.default_rng(1000 + number)
    for click in range(12):
        pcm = _click(rng) if click % 2 else np.concatenate((_click(rng)[:2400], _click(rng)))
        yield Sound(f"click {click}", "click", _pcm(pcm * rng.uniform(0.2, 1.5)))
    for cough in range(16):
        yield Sound(f"cough {cough}", "cough", _pcm(_throaty_cough(rng) if cough % 2 else _cough(rng)))
    for colour, made in (("white", lambda length: rng.normal(0, 1, length)), ("pink", lambda n: _pink(rng, n))):
        for level in rng.uniform(-58, -22, 5):
            yield Sound(f"{colour} noise {level:.0f} dBov", "noise", _pcm(_at(level, made(int(2.5 * RATE)))))
    for level in rng.uniform(-45, -22, 3):
        hertz = rng.choice((60, 100, 120)) * np.arange(1, 6)
        yield Sound(f"hum {level:.0f} dBov", "hum", _pcm(_at(level, _tones(hertz, 2.5))))
    for level in rng.uniform(-42, -18, 4):
        yield Sound(f"chords {level:.0f} dBov", "music", _pcm(_at(level, _chords(rng, rng.uniform(0.3, 0.9)))))


def music_on_hold(sounds: Path, second: int = 20) -> Iterator[Sound]:
    """Pieces of Asterisk's own music on hold, where it is installed beside the prompts."""
    for path in sorted((sounds.parents[1] / "moh").glob("*.wav"))[:5]:
        pcm = recording(path)
        begin = second % (len(pcm) // (2 * RATE) - 8)  # of a short piece, not the silence after it
        yield Sound(f"music on hold {path.stem}", "music", pcm[2 * RATE * begin : 2 * RATE * (begin + 4)])


def _pcm(samples: Samples) -> bytes:
    return bytes(samples.clip(-32768, 32767).astype("<i2").tobytes())


def _at(level: float, samples: Samples) -> Samples:
    """``samples`` at ``level`` dBov."""
    scaled: Samples = samples / np.sqrt(np.mean(samples**2)) * 32768 * 10 ** (level / 20)
    return scaled


def _click(rng: np.random.Generator) -> Samples:
    samples = np.zeros(int(RATE * 0.5))
    length = int(RATE * rng.uniform(0.005, 0.06))
    samples[800 : 800 + length] = rng.normal(0, 8000, length) * np.exp(-np.arange(length) / (length / 4))
    return samples


def _cough(rng: np.random.Generator) -> Samples:
    """Bursts of coloured noise with a fast attack and a slow decay, as a cough has them."""
    samples = np.zeros(int(RATE * 0.9))
    position = 800
    for _ in range(rng.integers(1, 3)):
        length = int(RATE * rng.uniform(0.12, 0.24))
        decay = np.exp(-np.arange(length) / (length / 3))
        burst = np.convolve(rng.normal(0, 1, length), np.ones(4) / 4, "same") * decay
        samples[position : position + length] += 9000 * burst
        position += length + int(RATE * 0.06)
    return samples


def _throaty_cough(rng: np.random.Generator) -> Samples:
    """Bursts of noise with two resonances of a throat, some with a short voiced end."""
    times = np.arange(int(RATE * rng.uniform(0.12, 0.28))) / RATE
    samples = np.zeros(int(RATE * 1.2))
    position = 800
    for _ in range(rng.integers(1, 4)):
        noise = np.fft.rfft(rng.normal(0, 1, len(times)))
        hertz = np.fft.rfftfreq(len(times), 1 / RATE)
        throat = sum(1 / (1 + ((hertz - rng.uniform(*band)) / 200) ** 2) for band in ((400, 900), (1200, 2400)))
        burst = np.fft.irfft(noise * throat, len(times)) * np.exp(-times / (times[-1] / 3))
        if rng.random() < 0.3:
            burst += 0.3 * np.sin(2 * np.pi * rng.uniform(90, 180) * times) * np.exp(-times / 0.05)
        samples[position : position + len(times)] += rng.uniform(4000, 14000) * burst / np.abs(burst).max()
        position += len(times) + int(RATE * rng.uniform(0.04, 0.12))
    return samples[: max(position, 2400) + 800]


def _pink(rng: np.random.Generator, length: int) -> Samples:
    """Noise whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.normal(0, 1, length))
    pink: Samples = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 20)), length)
    return pink


def _tones(hertz: Sequence[float], seconds: float) -> Samples:
    times = np.arange(int(seconds * RATE)) / RATE
    return np.asarray(sum(np.sin(2 * np.pi * tone * times) for tone in hertz))


def _chords(rng: np.random.Generator, seconds: float) -> Samples:
    """Chords of plucked strings, one every ``seconds``."""
    pieces: list[Any] = []
    for root in rng.choice([196.0, 220.0, 261.6, 293.7, 329.6], size=int(4 / seconds)):
        notes = [root * interval * overtone for interval in (1, 1.25, 1.5) for overtone in (1, 2, 3)]
        pieces.append(_tones(notes, seconds) * np.exp(-np.arange(int(seconds * RATE)) / (seconds * RATE / 2)))
    return np.concatenate(pieces)
