"""``asterisk-ai check``: what it tells of this machine, of the server, and of agents whose tools nothing uses."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from served import Served

from asterisk_ai.cli import check
from asterisk_ai.cli.findings import Finding
from asterisk_ai.config import load, parse, paths

HEAD = """
pipeline: one
pipelines:
  one: {stt: s, llm: MODEL, tts: t}
  careful: {realtime: openai_realtime, stt: s, llm: rules, tts: t}
providers:
  s: {engine: "faulty:FaultySpeechToText"}
  t: {engine: "faulty:FaultyTextToSpeech"}
  own: {engine: "faulty:FaultyLanguageModel"}
  openai: {base_url: "http://127.0.0.1:9/v1", connect_seconds: 0.2}
  openai_realtime: {base_url: "http://127.0.0.1:9/v1", connect_seconds: 0.2}
store: {path: FOLDER/sessions.db}
agents:
  desk: {greeting: Hello., AGENT}
"""
HTTP = "tools: {hangup: true, http: {order: {url: 'https://shop.example/orders', description: The orders.}}}"
RULES = "rules: {intents: {hi: {say: [hello], answer: Hello.}}}"


def findings(folder: Path, model: str, agent: str) -> list[Finding]:
    text = HEAD.replace("FOLDER", str(folder)).replace("MODEL", model).replace("AGENT", agent)
    return [found for found in asyncio.run(check._collect(check._engines(parse(text)))) if "tools" in found.text]


@pytest.mark.parametrize("model", ["rules", "own", "[own, rules]"])
def test_tools_that_nothing_uses(tmp_path: Path, model: str) -> None:
    (found,) = findings(tmp_path, model, f"{RULES}, {HTTP}")
    assert found.ok is None, "a warning: the agent works"
    names = model.strip("[]")
    assert found.text == f"agent desk: nothing uses its tools (hangup, order): the language model ({names}) has none"
    assert "openai" in found.remedy


@pytest.mark.parametrize(
    ("model", "agent"),
    [
        ("openai", HTTP),
        ("[openai, rules]", f"{RULES}, {HTTP}"),
        ("rules", RULES),
        ("rules", f"{RULES}, tools: {{hangup: false, http: {{}}}}"),
        ("rules", f"pipeline: careful, {RULES}, {HTTP}"),
    ],
)
def test_tools_that_are_used_or_not_there(tmp_path: Path, model: str, agent: str) -> None:
    assert findings(tmp_path, model, agent) == []


def test_an_mcp_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    server = "mcp: {crm: {command: [/not/there], allow: [find]}}"
    text = HEAD.replace("FOLDER", str(tmp_path)).replace("MODEL", "openai").replace("AGENT", f"tools: {{{server}}}")
    found = asyncio.run(check._collect(check._engines(parse(text))))
    (told,) = [one for one in found if "MCP" in one.text]
    assert "the MCP server crm is not there" in told.text
    assert told.ok is None


@pytest.mark.parametrize(("words", "ok"), [("hello there", True), ("''", None)])
def test_what_the_agents_voice_says_is_heard_or_there_is_a_warning(tmp_path: Path, words: str, ok: bool | None) -> None:
    text = HEAD.replace("FOLDER", str(tmp_path)).replace("MODEL", "rules").replace("AGENT", RULES)
    text = text.replace('FaultySpeechToText"}', f'FaultySpeechToText", words: {words}}}')
    found = asyncio.run(check._collect(check._engines(parse(text))))
    assert [one.ok for one in found if "its own voice said 'hello'" in one.text] == [ok]


# ---- the server and its user ------------------------------------------------------

DESK = {"greeting": "Hello.", "rules": {"intents": {"hi": {"say": ["hello"], "answer": "Hello."}}}}


def checked(file: Path) -> str:
    """What ``asterisk-ai check`` prints."""
    command = [sys.executable, "-m", "asterisk_ai", "check", "--config", str(file), "--etc", str(file.parent)]
    done = subprocess.run(
        [*command, "--asterisk", "/no/such/asterisk"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1)
    return done.stdout


def test_a_server_that_hangs_is_no_foreign_program(tmp_path: Path) -> None:
    with Served(tmp_path, {"desk": DESK}) as served:
        assert served.process is not None
        assert "a server is running" in checked(served.file)
        served.process.send_signal(signal.SIGSTOP)
        try:
            out = checked(served.file)
        finally:
            served.process.send_signal(signal.SIGCONT)
        assert f"FAIL  our own server (process {served.process.pid}) was stopped: it hangs" in out
        assert f"-> kill -CONT {served.process.pid}" in out
        assert "choose another" not in out


def test_who_has_the_port_is_named(tmp_path: Path) -> None:
    served = Served(tmp_path, {"desk": DESK})
    with socket.create_server(("127.0.0.1", served.agi_port)):
        out = checked(served.file)
    assert f"fastagi: cannot listen on 127.0.0.1:{served.agi_port}: Address already in use" in out
    assert f"process {os.getpid()} (" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_after_a_server_that_root_ran_another_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    state = tmp_path / "state"
    served = Served(tmp_path, {"desk": DESK}, {"store": {"path": str(state / "sessions.db")}})
    served.file.chmod(0o644)
    with served:
        assert state.stat().st_mode & 0o007 == 0
    monkeypatch.setattr(paths, "SYSTEM_STATE", state)
    monkeypatch.setattr("getpass.getuser", lambda: "nobody")
    config = load(str(served.file))
    os.seteuid(65534)
    try:
        found = {each.text: each for part in (check._access(config, 0), check._models(config)) for each in part}
    finally:
        os.seteuid(0)
    store = found[f"store: {state}/sessions.db cannot be written by the server's user (nobody)"]
    assert store.ok is False
    assert store.remedy.startswith(f"chown -R nobody: {state}")
