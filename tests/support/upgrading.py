"""A server that is upgraded again and again under calls: nobody is refused, nobody is cut, and how long it was silent.

By hand, with as many as the machine carries: ``python tests/support/upgrading.py 100 10``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from ports import free_ports

from asterisk_ai.protocol import audiosocket
from asterisk_ai.simulator.agi_client import run_agi

DELAY = "asterisk_ai.providers.engines.delay:Delay"
CONFIG = """
default_agent: a
pipeline: delay
pipelines: {{delay: {{stt: "{delay}SpeechToText", llm: "{delay}LanguageModel", tts: "{delay}TextToSpeech"}}}}
fastagi: {{port: {0}}}
audiosocket: {{port: {1}}}
http: {{port: {2}}}
server: {{max_calls: 1000, drain_seconds: 2, max_lateness_ms: 0{more}}}
vad: {{engine: energy}}
store: {{path: {folder}/sessions.db}}
agents: {{a: {{greeting: "hello"}}}}
"""


class Upgraded:
    """``asterisk-ai serve``, whatever process has taken it over by now."""

    def __init__(self, folder: Path, more: str = "", ports: int = 3) -> None:
        base = free_ports(ports)
        self.fastagi, self.audio, self.http = base, base + 1, base + 2
        self.file, self.log = folder / "asterisk_ai.yaml", folder / "log"
        more = more.format(base + 3)
        self.file.write_text(
            CONFIG.format(self.fastagi, self.audio, self.http, delay=DELAY, folder=folder, more=more), "utf-8"
        )
        self.command = [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(self.file)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        self.until(lambda: self.ask("/ready").get("ready"))

    def ask(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=3) as reply:
                return dict(json.load(reply))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except (OSError, ValueError):
            return {}

    @property
    def pid(self) -> int:
        return int(self.ask("/health").get("pid", 0))

    def until(self, condition: Any, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.log.read_text("utf-8", "replace")[-4000:]
            time.sleep(0.02)

    def upgrade(self) -> None:
        """Returns when the next process serves."""
        before = self.pid
        os.kill(before, signal.SIGUSR2)
        self.until(lambda: self.ask("/ready").get("ready") and self.pid not in (0, before))

    async def agi(self, script: str, *arguments: str, server: str = "") -> dict[str, str]:
        port = int(server.rpartition(":")[2] or self.fastagi)
        found = await run_agi("127.0.0.1", port, script, arguments=arguments, timeout=15)
        return {**found.variables, "AGISTATUS": found.status}

    def end(self) -> None:
        """And nobody is left, of all processes that there were."""
        if pid := self.pid:
            os.kill(pid, signal.SIGTERM)
        self.until(lambda: not left(self.file))

    def kill(self) -> None:
        for pid in left(self.file):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def left(file: Path) -> list[int]:
    """Processes that serve this configuration."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            alive = words and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            continue
        if alive and str(file).encode() in words:
            found.append(int(entry.name))
    return found


class Caller:
    """A call that hears a tone all the time, and when each of its frames came."""

    def __init__(self, server: Upgraded) -> None:
        self.server, self.at, self.variables = server, list[float](), dict[str, str]()
        self.lost = False

    async def begin(self, agent: str) -> None:
        self.variables = await self.server.agi(f"call/start?agent={agent}")
        assert self.variables.get("AI_STATUS") == "OK", self.variables
        host, _, port = self.variables["AI_AUDIOSOCKET"].rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(audiosocket.uuid_message(uuid.UUID(self.variables["AI_CALL_ID"])))
        self._hearing = asyncio.create_task(self._hear())
        self._speaking = asyncio.create_task(self._speak())

    async def _speak(self) -> None:
        while True:
            self._writer.write(audiosocket.audio_message(8000, bytes(320)))
            await asyncio.sleep(0.02)

    async def _hear(self) -> None:
        try:
            while await self._reader.readexactly(323):
                self.at.append(time.monotonic())
        except (asyncio.IncompleteReadError, OSError):
            self.lost = True

    async def heard(self, frames: int) -> None:
        async with asyncio.timeout(30):
            while len(self.at) < frames:
                await asyncio.sleep(0.02)

    @property
    def silence(self) -> float:
        """The longest time between two frames, in seconds."""
        return max((after - before for before, after in zip(self.at, self.at[1:], strict=False)), default=0.0)

    async def end(self) -> str:
        """Hang up as the dialplan tells of it. Returns what it would have had to do next."""
        self._speaking.cancel()
        self._writer.close()
        call_id = self.variables["AI_CALL_ID"]
        server = self.variables.get("AI_SERVER", "")
        after = await self.server.agi("call/next", call_id, server=server)
        await self.server.agi("call/end", call_id, server=server)
        return after.get("AI_NEXT", after["AGISTATUS"])


async def lag(longest: list[float]) -> None:
    """How late this very program is at the worst: what it tells of silence cannot be better."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        longest[0] = max(longest[0], time.monotonic() - before - 0.01)


async def under_calls(server: Upgraded, calls: int, upgrades: int) -> tuple[list[Caller], int]:
    """Upgrade under so many calls, with new ones all the time. Returns all callers, and how many came meanwhile."""
    callers = [Caller(server) for _ in range(calls)]
    for caller in callers:
        await caller.begin("milliwatt")
    more: list[Caller] = []
    done = asyncio.Event()

    async def come() -> None:
        while not done.is_set():
            caller = Caller(server)
            await caller.begin("milliwatt")
            await caller.heard(5)
            assert await caller.end() == "talk"
            more.append(caller)

    coming = asyncio.create_task(come())
    for _ in range(upgrades):
        await asyncio.to_thread(server.upgrade)
    done.set()
    await coming
    for caller in callers:
        await caller.heard(len(caller.at) + 5)
    return callers, len(more)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        upgraded = Upgraded(Path(name))
        try:
            own_lag = [0.0]

            async def measured() -> tuple[list[Caller], int]:
                measuring = asyncio.create_task(lag(own_lag))
                try:
                    return await under_calls(upgraded, int(sys.argv[1]), int(sys.argv[2]))
                finally:
                    measuring.cancel()

            found, meanwhile = asyncio.run(measured())
            longest = [caller.silence * 1000 for caller in found]
            print(
                f"{len(found)} calls, {sum(caller.lost for caller in found)} lost, {meanwhile} came meanwhile, none "
                f"refused; longest silence {max(longest):.0f} ms, median of the calls' longest "
                f"{statistics.median(longest):.0f} ms, this program's own lag {own_lag[0] * 1000:.0f} ms"
            )
        finally:
            upgraded.kill()
