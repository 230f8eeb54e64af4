"""A whole server inside the test's own event loop, on free ports and with nothing on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from asterisk_ai import config
from asterisk_ai.server.server import Server
from asterisk_ai.simulator.agi_client import run_agi

DELAY = "asterisk_ai.providers.engines.delay:Delay"
CONFIG = f"""
audiosocket: {{port: 0, idle_seconds: 3600}}
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_calls: 20, drain_seconds: 0, max_lateness_ms: 0}}
store: {{backend: memory}}
vad: {{engine: energy}}
pipeline: delay
pipelines: {{delay: {{stt: "{DELAY}SpeechToText", llm: "{DELAY}LanguageModel", tts: "{DELAY}TextToSpeech"}}}}
agents: {{a: {{}}}}
"""


@asynccontextmanager
async def serving(text: str = CONFIG, file: Path | None = None) -> AsyncIterator[Server]:
    """A server that runs with ``text``, which ``file`` holds where it is to be read again."""
    if file is not None:
        file.write_text(text, "utf-8")
    server = Server(config.parse(text, str(file) if file else "a.yaml", {}))
    ready = asyncio.Event()
    running = asyncio.create_task(server.run(lambda _: ready.set()))
    await asyncio.wait((running, asyncio.create_task(ready.wait())), return_when=asyncio.FIRST_COMPLETED)
    try:
        if ready.is_set():
            yield server
    finally:
        server.stop(at_once=True)
        await running


async def started(server: Server, agent: str = "a") -> dict[str, str]:
    """The channel variables of a new call."""
    query = f"call/start?agent={agent}"
    return (await run_agi("127.0.0.1", server.fastagi_port, query, timeout=5)).variables
