#!/usr/bin/env python3
"""What voice activity detection costs the recogniser in words, on human telephone speech.

    measure_vad_words.py SOUNDS [--vad MODULE:CLASS] [--prompts N] [--snr DB] [--ends] [--voices]

Run it in the checkout as ``PYTHONPATH=. python scripts/measure_vad_words.py ...``. Each prompt is recognised three
times by the embedded recogniser: the whole line; what is cut from it by hand, as the best of detectors would, from
0.3 s before the prompt's first sound to the endpoint's silence after its last; and what a call passes on of it, from
the pre-roll before the onset to that silence. On a quiet line, and in white noise that sets in three seconds before
the speech; by a grammar of the prompts. ``--ends``: it also has each prompt without its first words, so that one that
was cut off is heard as such. ``--voices`` adds other people's voices in place of the noise.

The detector is the one of calls as they are configured by default, the model being one tick of the clock behind
(``--behind``); ``--vad asterisk_ai.vad.energy:EnergyVad`` is the level alone, or any ``CLASS(rate)`` like it.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import random
import statistics
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure_recognition import Prompt, Samples, edits, grammar_of, load, wording_file

from asterisk_ai.audio.levels import dbov
from asterisk_ai.audio.pauses import levels, loud
from asterisk_ai.call.staged.conversation import PREROLL_SECONDS
from asterisk_ai.dialog.staged.state import TurnParams
from asterisk_ai.providers.engines.pocketsphinx.decoders import Grammar
from asterisk_ai.providers.engines.pocketsphinx.engine import PocketSphinxEngine
from asterisk_ai.vad.batch import BatchedModel, Floats, ImmediateRun, Run
from asterisk_ai.vad.energy import EnergyVad, Offset, Onset
from asterisk_ai.vad.silero import SileroModel
from asterisk_ai.vad.speech import SpeechVad

RATE = 8000
FRAME = 160
QUIET_SECONDS = 1.0
NOISE_SECONDS = 3.0
"""From where the noise sets in to the speech: some of what a call's noise floor needs to follow it."""
LEAD_SECONDS = 0.3
"""Before the first sound, where it is cut by hand."""
VOICES = 6


NAMES = {"whole": "the whole", "cut": "cut by hand", "passed": "by VAD"}


@dataclass(frozen=True)
class Options:
    """What a process has to know; see the options."""

    vad: str
    behind: int
    preroll: float


@dataclass(frozen=True)
class Trial:
    """A prompt in a noise, put to a grammar."""

    noise: str
    words: str
    sounds: tuple[float, float]
    """Its first sound and its last, in seconds: within 28 dB of its loudest, which the recogniser takes for speech."""
    pcm: bytes
    grammar: Grammar


@dataclass(frozen=True)
class Heard:
    """What was understood of it: of the whole, by hand, and of what the detector lets pass, which began at seconds."""

    trial: Trial
    whole: str
    cut: str
    passed: str
    starts: tuple[float, ...]

    def wrong(self, text: str) -> int:
        return edits(self.trial.words.split(), text.split())

    def missed(self, text: str) -> bool:
        return text.split()[:1] != self.trial.words.split()[:1]


class Behind:
    """A run of the model that is told of so many ticks later."""

    def __init__(self, run: Run, ticks: int) -> None:
        self._run = run
        self._ticks = ticks

    def done(self) -> bool:
        self._ticks -= 1
        return self._ticks < 0

    def result(self) -> tuple[Floats, Floats]:
        return self._run.result()


