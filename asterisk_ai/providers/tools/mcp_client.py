"""Connections to the servers of :mod:`asterisk_ai.providers.tools.mcp`; needs the ``mcp`` extra."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from asterisk_ai.errors import ProviderError
from asterisk_ai.providers.api.work import worked
from asterisk_ai.providers.boundary import engine_boundary
from asterisk_ai.providers.ledger import Ledger
from asterisk_ai.providers.tools.mcp import McpServerSettings, McpTool, tool_of
from asterisk_ai.providers.tools.once import Certain, Once, plain, unknown

logger = logging.getLogger(__name__)

FIRST_SECONDS = 10.0
"""So long the start of an agent waits for a server; one that comes later is used from then on."""
LOOK_SECONDS = 15.0
"""How often a server is asked what it offers: that is how one that died or changed its list is found."""
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
MAX_TOOLS, MAX_PAGES = 500, 20
FAILURES = (
    OSError, TimeoutError, RuntimeError, ValueError, MCPError, httpx2.HTTPError, httpx2.InvalidURL,
    anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, ExceptionGroup,
)  # fmt: skip
"""What the library raises where a server fails: ValueError for what makes no sense, groups from its own tasks. Anything
else is a mistake in it, which is logged, and the server is tried again all the same."""


class McpServer:
    """One server: a task holds the connection, and opens it again where it is lost.

    :param name: the administrator's.
    """

    def __init__(self, name: str, own: McpServerSettings) -> None:
        self.name, self.own = name, own
        self.tools: Mapping[str, McpTool] = {}
        """What it offers now and may be called, by the names that models know; empty while it is not there."""
        self._reason = "it has not answered yet"
        self._client: Client | None = None
        self._look = asyncio.Event()
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._once = Once()

    async def start(self) -> None:
        """A server that is not there is no error: it is tried again, and its functions are not offered meanwhile."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"mcp {self.name}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self._settled.wait()

    async def stop(self) -> None:
        task, self._task = self._task, None
        await self._once.stop()
        if task is None:
            return
        while not task.done():
            task.cancel()  # once a second: the SDK's own scopes may take a cancellation for theirs
            await asyncio.wait({task}, timeout=1)
        await asyncio.gather(task, return_exceptions=True)

    def problem(self) -> str:
        """What is wrong with it, for the administrator; empty where nothing is."""
        if self._client is None:
            return f"the MCP server {self.name} is not there: {self._reason}"
        lacking = sorted(set(self.own.allow) - {tool.tool for tool in self.tools.values()})
        return f"the MCP server {self.name} does not offer: {', '.join(lacking)}" if lacking else ""

    def asked(self, tool: McpTool, arguments: Mapping[str, object]) -> McpCall:
        """A call, ready to be made. Raises BadToolCall."""
        return McpCall(self, tool, tool.arguments(arguments, self.own.longest))

    async def call(self, tool: McpTool, arguments: Mapping[str, object], ledger: Ledger, certain: Certain) -> str:
        """What came of it, for the model; failures in words as well. Never raises but CancelledError."""
        if tool.reads:
            return (await self._call(tool, arguments))[0]
        key = json.dumps([tool.tool, arguments], sort_keys=True)
        return await self._once.do(
            f"{self.name}.{tool.name}", key, ledger, certain, lambda: self._call(tool, arguments)
        )

    async def _call(self, tool: McpTool, arguments: Mapping[str, object]) -> tuple[str, bool]:
        """What came of it, and whether anything can have reached the server."""
        client, began = self._client, time.monotonic()
        if client is None:
            return "error: the service cannot be reached", False
        well = False
        try:
            async with asyncio.timeout(self.own.seconds):
                with engine_boundary(self.name, FAILURES):
                    answer = await client.call_tool(tool.tool, dict(arguments))
            result, well = _told(answer), not answer.is_error
        except TimeoutError:
            self._look.set()
            result = _failure(tool, f"no answer within {self.own.seconds:g} s")
        except (*FAILURES, ProviderError) as error:
            self._look.set()
            result = _failure(tool, _plain(error))
        worked("tool", tool.name, time.monotonic() - began, "" if well else "failed")
        took = (time.monotonic() - began) * 1000
        logger.log(
            logging.INFO if well else logging.WARNING, "tool %s of the MCP server %s: %s after %.0f ms",
            tool.tool, self.name, "done" if well else "failed", took,
        )  # fmt: skip
        return result, True

    # ---- the connection --------------------------------------------------------------

    async def _keep(self) -> None:
        failed = 0
        while True:
            began = time.monotonic()
            try:
                with engine_boundary(self.name, FAILURES):
                    async with self._connected() as client:
                        await self._use(client)
            except (*FAILURES, ProviderError) as error:
                self._reason = _plain(error)
            finally:
                self._client, self.tools = None, {}
            failed = 0 if time.monotonic() - began > 2 * LOOK_SECONDS else failed + 1
            wait = BACKOFF_SECONDS[min(failed, len(BACKOFF_SECONDS)) - 1] if failed else 0.0
            level = logging.WARNING if failed <= 1 else logging.DEBUG  # it is told once
            logger.log(level, "the MCP server %s is not there: %s; it is tried again", self.name, self._reason)
            self._settled.set()
            await asyncio.sleep(wait)

    async def _use(self, client: Client) -> None:
        """Until it is lost, which is an error."""
        while True:
            async with asyncio.timeout(self.own.seconds):
                self.tools = await self._offered(client)
            self._client = client
            self._settled.set()
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        own = self.own
        if own.command:
            env = {key: str(value) for key, value in own.env.items()}
            program = StdioServerParameters(command=own.command[0], args=list(own.command[1:]), env=env)
            async with Client(program, read_timeout_seconds=own.seconds) as client:
                yield client
            return
        headers = {key: str(value) for key, value in own.headers.items()}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(own.seconds, read=300), trust_env=False) as http,
            Client(streamable_http_client(own.url, http_client=http), read_timeout_seconds=own.seconds) as client,
        ):
            yield client

    async def _offered(self, client: Client) -> dict[str, McpTool]:
        found: dict[str, McpTool] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="refresh")
            for one in page.tools[:MAX_TOOLS]:
                if one.name not in self.own.allow:
                    continue
                reads = one.name in self.own.reads or bool(one.annotations and one.annotations.read_only_hint)
                if tool := tool_of(one.name, one.description or "", one.input_schema, reads=reads):
                    found[tool.name] = tool
            cursor = page.next_cursor
            if cursor is None:
                break
        if found.keys() != self.tools.keys():
            logger.info("the MCP server %s offers %s", self.name, ", ".join(found) or "nothing that is allowed")
        return found


@dataclass(frozen=True, slots=True)
class McpCall:
    """A call that the model wants made. An :class:`~asterisk_ai.providers.tools.toolbox.Asked`."""

    server: McpServer
    tool: McpTool
    arguments: Mapping[str, object]

    @property
    def say(self) -> str:
        return self.server.own.say

    @property
    def seconds(self) -> float:
        return self.server.own.seconds

    async def result(self, ledger: Ledger, certain: Certain) -> str:
        return await self.server.call(self.tool, self.arguments, ledger, certain)


def _told(answer: CallToolResult) -> str:
    text = plain("\n".join(part.text for part in answer.content if isinstance(part, TextContent)))
    if not text and answer.structured_content is not None:
        text = plain(str(answer.structured_content))
    return f"error: {text or 'it failed'}" if answer.is_error else text or "done"


def _failure(tool: McpTool, reason: str) -> str:
    return f"error: {reason}" if tool.reads else unknown(reason)


def _plain(error: BaseException) -> str:
    """On one line; of a group, its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join((str(error) or type(error).__name__).split())[:200]
