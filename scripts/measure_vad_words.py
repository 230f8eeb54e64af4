#!/usr/bin/env python3
"""What voice activity detection costs the recogniser in words, on human telephone speech.

    measure_vad_words.py SOUNDS [--vad MODULE:CLASS] [--prompts N] [--snr DB] [--wording FILE]

Run it in the checkout as ``PYTHONPATH=. python scripts/measure_vad_words.py ...``. Each prompt, with silence before and
after it, is recognised twice by the embedded recogniser: the whole recording, and what a call passes on of it (from
the pre-roll before the onset until the endpoint's silence). Clean, in white noise, and among other people's voices; by
a grammar of the prompts, and by a loop over their words, where a word that was cut off shows as one word.

``--vad`` names another detector: ``CLASS(rate)`` with ``push(pcm, now)``, as :class:`asterisk_ai.audio.vad.EnergyVad`.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure_recognition import Prompt, Samples, edits, grammar_of, load, wording_file

from asterisk_ai.audio.vad import Offset, Onset
from asterisk_ai.call import PREROLL_SECONDS
from asterisk_ai.dialog.state import TurnParams
from asterisk_ai.providers.pocketsphinx.engine import PocketSphinxEngine

RATE = 8000
FRAME = 160
SILENCE_SECONDS = 1.0
VOICES = 6


def passed_on(pcm: bytes, vad: Any) -> Iterator[bytes]:
    """What a call gives the recogniser, utterance by utterance."""
    preroll: deque[bytes] = deque(maxlen=round(PREROLL_SECONDS * RATE / FRAME))
    endpoint = TurnParams().endpoint_ms / 1000
    utterance: list[bytes] = []
    ended = 0.0
    for number, start in enumerate(range(0, len(pcm), FRAME * 2), 1):
        frame, now = pcm[start : start + FRAME * 2], number * FRAME / RATE
        voice = vad.push(frame, now)
        if utterance:
            utterance.append(frame)
        else:
            preroll.append(frame)
        if isinstance(voice, Onset) and not utterance:
            utterance = list(preroll)
            preroll.clear()
        if isinstance(voice, Offset):
            ended = voice.at
        if utterance and not vad.speaking and now - ended >= endpoint:
            yield b"".join(utterance)
            utterance = []
    if utterance:
        yield b"".join(utterance)


def recordings(prompts: list[Prompt], others: list[Prompt], snr_db: float) -> dict[str, list[bytes]]:
    """The prompts with silence around them: clean, in noise, and among voices."""
    rng = np.random.default_rng(5)
    found: dict[str, list[bytes]] = {"clean": [], "white noise": [], "voices": []}
    for prompt in prompts:
        quiet = np.zeros(int(SILENCE_SECONDS * RATE))
        clean = np.concatenate([quiet, prompt.audio, quiet])
        gain = float(np.sqrt(np.mean(speech(prompt.audio) ** 2))) / 10 ** (snr_db / 20)
        voices = sum(_looped(other.audio, len(clean), rng) for other in rng.choice(np.array(others, object), VOICES))
        for name, noise in (
            ("clean", rng.normal(0, 1, len(clean)) * 3 / gain),  # of a quiet line
            ("white noise", rng.normal(0, 1, len(clean))),
            ("voices", voices / np.sqrt(np.mean(voices**2))),
        ):
            found[name].append((clean + gain * noise).clip(-32768, 32767).astype("<i2").tobytes())
    return found


def speech(audio: Samples) -> Any:
    """The frames that are not pauses."""
    frames = audio[: len(audio) // FRAME * FRAME].astype(float).reshape(-1, FRAME)
    levels = np.sqrt((frames**2).mean(axis=1))
    return frames[levels > levels.max() / 10]


def _looped(audio: Samples, length: int, rng: np.random.Generator) -> Any:
    wide = np.tile(audio.astype(float), 1 + length // len(audio))[:length]
    return np.roll(wide, int(rng.integers(length)))


def words(engine: PocketSphinxEngine, grammar: str, utterances: Iterator[bytes] | list[bytes]) -> str:
    """What was understood, whether it would be accepted or not."""
    heard = []
    for pcm in utterances:
        stream = engine.open({"rate": RATE, "grammar": grammar})
        for start in range(0, len(pcm), FRAME * 2):
            stream.feed(pcm[start : start + FRAME * 2])
            while stream.ahead():
                pass
        heard.append(str(stream.finish()["text"]))
        stream.close()
    return " ".join(text for text in heard if text)


def measure(prompts: list[Prompt], audio: list[bytes], hear: Callable[[bytes], str]) -> str:
    wrong = missed = empty = 0
    for prompt, pcm in zip(prompts, audio, strict=True):
        wanted, got = prompt.words.split(), hear(pcm).split()
        wrong += edits(wanted, got)
        missed += got[:1] != wanted[:1]
        empty += not got
    total = sum(len(prompt.words.split()) for prompt in prompts)
    return f"WER {wrong / total:6.1%}, first word missed {missed:2d}, nothing heard {empty:2d} of {len(prompts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--wording", type=Path)
    parser.add_argument("--vad", default="asterisk_ai.audio.vad:EnergyVad")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--snr", type=float, default=10.0, help="dB")
    options = parser.parse_args()
    module, _, name = options.vad.partition(":")
    make = getattr(importlib.import_module(module), name)
    engine = PocketSphinxEngine({"rejection": "normal"})
    known = [
        prompt
        for prompt in load(options.sounds, options.wording or wording_file(options.sounds))
        if 3 <= len(prompt.words.split()) <= 10 and all(engine.pronunciation(word) for word in prompt.words.split())
    ]
    random.Random(4).shuffle(known)
    prompts, others = known[: options.prompts], known[options.prompts :]
    loop = " | ".join(sorted({word for prompt in prompts for word in prompt.words.split()}))
    grammars = {
        "sentences": grammar_of({prompt.words for prompt in prompts}),
        "words": f"#JSGF V1.0;\ngrammar loop;\npublic <words> = ({loop})+;\n",
    }
    for noise, audio in recordings(prompts, others, options.snr).items():
        for kind, grammar in grammars.items():
            whole = measure(prompts, audio, lambda pcm, grammar=grammar: words(engine, grammar, [pcm]))
            cut = measure(
                prompts, audio, lambda pcm, grammar=grammar: words(engine, grammar, passed_on(pcm, make(RATE)))
            )
            print(f"{noise:12} {kind:10} whole: {whole}")
            print(f"{noise:12} {kind:10} by VAD: {cut}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
