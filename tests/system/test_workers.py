"""``server.workers``: two real processes behind one port, one of them killed in mid-call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ports import free_ports

from asterisk_ai.config import parse
from asterisk_ai.config.private import made_control_token
from asterisk_ai.errors import ConfigError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.server.web.hub import LiveHub
from asterisk_ai.server.worker import ALONE, WorkerPlace
from asterisk_ai.session.backends.memory import MemoryBackend
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore
from asterisk_ai.simulator.agi_client import run_agi
from asterisk_ai.telemetry.health import Health
from asterisk_ai.telemetry.merged import MergedMetrics
from asterisk_ai.telemetry.metrics import Metrics

CONFIG = """
default_agent: a
pipeline: delay
pipelines: {{delay: &delay {{stt: "asterisk_ai.providers.engines.delay:DelaySpeechToText",
  llm: "asterisk_ai.providers.engines.delay:DelayLanguageModel",
  tts: "asterisk_ai.providers.engines.delay:DelayTextToSpeech"}}, other: *delay}}
fastagi: {{port: {0}}}
audiosocket: {{port: {1}}}
http: {{port: {2}}}
server: {{workers: 2, worker_ports: {3}, drain_seconds: {drain_seconds}, max_lateness_ms: 0}}
store: {{path: {4}}}
agents: {{a: {{greeting: "hello"}}}}
"""


class Served:
    def __init__(self, folder: Path, drain_seconds: int = 1) -> None:
        base = free_ports(9)
        self.fastagi, self.http, self.workers = base, base + 2, base + 3
        self.file = folder / "asterisk_ai.yaml"
        ports = base, base + 1, base + 2, base + 3
        self.file.write_text(CONFIG.format(*ports, folder / "sessions.db", drain_seconds=drain_seconds))
        self.log = folder / "log"
        self.start()

    def start(self) -> None:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(self.file)], stdout=output, stderr=output
            )
        until = time.monotonic() + 30
        while not self.ask("/ready").get("ready"):
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)

    def ask(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=3) as reply:
                return dict(json.load(reply))
        except urllib.error.HTTPError as error:
            with error:
                return dict(json.load(error))
        except OSError:
            return {}

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=3) as reply:
            return str(reply.read().decode())

    async def agi(self, script: str, *arguments: str, server: str = "") -> dict[str, str]:
        port = int(server.rpartition(":")[2]) if server else self.fastagi
        return (await run_agi("127.0.0.1", port, script, arguments=arguments, timeout=5)).variables


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    yield server
    server.process.terminate()
    assert server.process.wait(15) == 0, server.log.read_text()


class Listener:
    """A caller's audio connection that notes when frames come."""

    def __init__(self, call: dict[str, str]) -> None:
        self.call = call
        self.at: list[float] = []

    async def listen(self) -> None:
        host, _, port = self.call["AI_AUDIOSOCKET"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(audiosocket.uuid_message(uuid.UUID(self.call["AI_CALL_ID"])))

        async def speak() -> None:
            while True:
                writer.write(audiosocket.audio_message(8000, bytes(320)))
                await asyncio.sleep(0.02)

        speaking = asyncio.create_task(speak())
        try:
            while await reader.readexactly(323):
                self.at.append(time.monotonic())
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            speaking.cancel()
            writer.close()


async def one_call_each(served: Served) -> tuple[dict[str, str], dict[str, str]]:
    calls: dict[str, dict[str, str]] = {}
    for _ in range(60):
        call = await served.agi("call/start")
        assert call["AI_STATUS"] == "OK"
        if call["AI_SERVER"] in calls:
            await served.agi("call/end", call["AI_CALL_ID"], server=call["AI_SERVER"])
        else:
            calls[call["AI_SERVER"]] = call
        if len(calls) == 2:
            first, second = sorted(calls)
            return calls[first], calls[second]
    raise AssertionError("sixty calls went to one worker")


def test_the_page_sees_and_ends_the_calls_of_every_worker(served: Served) -> None:
    async def body() -> None:
        config = parse(served.file.read_text(), str(served.file))
        made_control_token(config)
        hub = LiveHub(config)
        browser = hub.subscribe()
        one, other = await one_call_each(served)
        listening = [asyncio.create_task(Listener(call).listen()) for call in (one, other)]
        ids = {one["AI_CALL_ID"], other["AI_CALL_ID"]}
        async with asyncio.timeout(30):
            while not all(hub.calls.get(call_id, {}).get("connected") for call_id in ids):
                browser.wake.clear()
                await browser.wake.wait()
            assert len({hub.calls[call_id]["place"] for call_id in ids}) == 2
            assert ids <= set(browser.changed)
            for call_id in ids:
                assert await hub.act(call_id, "hangup", {}) == ""
            await asyncio.gather(*listening)
        for call in (one, other):
            assert (await served.agi("call/next", call["AI_CALL_ID"], server=call["AI_SERVER"]))["AI_NEXT"] == "hangup"
        assert await hub.act(one["AI_CALL_ID"], "hangup", {}) == "the call has ended"
        hub.unsubscribe(browser)
        assert hub.calls == {}

    asyncio.run(body())


def test_one_of_two_workers_is_killed_and_only_its_callers_notice(served: Served) -> None:
    async def body() -> None:
        lost, kept = await one_call_each(served)
        assert {lost["AI_SERVER"], kept["AI_SERVER"]} == {f"127.0.0.1:{served.workers + n}" for n in (1, 4)}
        one, other = Listener(lost), Listener(kept)
        staying = asyncio.create_task(other.listen())
        leaving = asyncio.create_task(one.listen())
        await asyncio.sleep(1)
        health = served.ask("/health")
        assert (health["status"], health["active_calls"], health["talking"]) == ("healthy", 2, 2)
        assert "ai_agent_active_calls 2.0" in served.metrics()

        victim = health["workers"][0]["pid"]  # worker 0 has the lower ports
        os.kill(victim, signal.SIGKILL)
        await asyncio.wait_for(leaving, 2)
        # What the dialplan does: ask the call's own server every second.
        for _ in range(20):
            answer = await served.agi("call/next", lost["AI_CALL_ID"], server=lost["AI_SERVER"])
            if "AI_NEXT" in answer:
                break
            await asyncio.sleep(0.5)
        assert answer["AI_NEXT"] == "talk"
        again = Listener(lost)
        back = asyncio.create_task(again.listen())
        await asyncio.sleep(1)
        assert len(again.at) > 30  # the same id, the same address
        gaps = [b - a for a, b in zip(other.at, other.at[1:], strict=False)]
        assert max(gaps) < 0.3  # the machine is busy starting a process; a lost connection would have ended it
        assert not staying.done()

        health = served.ask("/health")
        assert health["status"] == "healthy"
        assert health["restarts"] == 1
        assert health["workers"][0]["pid"] != victim
        assert (health["active_calls"], health["talking"]) == (2, 2)
        for call, task in ((lost, back), (kept, staying)):
            task.cancel()
            await asyncio.wait([task])
            await served.agi("call/end", call["AI_CALL_ID"], server=call["AI_SERVER"])
        assert served.ask("/health")["active_calls"] == 0

    asyncio.run(body())


def test_a_worker_that_stands_still_is_replaced(served: Served) -> None:
    """The system goes on to give it its share of the callers."""
    victim = served.ask("/health")["workers"][0]["pid"]
    os.kill(victim, signal.SIGSTOP)
    until = time.monotonic() + 60
    while served.ask("/health").get("status") != "healthy" or served.ask("/health")["restarts"] != 1:
        assert time.monotonic() < until, served.log.read_text()
        time.sleep(0.2)
    assert state(victim) == "Z"
    asyncio.run(one_call_each(served))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("workers", [1, 2])
def test_signals_during_the_start(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    """None of them is the end of a process that only wants to be told, or leaves workers behind."""
    base = free_ports(9)
    file = tmp_path / "a.yaml"
    text = CONFIG.format(base, base + 1, base + 2, base + 3, tmp_path / "s.db", drain_seconds=1)
    file.write_text(text.replace("workers: 2", f"workers: {workers}"))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)], stdout=log, stderr=log
        )
    until = time.monotonic() + 30
    lock = tmp_path / "s.db.lock"
    while not lock.exists() or not lock.read_text():  # it has begun
        assert time.monotonic() < until
        time.sleep(0.001)
    for _ in range(3 if number == signal.SIGTERM else 50):
        process.send_signal(number)
        time.sleep(0.005)
    if number != signal.SIGTERM:
        while b"is ready: " not in (tmp_path / "log").read_bytes():
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        process.terminate()
    status, text = process.wait(20), (tmp_path / "log").read_text()
    assert status == 0, text
    for port in range(base, base + 9):
        socket.create_server(("127.0.0.1", port)).close()


