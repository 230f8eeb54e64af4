#!/usr/bin/env python3
"""Short calls, coming and going all the time, against a server of its own: does anything grow, is any frame lost?

    scripts/soak.py --calls 200 --minutes 20

A third of the calls echo, a third hear a tone, a third hold a conversation with engines of a set delay. Every
ten seconds the server's memory, descriptors, threads and tasks are written down. Ends with status 1 where one of
them grew after the warm-up (the first quarter), where anything is left once all calls have gone, or where a
frame was lost. "cpu" is what the server used, in percent of one core, "stolen" the CPU time that a virtual machine's
host gave to others, in percent of all (both mean and worst of ten seconds), "standstill_ms" the longest that a CPU ran
nothing at all: a server that had no CPU left loses frames that are not its own. Loopback only; bounded by --minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from host import Standstill, Stolen, watched

from asterisk_ai.bench.process_use import ProcessUse
from asterisk_ai.bench.target import delay_configuration
from asterisk_ai.cli.running import health
from asterisk_ai.cli.serve import loop_factory, prepare_process
from asterisk_ai.config import load
from asterisk_ai.protocol import audiosocket
from asterisk_ai.simulator.agi_client import run_agi
from asterisk_ai.simulator.caller_speech import caller_turn, speech_of
from asterisk_ai.simulator.local_server import LocalServer, local_server
from asterisk_ai.transport.clock import PlayoutClock

AGENTS = ("echo", "milliwatt", "bench")
SAMPLE_SECONDS = 10.0
MEMORY_GROWTH = 1.01
OTHER_GROWTH = 1.08
"""Medians of many seconds of calls that come and go at random differ by a few in a hundred."""


@dataclass
class Totals:
    calls: int = 0
    frames: int = 0
    lost: int = 0
    gaps: int = 0
    early: int = 0
    failed: int = 0
    worst_gap: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)


class SoakCall(asyncio.Protocol):
    """One call: sends on the clock, counts what comes."""

    def __init__(self, agent: str, call_id: str, speech: list[bytes]) -> None:
        self.agent, self.call_id, self.speech = agent, call_id, speech
        self.transport: asyncio.Transport | None = None
        self.sending = True
        self.sent = self.got = self.echoed = 0
        self.first = self.last = self.worst_gap = 0.0
        self.gaps = 0
        self.missing: deque[int] = deque(maxlen=50)
        self.closed = asyncio.Event()
        self.buffer = b""
        self.position = random.randrange(len(speech))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self.transport.write(audiosocket.uuid_message(uuid.UUID(self.call_id)))

    def tick(self) -> None:
        if self.transport is None or not self.sending or self.closed.is_set():
            return
        if self.agent == "echo":
            self.sent += 1
            self.transport.write(audiosocket.audio_message(8000, self.sent.to_bytes(8, "little") + b"\x55" * 312))
        else:
            self.position = (self.position + 1) % len(self.speech)
            self.transport.write(self.speech[self.position])

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self.buffer += data
        while len(self.buffer) >= 323:
            payload, self.buffer = self.buffer[3:323], self.buffer[323:]
            self.got += 1
            if payload[8:] == b"\x55" * 312:
                self.echoed += 1
            if self.last and now - self.last > 0.04:
                self.gaps += 1
            self.worst_gap = max(self.worst_gap, now - self.last if self.last else 0.0)
            self.first = self.first or now
            self.last = now
            # The clock's grid: from the first frame to this one there is one every 20 ms.
            self.missing.append(round((now - self.first) / 0.02) + 1 - self.got)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set()

    def lost(self) -> int:
        if self.agent == "echo":
            return self.sent - self.echoed
        # What is late is missing for a moment, what is lost for good. Speech may begin a frame ahead of the grid.
        return max(0, min(self.missing) - 1) if self.got else 1


class CpuUse:
    """A process's, from the making of this on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._used, self._at = ProcessUse.of(pid).cpu_seconds, time.monotonic()

    def percent(self) -> float:
        """Of one core, since the beginning or the last call of this."""
        used, at = ProcessUse.of(self._pid).cpu_seconds, time.monotonic()
        share = (used - self._used) / max(1e-9, at - self._at)
        self._used, self._at = used, at
        return round(100 * share, 1)


