"""Two servers with a Redis and a HAProxy: calls are shared out, and those of a lost server go on at the other one.

HAProxy runs with the sample configuration, its addresses aside.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ports import free_ports
from upgrading import DELAY

from asterisk_ai.protocol import audiosocket
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession, new_call_id
from asterisk_ai.session.store import SessionStore
from asterisk_ai.simulator.agi_client import run_agi

pytest.importorskip("redis")
pytestmark = pytest.mark.skipif(
    not (shutil.which("redis-server") and shutil.which("haproxy")), reason="needs redis-server and haproxy"
)
SAMPLE = Path(__file__).parents[2] / "etc-asterisk" / "haproxy.cfg"
CONFIG = f"""
pipeline: delay
pipelines: {{{{delay: {{{{stt: "{DELAY}SpeechToText", llm: "{DELAY}LanguageModel", tts: "{DELAY}TextToSpeech"}}}}}}}}
fastagi: {{{{port: {{0}}}}}}
audiosocket: {{{{port: {{1}}}}}}
http: {{{{port: {{2}}}}}}
server: {{{{drain_seconds: 1, max_lateness_ms: 0}}}}
vad: {{{{engine: energy}}}}
store: {{{{path: {{3}}/sessions.db, shared: "redis://127.0.0.1:{{4}}/0"}}}}
agents: {{{{a: {{{{greeting: "hello"}}}}}}}}
"""


def until(condition: Callable[[], Any], seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Hosts:
    """Everything, on ports of its own: those of each server are FastAGI, AudioSocket, HTTP."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        base = free_ports(9)
        self.front, self.redis_port, self.stats = base, base + 1, base + 8
        self.servers: list[subprocess.Popen[bytes]] = []
        self.audio: list[int] = []
        self.redis = self._run(stack, folder, "redis", ["redis-server", "--port", str(self.redis_port), "--save", ""])
        until(lambda: listens(self.redis_port))
        text = SAMPLE.read_text().replace("192.0.2.10:4574", f"127.0.0.1:{self.front}")
        text = text.replace("127.0.0.1:8404", f"127.0.0.1:{self.stats}").replace("maxconn 20000", "maxconn 200")
        for number in (1, 2):
            fastagi, audio, http = range(base + 3 * number - 1, base + 3 * number + 2)
            own = folder / f"ai{number}"
            own.mkdir()
            file = own / "asterisk_ai.yaml"
            file.write_text(CONFIG.format(fastagi, audio, http, own, self.redis_port))
            command = [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)]
            self.servers.append(self._run(stack, own, "server", command))
            self.audio.append(audio)
            text = text.replace(f"192.0.2.1{number}:4574 port 9093", f"127.0.0.1:{fastagi} port {http}")
        (folder / "haproxy.cfg").write_text(text)
        self._run(stack, folder, "haproxy", ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")])
        for audio in self.audio:
            until(lambda audio=audio: listens(audio))  # type: ignore[misc]

    def _run(self, stack: ExitStack, folder: Path, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        log = stack.enter_context((folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    async def ask(self, channel: str, script: str, *arguments: str) -> dict[str, str]:
        """As the dialplan does: again after a while, where nobody answers."""
        environment = {"agi_uniqueid": channel}
        for _ in range(40):
            found = await run_agi(
                "127.0.0.1", self.front, script, arguments=arguments, environment=environment, timeout=10
            )
            if found.variables:
                return found.variables
            if script == "call/end":
                return {}
            await asyncio.sleep(0.2)
        raise AssertionError(f"nobody answers {script}")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(tmp_path, stack)


async def hears(address: str, call_id: str, frames: int = 25) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(audiosocket.uuid_message(uuid.UUID(call_id)))
    async with asyncio.timeout(20):
        for _ in range(frames):
            await reader.readexactly(323)
    return reader, writer


def test_calls_are_shared_out_and_go_on_where_their_server_is_lost(hosts: Hosts) -> None:
    async def body() -> None:
        calls = {}
        for number in range(6):
            channel = f"1700000000.{number}"
            async with asyncio.timeout(60):
                while (start := await hosts.ask(channel, "call/start")).get("AI_STATUS") != "OK":
                    await asyncio.sleep(0.2)
            calls[channel] = start
            start["line"] = await hears(start["AI_AUDIOSOCKET"], start["AI_CALL_ID"])  # type: ignore[assignment]
        by_port = {port: [c for c, start in calls.items() if start["AI_AUDIOSOCKET"].endswith(f":{port}")]
                   for port in hosts.audio}  # fmt: skip
        assert all(by_port.values()), "both have calls"
        lost_port, kept_port = hosts.audio
        # Who asks while its server is well is answered by that one, and stays with it.
        channel = by_port[lost_port][0]
        calls[channel]["line"][1].close()  # type: ignore[attr-defined]
        again = await hosts.ask(channel, "call/next", calls[channel]["AI_CALL_ID"])
        assert (again["AI_NEXT"], again.get("AI_AUDIOSOCKET", "")) == ("talk", "")
        calls[channel]["line"] = await hears(calls[channel]["AI_AUDIOSOCKET"], calls[channel]["AI_CALL_ID"])  # type: ignore[assignment]

        hosts.servers[0].kill()
        for channel in by_port[lost_port]:
            call_id = calls[channel]["AI_CALL_ID"]
            calls[channel]["line"][1].close()  # type: ignore[attr-defined]
            again = await hosts.ask(channel, "call/next", call_id)
            assert again["AI_NEXT"] == "talk"
            assert again["AI_AUDIOSOCKET"].endswith(f":{kept_port}")
            calls[channel]["line"] = await hears(again["AI_AUDIOSOCKET"], call_id)  # type: ignore[assignment]
        for channel in by_port[kept_port]:
            await calls[channel]["line"][0].readexactly(323)  # type: ignore[attr-defined]
        hosts.redis.send_signal(signal.SIGSTOP)  # without Redis calls go on, new ones as well
        fresh = await hosts.ask("1700000001.1", "call/start")
        assert fresh["AI_STATUS"] == "OK"
        calls["1700000001.1"] = fresh
        fresh["line"] = await hears(fresh["AI_AUDIOSOCKET"], fresh["AI_CALL_ID"])  # type: ignore[assignment]
        hosts.redis.send_signal(signal.SIGCONT)
        for channel, start in calls.items():
            start["line"][1].close()  # type: ignore[attr-defined]
            await hosts.ask(channel, "call/end", start["AI_CALL_ID"])

    asyncio.run(body())
    os.kill(hosts.servers[1].pid, signal.SIGTERM)
    assert hosts.servers[1].wait(30) == 0


def test_who_has_lost_a_call_is_told_and_writes_it_no_more(tmp_path: Path) -> None:
    from asterisk_ai.session.backends.shared import SharedBackend

    with ExitStack() as stack:
        port = free_ports(1)
        server = subprocess.Popen(["redis-server", "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.kill)
        until(lambda: listens(port))
        taken: list[str] = []
        url = f"redis://127.0.0.1:{port}/0"
        one = SharedBackend(SqliteBackend(tmp_path / "one.db"), url, taken.append)
        other = SharedBackend(SqliteBackend(tmp_path / "other.db"), url)
        first, second = SessionStore(one), SessionStore(other)
        first.start()
        second.start()
        session = CallSession(new_call_id(), "a", memory={"slot": 1})
        first.add(session)
        until(lambda: second.find(session.call_id))
        found = second.find(session.call_id)
        assert found is not None
        second.reopen(found)
        until(lambda: (first.find(session.call_id), one.find(session.call_id))[1].epoch == 1)  # type: ignore[union-attr]
        session.memory = {"slot": 2}
        first.save(session)  # it does not know yet
        until(lambda: taken == [session.call_id])
        kept = other.find(session.call_id)
        assert kept is not None
        assert kept.memory == {"slot": 1}
        server.kill()  # calls go on, and what has changed is written when Redis is back
        server.wait()
        second.save(found)
        until(lambda: second.shared() != "connected")
        assert second.problem() == ""
        again = subprocess.Popen(["redis-server", "--port", str(port), "--save", ""], stdout=subprocess.DEVNULL)
        stack.callback(again.wait)
        stack.callback(again.kill)
        until(lambda: second.shared() == "connected")
        until(lambda: one.find(session.call_id).epoch == 1)  # type: ignore[union-attr]
        first.stop()
        third = SessionStore(SharedBackend(SqliteBackend(tmp_path / "one.db"), url))
        third.start()
        assert third.count == 0, "the call is the other host's"
        third.stop()
        second.stop()