def test_reload_reaches_the_workers_and_they_end_with_their_parent(served: Served) -> None:
    served.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 10
    while [worker.get("reloads") for worker in served.ask("/health")["workers"]] != [1, 1]:
        assert time.monotonic() < until
        time.sleep(0.1)
    workers = [worker["pid"] for worker in served.ask("/health")["workers"]]
    served.process.kill()
    served.process.wait()
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and state(pid) != "Z" for pid in workers):
        assert time.monotonic() < until, served.log.read_text()
        time.sleep(0.1)
    served.process.returncode = 0  # for the fixture


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_killed_supervisor_takes_its_workers_with_it_and_the_next_one_has_the_calls(tmp_path: Path) -> None:
    """However long calls may drain: the workers of a lost supervisor hold the ports and the store of the next one."""
    served = Served(tmp_path, drain_seconds=3600)

    async def body() -> None:
        calls = await one_call_each(served)
        talking = [asyncio.create_task(Listener(call).listen()) for call in calls]
        while served.ask("/health").get("talking") != 2:
            await asyncio.sleep(0.05)
        served.process.kill()
        served.process.wait()
        await asyncio.wait_for(asyncio.gather(*talking), 10)  # back to the dialplan, which asks what comes next
        served.start()
        for call in calls:
            answer = await served.agi("call/next", call["AI_CALL_ID"], server=call["AI_SERVER"])
            assert answer["AI_NEXT"] == "talk"

    try:
        asyncio.run(body())
    finally:
        served.process.send_signal(signal.SIGINT)
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(15) == 0, served.log.read_text()


