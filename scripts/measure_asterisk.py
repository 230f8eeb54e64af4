#!/usr/bin/env python3
"""Measure turns through the real Asterisk, from stereo recordings that it made: what callers on the PBX hear.

    scripts/measure_asterisk.py response [--turns 40]
    scripts/measure_asterisk.py interruptions [--turns 30]

Human prompts, the sample dialplan, the embedded default, one call at a time. As root, with the Asterisk of
scripts/get_asterisk.sh; on a quiet machine. scripts/measure_turns.py measures the same without an Asterisk.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "asterisk"))

from rig import Asterisk, Caller, Hangup, Sentence, sentences, speech, why_not, wording
from served import Served

HEARD = 104  # RMS of -50 dBov: what a person hears
GRAMMAR = 60
TURNS_A_CALL = 5
LONG = " ".join(["This answer is long, so that there is time enough to interrupt it in the middle."] * 4)


def quantiles(values: Sequence[float]) -> str:
    if not values:
        return "no values"
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"n={len(ordered)} median {statistics.median(ordered) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms"


def agent(pool: Sequence[Sentence], answer: str) -> dict[str, Any]:
    intents = {f"i{number}": {"say": [item.words], "answer": answer} for number, item in enumerate(pool)}
    return {"greeting": "Hello.", "turn": {"no_input_seconds": 60}, "rules": {"intents": intents}}


@contextlib.contextmanager
def pbx(pool: Sequence[Sentence], answer: str) -> Iterator[tuple[Served, Asterisk]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Served(Path(folder), {"desk": agent(pool, answer)}) as server,
        Asterisk(server.address) as asterisk,
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
    with pbx(pool, "That was it.") as (server, asterisk):
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


def silence_after(said: np.ndarray, heard: np.ndarray) -> float | None:
    """From the first sound of the caller's last words to the agent's last one, in seconds; None where it went on."""
    begin = speech(said, HEARD, gap=0.5)[-1][0]
    for first, last in speech(heard, HEARD, gap=0.1):
        if first < begin < last:
            return last - begin
    return None


def interruptions(turns: int) -> None:
    pool = sentences(wording())[: GRAMMAR + turns]
    asked, interrupting = pool[0], pool[GRAMMAR : GRAMMAR + turns]
    found: list[float] = []
    stopped = 0
    with pbx(pool[:GRAMMAR], LONG) as (server, asterisk):
        for sentence in interrupting:
            before = server.log().count("the agent was interrupted")
            with asterisk.call() as caller, contextlib.suppress(Hangup):
                caller.hear(quiet_ms=600)
                caller.say(asked.prompt)
                caller.exec("WaitForNoise", "120,1,10")
                caller.wait(1.5)
                caller.say(sentence.prompt)
                caller.wait(1)
                caller.stop_recording()
                seconds = silence_after(*tracks(caller))
            was = server.log().count("the agent was interrupted") > before
            stopped += was
            if was and seconds is not None:
                found.append(seconds)
            print("." if was else "!", end="", flush=True, file=sys.stderr)
    print(f"\ntrue interruptions that stopped the agent: {stopped} of {turns}")
    print(f"first sound to the agent's last: {quantiles(found)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("response", "interruptions"))
    parser.add_argument("--turns", type=int, default=30)
    arguments = parser.parse_args()
    if reason := why_not():
        parser.error(reason)
    {"response": response, "interruptions": interruptions}[arguments.what](arguments.turns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
