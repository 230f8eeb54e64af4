"""``asterisk-ai mcp``: an administrator's assistant may read calls, health and checks, and change nothing."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from asterisk_ai.cli.running import health
from asterisk_ai.config import load_part
from asterisk_ai.errors import AsteriskAIError

SECONDS = 120.0
"""Checking speaks and hears with every engine."""
MAX_ANSWER = 200_000
"""Characters that an assistant is told at once."""
MAX_CALLS = 200
_DESCRIPTION = """\
A server of the Model Context Protocol on standard input and output: an assistant that is told of it can read the
records of calls, the health of the running server and the result of `asterisk-ai check`. It can change nothing. What
callers said is in the records: whoever runs the assistant reads it.

  {"mcpServers": {"asterisk": {"command": "asterisk-ai", "args": ["mcp"]}}}
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "mcp",
        help="let an assistant read calls, health and checks (a server of the Model Context Protocol)",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        from mcp.server import MCPServer
        from mcp_types import ToolAnnotations
    except ImportError as error:
        raise AsteriskAIError(f"{error} (mend it with: pip install 'asterisk-ai[mcp]')") from error
    own = [f"--config={arguments.config}"] if arguments.config else []
    server = MCPServer("asterisk-ai", instructions="The AI voice agents of an Asterisk PBX. Nothing can be changed.")
    reads = server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))

    @reads
    async def list_calls(
        *, since: str = "", until: str = "", agent: str = "", outcome: str = "", caller: str = "", text: str = "",
        limit: int = 20,
    ) -> str:  # fmt: skip
        """Records of calls, the newest first, one JSON object a line.

        since and until are a date, "2026-11-28 14:30", today, yesterday, or how long ago (90m, 12h, 7d); text: words
        that were all said.
        """
        wanted = {"since": since, "until": until, "agent": agent, "outcome": outcome, "caller": caller, "text": text}
        given = [f"--{key}={value}" for key, value in wanted.items() if value]
        return await _told("calls", "list", "--json", *own, *given, f"--limit={min(max(limit, 1), MAX_CALLS)}")

    @reads
    async def show_call(call_id: str) -> str:
        """What was heard, said and done in a call, and how long each step of an answer took. The id's beginning will
        do."""
        if not call_id.strip() or call_id.startswith("-"):
            raise ValueError("an id begins with a letter or digit")
        return await _told("calls", "show", *own, call_id)

    @reads
    async def server_health() -> str:
        """How the running server is: active calls, engines that are ready or not and why."""
        found = await asyncio.to_thread(health, load_part(arguments.config, "http"))
        return json.dumps(found) if found is not None else "no server runs with this configuration"

    @reads
    async def check() -> str:
        """Is everything there that a first call needs? Findings as JSON, each with what mends it. Takes a minute."""
        return await _told("check", "--json", *own)

    server.run("stdio")
    return 0


async def _told(*words: str) -> str:
    """What a command of ours prints, run as a process of its own: standard output is the protocol's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asterisk_ai", *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            out, problem = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = out.decode("utf-8", "replace") or problem.decode("utf-8", "replace")
    return text if len(text) <= MAX_ANSWER else f"{text[:MAX_ANSWER]}\n... (cut off: ask for less)"