def test_provider_switch_reaches_all_workers(served: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asterisk_ai", "provider", "switch", "other", "--config", str(served.file)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    health = served.ask("/health")
    assert health["active_pipeline"] == "other"
    assert [worker["active_pipeline"] for worker in health["workers"]] == ["other", "other"]
    assert (health["reloads"], health["restarts"]) == (1, 0)


def test_two_servers_may_not_have_one_store(served: Served, tmp_path: Path) -> None:
    base = free_ports(9)
    file = tmp_path / "second.yaml"
    file.write_text(CONFIG.format(base, base + 1, base + 2, base + 3, tmp_path / "sessions.db", drain_seconds=1))
    for workers in ("workers: 2", "workers: 1"):
        file.write_text(file.read_text().replace("workers: 2", workers))
        done = subprocess.run(
            [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert f"sessions.db is in use by another server (process {served.process.pid}" in done.stderr
        assert "Traceback" not in done.stderr
    assert served.ask("/health")["status"] == "healthy"


def test_a_worker_that_cannot_start_ends_the_whole_with_its_reason(tmp_path: Path) -> None:
    base = free_ports(9)
    file = tmp_path / "a.yaml"
    file.write_text(CONFIG.format(base, base + 1, base + 2, base + 3, tmp_path / "s.db", drain_seconds=1))
    with socket.create_server(("127.0.0.1", base + 4)):
        done = subprocess.run(
            [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "server.worker_ports: cannot listen" in done.stderr
    assert done.stderr.endswith("asterisk-ai: worker 0 did not start\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("key", ["fastagi", "http", "server.worker_ports"])
def test_a_second_server_on_the_same_ports_does_not_join_the_first(served: Served, tmp_path: Path, key: str) -> None:
    base, first = free_ports(9), served.fastagi
    ports = {"fastagi": base, "audiosocket": base + 1, "http": base + 2, "server.worker_ports": base + 3}
    ports[key] = {"fastagi": first, "http": first + 2, "server.worker_ports": first + 3}[key]
    file = tmp_path / "second.yaml"
    file.write_text(CONFIG.format(*ports.values(), tmp_path / "second.db", drain_seconds=1))
    done = subprocess.run(
        [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(file)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{key}: cannot listen on 127.0.0.1:{ports[key]}" in done.stderr
    assert served.ask("/health")["status"] == "healthy"


def test_each_place_has_ports_of_its_own_and_the_same_again() -> None:
    config = parse(
        'server: {workers: 3}\naudiosocket: {advertise: "pbx:1", host: 0.0.0.0}\nagents: {a: {}}', environ={}
    )
    assert ALONE.config(config) is config
    places = [WorkerPlace(index, 3) for index in range(3)]
    configs = [place.config(config) for place in places]
    assert [c.audiosocket.port for c in configs] == [9100, 9103, 9106]
    assert [c.audiosocket.advertise for c in configs] == ["pbx:9100", "pbx:9103", "pbx:9106"]
    assert [c.http and (c.http.host, c.http.port) for c in configs] == [("127.0.0.1", p) for p in (9102, 9105, 9108)]
    assert [place.fastagi_port(config) for place in places] == [9101, 9104, 9107]
    assert {c.fastagi.port for c in configs} == {4574}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server: {workers: 2, worker_ports: 4570}", "4570 to 4575 include fastagi's 4574"),
        ("server: {workers: 2, worker_ports: 9093}", "9093 to 9098 include http's 9093"),
        ("server: {workers: 2}\naudiosocket: {require_registration: false}", "call/start has to tell"),
    ],
)
def test_ports_that_would_collide_are_told_before(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse(text + "\nagents: {a: {}}", environ={})
    parse(text.replace("workers: 2", "workers: 1") + "\nagents: {a: {}}", environ={})


def test_a_store_takes_over_its_own_calls_and_those_of_workers_that_are_no_more() -> None:
    class Left(MemoryBackend):
        def start(self) -> list[CallSession]:
            return [CallSession(f"call-{n}", "a", worker=n) for n in range(5)]

    stores = [SessionStore(Left(), worker=n, workers=2) for n in range(2)]
    for store in stores:
        store.start()
    assert [sorted(session.call_id for session in store.live) for store in stores] == [
        ["call-0", "call-2", "call-4"],
        ["call-1", "call-3"],
    ]
    session = CallSession("new", "a")
    stores[1].add(session)
    assert CallSession.from_json(session.to_json()).worker == 1


def test_metrics_are_added_up_and_the_worst_clock_counts() -> None:
    parts = [Metrics(), Metrics()]
    for number, metrics in enumerate(parts, 1):
        metrics.active_calls.set(number)
        metrics.calls.labels("hangup").inc(10 * number)
        metrics.turn_response.observe(0.4 * number)
        metrics.clock_lag.set(0.01 * number)
    merged = MergedMetrics(lambda: [*(metrics.render().decode() for metrics in parts), None]).render().decode()
    for line in (
        "ai_agent_active_calls 3.0",
        'ai_agent_calls_total{outcome="hangup"} 30.0',
        'ai_agent_turn_response_seconds_bucket{le="0.5"} 1.0',
        "ai_agent_turn_response_seconds_count 2.0",
        "ai_agent_clock_lag_p99_seconds 0.02",
        "# TYPE ai_agent_turn_response_seconds histogram",
    ):
        assert line in merged, merged


def test_the_healths_of_several_processes_become_one() -> None:
    good, bad = {"ready": True, "reason": ""}, {"ready": False, "reason": "no model"}
    one = Health(active_calls=1, max_calls=10, reloads=2, providers={"stt/x": good}, config="/etc/a.yaml")
    other = Health(active_calls=2, max_calls=10, reloads=1, providers={"stt/x": bad}, reload_problem="no")
    one = replace(one, frames={"late": 1, "clock_lag_p99_ms": 3.0})
    other = replace(other, frames={"late": 2, "clock_lag_p99_ms": 2.0}, problems=["ill"])
    both = Health.merge(Health.from_json(json.loads(json.dumps(part.as_json()))) for part in (one, other))
    assert (both.active_calls, both.max_calls, both.config) == (3, 20, "/etc/a.yaml")
    assert (both.reloads, both.reload_problem) == (1, "no"), "done when all have done it"
    assert both.providers == {"stt/x": bad}
    assert both.frames == {"late": 3, "clock_lag_p99_ms": 3.0}
    assert (both.well, both.as_json()["status"]) == (False, "unhealthy")
    assert Health.merge([]) == Health()
