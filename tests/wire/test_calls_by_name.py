"""A whole call to an agent that greets its callers by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from whole_calls import call, records, serving, turns

CONFIG = """
audiosocket: {{port: 0}}
fastagi: {{port: 0}}
http: false
store: {{path: {folder}/sessions.db}}
pipelines: {{offline: {{stt: pocketsphinx, llm: rules, tts: espeak}}}}
pipeline: offline
agents:
  desk:
    greeting: "Hello {{caller.name}}."
    turn: {{no_input_seconds: 30}}
    rules: {{intents: {{bye: {{say: [goodbye], answer: "Bye.", do: hangup}}}}}}
"""


def test_the_caller_hears_the_name_and_the_record_has_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(CONFIG.format(folder=tmp_path)) as server:
            await call(server, "desk", linger=3.0)

    asyncio.run(main())
    assert turns(records(tmp_path)["desk"]) == [("agent", "Hello Simulated Caller.")]
