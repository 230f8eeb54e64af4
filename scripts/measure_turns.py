#!/usr/bin/env python3
"""Measure turns over the wire: response, the library's own share of it, interruptions true and false.

    scripts/measure_turns.py response SOUNDS     human prompts, embedded default
    scripts/measure_turns.py share               engines of a set delay, with 1 and with 50 calls
    scripts/measure_turns.py interruptions SOUNDS    the battery of interruptions.py

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
from interruptions import KINDS, Sound, battery

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
        if re.search(r"[\d\[#*]", words):  # not written as they are spoken
            continue
        words = " ".join(re.sub(r"[^a-z' ]", " ", words.lower()).split())
        usable = not name.startswith("silence/") and (sounds / f"{name}.wav").exists() and 3 <= len(words.split()) <= 10
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


def interruptions(sounds: Path, parallel: int, kinds: Sequence[str], vad: str) -> None:
    """True ones stop the agent; false ones do not, or the agent goes on within a second."""
    known = wordings(sounds)
    rules = {"intents": {"ask": {"say": [known["vm-nobodyavail"]], "answer": "Yes."}}}
    sounded = [sound for sound in battery(sounds, known) if not kinds or sound.kind in kinds]
    verdicts: list[tuple[Sound, bool, tuple[float, float] | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = config_file(folder, {"greeting": LONG, "rules": rules}, vad={"engine": vad})
        with local_server(load(file)) as server:
            served = server.config
            for start in range(0, len(sounded), parallel):
                group = sounded[start : start + parallel]
                results = asyncio.run(_interrupted_calls(served, group))
                for sound, result in zip(group, results, strict=True):
                    record = SqliteReader(served.store_path()).find(result.call_id)
                    was = any(turn.interrupted for turn in record.history) if record else False
                    verdicts.append((sound, was, _silence_after(result)))
                    if was is not sound.true:
                        print(f"  {'missed' if sound.true else 'stopped by'}: {sound.kind} {sound.name}", flush=True)
    _tell(verdicts)


def _tell(verdicts: Sequence[tuple[Sound, bool, tuple[float, float] | None]]) -> None:
    for kind in KINDS:
        stopped = [was for sound, was, _ in verdicts if sound.kind == kind]
        if stopped:
            print(f"{kind:12} {sum(stopped):3} of {len(stopped):3} stopped the agent")
    true = [was for sound, was, _ in verdicts if sound.true]
    false = [was for sound, was, _ in verdicts if not sound.true]
    print(f"true interruptions that stopped the agent: {sum(true)} of {len(true)}")
    print(f"false ones that stopped it: {sum(false)} of {len(false)}")
    silent = [gap[0] for sound, was, gap in verdicts if sound.true and was and gap is not None]
    resumed = [gap[1] for sound, was, gap in verdicts if not sound.true and not was and gap and gap[1] > 0.1]
    print(f"first sound to the agent's last: {quantiles(silent)}")
    late = sum(seconds > 1.0 for seconds in resumed)
    print(f"silence until the agent went on after a false one: {quantiles(resumed)}, more than a second: {late}")


async def _interrupted_calls(served: Any, group: Sequence[Sound]) -> list[Any]:
    async def one(sound: bytes) -> Any:
        lines = [Line("interrupt", pcm=sound, barge_in=1.5)]
        return await simulate(Caller(lines, linger=1.5), host="127.0.0.1", fastagi_port=served.fastagi.port)

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one(sound.pcm)) for sound in group]
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
    parser.add_argument("--parallel", type=int, default=4, help="interruptions: calls at once (default: 4)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="interruptions: only of this kind; repeatable")
    parser.add_argument("--vad", choices=("silero", "energy"), default="silero", help="interruptions: vad.engine")
    arguments = parser.parse_args()
    if arguments.what == "share":
        share(1)
        share(50)
    elif arguments.sounds is None:
        parser.error("SOUNDS is needed")
    elif arguments.what == "response":
        response(arguments.sounds, arguments.turns)
    else:
        interruptions(arguments.sounds, arguments.parallel, arguments.kind, arguments.vad)
    return 0


if __name__ == "__main__":
    sys.exit(main())
