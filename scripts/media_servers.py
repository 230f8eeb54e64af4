"""What measure_media.py measures beside the server: baselines, and engines that burn what the cores leave.

Run as ``media_servers.py streams PORT``, ``tasks PORT`` or ``engines``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent


async def streams_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An echo as asyncio's streams suggest it."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            header = await reader.readexactly(3)
            payload = await reader.readexactly(int.from_bytes(header[1:], "big"))
            if header[0] == 0x10:
                writer.write(header + payload)
                await writer.drain()
    writer.close()


async def task_player(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A player with a task a call."""

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


def plain(kind: str, port: int) -> None:
    import uvloop

    async def serve() -> None:
        handler = streams_echo if kind == "streams" else task_player
        server = await asyncio.start_server(handler, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def engines() -> NoReturn:
    """Two workers of the default recogniser that never run out of speech."""
    from asterisk_ai.providers.api import Hints
    from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx
    from asterisk_ai.simulator.caller_speech import caller_turn, speech_of

    async def one(engine: PocketSphinx, pcm: bytes) -> None:
        while True:
            async with engine.open(rate=8000, hints=Hints()) as stream:
                stream.feed(pcm)
                await stream.finish()

    async def burn() -> None:
        pcm, ends = caller_turn(await speech_of("what are your opening hours and where can I find you"))
        engine = PocketSphinx({"workers": 2})
        await engine.start()
        print(*engine.worker_pids, flush=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(one(engine, pcm[:ends]))

    asyncio.run(burn())
    raise SystemExit(1)


@contextlib.contextmanager
def burning() -> Iterator[list[int]]:
    """The engines at work; gives the numbers of their processes."""
    process = subprocess.Popen([sys.executable, __file__, "engines"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield [int(word) for word in process.stdout.readline().split()]
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def started(command: Sequence[str], port: int) -> Iterator[int]:
    """A baseline, listening; gives its process's number."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
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
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def compiled(source: Path, folder: Path, *more: str) -> str:
    """The program made of a C file."""
    program = folder / source.stem
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", str(program), str(source), *more], check=True)
    return str(program)


if __name__ == "__main__":
    if sys.argv[1] == "engines":
        engines()
    plain(sys.argv[1], int(sys.argv[2]))
