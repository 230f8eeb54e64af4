#!/usr/bin/env python3
"""How well the embedded recogniser understands and refuses, on human telephone speech.

    measure_recognition.py SOUNDS [--splits N] [--wording FILE] [--fit] [--ulaw] [--gain DB]

Run it in the checkout as ``PYTHONPATH=. python scripts/measure_recognition.py ...``, or with the package installed.
SOUNDS is the folder of Asterisk's English core sounds (8 kHz wav); their wording is looked for beside it, in
``core-sounds-en.txt`` or ``.txt.gz``, where Debian and the sounds' own archives put it. Random grammars are made of the
prompts' wordings; prompts in the grammar must be accepted with the right words, all others refused. The prompts
are halved by the hash of their wording: thresholds were fitted (``--fit``) on one half, figures are of the other.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import random
import re
import statistics
import time
import wave
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asterisk_ai.audio.pauses import Pauses
from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx, scores
from asterisk_ai.providers.engines.pocketsphinx.decoders import Grammar
from asterisk_ai.providers.engines.pocketsphinx.engine import PocketSphinxEngine
from asterisk_ai.providers.engines.pocketsphinx.scores import Segment
from asterisk_ai.providers.engines.pocketsphinx.utterance import upsampled

DIGITS = "zero one two three four five six seven eight nine".split()
LONGEST_SECONDS = 8.0
Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Prompt:
    """A recording, its words, and which half it belongs to."""

    name: str
    words: str
    audio: Samples
    held_out: bool


@dataclass(frozen=True)
class Trial:
    """A prompt put to a grammar. ``suspicion`` is infinite where nothing was found."""

    prompt: Prompt
    wanted: bool
    text: str
    evidence: scores.Evidence | None

    @property
    def right(self) -> bool:
        return self.text == self.prompt.words


def wording_file(sounds: Path) -> Path:
    """The list of what the prompts say.

    :raises SystemExit: it is nowhere.
    """
    places = [sounds, *sounds.resolve().parents]
    for place in places:
        for folder in (place, place / "doc/asterisk-core-sounds-en", place / "share/doc/asterisk-core-sounds-en"):
            for name in ("core-sounds-en.txt", "core-sounds-en.txt.gz"):
                if (folder / name).is_file():
                    return folder / name
    raise SystemExit(f"no core-sounds-en.txt near {sounds}; name it with --wording")


def spoken(wording: str) -> str:
    """A wording as the words that are spoken."""
    text = wording.lower().replace("a.m.", "a m").replace("p.m.", "p m").replace("#", "pound").replace("*", "star")
    text = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text)
    return " ".join(re.sub(r"[^a-z' ]", " ", text).split())


def load(sounds: Path, wording: Path) -> list[Prompt]:
    """The prompts that are speech, one for each wording, none that sound alike."""
    raw = gzip.decompress(wording.read_bytes()) if wording.suffix == ".gz" else wording.read_bytes()
    found: dict[str, Prompt] = {}
    for line in raw.decode("utf-8", "replace").splitlines():
        matched = re.match(r"([\w/+-]+): (.*)", line)
        if not matched or re.search(r"[\[<]|silence|simple tone", matched[2]) or matched[1].startswith("letters/"):
            continue
        path, words = sounds / f"{matched[1]}.wav", spoken(matched[2])
        if not words or not path.is_file():
            continue
        with wave.open(str(path)) as file:
            audio = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        if len(audio) <= LONGEST_SECONDS * 8000:
            half = hashlib.sha256(words.encode()).digest()[0] & 1
            found.setdefault(words, Prompt(matched[1], words, audio, held_out=bool(half)))
    return sorted(found.values(), key=lambda prompt: prompt.name)


def telephone(audio: Samples, *, ulaw: bool, gain_db: float) -> Samples:
    """The audio quieter or louder, and through G.711 mu-law."""
    samples = np.clip(audio * 10 ** (gain_db / 20), -32768, 32767).astype(np.int32)
    if not ulaw:
        return samples.astype(np.int16)
    biased = np.minimum(np.abs(samples) >> 2, 8158) + 33
    exponent = np.floor(np.log2(biased)).astype(int) - 5
    mantissa = (biased >> (exponent + 1)) & 15
    magnitude = ((mantissa * 2 + 33) << exponent) - 33
    return (np.sign(samples) * np.minimum(magnitude * 4, 32767)).astype(np.int16)


def line(audio: Samples) -> bytes:
    """The audio as the engine decodes it in a call: the silence of a quiet line around it, cut by its levels."""
    noise = np.random.default_rng(1).normal(0, 3, 4000)
    pcm = np.concatenate([noise, audio, noise]).astype(np.int16)
    pauses = Pauses(8000)
    pauses.feed(pcm.tobytes())
    start, end = pauses.speech()
    return upsampled(pcm[start:end].tobytes(), 8000)


def grammar_of(sentences: set[str]) -> Grammar:
    hints = Hints.of(*sorted(sentences))
    return Grammar(hints.grammar, tuple(sorted(hints.words)))


class Bench:
    """Searches that do not depend on the grammar are done once a prompt."""

    def __init__(self, prompts: list[Prompt], options: argparse.Namespace) -> None:
        self.engine = PocketSphinxEngine({"rejection": "normal"})
        self.prompts = [prompt for prompt in prompts if self._pronounced(prompt)]
        self._options = options
        self._free: dict[str, tuple[bytes, list[Segment]]] = {}

    def _pronounced(self, prompt: Prompt) -> bool:
        return all(self.engine.pronunciation(word) for word in prompt.words.split())

    def trial(self, prompt: Prompt, grammar: Grammar, *, wanted: bool) -> Trial:
        if prompt.name not in self._free:
            pcm = line(telephone(prompt.audio, ulaw=self._options.ulaw, gain_db=self._options.gain))
            self._free[prompt.name] = pcm, self.engine.heard(pcm)
        pcm, heard = self._free[prompt.name]
        text, sentence = self.engine.match(grammar, pcm)
        return Trial(prompt, wanted, text, self.engine.evidence(pcm, sentence, heard) if text else None)


def splits(prompts: list[Prompt], count: int) -> Iterator[tuple[str, list[Prompt], list[Prompt]]]:
    """Kind of grammar, prompts in it, prompts not in it."""
    many = [prompt for prompt in prompts if len(prompt.words.split()) >= 2]
    short = [prompt for prompt in prompts if len(prompt.words.split()) <= 2 and len(prompt.audio) < 16000]
    for seed in range(count):
        rng = random.Random(seed)
        for kind, pool, others, size in (
            ("120 sentences", many, many, 120),
            ("60 sentences", many, many, 60),
            ("15 short phrases, others short", short, short, 15),
            ("15 short phrases, others sentences", short, many, 15),
            ("60 of any length", prompts, prompts, 60),
        ):
            inside = rng.sample(pool, min(size, len(pool) // 2))
            said = {prompt.words for prompt in inside}
            rest = [prompt for prompt in others if prompt.words not in said]
            yield kind, inside, rng.sample(rest, min(60, len(rest)))


def edits(wanted: list[str], got: list[str]) -> int:
    row = list(range(len(got) + 1))
    for i, word in enumerate(wanted, 1):
        before, row = row, [i]
        for j, other in enumerate(got, 1):
            row.append(min(before[j - 1] + (word != other), before[j] + 1, row[-1] + 1))
    return row[-1]


def report(trials: dict[str, list[Trial]]) -> None:
    print(f"{'grammar':36} {'right':>6} {'WER':>6}", *(f"{name + ' acc/ref':>18}" for name in ("normal", "strict")))
    for kind, found in trials.items():
        inside = [trial for trial in found if trial.wanted]
        outside = [trial for trial in found if not trial.wanted]
        wrong = sum(edits(t.prompt.words.split(), t.text.split()) for t in inside)
        columns = [
            f"{sum(t.right for t in inside) / len(inside):6.1%}",
            f"{wrong / sum(len(t.prompt.words.split()) for t in inside):6.1%}",
        ]
        for name in ("normal", "strict"):
            taken = [t for t in found if t.evidence and scores.accepts(name, t.text, scores.suspicion(t.evidence))]
            accepted = sum(t.right for t in taken if t.wanted) / len(inside)
            refused = 1 - sum(not t.wanted for t in taken) / len(outside)
            columns.append(f"{accepted:8.1%} / {refused:6.1%}")
        print(f"{kind:36}", *columns, f"  ({len(inside)} in, {len(outside)} out)")


def fit(trials: list[Trial]) -> None:
    """Logistic regression by Newton's method, both classes weighing the same; prints what scores.py holds."""
    used = [t for t in trials if t.evidence and (t.right if t.wanted else True)]
    x = np.array([[*astuple(t.evidence), 1.0] for t in used if t.evidence])
    y = np.array([0.0 if t.wanted else 1.0 for t in used])
    weight = np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    w = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(len(w))
        w -= np.linalg.solve(hessian, x.T @ (weight * (p - y)) + 1e-6 * w)
    print("WEIGHTS =", tuple(round(float(v), 3) for v in w[:-1]), " BIAS =", round(float(w[-1]), 3))
    known = np.sort((x @ w)[y == 0])
    for share in (0.9, 0.95, 0.97, 0.98, 0.99):
        limit = known[int(share * (len(known) - 1))]
        refused = np.mean((x @ w)[y == 1] > limit)
        print(f"  threshold {limit:6.2f}: {share:.0%} of the known accepted, {refused:.1%} of the others refused")


