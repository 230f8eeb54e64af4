"""``asterisk-ai provider`` and /health with pipelines of speech to speech."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aside import aside
from realtime_server import KEY, FakeRealtime

from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.config import parse
from asterisk_ai.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIG = """\
default_agent: reception
pipeline: offline
pipelines:
  offline: {{}}
  openai-realtime: {{realtime: openai_realtime}}
  careful: {{realtime: [openai_realtime, other], llm: rules, realtime_seconds: 2.5}}
http: false
store: {{backend: memory}}
providers:
  openai_realtime: {{base_url: "{url}", api_key: {key}, voice: cedar}}
  other: {{engine: openai_realtime, base_url: "http://127.0.0.1:9", api_key: x}}
agents:
  reception: {{greeting: Hello., prompt: You are kind., rules: {{intents: {{bye: {{say: goodbye, do: hangup}}}}}}}}
"""


@pytest.fixture
def fake() -> Iterator[FakeRealtime]:
    with aside(FakeRealtime().running()) as (server,):
        yield server


def provider(file: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "asterisk_ai", "provider", *arguments, "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def written(folder: Path, url: str, key: str = KEY) -> Path:
    file = folder / "asterisk_ai.yaml"
    file.write_text(CONFIG.format(url=url, key=key))
    return file


def test_list_show_test_and_switch(fake: FakeRealtime, tmp_path: Path) -> None:
    file = written(tmp_path, fake.base_url)
    _, text = provider(file, "list")
    assert re.search(r"\* offline +stt: \S.*  llm: rules  tts: \S", text)
    assert "  openai-realtime realtime: openai_realtime\n" in text
    stages = "stt: moonshine, pocketsphinx  llm: rules  tts: hibari, espeak"
    assert f"  careful      realtime: openai_realtime, other  {stages}" in text
    _, text = provider(file, "show", "openai-realtime")
    assert "realtime  openai_realtime  {" in text
    assert "limits: realtime 4 s;" in text
    assert KEY not in text
    for name in ("openai-realtime", "openai_realtime"):
        code, text = provider(file, "test", name)
        assert code == 0, text
        assert "realtime/openai_realtime: greeted with 'Hello.', 0.2 s of speech" in text
    code, text = provider(file, "switch", "openai-realtime")
    assert code == 0, text
    assert "+pipeline: openai-realtime" in text
    assert "pipeline: openai-realtime" in file.read_text()
    code, text = provider(file, "switch", "realtime=openai_realtime,other")
    assert code == 0, text
    assert "openai-realtime: {realtime: [openai_realtime, other]}" in file.read_text()


def test_a_service_that_refuses_the_key(fake: FakeRealtime, tmp_path: Path) -> None:
    file = written(tmp_path, fake.base_url, "sk-wrong")
    code, text = provider(file, "test", "openai-realtime")
    assert code == 1
    assert "refused the key (401)" in text
    code, text = provider(file, "switch", "openai-realtime")
    assert (code, "refused" in text) == (1, True)
    assert "pipeline: offline" in file.read_text()


def test_health_knows_what_is_behind_a_service(fake: FakeRealtime, tmp_path: Path) -> None:
    async def problems(pipeline: str, url: str) -> list[str]:
        text = CONFIG.format(url=url, key=KEY).replace("pipeline: offline", f"pipeline: {pipeline}")
        agent_set = AgentSet(parse(text), Engines())
        await agent_set.start()
        try:
            assert "realtime/openai_realtime/reception" in agent_set.readiness()
            return agent_set.problems()
        finally:
            await agent_set.close()

    assert asyncio.run(problems("openai-realtime", fake.base_url)) == []
    (problem,) = asyncio.run(problems("openai-realtime", "http://127.0.0.1:9"))
    assert problem.startswith("openai_realtime: ")
    assert asyncio.run(problems("careful", "http://127.0.0.1:9")) == [], "the other stages are there"


def test_mistakes() -> None:
    good = CONFIG.format(url="http://127.0.0.1:9", key="x")
    for text, path in (
        (good.replace("{realtime: openai_realtime}", "{realtime: openai_realtme}"), "did you mean 'openai_realtime'"),
        (good.replace("[openai_realtime, other]", "[other, other]"), "pipelines.careful.realtime: names an engine"),
        (good.replace("realtime_seconds: 2.5", "realtime_seconds: 0"), "pipelines.careful.realtime_seconds"),
    ):
        with pytest.raises(ConfigError, match=path):
            AgentSet(parse(text.replace("pipeline: offline", "pipeline: openai-realtime")), Engines())
