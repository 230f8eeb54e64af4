"""Live calls over the server's HTTP port: who may look on, what is told, what is done."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sound import tone
from whole_calls import serving

from asterisk_ai.config.private import TOKEN_FILE, control_token, made_control_token
from asterisk_ai.server.server import Server
from asterisk_ai.simulator.asterisk import Caller, Line, Result, simulate
from asterisk_ai.telemetry.http import MAX_STREAMS

ENGINES = "asterisk_ai.providers.engines.delay:Delay"
CONFIG = f"""
default_agent: a
pipelines: {{offline: {{stt: "{ENGINES}SpeechToText", llm: "{ENGINES}LanguageModel", tts: "{ENGINES}TextToSpeech"}}}}
fastagi: {{port: 0}}
audiosocket: {{port: 0, require_registration: false}}
http: {{port: 0}}
server: {{max_lateness_ms: 0, drain_seconds: 0}}
vad: {{engine: energy}}
store: {{path: STORE}}
agents: {{a: {{greeting: "hello from a"}}, b: {{greeting: "hello from b"}}}}
"""


@contextlib.asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(CONFIG.replace("STORE", str(tmp_path / "sessions.db"))) as server:
        made_control_token(server.config)
        yield server


class Client:
    """Of the server's HTTP port; each of its methods waits."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self.port = server.listeners.http_port
        token = control_token(server.config) if token is None else token
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def lines(self) -> Iterator[dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", "/calls", headers=self.headers)
        answer = connection.getresponse()
        assert answer.status == 200
        try:
            for line in answer:
                if line.strip():
                    yield json.loads(line)
        finally:
            answer.close()
            connection.close()

    def status(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body or None, {**self.headers, **headers})
        answer = connection.getresponse()
        if answer.status == 200 and method == "GET":
            answer.close()
            return 200, ""
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text)["problem"] if text.startswith("{") else text


def told(client: Client, call_id: str, fits: Any) -> dict[str, Any]:
    """The first line about the call that ``fits``."""
    lines = client.lines()
    try:
        return next(line for line in lines if line.get("id") == call_id and fits(line))
    finally:
        lines.close()  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def ringing(server: Server, *lines: Line, agent: str = "a") -> AsyncIterator[tuple[str, asyncio.Task[Result]]]:
    """A caller on the line: the call's id, and what comes of it."""
    registered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    caller = Caller(lines, linger=30, patience=30)
    call = asyncio.create_task(
        simulate(
            caller, host="127.0.0.1", fastagi_port=server.fastagi_port, agent=agent, on_registered=registered.set_result
        )
    )
    try:
        yield await registered, call
    finally:
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await call


def test_nobody_looks_on_without_the_token(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(CONFIG.replace("STORE", str(tmp_path / "sessions.db"))) as server:
            for token in ("", "x"):  # there is none yet
                assert (await asyncio.to_thread(Client(server, token).status, "GET", "/calls"))[0] == 401
            made_control_token(server.config)
            for token in ("", "x", control_token(server.config) + "x"):
                client = Client(server, token)
                assert (await asyncio.to_thread(client.status, "GET", "/calls"))[0] == 401
                assert (await asyncio.to_thread(client.status, "POST", "/calls/x/hangup"))[0] == 401
            client = Client(server)
            assert (await asyncio.to_thread(client.status, "GET", "/calls"))[0] == 200
            assert (await asyncio.to_thread(client.status, "GET", "/calls/x"))[0] == 404
            assert (await asyncio.to_thread(client.status, "DELETE", "/calls"))[0] == 404

    asyncio.run(run())
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o777 == 0o600


def test_a_call_is_told_as_it_goes_and_hung_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path) as server:
            client = Client(server)
            assert not server.store.feed.listened
            async with ringing(server, Line("question", pcm=tone())) as (call_id, call):
                line = await asyncio.to_thread(told, client, call_id, lambda one: len(one["turns"]) >= 3)
                assert [turn["role"] for turn in line["turns"]] == ["agent", "caller", "agent"]
                assert line["turns"][0]["text"] == "hello from a"
                assert line["caller"]["number"] == "5550100"
                await asyncio.to_thread(told, client, call_id, lambda one: one["phase"] == "listening")
                ends = asyncio.create_task(asyncio.to_thread(told, client, call_id, lambda one: one["ended"]))
                while not server.store.feed.listened:
                    await asyncio.sleep(0.01)
                assert await asyncio.to_thread(client.status, "POST", f"/calls/{call_id}/hangup") == (200, "")
                assert (await call).next == "hangup"
                assert (await ends)["outcome"] == "agent_hangup"
            status, problem = await asyncio.to_thread(client.status, "POST", f"/calls/{call_id}/hangup")
            assert (status, problem) == (404, "the call has ended")
            async with asyncio.timeout(10):
                while server.store.feed.listened:  # until the first line that nobody takes
                    await asyncio.sleep(0.05)

    asyncio.run(run())


