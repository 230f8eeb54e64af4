"""Each of the injections as the name, the number and all else of a call, on a whole server."""

from __future__ import annotations

import asyncio
import io
import logging
import re
from pathlib import Path

from in_process import CONFIG, serving
from injections import injections

from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.simulator.agi_client import AgiOutcome, run_agi
from asterisk_ai.telemetry.logs import JsonFormatter, TextFormatter

KEYS = "callerid calleridname dnid rdnis channel uniqueid extension context language accountcode".split()
SET = {"AI_CALL_ID", "AI_AUDIOSOCKET", "AI_STATUS", "AI_NEXT", "AI_RESULT", "AI_RESULT_INTENT", "AI_RESULT_OUTCOME"}
AT_ONCE = 8


def labels(metrics: bytes) -> set[str]:
    return set(re.findall(r"^[^#].*(?= \S+$)", metrics.decode(), re.MULTILINE))


def test_whoever_calls_with_it_is_only_a_caller(tmp_path: Path) -> None:
    texts = injections()
    lines, jsons = io.StringIO(), io.StringIO()
    handlers = [logging.StreamHandler(lines), logging.StreamHandler(jsons)]
    for handler, formatter in zip(handlers, (TextFormatter(), JsonFormatter()), strict=True):
        handler.setFormatter(formatter)
        logging.getLogger("asterisk_ai").addHandler(handler)
    count = 0

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            nonlocal count
            count += 1

    counting = Counting()
    logging.getLogger("asterisk_ai").addHandler(counting)
    outcomes: list[AgiOutcome] = []

    async def one(port: int, text: str) -> None:
        sendable = text.encode("utf-8", "replace").decode()
        environment = {f"agi_{key}": sendable for key in KEYS}
        found: dict[str, str] = {}

        async def ask(script: str, *arguments: str) -> None:
            outcome = await run_agi(
                "127.0.0.1", port, script, arguments=arguments, environment=environment, variables=found, timeout=20
            )
            found.update(outcome.variables)
            outcomes.append(outcome)

        await ask("call/start")
        if found.get("AI_STATUS") == "OK":  # a line break ends the request early: that is no call
            await ask("call/next", found["AI_CALL_ID"], sendable, sendable)
            assert found["AI_NEXT"] == "talk", text
            await ask("call/end", found["AI_CALL_ID"], sendable)
        one_line = " ".join(sendable.split()) or "x"
        await ask("call/next", one_line)
        await ask(f"call/start?agent={one_line}&rate={one_line}&downstream={one_line}")
        await ask(one_line)

    async def body() -> None:
        async with serving(CONFIG.replace("{backend: memory}", f"{{path: {tmp_path}/calls.db}}")) as server:
            before = labels(server.metrics.render())
            for at in range(0, len(texts), AT_ONCE):
                await asyncio.gather(*(one(server.fastagi_port, text) for text in texts[at : at + AT_ONCE]))
            after = server.metrics.render()
            new = labels(after) - before
            values = {value for label in new for value in re.findall(r'="((?:[^"\\\\]|\\\\.)*)"', label)}
            assert not values & set(texts), "none of them is a label"
            assert not [text for text in texts for value in values if len(text) > 5 and text in value]

    try:
        asyncio.run(body())
    finally:
        for handler in (*handlers, counting):
            logging.getLogger("asterisk_ai").removeHandler(handler)
    for outcome in outcomes:
        assert set(outcome.variables) <= SET
        assert not set(outcome.variables.values()) & set(texts) - {"talk", ""}
        assert all(command[:2] == ["SET", "VARIABLE"] and command[2] in SET for command in outcome.commands), (
            outcome.commands
        )
    for told in (lines.getvalue(), jsons.getvalue()):
        assert told.count("\n") == count
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", told)
    reader = SqliteReader(tmp_path / "calls.db")
    try:
        calls = reader.search(CallFilter())
        assert len(calls) > 0.8 * len(texts)
        assert {(call.agent, call.outcome.value) for call in calls} <= {
            ("a", "hangup"),
            ("a", "lost"),
            ("a", "fallback"),
            ("a", ""),
        }
        for text in texts:
            reader.search(CallFilter(text=text, caller=text, agent=text, ids=(text,), limit=1))
        assert len(reader.search(CallFilter())) == len(calls)
    finally:
        reader.close()
