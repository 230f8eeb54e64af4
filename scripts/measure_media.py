#!/usr/bin/env python3
"""All that the media core promises, measured in one go on this machine, with ratios against baselines of the same run.

    scripts/measure_media.py                      everything, about 20 minutes
    scripts/measure_media.py echo play --rounds 5

The parts: echo, play (the agents without engines, 1,000 calls), talk (conversations with engines of a set delay,
400 calls), linear (CPU a call at 50 and at 500 calls), isolation (100 calls while two processes burn all idle time
on speech recognition), embedded (30 conversations with the default engines). Baselines: a C server
(media_baseline.c), an echo with asyncio's streams, a player with a task a call.

Run it on a machine that does nothing else. On a virtual one the host may take CPU time away: a round in which that was
more than 1 %, or in which a CPU stood still for longer than a frame, is set aside and measured again, up to four times.

Server and baselines are pinned to one CPU, the generator to another (not in the last two parts, where the server
runs as it does for users). --tools DIR takes asload.c and echo_c.c, other programs for the load and the C
baseline, from there. Figures are medians of the rounds, lost frames and failed calls their sum. Loopback only. Ends
with status 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from host import Standstill, Stolen, watched
from media_servers import burning, compiled, started

from asterisk_ai.audio.formats import PTIME_MS
from asterisk_ai.bench.figures import figures
from asterisk_ai.bench.load import Load, generate
from asterisk_ai.bench.process_use import ProcessUse
from asterisk_ai.bench.target import delay_configuration
from asterisk_ai.cli.running import health
from asterisk_ai.cli.serve import prepare_process
from asterisk_ai.config import Config, load
from asterisk_ai.simulator.caller_speech import caller_turn, speech_in, speech_of
from asterisk_ai.simulator.local_server import local_server

HERE = Path(__file__).resolve().parent
MAX_STOLEN = 1.0
"""Percent of the machine's CPU time that the host may take for others in a round that counts."""
MAX_STANDSTILL_MS = 20.0
TRIES = 5
AGENTS = {"echo": "echo", "play": "milliwatt", "talk": "bench"}
TALK_RAMP = 9.0
"""Seconds over which talking callers join: as long as each of them takes from one sentence to the next, so that
they do not speak in chorus."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one server. Times in ms; CPU in ms a call-second; memory in KB a call, without the engines."""

    cpu: float
    memory: float
    p50: float
    p99: float
    p999: float
    worst: float
    gaps: float
    lost: float
    failed: float
    stolen: float = 0.0
    """Percent of the machine's CPU time that the host took meanwhile."""
    standstill: float = 0.0
    """The longest that one of the CPUs ran nothing, not even what goes before all else."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What was to be shown, and what was measured."""

    what: str
    measured: float
    limit: float

    @property
    def kept(self) -> bool:
        return self.measured <= self.limit


class Server(NamedTuple):
    """One to be measured. ``config``: of one of ours, which tells of itself."""

    port: int
    pid: int
    config: Config | None = None

    def unsent(self) -> int:
        """Frames that one of ours left out since it began, by its own count. Raises OSError where it tells nothing."""
        state = health(self.config, 10.0) if self.config else None
        if state is None:
            raise OSError(f"the server on port {self.port} tells nothing of itself")
        return int(state["frames"]["skipped"]) + int(state["frames"]["dropped"])


# ---- the load --------------------------------------------------------------------------------------


def undisturbed(load: Callable[[], Run], standstill: Standstill) -> Run:
    """A run in which the host left this machine its CPUs; after so many tries the last one as it is."""
    memory = 0.0
    for left in reversed(range(TRIES)):
        stolen = Stolen()
        standstill.take_ms()
        run = load()
        memory = max(memory, run.memory)  # a server's first load is what it grows by, set aside or not
        run = replace(run, memory=memory, stolen=stolen.percent(), standstill=standstill.take_ms())
        if (run.stolen <= MAX_STOLEN and run.standstill <= MAX_STANDSTILL_MS) or not left:
            return run
        print(
            f"    set aside: the host took {run.stolen:.1f} % of the CPU time, a CPU stood still for "
            f"{run.standstill:.0f} ms (p99 {run.p99:.2f} ms)",
            flush=True,
        )
        time.sleep(1)
    raise AssertionError


