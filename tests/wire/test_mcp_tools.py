"""Functions of MCP servers: two real ones, over standard input and output and over HTTP, that work well and badly."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from openai_server import KEY, FakeOpenAI
from ports import free_port

from asterisk_ai.config import parse
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api import Say, TurnRequest
from asterisk_ai.providers.ledger import Ledger
from asterisk_ai.providers.tools import mcp, mcp_client
from asterisk_ai.providers.tools.toolbox import BadToolCall, Toolbox
from asterisk_ai.providers.vendors.openai import OpenAIChat

PROGRAM = str(Path(__file__).parents[1] / "fakes" / "mcp_shop.py")
ALLOWED = ["stock", "orders.place", "hang", "refuse", "shrink", "die", "not_there"]


async def at_once() -> None: ...


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


class World:
    """A server, and the toolbox that knows it."""

    def __init__(self, told: Path, own: dict[str, Any]) -> None:
        self._told = told
        self.own = {"shop": {"allow": ALLOWED, "seconds": 10, **own}}
        self.tools = Toolbox({"mcp": self.own}, "tools")
        self.ledger = Ledger()

    def names(self) -> list[str]:
        return [one["function"]["name"] for one in self.tools.schemas(())]

    def asked(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []

    async def ask(self, name: str, arguments: str = "{}") -> str:
        return await self.tools.request(name, arguments, {}).result(self.ledger, at_once)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_client, "BACKOFF_SECONDS", (0.1,))
    monkeypatch.setattr(mcp_client, "LOOK_SECONDS", 0.2)


@pytest.fixture(params=["stdio", "http"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def world(kind: str, folder: Path, **more: Any) -> AsyncIterator[World]:
    told = folder / "told"
    if kind == "stdio":
        found = World(told, {"command": [sys.executable, PROGRAM, str(told)], **more})
        await found.tools.start()
        try:
            yield found
        finally:
            await found.tools.stop()
        return
    port = free_port()
    found = World(told, {"url": f"http://127.0.0.1:{port}/mcp", **more})
    await found.tools.start()
    assert found.names() == [], "it is not there yet, and that is no error"
    assert "the MCP server shop is not there" in found.tools.problems()[0]
    with subprocess.Popen([sys.executable, PROGRAM, str(told), str(port)], stderr=subprocess.DEVNULL) as program:
        try:
            await until(lambda: bool(found.names()))
            yield found
        finally:
            program.kill()  # first: whatever becomes of the other, no program is left
            await found.tools.stop()


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


def test_what_is_allowed_is_offered_and_done(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(kind, tmp_path, say="One moment.", longest=100) as shop:
            assert shop.names() == ["stock", "orders_place", "hang", "refuse", "shrink", "die"]
            assert shop.tools.problems() == ["the MCP server shop does not offer: not_there"]
            request = shop.tools.request("stock", '{"article": "tea", "count": "3", "why": "asked"}', {})
            assert (request.say, request.seconds) == ("One moment.", 10)
            assert await request.result(shop.ledger, at_once) == "9 of tea"
            assert (await shop.ask("refuse")).startswith("error: ")
            for wrong in ("{}", '{"article": "' + "x" * 100 + '"}', "[]", "{"):
                with pytest.raises(BadToolCall):
                    shop.tools.request("stock", wrong, {})
            with pytest.raises(BadToolCall):
                shop.tools.carry_out("secret", "{}", ())
            # What changes something is done once, though the caller interrupts and it is wanted again.
            waiting = asyncio.create_task(shop.ask("orders_place", '{"article": "tea"}'))
            await until(lambda: "place tea" in shop.asked())
            waiting.cancel()
            again = await shop.ask("orders_place", '{"article": "tea"}')
            assert again == "tea is on its way"
            assert "not done again" in await shop.ask("orders_place", '{"article": "tea"}')
            assert shop.asked().count("place tea") == shop.asked().count("placed tea") == 1

    run(main())


def test_a_server_that_hangs_dies_and_changes_its_list_harms_nothing(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with world(kind, tmp_path) as shop:
            waiting = asyncio.create_task(shop.ask("hang"))
            await until(lambda: "hang" in shop.asked())
            waiting.cancel()  # the caller is gone, and the server is told
            await until(lambda: "hang ended" in shop.asked())
            assert await shop.ask("stock", '{"article": "tea"}') == "7 of tea"
            object.__setattr__(shop.tools._servers[0].own, "seconds", 0.2)
            assert await shop.ask("hang") == "error: no answer within 0.2 s"
            object.__setattr__(shop.tools._servers[0].own, "seconds", 10.0)
            assert await shop.ask("shrink") == "less"
            await until(lambda: shop.names() == ["stock", "orders_place", "hang", "die"])
            with pytest.raises(BadToolCall):
                shop.tools.carry_out("refuse", "{}", ())
            assert (await shop.ask("die")).startswith("error: ")
            await until(lambda: shop.names() == [] or "refuse" in shop.names())
            if kind == "stdio":  # it is run again
                await until(lambda: "refuse" in shop.names())
                assert await shop.ask("stock", '{"article": "milk"}') == "7 of milk"

    run(main())


def test_a_model_uses_it_and_the_caller_hears_that_it_takes_a_moment(tmp_path: Path) -> None:
    async def main() -> list[str]:
        told = tmp_path / "told"
        own = {"command": [sys.executable, PROGRAM, str(told)], "allow": ["stock"], "say": "One moment."}
        answers = {"is there tea": ("", "stock", '{"article": "tea"}')}
        async with FakeOpenAI(answers).running() as fake:
            fake.after_tool = "There are {}."
            settings = {"base_url": fake.base_url, "api_key": KEY}
            model = OpenAIChat(settings, {"name": "a", "tools": {"mcp": {"shop": own}}})
            await model.start()
            async with model.reply(TurnRequest("is there tea")) as parts:
                said = [part.text async for part in parts if isinstance(part, Say)]
            await model.stop()
            return said

    assert asyncio.run(asyncio.wait_for(main(), 60)) == ["One moment.", "There are 7 of tea."]


@pytest.mark.parametrize(
    ("own", "path", "says"),
    [
        ({"command": ["x"]}, "allow", "name the functions"),
        ({"allow": ["a"]}, "command", "either a command or a url"),
        ({"allow": ["a"], "command": ["x"], "url": "http://x"}, "command", "either"),
        ({"allow": ["a"], "url": "ftp://x"}, "url", "http"),
        ({"allow": ["a"], "reads": ["b"], "url": "http://x"}, "reads", "b is not allowed"),
        ({"allow": ["hangup"], "url": "http://x"}, "allow", "another tool"),
        ({"alow": ["a"], "url": "http://x"}, "alow", "did you mean"),
    ],
)
def test_what_cannot_be(own: dict[str, Any], path: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as found:
        Toolbox({"mcp": {"shop": own}}, "agents.a.tools")
    assert found.value.path == f"agents.a.tools.mcp.shop.{path}"


def test_two_servers_with_one_name() -> None:
    both = {"a": {"url": "http://x", "allow": ["do.it"]}, "b": {"url": "http://x", "allow": ["do_it"]}}
    with pytest.raises(ConfigError, match="a has a function of that name"):
        mcp.declare(both, "p")


def test_a_schema_that_is_too_long_is_not_offered() -> None:
    assert mcp.tool_of("a", "", {"description": "x" * mcp.MAX_SCHEMA}, reads=True) is None


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "s3cret")
    text = """
default_agent: a
pipelines: {offline: {llm: openai}}
agents:
  a: {tools: {mcp: {shop: {url: "http://x/mcp", allow: [stock], headers: {Authorization: "Bearer ${SHOP_KEY}"}}}}}
"""
    tools = parse(text).agents["a"].tools
    assert tools["mcp"]["shop"]["headers"] == {"Authorization": "Bearer s3cret"}
