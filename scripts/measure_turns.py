#!/usr/bin/env python3
"""Measure turns over the wire: response, the library's own share of it, interruptions true and false.

    scripts/measure_turns.py response SOUNDS     human prompts, embedded default
    scripts/measure_turns.py share               engines of a set delay, with 1 and with 50 calls
    scripts/measure_turns.py interruptions SOUNDS

SOUNDS is Asterisk's folder of English prompts (sounds/en_US_f_Allison below the
tree of scripts/get_asterisk.sh). Each prints medians and p95; run it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from asterisk_ai.audio.levels import dbov
from asterisk_ai.cli.local_server import local_server
from asterisk_ai.cli.simulator import FRAME, HEARD_DBOV, RATE, Caller, Line, simulate
from asterisk_ai.config import load
from asterisk_ai.session.sqlite import SqliteReader

DELAY = 0.2
LONG = " ".join(["This answer is long, so that there is time enough to interrupt it in the middle."] * 4)


def wordings(sounds: Path) -> dict[str, str]:
    """Prompt to its words, of those that are there, speak 3 to 10 words, and say nothing twice."""
    text = next(sounds.parents[3].rglob("core-sounds-en.txt.gz"), None) or next(sounds.rglob("core-sounds-en.txt.gz"))
    found: dict[str, str] = {}
    for line in gzip.decompress(text.read_bytes()).decode("utf-8", "replace").splitlines():
        name, _, words = line.partition(":")
        words = " ".join(re.sub(r"[^a-z' ]", " ", words.lower()).split())
        usable = (sounds / f"{name}.wav").exists() and 3 <= len(words.split()) <= 10 and "[" not in line
        if usable and words not in found.values():
            found[name] = words
    return found


def pcm(sounds: Path, name: str) -> bytes:
    samples, _ = soundfile.read(sounds / f"{name}.wav", dtype="int16")
    return bytes(samples.tobytes())


def config_file(folder: str, agent: dict[str, Any], **sections: Any) -> str:
    path = Path(folder) / "asterisk_ai.yaml"
    agents = {"desk": {"greeting": "Hi.", "turn": {"no_input_seconds": 60}, **agent}}
    path.write_text(yaml.safe_dump({"default_agent": "desk", "agents": agents, **sections}), "utf-8")
    return str(path)


def quantiles(values: Sequence[float]) -> str:
    if not values:
        return "no values"
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"n={len(ordered)} median {statistics.median(ordered) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms"


async def call(config: Any, lines: Sequence[Line]) -> Any:
    return await simulate(Caller(lines, linger=1.0), host="127.0.0.1", fastagi_port=config.fastagi.port)


def response(sounds: Path, turns: int) -> None:
    """From the caller's last sound to the agent's first."""
    known = wordings(sounds)
    names = random.Random(1).sample(sorted(known), 60)
    intents = {f"i{n}": {"say": [known[name]], "answer": f"That was number {n}."} for n, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        file = config_file(folder, {"rules": {"intents": intents}})
        with local_server(load(file)) as server:
            served = server.config
            seconds: list[float] = []
            right = 0
            for start in range(0, turns, 5):
                chosen = names[start : start + 5]
                result = asyncio.run(call(served, [Line(name, pcm=pcm(sounds, name)) for name in chosen]))
                seconds += [item.seconds for item in result.responses if item.seconds is not None]
                record = SqliteReader(served.store_path()).find(result.call_id)
                heard = [turn.text for turn in record.history if turn.role == "caller"] if record else []
                right += sum(known[name] in heard for name in chosen)
                print(".", end="", flush=True, file=sys.stderr)
    print(f"\nunderstood {right} of {turns}; last sound to first sound: {quantiles(seconds)}")


def share(calls: int, seconds: float = DELAY) -> None:
    """A turn less the endpoint's silence and the engines' own delay."""
    names = {kind: f"asterisk_ai.providers.delay:Delay{kind}" for kind in _KINDS}
    pipelines = {"delay": {"stt": names[_KINDS[0]], "llm": names[_KINDS[1]], "tts": names[_KINDS[2]]}}
    providers = {name: {"seconds": seconds} for name in names.values()}
    tone = (8000 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype("<i2").tobytes()
    own: list[float] = []
    each: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sections = {"pipeline": "delay", "pipelines": pipelines, "providers": providers, "vad": {"engine": "energy"}}
        file = config_file(folder, {}, **sections)
        with local_server(load(file)) as server:
            served = server.config

            async def many() -> list[Any]:
                async with asyncio.TaskGroup() as group:
                    lines = [Line("tone", pcm=tone)] * 3
                    tasks = [group.create_task(call(served, lines)) for _ in range(calls)]
                return [task.result() for task in tasks]

            for result in asyncio.run(many()):
                record = SqliteReader(served.store_path()).find(result.call_id)
                for turn in record.history if record else ():
                    parts = turn.timings
                    if "first_frame" in parts and "endpoint" in parts:
                        own.append(parts["first_frame"] - 0.6 - 3 * seconds)
                        for name, value in parts.items():
                            each.setdefault(name, []).append(value)
    print(f"{calls} calls: own share of a turn {quantiles(own)}")
    for name, values in each.items():
        print(f"  until {name}: {quantiles(values)}")


_KINDS = ("SpeechToText", "LanguageModel", "TextToSpeech")


def sounds_of_all_kinds(sounds: Path, known: dict[str, str]) -> list[tuple[str, bool, bytes]]:
    """Name, whether it is a true interruption, and the sound: at least 100, half of them nothing to stop for."""
    rng = np.random.default_rng(7)
    speech = random.Random(2).sample(sorted(known), 50)
    found = [(f"speech {name}", True, pcm(sounds, name)) for name in speech]
    found += [(f"click {number}", False, _click(rng)) for number in range(20)]
    found += [(f"cough {number}", False, _cough(rng)) for number in range(20)]
    for level in np.linspace(-60, -35, 15):
        noise = rng.normal(0, 32768 * 10 ** (level / 20), RATE * 2)
        found.append((f"noise {level:.0f} dBov", False, noise.clip(-32768, 32767).astype("<i2").tobytes()))
    return found


def _click(rng: np.random.Generator) -> bytes:
    samples = np.zeros(int(RATE * 0.5))
    length = int(RATE * rng.uniform(0.005, 0.06))
    samples[800 : 800 + length] = rng.normal(0, 8000, length) * np.exp(-np.arange(length) / (length / 4))
    return bytes(samples.clip(-32768, 32767).astype("<i2").tobytes())


def _cough(rng: np.random.Generator) -> bytes:
    """Two bursts of coloured noise with a fast attack and a slow decay, as a cough has them."""
    samples = np.zeros(int(RATE * 0.9))
    position = 800
    for _ in range(rng.integers(1, 3)):
        length = int(RATE * rng.uniform(0.12, 0.24))
        decay = np.exp(-np.arange(length) / (length / 3))
        burst = np.convolve(rng.normal(0, 1, length), np.ones(4) / 4, "same") * decay
        samples[position : position + length] += 9000 * burst
        position += length + int(RATE * 0.06)
    return bytes(samples.clip(-32768, 32767).astype("<i2").tobytes())


def interruptions(sounds: Path) -> None:
    """True ones stop the agent; false ones do not, or the agent goes on within a second."""
    known = wordings(sounds)
    asked = "vm-nobodyavail"
    rules = {"intents": {"ask": {"say": [known[asked]], "answer": LONG}}}
    battery = sounds_of_all_kinds(sounds, known)
    stopped_true = stopped_false = 0
    to_silence: list[float] = []
    resumed: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        file = config_file(folder, {"rules": rules})
        with local_server(load(file)) as server:
            served = server.config
            for start in range(0, len(battery), 8):
                group = battery[start : start + 8]
                results = asyncio.run(_interrupted_calls(served, pcm(sounds, asked), group))
                for (name, true, _), result in zip(group, results, strict=True):
                    record = SqliteReader(served.store_path()).find(result.call_id)
                    was = any(turn.interrupted for turn in record.history) if record else False
                    gap = _silence_after(result)
                    stopped_true += was and true
                    stopped_false += was and not true
                    if true and was and gap is not None:
                        to_silence.append(gap[0])
                    if not true and not was and gap is not None and gap[1] > 0.1:
                        resumed.append(gap[1])
                    if was is not true:
                        print(f"  {'missed' if true else 'stopped by'}: {name}")
    true_count = sum(true for _, true, _ in battery)
    print(f"true interruptions that stopped the agent: {stopped_true} of {true_count}")
    print(f"false ones that stopped it: {stopped_false} of {len(battery) - true_count}")
    print(f"first sound to the agent's last: {quantiles(to_silence)}")
    print(f"silence until the agent went on after a false one: {quantiles(resumed)}")


async def _interrupted_calls(served: Any, question: bytes, group: Sequence[tuple[str, bool, bytes]]) -> list[Any]:
    async def one(sound: bytes) -> Any:
        lines = [Line("ask", pcm=question), Line("interrupt", pcm=sound, barge_in=1.5)]
        return await simulate(Caller(lines, linger=1.5), host="127.0.0.1", fastagi_port=served.fastagi.port)

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one(sound)) for _, _, sound in group]
    return [task.result() for task in started]


def _silence_after(result: Any) -> tuple[float, float] | None:
    """From the last line's first sound: seconds to the agent's next silence of 100 ms, and how long that is."""
    levels = [
        [dbov(bytes(side[at : at + FRAME])) > HEARD_DBOV for at in range(0, len(side) - FRAME, FRAME)]
        for side in (result.caller, result.agent)
    ]
    caller, agent = levels
    began = next((at for at in range(len(caller) - 1, -1, -1) if caller[at]), None)
    if began is None:
        return None
    quiet = 0
    while began > 0 and quiet < 40:  # back to the beginning of the caller's last sounds
        began -= 1
        quiet = 0 if caller[began] else quiet + 1
    began += quiet
    for at in range(began, len(agent) - 5):
        if not any(agent[at : at + 5]):
            on = next((later for later in range(at, len(agent)) if agent[later]), len(agent))
            return (at - began) * 0.02, (on - at) * 0.02
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("response", "share", "interruptions"))
    parser.add_argument("sounds", nargs="?", type=Path)
    parser.add_argument("--turns", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.what == "share":
        share(1)
        share(50)
    elif arguments.sounds is None:
        parser.error("SOUNDS is needed")
    elif arguments.what == "response":
        response(arguments.sounds, arguments.turns)
    else:
        interruptions(arguments.sounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