class Line:
    """What a call makes of a line, utterance by utterance, as :mod:`asterisk_ai.call.staged.conversation` does."""

    def __init__(self, options: Options) -> None:
        self.utterances: list[tuple[float, bytes]] = []
        """Each one's beginning in seconds, and its audio."""
        self._preroll: deque[bytes] = deque(maxlen=round(options.preroll * RATE / FRAME))
        self._open: list[bytes] | None = None
        self._now = self._ended = 0.0
        self._model: BatchedModel | None = None
        if options.vad:
            module, _, name = options.vad.partition(":")
            self._vad: EnergyVad = getattr(importlib.import_module(module), name)(RATE)
        else:
            finished = ImmediateRun(silero())
            self._model = BatchedModel(lambda *chunks: Behind(finished(*chunks), options.behind), _failed)
            self._vad = SpeechVad(RATE, self._model, self._voice)

    def hear(self, pcm: bytes) -> Line:
        endpoint = TurnParams().endpoint_ms / 1000
        for number, start in enumerate(range(0, len(pcm), FRAME * 2), 1):
            frame, self._now = pcm[start : start + FRAME * 2], number * FRAME / RATE
            voice = self._vad.hear(frame, dbov(frame), self._now)
            (self._preroll if self._open is None else self._open).append(frame)
            if voice is not None:
                self._voice(voice)
            if self._model is not None:
                self._model.flush(self._now)
            if not self._vad.speaking and self._now - self._ended >= endpoint:
                self._close()
        self._close()
        return self

    def _voice(self, voice: Onset | Offset) -> None:
        if isinstance(voice, Offset):
            self._ended = voice.at
        elif self._open is None:
            self._open = list(self._preroll)
            self._preroll.clear()
            self.utterances.append((self._now - len(self._open) * FRAME / RATE, b""))

    def _close(self) -> None:
        if self._open is not None:
            self.utterances[-1] = self.utterances[-1][0], b"".join(self._open)
            self._open = None


def _failed(error: Exception) -> None:
    raise error


@functools.cache
def silero() -> SileroModel:
    return SileroModel()


@functools.cache
def recogniser(side: str) -> PocketSphinxEngine:
    """One a way of cutting: a decoder learns the line from what it has heard before."""
    return PocketSphinxEngine({"rejection": "normal"})


def words(side: str, grammar: Grammar, utterances: list[bytes]) -> str:
    """What was understood, whether it would be accepted or not."""
    heard = []
    for pcm in utterances:
        stream = recogniser(side).open({"rate": RATE, "grammar": grammar.jsgf, "words": grammar.words})
        for start in range(0, len(pcm), FRAME * 2):
            stream.feed(pcm[start : start + FRAME * 2])
            while stream.ahead():
                pass
        heard.append(str(stream.finish()["text"]))
        stream.close()
    return " ".join(text for text in heard if text)


def listen(options: Options, trial: Trial) -> Heard:
    utterances = Line(options).hear(trial.pcm).utterances
    return Heard(
        trial,
        whole=words("whole", trial.grammar, [trial.pcm]),
        cut=words("cut", trial.grammar, [by_hand(trial)]),
        passed=words("passed", trial.grammar, [pcm for _, pcm in utterances]),
        starts=tuple(start for start, _ in utterances),
    )


def by_hand(trial: Trial) -> bytes:
    first, last = trial.sounds
    start, end = round((first - LEAD_SECONDS) * RATE), round((last + TurnParams().endpoint_ms / 1000) * RATE)
    return trial.pcm[start * 2 : end * 2]


def recordings(prompt: Prompt, others: list[Prompt], snr_db: float, *, seed: int) -> dict[str, bytes]:
    """The prompt on a quiet line, in noise, and among voices."""
    rng = np.random.default_rng(seed)
    before = int((QUIET_SECONDS + NOISE_SECONDS) * RATE)
    clean = np.concatenate([np.zeros(before), prompt.audio, np.zeros(RATE)])
    clean += rng.normal(0, 3, len(clean))
    gain = float(np.sqrt(np.mean(speech(prompt.audio) ** 2))) / 10 ** (snr_db / 20)
    voices = sum(_looped(other.audio, len(clean), rng) for other in rng.choice(np.array(others, object), VOICES))
    found = {"clean": clean}
    for name, noise in (
        ("white noise", rng.normal(0, 1, len(clean))),
        ("voices", voices / np.sqrt(np.mean(voices**2))),
    ):
        noise[: int(QUIET_SECONDS * RATE)] = 0
        found[name] = clean + gain * noise
    return {name: samples.clip(-32768, 32767).astype("<i2").tobytes() for name, samples in found.items()}