class Soak:
    def __init__(
        self, server: LocalServer, speech: bytes, arguments: argparse.Namespace, standstill: Standstill
    ) -> None:
        self.server, self.arguments, self.standstill = server, arguments, standstill
        self.speech = [
            audiosocket.audio_message(8000, speech[at : at + 320]) for at in range(0, len(speech) // 320 * 320, 320)
        ]
        self.clock = PlayoutClock()
        self.totals = Totals()
        self.until = time.monotonic() + arguments.minutes * 60
        self.samples: list[dict[str, float]] = []
        self.stolen = Stolen()
        self.cpu = CpuUse(server.pid)

    async def run(self) -> None:
        idle = self.sample()
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(self.keep_samples())
            lines = [group.create_task(self.line(number)) for number in range(self.arguments.calls)]
            await asyncio.wait(lines)
            sampling.cancel()
        self.clock.close()
        await asyncio.sleep(5)
        self.judge(idle, self.sample())

    async def line(self, number: int) -> None:
        """One of the caller's lines: call after call until the time is over."""
        await asyncio.sleep(number / self.arguments.calls * 15)
        while time.monotonic() < self.until:
            try:
                await self.call(random.choice(AGENTS), random.uniform(3, 25))
            except OSError as error:
                self.totals.failed += 1
                self.totals.errors[repr(error)[:200]] += 1
                await asyncio.sleep(1)

    async def call(self, agent: str, seconds: float) -> None:
        config = self.server.config
        where = ("127.0.0.1", config.fastagi.port)
        outcome = await run_agi(*where, f"call/start?agent={agent}", timeout=10)
        variables = outcome.variables
        if variables.get("AI_STATUS") != "OK":
            raise OSError(f"call/start: {variables.get('AI_STATUS') or outcome.reason}")
        host, _, port = variables["AI_AUDIOSOCKET"].rpartition(":")
        loop = asyncio.get_running_loop()
        _, call = await loop.create_connection(
            lambda: SoakCall(agent, variables["AI_CALL_ID"], self.speech), host, int(port)
        )
        self.clock.add(call)
        try:
            async with asyncio.timeout(max(1.0, min(seconds, self.until - time.monotonic()))):
                await call.closed.wait()
            self.totals.early += 1
        except TimeoutError:
            call.sending = False
            await asyncio.sleep(0.2)  # what is under way comes back
        self.clock.remove(call)
        if call.transport is not None:
            call.transport.close()
        await run_agi(*where, "call/end", arguments=[variables["AI_CALL_ID"]], timeout=10)
        totals = self.totals
        totals.calls += 1
        totals.frames += call.got
        totals.lost += call.lost()
        totals.gaps += call.gaps
        totals.worst_gap = max(totals.worst_gap, call.worst_gap)

    # ---- the server ------------------------------------------------------------------

    async def keep_samples(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            sample = await asyncio.to_thread(self.sample)
            self.samples.append(sample)
            if self.arguments.verbose:
                print(json.dumps(sample), flush=True)

    def sample(self) -> dict[str, float]:
        process = Path(f"/proc/{self.server.pid}")
        state = health(self.server.config, 5.0)
        if state is None:
            raise OSError("the server tells nothing of itself any more")
        return {
            "memory_kb": float(process.joinpath("statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024,
            "descriptors": len(list(process.joinpath("fd").iterdir())),
            "threads": len(list(process.joinpath("task").iterdir())),
            "tasks": state["tasks"],
            "calls": state["active_calls"],
            "dropped": state["frames"]["dropped"],
            "skipped": state["frames"]["skipped"],
            "cpu": self.cpu.percent(),
            "stolen": self.stolen.percent(),
            "standstill_ms": self.standstill.take_ms(),
        }

    def judge(self, idle: dict[str, float], after: dict[str, float]) -> None:
        quarter = max(1, len(self.samples) // 4)
        told: dict[str, Any] = {"idle": idle, "after": after, **vars(self.totals)}
        problems = [f"{count} times {error}" for error, count in self.totals.errors.items()]
        if len(self.samples) >= 4:
            for name in ("memory_kb", "descriptors", "threads", "tasks"):
                early = statistics.median(s[name] for s in self.samples[quarter : 2 * quarter])
                late = statistics.median(s[name] for s in self.samples[-quarter:])
                told[name] = [early, late]
                if late > early * (MEMORY_GROWTH if name == "memory_kb" else OTHER_GROWTH) + 2:
                    problems.append(f"{name} grew from {early:g} to {late:g}")
        problems += [
            f"{name}: {after[name]:g} are left, {idle[name]:g} before"
            for name in ("descriptors", "tasks", "calls")
            if after[name] > idle[name] + 1
        ]
        if self.totals.lost or self.totals.failed or self.totals.early:
            problems.append(f"{self.totals.lost} frames lost, {self.totals.failed + self.totals.early} calls failed")
        # The server's own counts are exact, where the callers judge by the time.
        if after["dropped"]:
            problems.append(f"the server dropped {after['dropped']:g} frames: a caller took none")
        if after["skipped"]:
            problems.append(f"the server skipped {after['skipped']:g} frames: it came too late to send them")
        for name in ("cpu", "stolen"):
            values = [sample[name] for sample in self.samples]
            told[name] = [round(statistics.mean(values or [0.0]), 2), max(values, default=0.0)]
        told["standstill_ms"] = max((sample["standstill_ms"] for sample in self.samples), default=0.0)
        told["problems"] = problems
        print(json.dumps(told, indent=1))
        self.well = not problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--verbose", action="store_true", help="print every sample")
    parser.add_argument("--prefix", default="", help="command that starts the server, such as 'taskset -c 0'")
    arguments = parser.parse_args()
    prepare_process()
    changes = {
        "audiosocket": {"max_connections": arguments.calls + 100},
        "fastagi": {"max_connections": arguments.calls + 100},
        # Calls go on coming while the host has the CPU: it is the frames that are to show what becomes of that.
        "server": {"max_calls": arguments.calls + 100, "max_lateness_ms": 0},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "soak.yaml"
        file.write_text(yaml.safe_dump(delay_configuration(0.2)), "utf-8")
        speech, _ = caller_turn(asyncio.run(speech_of("what are your opening hours")))
        with (
            local_server(load(str(file)), changes, prefix=arguments.prefix.split()) as server,
            watched() as standstill,
        ):
            soak = Soak(server, speech, arguments, standstill)
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(soak.run())
            return 0 if soak.well else 1


if __name__ == "__main__":
    sys.exit(main())
