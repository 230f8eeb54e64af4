#!/usr/bin/env python3
"""The frame path against baselines, in one run: ratios of CPU, and how even the audio is.

    scripts/measure_media.py echo --calls 1000 --tools DIR
    scripts/measure_media.py play --calls 50,500,1000 --tools DIR --baselines

DIR holds ``asload`` (load generator with kernel time stamps) and ``echo_c`` (a C epoll server). Servers
are pinned to one CPU, the generator to another. ``--baselines`` adds what a plain asyncio program does: an
echo with streams, a player with a task a call; they break far below a thousand calls. Everything stays
on loopback and ends by itself. Medians of ``--rounds``; a noisy machine shows in their spread (min-max).
"""

from __future__ import annotations

import argparse
import asyncio
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
default_agent: {agent}
pipeline: delay
pipelines:
  delay:
    stt: "asterisk_ai.providers.delay:DelaySpeechToText"
    llm: "asterisk_ai.providers.delay:DelayLanguageModel"
    tts: "asterisk_ai.providers.delay:DelayTextToSpeech"
audiosocket: {{port: {port}, require_registration: false, max_connections: 5000}}
fastagi: {{port: {fastagi}}}
http: {{port: {http}}}
server: {{max_calls: 5000}}
store: {{backend: memory}}
agents: {{talk: {{turn: {{no_input_seconds: 600}}}}}}
"""
PRIORITY = ["chrt", "-f", "1"] if os.geteuid() == 0 else []
"""What else runs on the machine is kept out of the measurement where that is allowed."""
AGENTS = {"echo": "echo", "play": "milliwatt", "talk": "talk"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# ---- baselines: run as `measure_media.py serve-streams PORT` and `serve-tasks PORT` -----------------


async def streams_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            header = await reader.readexactly(3)
            payload = await reader.readexactly(int.from_bytes(header[1:], "big"))
            if header[0] == 0x10:
                writer.write(header + payload)
                await writer.drain()
    writer.close()


async def task_player(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def play() -> None:
        frame = b"\x10\x01\x40" + bytes(range(160)) * 2
        due = time.monotonic()
        while True:
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(frame)

    task = asyncio.create_task(play())
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass
    task.cancel()
    writer.close()


def baseline(kind: str, port: int) -> None:
    import uvloop

    async def serve() -> None:
        server = await asyncio.start_server(
            streams_echo if kind == "serve-streams" else task_player, "127.0.0.1", port, backlog=1024
        )
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


# ---- one run ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def started(command: list[str], port: int, cpu: int, log: Path) -> Iterator[int]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*PRIORITY, "taskset", "-c", str(cpu), *command], cwd=ROOT, stdout=output, stderr=output, env=environment
        )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.1)
        time.sleep(0.5)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def asload(arguments: argparse.Namespace, port: int, pid: int, calls: int) -> dict[str, Any]:
    mode = "play" if arguments.mode == "talk" else arguments.mode
    command = [*PRIORITY, "taskset", "-c", str(arguments.load_cpu), f"{arguments.tools}/asload", "--port", str(port)]
    command += ["--calls", str(calls), "--dur", str(arguments.seconds), "--mode", mode, "--pid", str(pid)]
    if arguments.mode == "talk":
        command += ["--in", arguments.speech, "--loop"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + arguments.seconds, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    late = told.get("grid20_us") or told["lat_us"]
    return {
        "cpu": told["srv"]["cpu_ms_per_call_s"],
        "rss": told["srv"]["rss_per_call_kb"],
        "p50": late["p50"] / 1000,
        "p99": late["p99"] / 1000,
        "p999": late["p999"] / 1000,
        "max": late["max"] / 1000,
        "gaps": told.get("gaps40", 0),
        "lost": told.get("lost", told.get("expected", 0) - told.get("got", 0)),
        "early": told["closed_early"] + told["conn_fail"],
    }


def servers(arguments: argparse.Namespace, folder: Path) -> dict[str, tuple[list[str], int]]:
    ports = [free_port() for _ in range(5)]
    file = folder / "measure.yaml"
    file.write_text(
        CONFIG.format(agent=AGENTS[arguments.mode], port=ports[0], fastagi=ports[1], http=ports[2]), "utf-8"
    )
    found = {"ours": ([sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)], ports[0])}
    c_mode = ["echo"] if arguments.mode == "echo" else ["play", "20"]
    found["c"] = ([f"{arguments.tools}/echo_c", str(ports[3]), *c_mode], ports[3])
    if arguments.baselines:
        kind = "serve-streams" if arguments.mode == "echo" else "serve-tasks"
        found["plain"] = ([sys.executable, __file__, kind, str(ports[4])], ports[4])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["echo", "play", "talk"])
    parser.add_argument("--calls", default="1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--speech", default="", help="mode talk: WAV, 8 kHz, that every caller repeats")
    parser.add_argument("--baselines", action="store_true")
    parser.add_argument("--server-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    arguments = parser.parse_args()
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        log = Path(folder) / "log"
        pids = {}
        for name, (command, port) in servers(arguments, Path(folder)).items():
            pids[name] = (stack.enter_context(started(command, port, arguments.server_cpu, log)), port)
        for calls in map(int, arguments.calls.split(",")):
            for _ in range(arguments.rounds):
                for name, (pid, port) in pids.items():
                    runs.setdefault((name, calls), []).append(asload(arguments, port, pid, calls))
                    time.sleep(1)
    for (name, calls), each in runs.items():
        middle = {key: statistics.median(run[key] for run in each) for key in each[0]}
        cpus = [run["cpu"] for run in each]
        ratios = [run["cpu"] / c["cpu"] for run, c in zip(each, runs["c", calls], strict=True)]
        print(
            f"{arguments.mode} {name:6} {calls:5} calls: CPU {middle['cpu']:.3f} ms/call-s ({min(cpus):.3f}-"
            f"{max(cpus):.3f}), to C {statistics.median(ratios):.2f}; ms p50 {middle['p50']:.2f} "
            f"p99 {middle['p99']:.2f} p99.9 {middle['p999']:.2f} "
            f"worst {middle['max']:.1f}; gaps {middle['gaps']} lost {middle['lost']} "
            f"failed {middle['early']}; {middle['rss']} KB/call"
        )
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].startswith("serve-"):
        baseline(sys.argv[1], int(sys.argv[2]))
    else:
        sys.exit(main())
