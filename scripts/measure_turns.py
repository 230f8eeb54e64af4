#!/usr/bin/env python3
"""Measure turns over the wire: response, the library's own share of it, interruptions true and false.

    scripts/measure_turns.py response SOUNDS     human prompts, embedded default
    scripts/measure_turns.py share               engines of a set delay, with 1 and with 50 calls
    scripts/measure_turns.py interruptions SOUNDS [--set 1] [--parallel 4]
                                                 the battery of interruptions.py, judged as interrupted_calls.py says

SOUNDS is Asterisk's folder of English prompts (sounds/en_US_f_Allison below the
tree of scripts/get_asterisk.sh). Each prints medians and p95; run it on a quiet
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from interrupted_calls import LONG, over_the_wire, quantiles, tell
from interruptions import KINDS, battery, wording

from asterisk_ai.config import load
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.simulator.asterisk import RATE, Caller, Line, simulate
from asterisk_ai.simulator.local_server import local_server

DELAY = 0.2


def wordings(sounds: Path) -> dict[str, str]:
    """Prompt to its words, of those that are there, speak 3 to 10 words, and say nothing twice."""
    found: dict[str, str] = {}
    for name, text in wording(sounds):
        if re.search(r"[\d\[#*]", text):  # not written as they are spoken
            continue
        words = " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())
        usable = not name.startswith("silence/") and (sounds / f"{name}.wav").exists() and 3 <= len(words.split()) <= 10
        if usable and words not in found.values():
            found[name] = words
    return found


def pcm(sounds: Path, name: str) -> bytes:
    samples, _ = soundfile.read(sounds / f"{name}.wav", dtype="int16")
    return bytes(samples.tobytes())


TURN_SECONDS = 4.0
"""About what a turn of these callers takes, from one sentence to the next."""


def config_file(folder: str, agent: dict[str, Any], **sections: Any) -> str:
    path = Path(folder) / "asterisk_ai.yaml"
    agents = {"desk": {"greeting": "Hi.", "turn": {"no_input_seconds": 60}, **agent}}
    path.write_text(yaml.safe_dump({"default_agent": "desk", "agents": agents, **sections}), "utf-8")
    return str(path)


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


def share(calls: int, seconds: float = DELAY, *, over: float = 0.0) -> None:
    """A turn less the endpoint's silence and the engines' own delay.

    :param over: seconds over which the callers join; 0: all speak in chorus.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = config_file(folder, {}, **delayed(seconds))
        with local_server(load(file)) as server:
            served = server.config

            async def one(number: int) -> Any:
                await asyncio.sleep(over * number / calls)
                return await call(served, [Line("tone", pcm=tone())] * 3)

            async def many() -> list[Any]:
                return await asyncio.gather(*map(one, range(calls)))

            names = [result.call_id for result in asyncio.run(many())]
            title = f"{calls} calls" + " in chorus" * (calls > 1 and not over)
            tell_share(title, SqliteReader(served.store_path()), names, seconds)


def delayed(seconds: float) -> dict[str, Any]:
    """Sections of a configuration whose engines each take so long, and nothing else."""
    names = {kind: f"asterisk_ai.providers.engines.delay:Delay{kind}" for kind in _KINDS}
    pipelines = {"delay": {"stt": names[_KINDS[0]], "llm": names[_KINDS[1]], "tts": names[_KINDS[2]]}}
    providers = {name: {"seconds": seconds} for name in names.values()}
    return {"pipeline": "delay", "pipelines": pipelines, "providers": providers, "vad": {"engine": "energy"}}


def tone() -> bytes:
    """A second of one."""
    return (8000 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype("<i2").tobytes()


def tell_share(title: str, store: SqliteReader, names: Sequence[str], seconds: float) -> None:
    """The library's share of the turns of these calls: without 0.6 s of silence and three engines' ``seconds``."""
    own: list[float] = []
    each: dict[str, list[float]] = {}
    for record in filter(None, map(store.find, names)):
        for parts in (turn.timings for turn in record.history):
            if "first_frame" in parts and "endpoint" in parts:
                own.append(parts["first_frame"] - 0.6 - 3 * seconds)
                for name, value in parts.items():
                    each.setdefault(name, []).append(value)
    print(f"{title}: own share of a turn {quantiles(own)}")
    for name, values in each.items():
        print(f"  until {name}: {quantiles(values)}")


_KINDS = ("SpeechToText", "LanguageModel", "TextToSpeech")


def interruptions(sounds: Path, number: int, parallel: int, kinds: Sequence[str], vad: str) -> None:
    """True ones stop the agent; false ones do not. See interrupted_calls.py for what counts."""
    known = wordings(sounds)
    rules = {"intents": {"ask": {"say": [known["vm-nobodyavail"]], "answer": "Yes."}}}
    chosen = [sound for sound in battery(sounds, known, number) if not kinds or sound.kind in kinds]
    with tempfile.TemporaryDirectory() as folder:
        file = config_file(folder, {"greeting": LONG, "rules": rules}, vad={"engine": vad}, log={"transcripts": True})
        with local_server(load(file)) as server:
            began, used = time.monotonic(), _cpu_seconds(server.pid)
            outcomes = asyncio.run(over_the_wire(chosen, server.config.fastagi.port, server.log, parallel))
            share = (_cpu_seconds(server.pid) - used) / (time.monotonic() - began)
    tell(outcomes)
    print(f"set {number}, {parallel} calls at once: the server and its workers used {100 * share:.0f} % of a core")


def _cpu_seconds(pid: int) -> float:
    """Of a process and its children so far."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if pid in (int(stat.parent.name), int(fields[1])):
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("response", "share", "interruptions"))
    parser.add_argument("sounds", nargs="?", type=Path)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--parallel", type=int, default=4, help="interruptions: calls at once (default: 4)")
    parser.add_argument("--set", type=int, default=1, help="interruptions: which set of sounds (default: 1)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="interruptions: only of this kind; repeatable")
    parser.add_argument("--vad", choices=("silero", "energy"), default="silero", help="interruptions: vad.engine")
    arguments = parser.parse_args()
    if arguments.what == "share":
        share(1)
        share(50, over=TURN_SECONDS)
        share(50)
    elif arguments.sounds is None:
        parser.error("SOUNDS is needed")
    elif arguments.what == "response":
        response(arguments.sounds, arguments.turns)
    else:
        interruptions(arguments.sounds, arguments.set, arguments.parallel, arguments.kind, arguments.vad)
    return 0


if __name__ == "__main__":
    sys.exit(main())
