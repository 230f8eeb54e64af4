"""Calls that a sound of interruptions.py breaks in upon, over the wire or through Asterisk, and what came of each.

What counts as right:

- a true interruption: the server stopped the agent (its log says so) no later than 1.5 s after the sound's end;
- a false one: it did not, and between the sound's first frame and 1.5 s after its last there was no silence of the
  agent's longer than 1.0 s. A pause of the agent's own between two sentences counts as such silence, too.

The call ends 1.5 s after the sound, whatever the agent says.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from interruptions import KINDS, Sound

from asterisk_ai.audio.levels import dbov
from asterisk_ai.simulator.asterisk import HEARD_DBOV, Caller, Line, simulate

INTO_SPEECH = 1.0
AFTER = 1.5
LONGEST_GAP = 1.0
SETTLED = 0.25
"""What is heard so long after a decision for silence is another reply: endpointing alone takes that time."""
HELD, RESUMED, STOPPED = "holding", "no interruption", "the agent was interrupted"
LONG = " ".join(["This answer goes on for so long that there is time enough to interrupt it in the middle of it."] * 5)
"""Without a pause where the sounds come."""
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \w+ \S+ \[([0-9a-f-]{36})\] (.*)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one sound did. Times in seconds."""

    sound: Sound
    stopped: bool
    gap: float
    """The agent's longest silence in the time that counts."""
    silence: float | None = None
    """True ones that stopped the agent: from the first sound to the agent's last."""
    late: tuple[float, ...] | None = None
    """Over the wire, true ones: the agent's frames that came after the decision for silence was logged, by how much."""
    log: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        return self.stopped if self.sound.true else not self.stopped and self.gap <= LONGEST_GAP


class Interrupter(Caller):
    """Says one sound in the midst of the agent's first words, and hangs up AFTER seconds later."""

    def __init__(self, sound: Sound) -> None:
        super().__init__([Line(sound.name, pcm=sound.pcm, barge_in=INTO_SPEECH)])
        self.heard: list[tuple[float, bool]] = []
        """For each frame of the agent's: when it came, by the wall clock, and whether it can be heard."""
        self.began = self.ended = 0.0
        """The first and the last audible frame of the sound: its beginning and its end, by the wall clock."""

    def _hear(self, pcm: bytes) -> None:
        self.heard.append((time.time(), dbov(pcm) > HEARD_DBOV))
        super()._hear(pcm)

    def _begin_line(self, writer: asyncio.StreamWriter, now: float) -> bool:
        if not self.began:
            return super()._begin_line(writer, now)
        return time.time() - self.ended < AFTER

    def _frame(self, now: float) -> bytes:
        speaking = self._speaking is not None
        pcm = super()._frame(now)
        if speaking and (dbov(pcm) > HEARD_DBOV or self._speaking is None):
            self.ended = time.time()
            self.began = self.began or self.ended - 0.02  # the frame's first sample was spoken so long ago
        return pcm

    def outcome(self, sound: Sound, log: Sequence[tuple[float, str]]) -> Outcome:
        """After the call. ``log``: the server's lines of it, with their times."""
        stopped = next((at for at, text in log if text.startswith(STOPPED)), None)
        silence = late = None
        if sound.true and stopped is not None:
            held = max(at for at, text in log if text.startswith(HELD) and at <= stopped)
            spoken = [at for at, loud in self.heard if loud and at <= held + SETTLED]
            silence = max(0.0, spoken[-1] - self.began)
            late = tuple(at - held for at in spoken if at > held)
        loud = [self.began, *(at for at, loud in self.heard if loud and at > self.began), self.ended + AFTER]
        gap = max(after - before for before, after in pairwise(loud))
        return Outcome(sound, stopped is not None, gap, silence, late, tuple(text for _, text in log))


def read_log(path: Path) -> dict[str, list[tuple[float, str]]]:
    """The server's log, by call: time and text of each line."""
    found: dict[str, list[tuple[float, str]]] = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        if match := _LINE.match(line):
            found.setdefault(match[2], []).append((datetime.fromisoformat(match[1]).timestamp(), match[3]))
    return found


async def over_the_wire(sounds: Sequence[Sound], port: int, log: Path, parallel: int) -> list[Outcome]:
    """A call for each, ``parallel`` at a time, to the server whose FastAGI is at ``port``."""
    free = asyncio.Semaphore(parallel)

    async def one(sound: Sound) -> tuple[Interrupter, str]:
        async with free:
            caller = Interrupter(sound)
            result = await simulate(caller, host="127.0.0.1", fastagi_port=port)
            return caller, result.call_id

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(one(sound)) for sound in sounds]
    lines = read_log(log)
    found = [call.result() for call in calls]
    return [caller.outcome(sound, lines[name]) for sound, (caller, name) in zip(sounds, found, strict=True)]


def tell(outcomes: Sequence[Outcome]) -> None:
    """Rates of each kind, then each miss with what the log says of it."""
    for outcome in outcomes:
        if not outcome.right:
            sound = outcome.sound
            what = "missed" if sound.true else "stopped by" if outcome.stopped else f"silent for {outcome.gap:.1f} s by"
            print(f"{what} {sound.kind} {sound.name}:")
            for line in outcome.log:
                if line.startswith((HELD, RESUMED, STOPPED, "caller", "utterance")):
                    print(f"    {line}")
    for kind in KINDS:
        _rate(kind, [outcome for outcome in outcomes if outcome.sound.kind == kind])
    _rate("true interruptions", [outcome for outcome in outcomes if outcome.sound.true])
    _rate("false ones", [outcome for outcome in outcomes if not outcome.sound.true])
    silences = [outcome.silence for outcome in outcomes if outcome.silence is not None]
    print(f"first sound to the agent's last: {quantiles(silences)}")
    gaps = [o.gap for o in outcomes if not o.sound.true and any(line.startswith(RESUMED) for line in o.log)]
    print(f"the agent's longest silence where it went on after a false one: {quantiles(gaps)}")
    stopped = [outcome.late for outcome in outcomes if outcome.silence is not None and outcome.late is not None]
    if stopped:
        most = max(len(late) for late in stopped)
        longest = max((late[-1] for late in stopped if late), default=0.0)
        print(
            f"agent's frames after the decision for silence: at most {most}, the last {longest * 1000:.0f} ms after it"
        )


def _rate(name: str, outcomes: Sequence[Outcome]) -> None:
    if outcomes:
        right = sum(outcome.right for outcome in outcomes)
        print(f"{name:18} {right:3} of {len(outcomes):3} right, {100 * right / len(outcomes):.1f} %")


def quantiles(values: Sequence[float]) -> str:
    if not values:
        return "no values"
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"n={len(ordered)} median {statistics.median(ordered) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms"
