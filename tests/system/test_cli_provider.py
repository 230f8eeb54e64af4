"""``asterisk-ai provider``: switching a running server under load, and everything that keeps it from happening."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ports import free_port
from sound import tone, voices
from tiny_models import turn_model

from asterisk_ai.simulator.asterisk import Caller, Line, Result, simulate

ROOT = Path(__file__).parents[2]
CONFIG = """\
# The administrator's own words stay where they are.
default_agent: reception
pipeline: old          # which engines
pipelines:
  old: {{stt: ears, llm: mind, tts: low}}
  new: {{stt: ears, llm: mind, tts: high}}
  broken: {{stt: ears, llm: mind, tts: down}}
  half: {{stt: ears, llm: mind, tts: [down, high]}}   # one is enough

audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: {port}}}
server: {{max_lateness_ms: 0}}   # a machine with other work may be late; that is not what is tested
store: {{path: sessions.db}}
providers:
  ears: {{engine: "faulty:FaultySpeechToText"}}
  mind: {{engine: "faulty:FaultyLanguageModel"}}
  low:  {{engine: "faulty:FaultyTextToSpeech", hertz: 500}}
  high: {{engine: "faulty:FaultyTextToSpeech", hertz: 1000}}
  down: {{engine: "faulty:FaultyTextToSpeech", fault: start}}
agents:
  reception: {{greeting: Hi there, turn: {{endpoint_ms: 200, no_input_seconds: 60}}}}
