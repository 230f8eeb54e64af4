"""Requests to the sample reception through sound: eight voices over mu-law, heard by the recogniser, then understood.

    python tests/support/heard.py [--held-out] [--each N] [--second]      figures by voice, and of all

Each voice says every N-th request (default 4), each another part of them. Needs flite, pico2wave, text2wave (festival)
and espeak-ng; a voice that is not installed is left out.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import soundfile
import soxr
from hibari import SAMPLE_RATE, Hibari
from hibari.voices import voice_path
from meaning import judged, lists, outcome, reception

from asterisk_ai.audio.g711 import decode_mu_law, encode_mu_law
from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.engines.moonshine.engine import MoonshineEngine
from asterisk_ai.providers.engines.moonshine.expected import Heard

RATE = 8000
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "flite awb": ("flite", "-voice", "awb", "-t", "{text}", "-o", "{file}"),
    "flite rms": ("flite", "-voice", "rms", "-t", "{text}", "-o", "{file}"),
    "flite slt": ("flite", "-voice", "slt", "-t", "{text}", "-o", "{file}"),
    "pico GB": ("pico2wave", "-l", "en-GB", "-w", "{file}", "{text}"),
    "pico US": ("pico2wave", "-l", "en-US", "-w", "{file}", "{text}"),
    "festival": ("text2wave", "-eval", "(voice_cmu_us_slt_arctic_hts)", "-o", "{file}"),
    "espeak": ("espeak-ng", "-v", "en-us", "-s", "150", "-w", "{file}", "{text}"),
}


def voices() -> dict[str, Callable[[str], bytes]]:
    """Each speaks a text, 16-bit at RATE as it comes out of a telephone line."""
    found: dict[str, Callable[[str], bytes]] = {
        name: functools.partial(by_program, command) for name, command in PROGRAMS.items() if shutil.which(command[0])
    }
    return found | {"hibari": by_hibari}


def by_hibari(text: str) -> bytes:
    return on_the_line(_hibari()(text, seed=1), SAMPLE_RATE)


@functools.cache
def _hibari() -> Hibari:
    return Hibari(voice="heart", model=voice_path("heart", download_missing=False))


def by_program(command: tuple[str, ...], text: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/said.wav"
        filled = [part.replace("{text}", text).replace("{file}", file) for part in command]
        given = None if any("{text}" in part for part in command) else text.encode()
        subprocess.run(filled, input=given, check=True, capture_output=True, timeout=60)
        samples, rate = soundfile.read(file, dtype="float32")
    return on_the_line(samples, rate)


def on_the_line(samples: np.ndarray, rate: int) -> bytes:  # type: ignore[type-arg]
    """Brought to RATE, an even level, and through mu-law, with a little noise before and after."""
    sound = soxr.resample(samples, rate, RATE)
    sound = sound / max(float(np.abs(sound).max()), 1e-6) * 0.5
    padded = np.concatenate([np.zeros(RATE // 5), sound, np.zeros(RATE // 5)])
    padded += np.random.default_rng(1).normal(0, 0.0005, len(padded))
    pcm = (np.clip(padded, -1, 1) * 32767).astype("<i2").tobytes()
    return decode_mu_law(encode_mu_law(pcm))


def hear(engine: MoonshineEngine, pcm: bytes, hints: Hints) -> Heard:
    """The final words of one utterance."""
    stream = engine.open({"rate": RATE, "phrases": hints.phrases, "digits": hints.digits, "examples": hints.examples})
    stream.feed(pcm)
    found = dict(stream.finish())
    found.pop("lost")
    heard = Heard(**found)
    return replace(heard, text=reception().likeliest(heard.readings, {})) if heard.readings else heard


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--each", type=int, default=4)
    chosen = parser.parse_args()
    engine = MoonshineEngine({"model": "", "most_load": 10})
    hints = reception().hints({})
    requests, other = lists(chosen.held_out)
    whole: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    for number, (name, speak) in enumerate(voices().items()):
        verdicts: Counter[str] = Counter()
        for wanted, text in requests[number % chosen.each :: chosen.each]:
            heard = hear(engine, speak(text), hints)
            verdict = judged(wanted, heard.text, heard.confidence) if heard.accepted else "none"
            verdicts[verdict] += 1
            if verdict != "right" and not chosen.held_out:
                print(name, verdict, wanted, text, heard, sep="\t")
        for text in other[number % chosen.each :: chosen.each]:
            heard = hear(engine, speak(text), hints)
            acted = heard.accepted and outcome(heard.text, heard.confidence)[1]
            strange["acted" if acted else "not"] += 1
            if acted and not chosen.held_out:
                print(name, "acted", text, heard, sep="\t")
        print(name, dict(verdicts), flush=True)
        whole += verdicts
    print("all requests", dict(whole), "foreign", dict(strange))


if __name__ == "__main__":
    main()