class OwnLoad:
    """``asterisk-ai bench``'s generator."""

    def __init__(self, cpu: int, seconds: int, speech: bytes) -> None:
        self._cpu, self._seconds, self._speech = cpu, seconds, speech

    def __call__(self, mode: str, server: Server, calls: int, *, ramp: float) -> Run:
        before = ProcessUse.of(server.pid)
        work = Load(
            [("127.0.0.1", server.port, str(uuid.uuid4())) for _ in range(calls)],
            float(self._seconds),
            speech=b"" if mode == "echo" else self._speech,
            server_pid=server.pid,
            cpus=(self._cpu,),
        )
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            heard = pool.submit(generate, work).result()
        told = figures({"echo": "echo", "play": "playing", "talk": "conversation"}[mode], calls, [heard], before)
        late = told.lateness_ms
        return Run(
            told.cpu_ms_per_call_second, told.memory_kb_per_call, late.p50, late.p99, late.p999, late.worst,
            told.gaps, told.lost, calls - told.carried,
        )  # fmt: skip


class Asload:
    """The other generator; all callers begin the same speech as they join, over ``ramp`` seconds."""

    def __init__(self, program: str, cpu: int, seconds: int, speech: Path) -> None:
        self._command = ["taskset", "-c", str(cpu), program, "--dur", str(seconds)]
        self._speech = speech
        self._timeout = 90 + seconds
        self._seeds = itertools.count(1)

    def __call__(self, mode: str, server: Server, calls: int, *, ramp: float) -> Run:
        command = [*self._command, "--port", str(server.port), "--calls", str(calls), "--pid", str(server.pid)]
        # The same seed makes the same UUIDs, and the load before may just be ending: its last calls would be BUSY.
        command += ["--seed", str(next(self._seeds))]
        command += ["--mode", "echo" if mode == "echo" else "play"]
        if mode == "talk":
            command += ["--in", str(self._speech), "--loop", "--ramp", str(ramp)]
        unsent = server.unsent() if server.config else 0
        done = subprocess.run(command, capture_output=True, text=True, timeout=self._timeout, check=True)
        told: dict[str, Any] = json.loads(done.stdout)
        late = {name: value / 1000 for name, value in (told.get("grid20_us") or told["lat_us"]).items()}
        missing = max(0, told["expected"] - told["got"]) if mode != "echo" else 0
        if mode == "echo":
            lost = told["lost"]
        elif server.config:
            # One frame a call that is missing when the window ends may be lost or under way; the server knows.
            lost = max(server.unsent() - unsent, missing - calls)
        else:
            # A lost frame puts all later ones of its call 20 ms behind.
            lost = missing * (late["max"] >= PTIME_MS)
        return Run(
            told["srv"]["cpu_ms_per_call_s"], told["srv"]["rss_per_call_kb"], late["p50"], late["p99"], late["p999"],
            late["max"], told.get("gaps40", 0), lost, told["closed_early"] + told["conn_fail"],
        )  # fmt: skip


# ---- the servers -----------------------------------------------------------------------------------


