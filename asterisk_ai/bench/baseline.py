"""The media path beside a server in C, in one run: how far is it from what the machine can do?

    python -m asterisk_ai.bench.baseline              echo, playing and one call, about 10 minutes
    python -m asterisk_ai.bench.baseline echo --rounds 5

Both servers are pinned to one CPU and the load, in C too, to another; they take turns, and the figures are medians of
the rounds. It needs a C compiler, and a machine with two CPUs that does nothing else. Loopback only.

CPU is in ms a call-second (10 are 1 % of a core), lateness in ms: from the grid of 20 ms, for an echo the round trip.
Inserted are frames that the caller never sent. Ends with status 1 where a figure is over its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asterisk_ai.bench.target import delay_configuration
from asterisk_ai.config import load
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator.local_server import local_server

SOURCES = Path(__file__).with_name("c")
MOST_CALLS = 5000


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison. ``agent`` is ours; ``program`` the C server's arguments."""

    agent: str
    mode: str
    calls: int
    program: tuple[str, ...]
    cpu_to_c: float = 0.0
    """Limit of our CPU in terms of C's; 0: none."""
    late_ms: float = 0.0
    """Limit of our lateness p99 above C's; 0: none."""
    cpu: float = 0.0
    """Limit of our CPU in ms a call-second; 0: none."""


