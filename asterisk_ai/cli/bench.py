"""``asterisk-ai bench``: how many calls does this server carry?"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asterisk_ai.bench.figures import Figures
from asterisk_ai.bench.flood import flooded
from asterisk_ai.bench.soak import Sample, Soak
from asterisk_ai.bench.steps import LIMIT_MS, Plan, Steps
from asterisk_ai.bench.target import Target, loaded
from asterisk_ai.cli.serve import loop_factory, prepare_process
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator.caller_speech import caller_turn, speech_in, speech_of

MODES = ("echo", "playing", "conversation", "embedded")
MOST_CALLS = 5000


_DESCRIPTION = f"""
Plays Asterisk's part of many calls at once, and reports how even the audio is and what a call costs. Without
--calls it looks for the highest number of calls whose frames are less than {LIMIT_MS:g} ms late (99 of 100).

It loads the server of the configuration, or one of its own with --serve. Callers who talk to a server that is
loaded will hear it: do it before the callers come, or with --serve on a machine that has nothing else to do.

modes:
  echo          the server sends back what it hears: the way in and out, and nothing else
  playing       it plays a tone: an agent that speaks all the time
  conversation  callers speak, turns are taken, and each engine takes --delay (with --serve only)
  embedded      the agent with its own engines; the turns' times are theirs

With --soak short calls of the first three kinds come and go for so many minutes at a server of its own. What it uses
is printed every ten seconds; at the end, what grew, what is left and which frames were lost.
"""
_EPILOG = f"""
columns:
  p50 ... worst   ms that frames are late (echo: the round trip); {LIMIT_MS:g} ms are not heard, 20 ms are a click
  gaps, bursts    pauses of more than 40 ms, frames less than 5 ms after the one before
  lost            frames that never came
  CPU, (eng.)     ms of CPU time a second of call, of all its processes and of the engines' alone: 1000 are a core
  memory          KB a call
  turns           answers heard; p50 and p99 of the seconds from a caller's last sound to the agent's first

examples:
  asterisk-ai bench --serve                                  how many calls can this machine play to?
  asterisk-ai bench --serve --mode conversation              ... and talk with, its engines apart?
  asterisk-ai bench --mode embedded --calls 10,20,40         the running server, with its own engines
  asterisk-ai bench --serve --calls 50 --flood               what do callers hear while strangers come?
  asterisk-ai bench --soak 20 --calls 200                    does anything grow, is any frame lost?
  asterisk-ai bench --serve --server-cpu 0 --cpu 1 --json bench.json
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "bench",
        help="how many calls does this machine carry?",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    parser.add_argument("--serve", action="store_true", help="measure a server of its own, on free loopback ports")
    parser.add_argument("--mode", choices=MODES, default="playing", help="default: %(default)s")
    parser.add_argument("--agent", default="", help="the agent of mode embedded (default: the server's default_agent)")
    parser.add_argument("--calls", type=_counts, metavar="N[,N...]", help="measure these numbers of calls only")
    parser.add_argument("--most", type=_count, default=2000, metavar="N", help="look no further (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=_seconds, default=10.0, metavar="S", help="length of each step (default: %(default)g)"
    )
    parser.add_argument(
        "--limit",
        type=_seconds,
        default=600.0,
        metavar="S",
        help="begin no step after S seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--delay",
        type=_delay,
        default=0.2,
        metavar="S",
        help="what each engine takes in mode conversation (default: %(default)g)",
    )
    parser.add_argument("--soak", type=_minutes, metavar="MINUTES", help="calls that come and go, for so long")
    parser.add_argument(
        "--flood",
        action="store_true",
        help="strangers flood all ports meanwhile, from another address: half-open, slow, reset, endless, unknown",
    )
    said = parser.add_mutually_exclusive_group()
    said.add_argument(
        "--say", default="what are your opening hours", metavar="TEXT", help='what every caller says ("%(default)s")'
    )
    said.add_argument("--wav", type=_sound, metavar="FILE", help="what every caller says: a recording of one sentence")
    parser.add_argument(
        "--processes", type=_count, default=1, metavar="N", help="share the load among so many (default: %(default)s)"
    )
    parser.add_argument(
        "--server-cpu", type=_cpus, metavar="LIST", default=(), help="pin the server of --serve to these CPUs (0,2-3)"
    )
    parser.add_argument("--cpu", type=_cpus, metavar="LIST", default=(), help="pin the load to these CPUs")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        type=_writable,
        metavar="FILE",
        help="print JSON instead of the table; with FILE, print the table and write the JSON there",
    )
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_CALLS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {MOST_CALLS}, not {text!r}")
    return int(text)


def _counts(text: str) -> list[int]:
    return [_count(word) for word in text.split(",")]


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 1 <= (value := float(text)) <= 7200:
            return value
    raise argparse.ArgumentTypeError(f"expected 1 to 7200 seconds, not {text!r}")


