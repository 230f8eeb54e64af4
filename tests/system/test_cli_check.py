"""``asterisk-ai check``: what it tells of agents whose tools nothing uses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asterisk_ai.cli import check
from asterisk_ai.cli.dialplan import Finding
from asterisk_ai.config import parse

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
