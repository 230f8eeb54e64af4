#!/usr/bin/env python3
"""Measure turns through the real Asterisk, from stereo recordings that it made: what callers on the PBX hear.

    scripts/measure_asterisk.py response [--turns 40]
    scripts/measure_asterisk.py share [--calls 20]
    scripts/measure_asterisk.py interruptions [--set 1] [--parallel 4]

The sample dialplan and the embedded default; human prompts in one call at a time, engines of a set delay, or the
battery of interruptions.py, judged as interrupted_calls.py says. As root, with the Asterisk of
scripts/get_asterisk.sh; on a quiet machine. scripts/measure_turns.py measures the same without an Asterisk.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asterisk_ai.session.backends.sqlite import SqliteReader

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "asterisk"))

from interrupted_calls import AFTER, INTO_SPEECH, LONG, SETTLED, STOPPED, Outcome, quantiles, read_log, tell
from interruptions import KINDS, Sound, battery
from measure_turns import DELAY, delayed, tell_share, tone, wordings
from rig import SOUNDS, Asterisk, Caller, Sentence, sentences, speech, why_not, wording
from served import Served

HEARD = 104  # RMS of -50 dBov: what a person hears
CONTINUOUS = "transmit_silence = yes\n"
"""As a telephone's audio is. Without it Asterisk leaves the callers' pauses out of the recording: two sounds 1 s apart
were recorded as one. With it each echo comes 20 ms after its sound."""
GRAMMAR = 60
TURNS_A_CALL = 5


def agent(pool: Sequence[Sentence], answer: str) -> dict[str, Any]:
    intents = {f"i{number}": {"say": [item.words], "answer": answer} for number, item in enumerate(pool)}
    return {"greeting": "Hello.", "turn": {"no_input_seconds": 60}, "rules": {"intents": intents}}


@contextlib.contextmanager
def pbx(desk: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> Iterator[tuple[Served, Asterisk]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Served(Path(folder), {"desk": desk}, settings) as server,
        Asterisk(server.address, options=CONTINUOUS) as asterisk,
    ):
        yield server, asterisk


def tracks(caller: Caller) -> tuple[np.ndarray, np.ndarray]:
    """Caller and agent, of one length, after the call."""
    said, heard = caller.spoken(), caller.heard()
    length = min(len(said), len(heard))
    return said[:length], heard[:length]


def responses(said: np.ndarray, heard: np.ndarray) -> list[float]:
    """From the end of each thing that the caller said to the agent's next sound, in seconds."""
    begins = [begin for begin, _ in speech(heard, HEARD, gap=0.2)]
    found = []
    for _, end in speech(said, HEARD, gap=0.5):
        after = next((begin - end for begin in begins if begin > end - 0.05), None)
        if after is not None:
            found.append(after)
    return found


def response(turns: int) -> None:
    pool = sentences(wording())[:GRAMMAR]
    found: list[float] = []
    understood = 0
    with pbx(agent(pool, "That was it.")) as (server, asterisk):
        for start in range(0, turns, TURNS_A_CALL):
            chosen = [pool[number % GRAMMAR] for number in range(start, start + TURNS_A_CALL)]
            with asterisk.call() as caller:
                caller.hear(quiet_ms=600)
                for sentence in chosen:
                    caller.say(sentence.prompt)
                    caller.hear(quiet_ms=600)
                caller.stop_recording()
                found += responses(*tracks(caller))
            print(".", end="", flush=True, file=sys.stderr)
        understood = server.log().count("caller understood")
    print(f"\nunderstood {understood} of {turns}; last sound to first sound: {quantiles(found)}")


def interruptions(number: int, parallel: int, kinds: Sequence[str]) -> None:
    """The battery of interruptions.py, judged by the server's log and by what Asterisk recorded."""
    known = wordings(SOUNDS)
    chosen = [sound for sound in battery(SOUNDS, known, number) if not kinds or sound.kind in kinds]
    rules = {"intents": {"ask": {"say": [known["vm-nobodyavail"]], "answer": "Yes."}}}
    desk = {"greeting": LONG, "turn": {"no_input_seconds": 60}, "rules": rules}
    with pbx(desk) as (server, asterisk), ThreadPoolExecutor(parallel) as threads:
        calls = list(threads.map(lambda sound: interrupted(asterisk, sound), chosen))
        lines = read_log(server.folder / "server.log")
    tell([judged(*call, lines[call[1]]) for call in calls])
    print(f"set {number}, {parallel} calls at once, through Asterisk")