def test_a_call_is_transferred(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path) as server, ringing(server) as (call_id, call):
            client = Client(server)
            await asyncio.to_thread(told, client, call_id, lambda one: one["turns"])
            path = f"/calls/{call_id}/transfer"
            status, problem = await asyncio.to_thread(client.status, "POST", path, "exten=2+00&context=sales")
            assert status == 400
            assert "exten" in problem
            assert (await asyncio.to_thread(client.status, "POST", path, "exten=200"))[0] == 400
            assert not call.done()
            assert (await asyncio.to_thread(client.status, "POST", path, "exten=200&context=sales")) == (200, "")
            result = await call
            assert (result.next, result.variables["AI_EXTEN"]) == ("transfer", "200")
            assert result.variables["AI_CONTEXT"] == "sales"

    asyncio.run(run())


def test_another_agent_goes_on_with_its_greeting(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path) as server, ringing(server) as (call_id, call):
            client = Client(server)
            await asyncio.to_thread(told, client, call_id, lambda one: one["turns"])
            path = f"/calls/{call_id}/agent"
            assert (await asyncio.to_thread(client.status, "POST", path, "agent=nobody"))[0] == 409
            assert (await asyncio.to_thread(client.status, "POST", path, "agent=b")) == (200, "")
            line = await asyncio.to_thread(
                told, client, call_id, lambda one: one["turns"] and one["turns"][-1]["text"] == "hello from b"
            )
            assert line["agent"] == "b"
            assert not call.done()
            session = server.store.get(call_id)
            assert session is not None
            assert (session.connects, session.resumed, session.outcome) == (2, True, "")

    asyncio.run(run())


def test_what_the_dialplan_has_is_left_to_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path) as server:
            client = Client(server)
            session = server.registry.register("a", rate=8000, caller={})  # its audio has not come
            path = f"/calls/{session.call_id}/hangup"
            status, problem = await asyncio.to_thread(client.status, "POST", path)
            assert (status, problem.startswith("the call is with the dialplan")) == (409, True)
            status, _ = await asyncio.to_thread(client.status, "POST", path.replace("hangup", "explode"))
            assert status == 404

    asyncio.run(run())


def test_more_do_not_look_on_than_there_is_room_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(tmp_path) as server:
            client = Client(server)

            def all_at_once() -> int:
                streams = [client.lines() for _ in range(MAX_STREAMS)]
                for stream in streams:
                    assert next(stream) == {"all": []}
                status, _ = client.status("GET", "/calls")
                for stream in streams:
                    stream.close()  # type: ignore[attr-defined]
                return status

            assert await asyncio.to_thread(all_at_once) == 503

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"Content-Length: 9000\r\n\r\n" + b"x" * 9000, b"Content-Length: 10\r\n\r\nabc"])
def test_what_is_too_long_or_never_comes_is_not_waited_for(tmp_path: Path, sent: bytes) -> None:
    async def run() -> None:
        async with served(tmp_path) as server:
            token = control_token(server.config).encode()

            def ask() -> bytes:
                with socket.create_connection(("127.0.0.1", server.listeners.http_port), timeout=20) as connection:
                    head = b"POST /calls/x/hangup HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + b"\r\n"
                    connection.sendall(head + sent)
                    return connection.recv(100)

            assert (await asyncio.to_thread(ask)).split()[1] in (b"413", b"408")

    asyncio.run(run())