def speech(audio: Samples) -> Any:
    """The frames that are not pauses."""
    frames = audio[: len(audio) // FRAME * FRAME].astype(float).reshape(-1, FRAME)
    loudness = np.sqrt((frames**2).mean(axis=1))
    return frames[loudness > loudness.max() / 10]


def ends(sentence: str) -> set[str]:
    """The sentence, and what is left of it without its first words."""
    tokens = sentence.split()
    return {" ".join(tokens[start:]) for start in range(len(tokens))}


def sounds(audio: Samples) -> tuple[float, float]:
    """Where the prompt's first and last sounds are in a recording of it."""
    found = np.flatnonzero(loud(levels(audio.tobytes(), FRAME)))
    before = QUIET_SECONDS + NOISE_SECONDS
    return before + int(found[0]) * FRAME / RATE, before + (int(found[-1]) + 1) * FRAME / RATE


def _looped(audio: Samples, length: int, rng: np.random.Generator) -> Any:
    wide = np.tile(audio.astype(float), 1 + length // len(audio))[:length]
    return np.roll(wide, int(rng.integers(length)))


def trials(options: argparse.Namespace) -> Iterator[Trial]:
    engine = PocketSphinxEngine({"rejection": "normal"})
    known = [
        prompt
        for prompt in load(options.sounds, options.wording or wording_file(options.sounds))
        if 3 <= len(prompt.words.split()) <= 10 and all(map(engine.pronunciation, prompt.words.split()))
    ]
    random.Random(4).shuffle(known)
    prompts, others = known[: options.prompts], known[options.prompts :]
    said = {prompt.words for prompt in prompts}
    grammar = grammar_of(set().union(*map(ends, said)) if options.ends else said)
    for number, prompt in enumerate(prompts):
        for noise, pcm in recordings(prompt, others, options.snr, seed=number).items():
            if noise != "voices" or options.voices:
                yield Trial(noise, prompt.words, sounds(prompt.audio), pcm, grammar)


def report(found: list[Heard]) -> None:
    total = sum(len(heard.trial.words.split()) for heard in found)
    print(f"{found[0].trial.noise}: {len(found)} prompts, {total} words")
    for name in ("whole", "cut", "passed"):
        texts = [(heard, str(getattr(heard, name))) for heard in found]
        wrong = sum(heard.wrong(text) for heard, text in texts)
        missed = sum(heard.missed(text) for heard, text in texts)
        print(
            f"  {NAMES[name]:12}: WER {wrong / total:6.1%} ({wrong}), first word missed {missed / len(found):6.1%} "
            f"({missed}), nothing heard {sum(not text for _, text in texts)}"
        )
    for name in ("whole", "cut"):
        _compare(found, name)
    leads = sorted(heard.trial.sounds[0] - heard.starts[0] for heard in found if heard.starts)
    if leads:
        print(
            f"  passed on before the first sound: median {statistics.median(leads):.2f} s, least {leads[0]:.2f} s; "
            f"less than 0.1 s: {sum(lead < 0.1 for lead in leads)}, none: {sum(lead <= 0 for lead in leads)}; "
            f"not one utterance: {sum(len(heard.starts) != 1 for heard in found)}"
        )


def _compare(found: list[Heard], name: str) -> None:
    """What was passed on with another way, prompt by prompt."""
    texts = [(heard, str(getattr(heard, name))) for heard in found]
    worse = sum(heard.wrong(heard.passed) > heard.wrong(text) for heard, text in texts)
    better = sum(heard.wrong(heard.passed) < heard.wrong(text) for heard, text in texts)
    lost = sum(heard.missed(heard.passed) > heard.missed(text) for heard, text in texts)
    won = sum(heard.missed(heard.passed) < heard.missed(text) for heard, text in texts)
    print(
        f"  by VAD against {NAMES[name]}: worse {worse}, better {better}; "
        f"first word missed by VAD alone {lost}, by {NAMES[name]} alone {won}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--wording", type=Path)
    parser.add_argument("--vad", default="", metavar="MODULE:CLASS", help="another detector than the default")
    parser.add_argument("--behind", type=int, default=1, help="ticks until the model's findings are told")
    parser.add_argument("--preroll", type=float, default=PREROLL_SECONDS, help="seconds; what calls keep")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--snr", type=float, default=10.0, help="dB")
    parser.add_argument("--ends", action="store_true", help="what is left of a prompt without its first words is known")
    parser.add_argument("--voices", action="store_true", help="among other people's voices too")
    parser.add_argument("--list", action="store_true", help="the prompts that are worse than by hand")
    options = parser.parse_args()
    found: dict[str, list[Heard]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        hear = functools.partial(listen, Options(options.vad, options.behind, options.preroll))
        for heard in processes.map(hear, trials(options)):
            found.setdefault(heard.trial.noise, []).append(heard)
    for noise in found.values():
        report(noise)
    if options.list:
        for heard in (one for noise in found.values() for one in noise):
            if heard.wrong(heard.passed) > heard.wrong(heard.cut):
                print(f"{heard.trial.noise}: {heard.trial.words!r}:", repr(heard.passed), heard.starts, repr(heard.cut))


if __name__ == "__main__":
    main()