PARTS = {
    "echo": Part("echo", "echo", 100, ("echo",), cpu_to_c=1.6),
    "playing": Part("milliwatt", "play", 1000, ("play", "20"), cpu_to_c=1.3, late_ms=2.0),
    "one": Part("bench", "play", 1, ("play", "20"), cpu=10.0),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What the load has seen of one server."""

    cpu: float
    p50: float
    p99: float
    lost: int
    inserted: int
    failed: int


def measure(load: Path, part: Part, port: int, pid: int, *, seconds: float, cpu: int, seed: int) -> Run:
    """One load on one server."""
    command = ["taskset", "-c", str(cpu), str(load), "--port", str(port), "--calls", str(part.calls)]
    command += ["--dur", str(seconds), "--mode", part.mode, "--pid", str(pid), "--seed", str(seed)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    late = told["lat_us"] if part.mode == "echo" else told["grid20_us"]
    # A frame that is missing at the end of the window may be under way; one that is lost puts all later ones behind.
    missing = 0 if part.mode == "echo" else max(0, told["expected"] - told["got"] - part.calls)
    return Run(
        told["srv"]["cpu_ms_per_call_s"], late["p50"] / 1000, late["p99"] / 1000, told.get("lost", missing),
        told.get("foreign", 0) + told.get("dups", 0) + told.get("corrupt", 0), told["closed_early"] + told["conn_fail"],
    )  # fmt: skip


def compiled(name: str, folder: Path) -> Path:
    """The program made of one of our C files.

    :raises AsteriskAIError: where there is no compiler.
    """
    try:
        program = folder / name
        command = [os.environ.get("CC", "cc"), "-O2", "-o", str(program), str(SOURCES / f"{name}.c"), "-lm"]
        subprocess.run(command, check=True)
    except OSError as error:
        raise AsteriskAIError(f"no C compiler: {error}; apt-get install gcc libc6-dev, or set CC") from error
    return program


@contextlib.contextmanager
def ours(agent: str, prefix: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Our server with an agent: port and process."""
    changes: dict[str, dict[str, Any]] = {
        "audiosocket": {"require_registration": False, "max_connections": MOST_CALLS},
        "server": {"max_calls": MOST_CALLS, "max_lateness_ms": 1000},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "baseline.yaml"
        file.write_text(yaml.safe_dump({**delay_configuration(0.2), "default_agent": agent}), "utf-8")
        with local_server(load(str(file)), changes, prefix=prefix) as server:
            yield server.config.audiosocket.port, server.pid


@contextlib.contextmanager
def in_c(program: Path, arguments: Sequence[str], prefix: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The server in C: port and process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    process = subprocess.Popen([*prefix, str(program), str(port), *arguments])
    try:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def compare(part: Part, run: Callable[[int, int], Run], c: tuple[int, int], own: tuple[int, int], rounds: int) -> bool:
    """Measure both in turn and tell; whether all limits hold."""
    runs: dict[tuple[int, int], list[Run]] = {c: [], own: []}
    for number in range(rounds):
        for one, other in ((c, own), (own, c)) if number % 2 else ((own, c), (c, own)):
            os.kill(other[1], signal.SIGSTOP)  # C's player wakes a thousand times a second without a call, too
            try:
                runs[one].append(run(*one))
            finally:
                os.kill(other[1], signal.SIGCONT)
            time.sleep(1)
    for name, found in (("C", runs[c]), ("ours", runs[own])):
        spread = sorted(each.cpu for each in found)
        cpu = f"{_median(found, 'cpu'):7.3f} ({spread[0]:.3f}-{spread[-1]:.3f})"
        late = f"{_median(found, 'p50'):8.3f} {_median(found, 'p99'):8.3f}"
        counts = f"{sum(r.lost for r in found):6} {sum(r.inserted for r in found):8} {sum(r.failed for r in found):6}"
        print(f"{part.agent:10} {name:5} {part.calls:5} {cpu:>23} {late} {counts}", flush=True)
    ratios = [mine.cpu / theirs.cpu for mine, theirs in zip(runs[own], runs[c], strict=True) if theirs.cpu]
    ratio = statistics.median(ratios)
    print(f"{'':10} CPU to C's {ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
    late_ms = _median(runs[own], "p99") - _median(runs[c], "p99")
    over = [
        f"{what} {value:.2f} > {limit:g}"
        for what, value, limit in (
            ("CPU to C's", ratio, part.cpu_to_c),
            ("lateness p99 above C's, ms", late_ms, part.late_ms),
            ("CPU, ms a call-second", _median(runs[own], "cpu"), part.cpu),
        )
        if limit and value > limit
    ]
    over += [f"{name} {sum(getattr(run, name) for run in runs[own])}" for name in ("lost", "inserted", "failed")
             if any(getattr(run, name) for run in runs[own])]  # fmt: skip
    for line in over:
        print(f"{'':10} over its limit: {line}")
    return not over


def _median(runs: Sequence[Run], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m asterisk_ai.bench.baseline", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS), help="what to compare (all of it)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--calls", type=int, help="instead of the part's own number")
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    parser.add_argument(
        "--realtime", action="store_true", help="run both servers before all other work (root): on a busy machine"
    )
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    prefix = ["taskset", "-c", str(arguments.server_cpu), *(["chrt", "-f", "5"] if arguments.realtime else [])]
    heading = f"{'agent':10} {'':5} {'calls':>5} {'CPU (from-to)':>23} {'p50':>8} {'p99':>8}"
    print(f"{heading} {'lost':>6} {'inserted':>8} failed")
    well = True
    with tempfile.TemporaryDirectory() as folder:
        server, generator = (compiled(name, Path(folder)) for name in ("server", "load"))
        for name in arguments.parts or PARTS:
            part = PARTS[name]
            if arguments.calls:
                part = Part(**{field: getattr(part, field) for field in Part.__slots__} | {"calls": arguments.calls})
            seed = 0

            def run(port: int, pid: int, part: Part = part) -> Run:
                nonlocal seed
                seed += 1  # the same one would make the UUIDs of calls that may just be ending
                load_cpu, seconds = arguments.load_cpu, arguments.seconds
                return measure(generator, part, port, pid, seconds=seconds, cpu=load_cpu, seed=seed)

            with ours(part.agent, prefix) as own, in_c(server, part.program, prefix) as c:
                well = compare(part, run, c, own, arguments.rounds) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
