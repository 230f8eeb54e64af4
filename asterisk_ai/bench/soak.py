"""Short calls that come and go all the time at a server of its own: does anything grow, is any frame lost?

A third of the callers is echoed, a third hears a tone, a third holds a conversation with engines of a set delay.
What the server uses is written down every ten seconds. It passes where nothing grew after the first quarter, nothing
is left once all calls have gone, and no frame was lost.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from asterisk_ai.bench.process_use import ProcessUse
from asterisk_ai.bench.target import Target, address, health
from asterisk_ai.config import HttpConfig
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.simulator.agi_client import run_agi
from asterisk_ai.transport.clock import PlayoutClock

AGENTS = ("echo", "milliwatt", "bench")
SAMPLE_SECONDS = 10.0
MEMORY_GROWTH = 1.01
OTHER_GROWTH = 1.08
"""Medians of many seconds of calls that come and go at random differ by a few in a hundred."""
RATE, FRAME = 8000, 320
_FILL = b"\x55" * (FRAME - 8)
"""What an echoed frame has after its number."""


@dataclass(slots=True)
class Sample:
    """What the server is and has at one moment."""

    memory_kb: float
    descriptors: int
    threads: int
    tasks: int
    calls: int
    dropped: int
    """Frames so far that a caller did not take in time."""
    skipped: int
    """Frames so far that the server came too late to send."""
    cpu_seconds: float
    stolen_seconds: float
    """CPU time of all that a virtual machine's host gave to others. Source: proc_stat(5), "steal"."""


@dataclass(slots=True)
class Totals:
    """Of all calls that have ended."""

    calls: int = 0
    frames: int = 0
    lost: int = 0
    early: int = 0
    """Calls that the server ended."""
    failed: int = 0
    worst_gap_ms: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)


def judge(idle: Sample, samples: Sequence[Sample], after: Sample, totals: Totals) -> list[str]:
    """What is wrong; nothing where all is well. ``idle`` is before the first call, ``after`` behind the last one."""
    problems = [f"{count} times {error}" for error, count in totals.errors.items()]
    quarter = len(samples) // 4
    for name in ("memory_kb", "descriptors", "threads", "tasks") if quarter else ():
        early = statistics.median(getattr(one, name) for one in samples[quarter : 2 * quarter])
        late = statistics.median(getattr(one, name) for one in samples[-quarter:])
        if late > early * (MEMORY_GROWTH if name == "memory_kb" else OTHER_GROWTH) + 2:
            problems.append(f"{name} grew from {early:g} to {late:g}")
    for name in ("descriptors", "tasks", "calls"):
        left, before = getattr(after, name), getattr(idle, name)
        if left > before + 1:
            problems.append(f"{name}: {left} are left, {before} before")
    if totals.lost or totals.failed or totals.early:
        problems.append(f"{totals.lost} frames lost, {totals.failed + totals.early} calls failed")
    # The server's own counts are exact, where the callers judge by the time.
    if after.dropped:
        problems.append(f"the server dropped {after.dropped} frames: a caller took none")
    if after.skipped:
        problems.append(f"the server skipped {after.skipped} frames: it came too late to send them")
    return problems


class SoakCall(asyncio.Protocol):
    """One call: sends on the clock, counts what comes."""

    def __init__(self, agent: str, call_id: str, speech: Sequence[bytes]) -> None:
        self._agent, self._call_id, self._speech = agent, call_id, speech
        self._position = random.randrange(len(speech))  # noqa: S311 - callers in different places of a sentence
        self._buffer = b""
        self._first = self._last = 0.0
        self._sent = self._echoed = 0
        self._missing: deque[int] = deque(maxlen=50)
        self.transport: asyncio.Transport | None = None
        self.sending = True
        self.got = 0
        self.worst_gap = 0.0
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self.transport.write(audiosocket.uuid_message(uuid.UUID(self._call_id)))

    def tick(self) -> None:
        if self.transport is None or not self.sending or self.closed.is_set():
            return
        if self._agent == "echo":
            self._sent += 1
            self.transport.write(audiosocket.audio_message(RATE, self._sent.to_bytes(8, "little") + _FILL))
        else:
            self._position = (self._position + 1) % len(self._speech)
            self.transport.write(self._speech[self._position])

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._buffer += data
        whole = audiosocket.HEADER_BYTES + FRAME
        while len(self._buffer) >= whole:
            payload, self._buffer = self._buffer[audiosocket.HEADER_BYTES : whole], self._buffer[whole:]
            self.got += 1
            self._echoed += payload[8:] == _FILL
            self._first = self._first or now
            self.worst_gap = max(self.worst_gap, now - self._last if self._last else 0.0)
            self._last = now
            # From the first frame to this one there is one every 20 ms.
            self._missing.append(round((now - self._first) / 0.02) + 1 - self.got)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()

    def lost(self) -> int:
        if self._agent == "echo":
            return self._sent - self._echoed
        # What is late is missing for a moment, what is lost for good. Speech may begin a frame ahead of the grid.
        return max(0, min(self._missing) - 1) if self.got else 1


