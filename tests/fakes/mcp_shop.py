"""A server of the Model Context Protocol, made with the official SDK; run as a program.

``mcp_shop.py FILE [PORT]``: over its standard input and output, or streamable HTTP on the port. What it was asked
stands in FILE, a line each.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp_types import ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)
server = MCPServer("shop")
told = Path(sys.argv[1])


def note(line: str) -> None:
    with told.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@server.tool(annotations=READS)
async def stock(article: str, count: int = 1) -> str:
    """How many of an article there are."""
    note(f"stock {article} {count}")
    return f"{count + 6} of {article}"


@server.tool(name="orders.place")
async def place(article: str) -> str:
    """Order an article."""
    note(f"place {article}")
    await asyncio.sleep(0.2)
    note(f"placed {article}")
    return f"{article} is on its way"


@server.tool(annotations=READS)
async def hang() -> str:
    """Takes an hour."""
    note("hang")
    try:
        await asyncio.sleep(3600)
    finally:
        note("hang ended")
    return "at last"


@server.tool(annotations=READS)
async def refuse() -> str:
    """Fails."""
    raise ValueError("the till is closed")


@server.tool(annotations=READS)
async def shrink() -> str:
    """The server's list becomes another one."""
    server.remove_tool("refuse")
    server.remove_tool("shrink")
    server.add_tool(secret, "refuse_not")
    return "less"


@server.tool(annotations=READS)
async def die() -> str:
    """The server is gone at once."""
    note("die")
    os._exit(1)


@server.tool()
async def secret() -> str:
    """What nobody allowed."""
    note("secret")
    return "the safe's number"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
