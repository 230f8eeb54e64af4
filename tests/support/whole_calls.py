"""Whole calls to a server in this process, and what is kept of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from sound import tone

from asterisk_ai.config import parse
from asterisk_ai.server.server import Server
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import Caller, Line, Result, simulate


@contextlib.asynccontextmanager
async def serving(config: str) -> AsyncIterator[Server]:
    server = Server(parse(config))
    running = asyncio.Event()
    task = asyncio.create_task(server.run(lambda _: running.set()))
    await running.wait()
    try:
        yield server
    finally:
        server.stop()
        await task


def says(hertz: int, **how: Any) -> Line:
    return Line(f"{hertz} Hz", pcm=tone(hertz), **how)


async def call(server: Server, agent: str, *lines: Line, linger: float = 1.2, patience: float = 4.0) -> Result:
    async with asyncio.timeout(40):
        caller = Caller(lines, linger=linger, patience=patience)
        return await simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port, agent=agent)


async def calls(config: str, agents: list[str]) -> tuple[dict[str, Result], Mapping[str, float]]:
    """A call to each agent, all at once: two questions, then the caller hangs up."""
    server = Server(parse(config))
    running = asyncio.Event()
    serving = asyncio.create_task(server.run(lambda _: running.set()))
    await running.wait()
    results = {}
    try:
        callers = {agent: Caller([Line("a", tone()), Line("b", tone())], patience=4.0, linger=0.5) for agent in agents}
        done = await asyncio.gather(
            *(
                simulate(callers[agent], host="127.0.0.1", fastagi_port=server.fastagi_port, agent=agent)
                for agent in agents
            )
        )
        results = dict(zip(agents, done, strict=True))
        samples = {
            f"{metric.name} {sample.labels.get('provider')} {sample.labels.get('kind')}": sample.value
            for metric in server.metrics.registry.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and "provider" in sample.labels
        }
    finally:
        server.stop()
        await serving
    return results, samples


def records(folder: Path) -> dict[str, CallSession]:
    reader = SqliteReader(folder / "sessions.db")
    try:
        return {session.agent: session for session in reversed(reader.search(CallFilter(limit=100)))}
    finally:
        reader.close()


def turns(record: CallSession) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in record.history]
