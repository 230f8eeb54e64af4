"""The connection to ARI: how often it is tried, and what is told of it. Whole calls: tests/asterisk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from ports import free_port
from websockets.asyncio.server import ServerConnection, serve

from asterisk_ai.errors import ControlError
from asterisk_ai.pbx.ari.client import BACKOFF_SECONDS, AriClient
from asterisk_ai.protocol import ari


def client(
    port: int, pause: Callable[[float], Awaitable[None]], received: list[ari.Event], lost: list[str]
) -> AriClient:
    async def connected() -> None: ...

    return AriClient(
        f"http://127.0.0.1:{port}/ari", "asterisk-ai", "secret", "app",
        connected=connected, received=received.append, lost=lambda: lost.append("lost"), pause=pause,
    )  # fmt: skip


def test_it_waits_longer_each_time_and_tells_a_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > len(BACKOFF_SECONDS) + 1:
            raise asyncio.CancelledError

    async def body() -> None:
        tried = client(free_port(), pause, [], [])
        with pytest.raises(asyncio.CancelledError):
            await tried.run()
        assert "nothing listens" in tried.problem
        with pytest.raises(ControlError):
            await tried.do(ari.CHANNELS)

    with caplog.at_level(logging.INFO):
        asyncio.run(body())
    assert waits == [*BACKOFF_SECONDS, BACKOFF_SECONDS[-1], BACKOFF_SECONDS[-1]]
    assert [record.getMessage() for record in caplog.records].count("no connection to ARI") == 1


def test_a_connection_begins_the_waits_anew_and_events_come_in_order() -> None:
    waits: list[float] = []
    received: list[ari.Event] = []
    lost: list[str] = []

    async def speak(socket: ServerConnection) -> None:
        await socket.send('{"type": "ApplicationReplaced"}')
        await socket.send("no event at all")
        await socket.send('{"type": "StasisEnd", "channel": {"id": "c"}}')

    async def body() -> None:
        port = free_port()

        async def pause(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                server = await serve(speak, "127.0.0.1", port)
                servers.append(server)
            elif len(waits) == 4:
                raise asyncio.CancelledError

        servers: list[object] = []
        with pytest.raises(asyncio.CancelledError):
            await client(port, pause, received, lost).run()
        for server in servers:
            server.close()  # type: ignore[attr-defined]
            await server.wait_closed()  # type: ignore[attr-defined]

    asyncio.run(body())
    assert waits == [BACKOFF_SECONDS[0], BACKOFF_SECONDS[1], BACKOFF_SECONDS[0], BACKOFF_SECONDS[0]]
    assert received == [ari.Replaced(), ari.Left("c")] * 2
    assert lost == ["lost"] * 2
