"""A whole server among strangers: whoever connects and waits, callers are served, and whoever listens is reached."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import urllib.request
import uuid

import pytest
from in_process import CONFIG, serving, started

from asterisk_ai.bench.flood import Flood
from asterisk_ai.protocol import audiosocket
from asterisk_ai.server.server import Server
from asterisk_ai.simulator.agi_client import run_agi


async def hears(call: dict[str, str], host: str = "") -> bytes:
    """The first frame that the caller gets; empty where the connection is closed."""
    there, _, port = call["AI_AUDIOSOCKET"].rpartition(":")
    reader, writer = await asyncio.open_connection(host or there, int(port))
    writer.write(audiosocket.uuid_message(uuid.UUID(call["AI_CALL_ID"])))
    try:
        return await reader.readexactly(323)
    except (asyncio.IncompleteReadError, OSError):
        return b""
    finally:
        writer.close()


async def idle(stack: contextlib.AsyncExitStack, port: int, count: int) -> None:
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)


def ports(server: Server) -> dict[str, int]:
    return {
        "audiosocket": int(server.listeners.audio_address.rpartition(":")[2]),
        "fastagi": server.fastagi_port,
        "http": server.listeners.http_port,
    }


@pytest.mark.parametrize("listener", ["audiosocket", "fastagi", "http"])
def test_connections_that_say_nothing_take_no_callers_place(listener: str) -> None:
    text = CONFIG.replace("audiosocket: {", "audiosocket: {max_connections: 20, handshake_seconds: 3600, ")
    text = text.replace("fastagi: {", "fastagi: {max_connections: 20, header_seconds: 3600, ")

    async def body() -> None:
        async with serving(text) as server, contextlib.AsyncExitStack() as stack:
            talking = await started(server, "milliwatt")
            for _ in range(3):
                await idle(stack, ports(server)[listener], 30)
                call = await started(server, "milliwatt")
                assert call["AI_STATUS"] == "OK"
                assert len(await hears(call)) == 323
                answer = await run_agi(
                    "127.0.0.1", server.fastagi_port, "call/next", arguments=[call["AI_CALL_ID"]], timeout=5
                )
                assert answer.variables["AI_NEXT"] == "talk"
            assert len(await hears(talking)) == 323, "one who was registered before them finds a place, too"
            url = f"http://127.0.0.1:{ports(server)['http']}/live"
            assert (await asyncio.to_thread(urllib.request.urlopen, url, None, 5)).status == 200

    asyncio.run(body())


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_who_listens_on_all_addresses_is_reached_at_each() -> None:
    text = CONFIG.replace("port: 0", "host: '::', port: 0")

    async def body() -> None:
        async with serving(text) as server:
            assert server.listeners.audio_address.startswith("127.0.0.1:"), "as the dialplan of this machine is told"
            for host in ("127.0.0.1", "::1"):
                answer = await run_agi(host, server.fastagi_port, "call/start?agent=milliwatt", timeout=5)
                assert len(await hears(answer.variables, host)) == 323
                where = f"[{host}]" if ":" in host else host
                url = f"http://{where}:{ports(server)['http']}/live"
                assert (await asyncio.to_thread(urllib.request.urlopen, url, None, 5)).status == 200

    asyncio.run(body())


def test_a_flood_at_every_door_takes_no_caller_anything() -> None:
    async def body() -> None:
        async with serving() as server:
            flood = Flood(ports(server), at_once=20, held=100)
            talking = await started(server, "milliwatt")
            flooding = asyncio.create_task(flood.run())
            while len(flood.done) < 5 or min(flood.done.values()) < 30:
                assert not flooding.done()
                await asyncio.sleep(0.02)
            for _ in range(3):
                call = await started(server, "milliwatt")
                assert call["AI_STATUS"] == "OK"
                assert len(await hears(call)) == 323
            assert len(await hears(talking)) == 323
            flooding.cancel()
            await asyncio.wait((flooding,))
            assert len(server.transports.audiosocket) < 200

    asyncio.run(body())


@pytest.mark.parametrize("listener", ["audiosocket", "fastagi", "http"])
def test_who_is_not_on_the_list_is_not_let_in(listener: str) -> None:
    text = CONFIG.replace(f"{listener}: {{", f"{listener}: {{allow: [192.0.2.0/24], ")

    async def body() -> None:
        async with serving(text) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", ports(server)[listener])
            writer.write(b"GET /live HTTP/1.1\r\n\r\n")
            with contextlib.suppress(OSError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()

    asyncio.run(body())


def test_a_call_s_id_opens_one_connection_and_no_later_one() -> None:
    async def body() -> None:
        async with serving() as server:
            call = await started(server, "milliwatt")
            host, _, port = call["AI_AUDIOSOCKET"].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(audiosocket.uuid_message(uuid.UUID(call["AI_CALL_ID"])))
            await reader.readexactly(323)
            assert await hears(call) == b"", "it has a connection"
            writer.close()
            await run_agi("127.0.0.1", server.fastagi_port, "call/end", arguments=[call["AI_CALL_ID"]], timeout=5)
            assert await hears(call) == b"", "it is over"

    asyncio.run(body())