def interrupted(asterisk: Asterisk, sound: Sound) -> tuple[Sound, str, np.ndarray, np.ndarray]:
    """One call with the sound in the midst of the agent's first words: its id, and what was said and heard."""
    name = f"sound-{secrets.token_hex(4)}"
    soundfile.write(asterisk.outside / "rec" / f"{name}.wav", np.frombuffer(sound.pcm, "<i2"), 8000, subtype="PCM_16")
    with asterisk.call() as caller:
        caller.exec("WaitForNoise", "120,1,10")
        caller.wait(INTO_SPEECH)
        caller.say(str(asterisk.inside / "rec" / name))
        caller.wait(AFTER)
        caller.stop_recording()
        found = re.search(r"AudioSocket\(([0-9a-f-]{36})", " ".join(step.data for step in caller.steps()))
        said, heard = tracks(caller)
    print(".", end="", flush=True, file=sys.stderr)
    return sound, found[1] if found else "", said, heard


def judged(
    sound: Sound, call: str, said: np.ndarray, heard: np.ndarray, log: Sequence[tuple[float, str]]
) -> Outcome:  # fmt: skip
    """By interrupted_calls.py's rules, with times from the recording."""
    stretches = speech(said, HEARD, gap=60)
    length = len(heard) / 8000
    begin, end = stretches[0] if stretches else (length - AFTER - len(sound.pcm) / 16000, length - AFTER)
    spoken = [stretch for stretch in speech(heard, HEARD, gap=0.04) if stretch[1] > begin]
    edges = [begin, *(edge for stretch in spoken for edge in stretch), min(length, end + AFTER)]
    gap = max(after - before for before, after in zip(edges[::2], edges[1::2], strict=True))
    stopped = any(text.startswith(STOPPED) for _, text in log)
    after = [stretch for stretch in speech(heard, HEARD, gap=SETTLED) if stretch[1] > begin]
    silence = after[0][1] - begin if after and after[0][0] <= begin + SETTLED else 0.0
    texts = tuple(text for _, text in log)
    return Outcome(sound, stopped, gap, silence if sound.true and stopped else None, None, texts)


def share(calls: int) -> None:
    """The library's own share of a turn, as measure_turns.py has it, with callers who come through Asterisk."""
    desk = {"greeting": "Hi.", "turn": {"no_input_seconds": 60}}
    with pbx(desk, delayed(DELAY)) as (server, asterisk), ThreadPoolExecutor(calls) as threads:
        file = asterisk.outside / "rec" / "tone.wav"
        soundfile.write(file, np.frombuffer(tone(), "<i2"), 8000, subtype="PCM_16")

        def talk(_: int) -> None:
            with asterisk.call(record=False, seconds=60) as caller:
                caller.wait(2)
                for _ in range(3):
                    caller.say(str(asterisk.inside / "rec" / "tone"))
                    caller.wait(3)

        list(threads.map(talk, range(calls)))
        names = list(read_log(server.folder / "server.log"))
        tell_share(f"{calls} calls through Asterisk", SqliteReader(server.folder / "sessions.db"), names, DELAY)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("response", "share", "interruptions"))
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--calls", type=int, default=1, help="share: calls at once (default: 1)")
    parser.add_argument("--set", type=int, default=1, help="interruptions: which set of sounds (default: 1)")
    parser.add_argument("--parallel", type=int, default=4, help="interruptions: calls at once (default: 4)")
    parser.add_argument("--kind", action="append", choices=KINDS, help="interruptions: only of this kind; repeatable")
    arguments = parser.parse_args()
    if reason := why_not():
        parser.error(reason)
    if arguments.what == "response":
        response(arguments.turns)
    elif arguments.what == "share":
        share(arguments.calls)
    else:
        interruptions(arguments.set, arguments.parallel, arguments.kind)
    return 0


if __name__ == "__main__":
    sys.exit(main())