async def latency(bench: Bench) -> None:
    """finish() after about 2 s of speech fed in real time, with and without the pause that an endpointer waits for."""
    some = [p for p in bench.prompts if 1.7 <= len(p.audio) / 8000 <= 2.3 and len(p.words.split()) > 1][:12]
    engine = PocketSphinx()
    await engine.start()
    hints = Hints.of(*sorted({prompt.words for prompt in bench.prompts[:120]} | {p.words for p in some}))
    await engine.check_grammar(hints)
    for pause_ms in (600, 0):
        took = []
        for prompt in some:
            pcm = np.concatenate([prompt.audio, np.zeros(pause_ms * 8, np.int16)]).tobytes()
            async with engine.open(rate=8000, hints=hints) as stream:
                due = time.perf_counter()
                for start in range(0, len(pcm), 320):
                    stream.feed(pcm[start : start + 320])
                    due += 0.02
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                began = time.perf_counter()
                await stream.finish()
                took.append(1000 * (time.perf_counter() - began))
        took.sort()
        print(
            f"finish() with {pause_ms} ms of pause fed: median {statistics.median(took):.0f} ms, "
            f"p95 {took[int(0.95 * (len(took) - 1))]:.0f} ms, most {took[-1]:.0f} ms ({len(took)} utterances)"
        )
    print("memory of the worker:", resident(engine.worker_pids[0]))
    await engine.stop()


