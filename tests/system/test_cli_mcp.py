"""An administrator's assistant reads what it may, by the official client of its protocol."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, TextContent

from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore


def text(result: CallToolResult) -> str:
    return "".join(part.text for part in result.content if isinstance(part, TextContent))


@pytest.mark.timeout(120)
def test_an_assistant_reads_calls_health_and_checks(tmp_path: Path) -> None:
    store, file = tmp_path / "calls.db", tmp_path / "asterisk_ai.yaml"
    file.write_text(f"store: {{path: {store}}}\nhttp: {{port: 1}}\nagents: {{a: {{colour: blue}}}}\n")
    kept = SessionStore(SqliteBackend(store))
    kept.start()
    call = CallSession("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "a", caller={"number": "5551234"})
    kept.add(call)
    kept.end(call, "hangup")
    kept.stop()

    async def main() -> None:
        program = StdioServerParameters(
            command=sys.executable, args=["-m", "asterisk_ai", "mcp", "--config", str(file)]
        )
        async with Client(program) as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == {"list_calls", "show_call", "server_health", "check"}
            assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
            listed = text(await client.call_tool("list_calls", {"caller": "555", "limit": 5}))
            assert json.loads(listed)["caller"]["number"] == "5551234"
            assert text(await client.call_tool("list_calls", {"caller": "--yes", "since": "today"})) == ""
            assert "5551234" in text(await client.call_tool("show_call", {"call_id": "6ba7b810"}))
            assert (await client.call_tool("show_call", {"call_id": "--purge"})).is_error
            assert "no server runs" in text(await client.call_tool("server_health", {}))
            findings = json.loads(text(await client.call_tool("check", {})))
            assert any("colour: unknown key" in finding["text"] for finding in findings), findings

    asyncio.run(asyncio.wait_for(main(), 100))
