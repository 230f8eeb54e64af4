"""A whole call through engines of several vendors, with a tool of an MCP server, and what it took in its record."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aside import aside
from chat_servers import KEY, FakeAnthropic, FakeGemini, text, tool_use
from listen_servers import FakeAssembly
from speech_servers import FakeElevenLabs
from whole_calls import calls, records

SHOP = str(Path(__file__).parents[1] / "fakes" / "mcp_shop.py")


def test_a_whole_call(tmp_path: Path) -> None:
    ears, dead, mind, voice = FakeAssembly(), FakeGemini(), FakeAnthropic(), FakeElevenLabs()
    mind.script = [
        mind.message(tool_use("stock", '{"article": "tea"}', "toolu_1"), reason="tool_use"),
        mind.message(text("There are seven.")),
        mind.message(text("That is all.")),
    ]
    with aside(ears.running(), dead.running(), mind.running(), voice.running()):
        config = f"""
pipeline: cloud
pipelines:
  cloud: {{stt: assemblyai, llm: [gemini, anthropic], tts: elevenlabs, switching: ""}}
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {tmp_path}/sessions.db}}
providers:
  assemblyai: {{base_url: "{ears.base_url}", api_key: {KEY}, price: {{minute: 0.6}}}}
  gemini: {{base_url: "{dead.base_url}", api_key: {KEY}, model: "429-after"}}
  anthropic: {{base_url: "{mind.base_url}", api_key: {KEY}, price: {{input_tokens: 1, output_tokens: 5}}}}
  elevenlabs: {{base_url: "{voice.base_url}", api_key: {KEY}, price: {{characters: 50}}}}
agents:
  desk:
    greeting: Hello
    turn: {{endpoint_ms: 200, no_input_seconds: 60}}
    tools:
      mcp: {{shop: {{command: ["{sys.executable}", "{SHOP}", "{tmp_path}/told"], allow: [stock], say: "One moment."}}}}
"""
        results, samples = asyncio.run(calls(config, ["desk"]))
    assert results["desk"].next == "caller hung up"
    record = records(tmp_path)["desk"]
    assert [turn.text for turn in record.history] == [
        "Hello", "opening hours", "One moment. There are seven.", "opening hours", "That is all.",
    ]  # fmt: skip
    assert (tmp_path / "told").read_text() == "stock tea 1\n"
    assert [(trouble["engine"], trouble["kind"]) for trouble in record.troubles] == [
        ("gemini", "rate_limited"),
        ("gemini", "unready"),
    ]
    assert set(record.usage) == {"stt/assemblyai", "llm/anthropic", "tts/elevenlabs"}
    assert record.usage["llm/anthropic"] == {"input_tokens": 27, "output_tokens": 21, "cost": 0.000132}
    assert record.usage["tts/elevenlabs"]["characters"] >= len("There are seven.")
    assert record.usage["stt/assemblyai"]["cost"] > 0
    assert samples["ai_agent_provider_failures gemini rate_limited"] == 1