def _minutes(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= (value := float(text)) <= 10_000:
            return value
    raise argparse.ArgumentTypeError(f"expected 0.1 to 10000 minutes, not {text!r}")


def _delay(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= 60:
            return value
    raise argparse.ArgumentTypeError(f"expected 0 to 60 seconds, not {text!r}")


def _sound(text: str) -> str:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return text


def _writable(text: str) -> str:
    if text != "-" and not Path(text).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder for {text}")
    return text


def _cpus(text: str) -> tuple[int, ...]:
    """``0,2-3`` is 0, 2 and 3."""
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"expected numbers as in 0,2-3, not {text!r}")
        found += range(int(first), int(last if dash else first) + 1)
    there = os.sched_getaffinity(0)
    if not found or not there.issuperset(found):
        raise argparse.ArgumentTypeError(f"there are CPUs {','.join(map(str, sorted(there)))}, not {text}")
    return tuple(found)


def run(arguments: argparse.Namespace) -> int:
    if arguments.soak:
        arguments.mode, arguments.serve, arguments.calls = "conversation", True, arguments.calls or [200]
    speech, ends = _caller_turn(arguments) if arguments.mode in ("conversation", "embedded") else (b"", 0)
    with loaded(arguments) as target:
        if arguments.soak:
            return _soak(target, arguments, speech)
        plan = Plan(
            arguments.mode, arguments.seconds, arguments.limit, speech, ends, arguments.processes, arguments.cpu
        )
        steps = Steps(target, plan, (lambda _: None) if arguments.json == "-" else Table(arguments.seconds).show)
        try:
            with flooded(_ports(target), arguments.cpu) if arguments.flood else contextlib.nullcontext():
                if arguments.calls:
                    steps.measure_all(arguments.calls)
                else:
                    steps.search(arguments.most)
        except KeyboardInterrupt:
            print("interrupted: what was measured until then follows", file=sys.stderr)
            _tell(arguments, steps.results)
            return 130
    return 0 if _tell(arguments, steps.results) else 1


def _ports(target: Target) -> dict[str, int]:
    config = target.config
    http = {"http": config.http.port} if config.http is not None else {}
    return {"audiosocket": config.audiosocket.port, "fastagi": config.fastagi.port, **http}


def _soak(target: Target, arguments: argparse.Namespace, speech: bytes) -> int:
    def tell(sample: Sample) -> None:
        print(json.dumps(dataclasses.asdict(sample)), file=sys.stderr, flush=True)

    prepare_process()
    soak = Soak(target, speech, lines=arguments.calls[0], seconds=60 * arguments.soak, tell=tell)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        report = runner.run(soak.run())
    print(json.dumps(report, indent=1))
    return 1 if report["problems"] else 0


def _caller_turn(arguments: argparse.Namespace) -> tuple[bytes, int]:
    said = speech_in(arguments.wav) if arguments.wav else asyncio.run(speech_of(arguments.say))
    try:
        return caller_turn(said)
    except ValueError as error:
        raise AsteriskAIError(f"{arguments.wav or arguments.say!r}: {error}") from error


def _tell(arguments: argparse.Namespace, results: Sequence[Figures]) -> int:
    """The end of the report; returns the most calls that were carried well."""
    best = max((f.calls for f in results if f.even(LIMIT_MS)), default=0)
    told = json.dumps({"mode": arguments.mode, "best": best, "steps": [f.as_json() for f in results]})
    if arguments.json == "-":
        print(told)
        return best
    print(f"most calls with p99 lateness under {LIMIT_MS:g} ms and no frame lost: {best} ({arguments.mode})")
    if arguments.json:
        Path(arguments.json).write_text(told + "\n", "utf-8")
    return best


class Table:
    """Prints a line a step. ``seconds`` is a step's length."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._begun = seconds, False

    def show(self, result: Figures) -> None:
        if not self._begun:
            self._begun = True
            what = "round trip" if result.mode == "echo" else "lateness"
            print(
                f"mode {result.mode}, {self._seconds:g} s a step; {what} in ms; CPU: ms a call-second "
                "(engines' processes); memory: KB a call\n"
                f"{'calls':>6} {'carried':>7} {'p50':>7} {'p99':>7} {'p99.9':>7} {'worst':>8} {'gaps':>6} "
                f"{'bursts':>6} {'lost':>6} {'CPU':>6} {'(eng.)':>7} {'memory':>7} {'turns':>6} "
                f"{'p50 s':>6} {'p99 s':>6}"
            )
        late, turn = result.lateness_ms, result.turn_seconds
        print(
            f"{result.calls:6} {result.carried:7} {late.p50:7.2f} {late.p99:7.2f} {late.p999:7.2f} {late.worst:8.2f} "
            f"{result.gaps:6} {result.bursts:6} {result.lost:6} {result.cpu_ms_per_call_second:6.2f} "
            f"{result.engines_cpu_ms_per_call_second:7.2f} {result.memory_kb_per_call:7.1f} {result.turns:6} "
            f"{turn.p50:6.2f} {turn.p99:6.2f}",
            flush=True,
        )
        for line in [*result.problems, *(f"warning: {warning}" for warning in result.warnings)]:
            print(f"       {line}", flush=True)