def resident(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(line.split(":")[1].strip() for line in status.splitlines() if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--splits", type=int, default=4, help="grammars of each kind")
    parser.add_argument("--wording", type=Path)
    parser.add_argument("--fit", action="store_true", help="fit the weights on the other half instead")
    parser.add_argument("--ulaw", action="store_true", help="through G.711 mu-law")
    parser.add_argument("--gain", type=float, default=0.0, help="in dB")
    parser.add_argument("--no-latency", action="store_true")
    options = parser.parse_args()
    prompts = load(options.sounds, options.wording or wording_file(options.sounds))
    bench = Bench(prompts, options)
    half = [prompt for prompt in bench.prompts if prompt.held_out != options.fit]
    print(f"{len(bench.prompts)} prompts, {len(half)} in this half")
    trials: dict[str, list[Trial]] = {}
    for kind, inside, outside in splits(half, options.splits):
        grammar_words = {prompt.words for prompt in inside}
        grammar = grammar_of(grammar_words)
        for prompt in inside + outside:
            wanted = prompt.words in grammar_words
            trials.setdefault(kind, []).append(bench.trial(prompt, grammar, wanted=wanted))
    report(trials)
    if options.fit:
        fit([trial for found in trials.values() for trial in found])
    elif not options.no_latency:
        asyncio.run(latency(bench))


if __name__ == "__main__":
    main()