@contextlib.contextmanager
def ours(agent: str, prefix: Sequence[str]) -> Iterator[Server]:
    """This server with an agent."""
    changes: dict[str, dict[str, Any]] = {
        "audiosocket": {"require_registration": False, "max_connections": 5000},
        "server": {"max_calls": 5000, "max_lateness_ms": 1000},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measure.yaml"
        file.write_text(yaml.safe_dump({**delay_configuration(0.2), "default_agent": agent}), "utf-8")
        config = load(str(file)) if agent else load("")
        with local_server(config, changes, prefix=prefix) as server:
            yield Server(server.config.audiosocket.port, server.pid, server.config)


@contextlib.contextmanager
def alone(one: Server, servers: Mapping[str, Server]) -> Iterator[None]:
    """The other servers stand still meanwhile: the player in C wakes a thousand times a second without a call, too."""
    others = [other.pid for other in servers.values() if other != one]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Measurement:
    """Runs the parts and keeps what they give."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, standstill: Standstill) -> None:
        self._arguments, self._standstill = arguments, standstill
        self._pinned = ["taskset", "-c", str(arguments.server_cpu)]
        said = speech_in(arguments.wav) if arguments.wav else asyncio.run(speech_of("what are your opening hours"))
        speech, _ = caller_turn(said)
        self.rows: list[dict[str, Any]] = []
        self.promises: list[Promise] = []
        self._load: Callable[..., Run]
        if arguments.tools:
            program = compiled(Path(arguments.tools) / "asload.c", folder, "-lm")
            self._c, self._c_player = compiled(Path(arguments.tools) / "echo_c.c", folder), ["play", "20"]
            file = folder / "speech.wav"
            with wave.open(str(file), "wb") as out:
                out.setparams((1, 2, 8000, 0, "NONE", ""))
                out.writeframes(speech)
            self._load = Asload(program, arguments.load_cpu, arguments.seconds, file)
        else:
            self._c, self._c_player = compiled(HERE / "media_baseline.c", folder), ["play"]
            self._load = OwnLoad(arguments.load_cpu, arguments.seconds, speech)

    @contextlib.contextmanager
    def _servers(self, mode: str, *, plain: bool) -> Iterator[dict[str, Server]]:
        c, other = free_port(), free_port()
        with contextlib.ExitStack() as stack:
            found = {"ours": stack.enter_context(ours(AGENTS[mode], self._pinned))}
            c_mode = ["echo"] if mode == "echo" else self._c_player
            found["C"] = Server(c, stack.enter_context(started([*self._pinned, self._c, str(c), *c_mode], c)))
            if plain:
                kind = "streams" if mode == "echo" else "tasks"
                command = [*self._pinned, sys.executable, str(HERE / "media_servers.py"), kind, str(other)]
                found[kind] = Server(other, stack.enter_context(started(command, other)))
            yield found

    def _measure(
        self, part: str, mode: str, servers: dict[str, Server], calls: int, *, ramp: float = TALK_RAMP
    ) -> dict[str, list[Run]]:
        runs: dict[str, list[Run]] = {}
        names = list(servers)
        for turn in range(self._arguments.rounds):
            # In turn from either end: a baseline that burns its core slows what comes next.
            for name in names if turn % 2 == 0 else reversed(names):
                run = partial(self._load, mode, servers[name], calls, ramp=ramp)
                with alone(servers[name], servers):
                    runs.setdefault(name, []).append(undisturbed(run, self._standstill))
                time.sleep(1)
        for name, each in runs.items():
            self._row(part, name, calls, each, runs.get("C"))
        return runs

    def _row(self, part: str, server: str, calls: int, runs: list[Run], c: list[Run] | None) -> None:
        row: dict[str, Any] = {"part": part, "server": server, "calls": calls, **middle(runs)}
        row["to_c"] = ratio(runs, c) if c else None
        row["runs"] = [asdict(run) for run in runs]
        if not self.rows:
            print(
                f"{'part':10} {'server':8} {'calls':>5} {'CPU':>6} {'(from-to)':>13} {'to C':>5} {'KB/call':>8} "
                f"{'p50':>7} {'p99':>7} {'p99.9':>8} {'worst':>8} {'gaps':>6} {'lost':>6} {'failed':>6} "
                f"{'stolen':>6} {'still':>5}"
            )
        self.rows.append(row)
        spread = f"({min(run.cpu for run in runs):.2f}-{max(run.cpu for run in runs):.2f})"
        print(
            f"{part:10} {server:8} {calls:5} {row['cpu']:6.3f} {spread:>13} {row['to_c'] or 0:5.2f} "
            f"{row['memory']:8.1f} {row['p50']:7.2f} {row['p99']:7.2f} {row['p999']:8.2f} {row['worst']:8.2f} "
            f"{row['gaps']:6.0f} {row['lost']:6.0f} {row['failed']:6.0f} {row['stolen']:5.1f}% "
            f"{row['standstill']:5.1f}",
            flush=True,
        )

    def _promise(self, what: str, measured: float, limit: float) -> None:
        self.promises.append(Promise(what, round(measured, 3), limit))

    # ---- the parts -------------------------------------------------------------------------

    def echo(self) -> None:
        with self._servers("echo", plain=True) as servers:
            runs = self._measure("echo", "echo", servers, 1000)
        found = middle(runs["ours"])
        self._promise("echo, 1,000 calls: frames lost", found["lost"] + found["failed"], 0)
        self._promise("echo, 1,000 calls: round trip p99, ms", found["p99"], 3)
        self._promise("echo, 1,000 calls: CPU to C's", ratio(runs["ours"], runs["C"]), 2.0)

    def play(self) -> None:
        with self._servers("play", plain=True) as servers:
            runs = self._measure("play", "play", servers, 1000)
        found = middle(runs["ours"])
        self._promise("playing, 1,000 calls: lateness p99, ms", found["p99"], 1)
        self._promise("playing, 1,000 calls: worst, ms", found["worst"], 20)
        self._promise("playing, 1,000 calls: gaps over 40 ms", found["gaps"], 0)
        self._promise("playing, 1,000 calls: CPU to C's", ratio(runs["ours"], runs["C"]), 1.5)

    def talk(self) -> None:
        with ours(AGENTS["talk"], self._pinned) as server:
            runs = self._measure("talk", "talk", {"ours": server}, 400)["ours"]
            if self._arguments.tools:
                self._measure("in chorus", "talk", {"ours": server}, 400, ramp=1.0)
        found = middle(runs)
        self._promise("conversation, 400 calls: lateness p99, ms", found["p99"], 5)
        self._promise("conversation, 400 calls: frames lost", found["lost"] + found["failed"], 0)
        self._promise("conversation, 400 calls: KB a call", max(run.memory for run in runs), 150)

    def linear(self) -> None:
        for mode, agent in AGENTS.items():
            with ours(agent, self._pinned) as server:
                few = middle(self._measure(f"{mode} few", mode, {"ours": server}, 50)["ours"])
                many = middle(self._measure(f"{mode} many", mode, {"ours": server}, 500)["ours"])
            self._promise(f"{mode}: CPU a call, 500 calls to 50", many["cpu"] / max(1e-9, few["cpu"]), 1.3)

    def isolation(self) -> None:
        for mode in ("play", "talk"):
            with burning() as engines, ours(AGENTS[mode], []) as server:
                before, at = sum(ProcessUse.of(pid).cpu_seconds for pid in engines), time.monotonic()
                runs = self._measure(f"{mode}+engines", mode, {"ours": server}, 100)["ours"]
                cores = (sum(ProcessUse.of(pid).cpu_seconds for pid in engines) - before) / (time.monotonic() - at)
            print(f"    the engines used {cores:.2f} cores meanwhile")
            self._promise(f"{mode}, 100 calls beside busy engines: lateness p99, ms", middle(runs)["p99"], 10)

    def embedded(self) -> None:
        with ours("", []) as server:
            runs = self._measure("embedded", "talk", {"ours": server}, 30)["ours"]
        self._promise("embedded default, 30 calls: lateness p99, ms", middle(runs)["p99"], 5)


def middle(runs: Sequence[Run]) -> dict[str, float]:
    """Medians of the rounds; the sum of what must not happen at all, memory of the round in which it was taken."""
    found = {name: statistics.median(asdict(run)[name] for run in runs) for name in asdict(runs[0])}
    found["memory"] = max(run.memory for run in runs)
    return {**found, **{name: sum(asdict(run)[name] for run in runs) for name in ("lost", "failed")}}


def ratio(runs: Sequence[Run], baseline: Sequence[Run]) -> float:
    """Median of the rounds' ratios of CPU: both ran within a minute."""
    return statistics.median(run.cpu / max(1e-9, c.cpu) for run, c in zip(runs, baseline, strict=True))


PARTS: dict[str, Callable[[Measurement], None]] = {
    name: getattr(Measurement, name) for name in ("echo", "play", "talk", "linear", "isolation", "embedded")
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="length of each load (default: %(default)s)")
    parser.add_argument("--wav", metavar="FILE", default="", help="what callers say: a recording, not espeak")
    parser.add_argument("--tools", metavar="DIR", default="", help="folder of asload.c and echo_c.c")
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", default="", help="write all runs there")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"no part {part!r}: there are {', '.join(PARTS)}")
    prepare_process()
    with tempfile.TemporaryDirectory() as folder, watched() as standstill:
        measurement = Measurement(arguments, Path(folder), standstill)
        for part in arguments.parts or PARTS:
            PARTS[part](measurement)
    print()
    for promise in measurement.promises:
        mark = "kept" if promise.kept else "NOT KEPT"
        print(f"{promise.what:58} {promise.measured:9.3f}  at most {promise.limit:g}: {mark}")
    if arguments.json:
        told = {"rows": measurement.rows, "promises": [{**asdict(p), "kept": p.kept} for p in measurement.promises]}
        Path(arguments.json).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 0 if all(promise.kept for promise in measurement.promises) else 1


if __name__ == "__main__":
    sys.exit(main())