class Soak:
    """So many lines for so long, each with call after call.

    :param speech: what callers of the conversing agent say, 8 kHz 16-bit.
    :param tell: is given each sample.
    """

    def __init__(
        self, target: Target, speech: bytes, *, lines: int, seconds: float, tell: Callable[[Sample], None]
    ) -> None:
        frames = range(0, len(speech) - FRAME + 1, FRAME)
        self._speech = [audiosocket.audio_message(RATE, speech[at : at + FRAME]) for at in frames]
        self._target, self._lines, self._tell = target, lines, tell
        self._until = time.monotonic() + seconds
        self._clock = PlayoutClock()
        self._samples: list[Sample] = []
        self._totals = Totals()

    async def run(self) -> dict[str, Any]:
        """The report, to be printed as JSON: ``problems`` says what is wrong."""
        idle = await asyncio.to_thread(self._sample)
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(self._keep_samples())
            lines = [group.create_task(self._line(number)) for number in range(self._lines)]
            await asyncio.wait(lines)
            sampling.cancel()
        self._clock.close()
        await asyncio.sleep(5)  # within which a server has forgotten a call
        after = await asyncio.to_thread(self._sample)
        found = judge(idle, self._samples, after, self._totals)
        return {"totals": asdict(self._totals), "idle": asdict(idle), "after": asdict(after), "problems": found}

    async def _line(self, number: int) -> None:
        await asyncio.sleep(min(15.0, (self._until - time.monotonic()) / 4) * number / self._lines)
        while time.monotonic() < self._until:
            try:
                await self._call(random.choice(AGENTS), random.uniform(3, 25))  # noqa: S311
            except OSError as error:
                self._totals.failed += 1
                self._totals.errors[repr(error)[:200]] += 1
                await asyncio.sleep(1)

    async def _call(self, agent: str, seconds: float) -> None:
        fastagi = ("127.0.0.1", self._target.config.fastagi.port)
        outcome = await run_agi(*fastagi, f"call/start?agent={agent}", timeout=10)
        variables = outcome.variables
        if variables.get("AI_STATUS") != "OK":
            raise OSError(f"call/start: {variables.get('AI_STATUS') or outcome.reason}")
        _, call = await asyncio.get_running_loop().create_connection(
            lambda: SoakCall(agent, variables["AI_CALL_ID"], self._speech), *address(variables["AI_AUDIOSOCKET"])
        )
        self._clock.add(call.tick)
        try:
            async with asyncio.timeout(max(1.0, min(seconds, self._until - time.monotonic()))):
                await call.closed.wait()
            self._totals.early += 1
        except TimeoutError:
            call.sending = False
            await asyncio.sleep(0.2)  # what is under way comes back
        finally:
            self._clock.remove(call.tick)
            if call.transport is not None:
                call.transport.close()
        await run_agi(*fastagi, "call/end", arguments=[variables["AI_CALL_ID"]], timeout=10)
        self._totals.calls += 1
        self._totals.frames += call.got
        self._totals.lost += call.lost()
        self._totals.worst_gap_ms = max(self._totals.worst_gap_ms, round(1000 * call.worst_gap, 1))

    async def _keep_samples(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            sample = await asyncio.to_thread(self._sample)
            self._samples.append(sample)
            self._tell(sample)

    def _sample(self) -> Sample:
        """Source of its files: proc_pid_statm(5), proc_stat(5)."""
        process = Path(f"/proc/{self._target.pid}")
        state = health(self._target.config.http or HttpConfig())
        try:
            return Sample(
                memory_kb=int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024,
                descriptors=len(os.listdir(process / "fd")),
                threads=len(os.listdir(process / "task")),
                tasks=state["tasks"],
                calls=state["active_calls"],
                dropped=state["frames"]["dropped"],
                skipped=state["frames"]["skipped"],
                cpu_seconds=round(ProcessUse.of(self._target.pid).cpu_seconds, 2),
                stolen_seconds=int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK"),
            )
        except (OSError, KeyError) as error:
            raise AsteriskAIError(f"the server under load is gone: {error!r}") from error