"""
ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "fakes")])}


class Running:
    """``asterisk-ai serve`` with the configuration above."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log_file = folder / "asterisk_ai.yaml", folder / "log"
        self.http_port = free_port()
        self.file.write_text(CONFIG.format(port=self.http_port))
        with self.log_file.open("wb") as log:
            command = [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(self.file)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=ENV)
        end = time.monotonic() + 20
        while " is ready: " not in self.log:
            assert time.monotonic() < end, self.log
            time.sleep(0.05)
        self.agi_port = int(re.findall(r"FastAGI 127.0.0.1:(\d+)", self.log)[0])

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def health(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/health", timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def provider(self, *words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "asterisk_ai", "provider", words[0], "--config", str(self.file), *words[1:]]
        done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    async def call(self, lines: int, linger: float = 0.4) -> Result:
        caller = Caller([Line("?", tone()) for _ in range(lines)], patience=6.0, linger=linger)
        return await simulate(caller, host="127.0.0.1", fastagi_port=self.agi_port)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.process.terminate()
        assert running.process.wait(40) == 0


def well(results: list[Result], questions: int) -> bool:
    return all(
        result.next == "caller hung up"
        and len(result.responses) == questions
        and all(response.seconds is not None for response in result.responses)
        for result in results
    )


def test_switching_under_load(server: Running) -> None:
    async def main() -> None:
        first = [asyncio.create_task(server.call(6)) for _ in range(30)]
        await asyncio.sleep(1.0)  # in the middle of their conversations
        assert server.health()[1]["active_calls"] == 30
        before = server.file.read_text()

        status, said = await asyncio.to_thread(server.provider, "switch", "broken")
        assert status == 1
        assert "refused" in said
        assert "its service is down" in said
        assert server.file.read_text() == before
        assert server.health()[1]["active_pipeline"] == "old"
        assert server.health()[0] == 200

        status, said = await asyncio.to_thread(server.provider, "switch", "new")
        assert status == 0, said
        assert "in use for new calls: new (30 calls in progress)" in said
        second = [asyncio.create_task(server.call(1)) for _ in range(30)]
        old, new = await asyncio.gather(*first), await asyncio.gather(*second)
        assert well(old, 6)
        assert well(new, 1)
        assert {frozenset(voices(result)) for result in old} == {frozenset({500})}, "kept to the end"
        assert {frozenset(voices(result)) for result in new} == {frozenset({1000})}
        assert server.file.read_text() == before.replace("pipeline: old ", "pipeline: new ")
        assert (server.file.parent / "asterisk_ai.yaml.bak").read_text() == before
        assert server.health()[1]["providers"].keys() >= {"tts/high"}

    asyncio.run(main())


def test_what_a_switch_says_and_does(server: Running) -> None:
    before = server.file.read_text()
    status, said = server.provider("switch", "new", "--dry-run")
    assert status == 0
    assert "-pipeline: old          # which engines\n" in said
    assert "+pipeline: new          # which engines\n" in said
    assert (
        server.provider("switch", "nwe")[1]
        == "asterisk-ai: pipelines: there is no pipeline 'nwe'; did you mean 'new'?\n"
    )
    assert server.provider("switch", "new", "--agent", "x")[0] == 1
    assert server.file.read_text() == before

    assert server.provider("switch", "broken", "--force")[0] == 0
    code, health = server.health()
    assert (code, health["active_pipeline"]) == (503, "broken")
    assert "down: faulty: its service is down" in health["problems"][0]

    assert server.provider("switch", "half")[0] == 0
    code, health = server.health()
    assert (code, health["status"]) == (200, "healthy"), "one engine of the chain is ready"
    assert health["providers"]["tts/down"] == {"ready": False, "reason": "faulty: its service is down"}
    assert "NOT READY: faulty: its service is down" in server.provider("list")[1]

    status, said = server.provider("switch", "tts=low,high")
    assert status == 0, said
    assert "  half: {stt: ears, llm: mind, tts: [low, high]}   # one is enough\n" in server.file.read_text()
    assert server.provider("switch", "new", "--agent", "reception")[0] == 0
    assert "  reception: {pipeline: new, greeting: Hi there," in server.file.read_text()
    status, said = server.provider("reload")
    assert status == 0
    assert "agent reception has a pipeline of its own: new" in said


def test_without_a_server_the_engines_are_tried_here(tmp_path: Path) -> None:
    file = tmp_path / "asterisk_ai.yaml"
    file.write_text(CONFIG.format(port=free_port()))

    def switch(*words: str) -> tuple[int, str]:
        command = [sys.executable, str(ROOT / "scripts" / "switch_provider.py"), *words, "--config", str(file)]
        done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    status, said = switch("broken")
    assert status == 1
    assert "refused: down: faulty: its service is down (--force switches all the same)" in said
    assert "pipeline: old " in file.read_text()
    status, said = switch("new")
    assert status == 0
    assert "the next start uses it" in said
    assert "pipeline: new " in file.read_text()


def test_one_engine_is_tried(tmp_path: Path) -> None:
    """By its own name, by the administrator's, and anybody's by its class: the others of the pipeline stay."""
    file = tmp_path / "asterisk_ai.yaml"
    file.write_text(CONFIG.format(port=free_port()))

    def tried(name: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "asterisk_ai", "provider", "test", name, "--config", str(file)]
        done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    for name in ("high", "faulty:FaultyTextToSpeech", "espeak"):
        status, said = tried(name)
        assert status == 0, said
        assert f"ok    tts/{name}: made " in said
        assert "ok    stt/ears: " in said
        assert "ok    a caller hears the answer" in said
    status, said = tried("down")
    assert status == 1
    assert "FAIL  tts/down: faulty: its service is down" in said
    assert "it is not to be seen what 'os:PathLike' is" in tried("os:PathLike")[1]


def test_what_tells_the_end_of_a_turn_is_tried_and_switched_to_as_other_engines_are(tmp_path: Path) -> None:
    file = tmp_path / "asterisk_ai.yaml"
    model = turn_model(tmp_path, np.zeros((80, 800), np.float32))
    file.write_text(CONFIG.format(port=free_port()).replace("  ears:", f"  smart-turn: {{model: {model}}}\n  ears:"))

    def provider(*arguments: str) -> str:
        command = [sys.executable, "-m", "asterisk_ai", "provider", *arguments, "--config", str(file)]
        return subprocess.run(command, env=ENV, capture_output=True, text=True, check=True, timeout=60).stdout

    assert "ok    turn/smart-turn: listened to a second of silence" in provider("test", "smart-turn")
    assert "the next start uses it" in provider("switch", "turn=smart-turn")
    assert "turn: smart-turn" in file.read_text()
    assert "turn: smart-turn" in provider("list")
    assert "turn  smart-turn" in provider("show")


# ---- make ---------------------------------------------------------------------------


class Make:
    """The Makefile's targets with a virtual environment of ours, as if ``make`` had made it."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.venv = folder / "venv"
        (self.venv / "bin").mkdir(parents=True)
        env = f"export PYTHONPATH='{ENV['PYTHONPATH']}' ASTERISK_AI_CONFIG='{config}'"
        for name, module in (("python", ""), ("asterisk-ai", " -m asterisk_ai")):
            script = self.venv / "bin" / name
            script.write_text(f"#!/bin/sh\n{env}\nexec '{sys.executable}'{module} \"$@\"\n")
            script.chmod(0o755)
        (self.venv / ".installed").touch()

    def __call__(self, *words: str, seconds: float = 60) -> tuple[int, str]:
        command = ["make", "-s", f"VENV={self.venv}", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)
        return done.returncode, done.stdout + done.stderr


def test_make_switches_and_reloads(server: Running, tmp_path: Path) -> None:
    make = Make(tmp_path, server.file)
    before = server.file.read_text()
    status, said = make("provider=new", "provider-switch", "ARGS=--dry-run")
    assert (status, server.file.read_text()) == (0, before)
    assert "+pipeline: new " in said
    status, said = make("provider=new", "provider-switch")
    assert status == 0, said
    assert server.health()[1]["active_pipeline"] == "new"
    status, said = make("provider=broken", "provider-switch")
    assert status != 0
    assert "its service is down" in said
    assert server.health()[1]["active_pipeline"] == "new"
    assert server.file.read_text() == before.replace("pipeline: old ", "pipeline: new ")
    status, said = make("provider-switch")
    assert status != 0
    assert "say which: make provider=NAME" in said

    server.file.write_text(before)
    status, said = make("provider-reload")
    assert status == 0, said
    assert server.health()[1]["active_pipeline"] == "old"


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    """How to reach this machine as if it were another one: over a real sshd where there is one."""
    sshd = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if sshd is None:
        stub = tmp_path / "ssh"
        stub.write_text('#!/bin/sh\nshift; [ "$1" = -- ] && shift\nexec sh -c "$*"\n')  # as ssh does with words
        stub.chmod(0o755)
        yield f"env PATH={tmp_path}/venv/bin:{os.environ['PATH']} {stub}"
        return
    keys = tmp_path / "ssh"
    keys.mkdir(mode=0o700)
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", str(keys / name)], check=True)
    port = free_port()
    (keys / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/mine.pub\n"
        f"StrictModes no\nPidFile none\nSetEnv PATH={tmp_path}/venv/bin:/usr/bin:/bin\nPermitRootLogin yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it shuts its unprivileged half in
    with (keys / "log").open("wb") as log:
        daemon = subprocess.Popen([sshd, "-D", "-e", "-f", str(keys / "config")], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 10
        while "listening" not in (keys / "log").read_text():
            assert time.monotonic() < end, (keys / "log").read_text()
            time.sleep(0.05)
        known = f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={keys}/known -o LogLevel=ERROR -F none"
        yield f"ssh -p {port} -i {keys}/mine {known}"
    finally:
        daemon.terminate()
        daemon.wait(10)


def test_make_switches_on_another_machine(server: Running, tmp_path: Path, ssh: str) -> None:
    make = Make(tmp_path, server.file)
    status, said = make("provider=new", "provider-switch-remote", "HOST=127.0.0.1", f"SSH={ssh}")
    assert status == 0, said
    assert "in use for new calls: new" in said
    assert server.health()[1]["active_pipeline"] == "new"
    status, said = make("provider=broken", "provider-switch-remote", "HOST=127.0.0.1", f"SSH={ssh}")
    assert status != 0
    assert "its service is down" in said
    status, said = make("provider=x; touch /tmp/evil", "provider-switch-remote", "HOST=127.0.0.1", f"SSH={ssh}")
    assert "there is no pipeline 'x; touch /tmp/evil'" in said
    assert make("provider=new", "provider-switch-remote")[0] != 0, "no HOST"


def test_make_shows_the_log_empties_it_and_asks_for_the_health(server: Running, tmp_path: Path) -> None:
    make = Make(tmp_path, server.file)
    status, said = make("test-health", f"HEALTH=http://127.0.0.1:{server.http_port}/health")
    assert status == 0
    assert '"active_pipeline": "old"' in said
    assert "HTTP 200" in said
    server.provider("switch", "broken", "--force")
    status, said = make("test-health", f"HEALTH=http://127.0.0.1:{server.http_port}/health")
    assert status != 0
    assert "HTTP 503" in said
    command = ["timeout", "2", "make", "-s", "logs", f"LOGFILE={server.log_file}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert " is ready: " in done.stdout
    status, said = make("server-clear-logs", f"LOGFILE={server.log_file}")
    assert (status, server.log) == (0, "")
    assert "journalctl --rotate" in make("server-clear-logs")[1]
    assert "journalctl -n 100 -f -u asterisk-ai" in make("-n", "logs")[1]


def test_make_model_setup(tmp_path: Path) -> None:
    config = tmp_path / "asterisk_ai.yaml"
    config.write_text(CONFIG.format(port=free_port()))
    status, said = Make(tmp_path, config)("model-setup", "ARGS=--dry-run")
    assert status == 0, said
    assert "vosk" in said


def test_list_show_and_test(server: Running) -> None:
    status, said = server.provider("list")
    assert status == 0
    assert "* old " in said
    assert "stt/ears" in said
    assert "ready" in said
    status, said = server.provider("show", "half")
    assert status == 0
    assert "tts  down  {engine: 'faulty:FaultyTextToSpeech', fault: 'start'}" in said
    assert server.provider("show", "nothing")[0] == 1
    status, said = server.provider("test", "new")
    assert status == 0, said
    assert "tts/high: made " in said
    status, said = server.provider("test", "broken")
    assert status == 1
    assert "its service is down" in said
