"""A server that can serve no more requests: Asterisk takes any end of a connection for success, so it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rig import Asterisk, until

from asterisk_ai.protocol.agi.commands import set_variable_line
from asterisk_ai.transport.fastagi.server import FastAgiServer


@contextmanager
def full_server() -> Iterator[tuple[FastAgiServer, int]]:
    """Serves nobody."""
    loop = asyncio.new_event_loop()
    server = FastAgiServer(
        {}, header_seconds=5, command_seconds=5, max_connections=1, refusal=set_variable_line("AI_STATUS", "FULL")
    )
    server._serving = 1
    port = loop.run_until_complete(server.start("127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server, port
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(1), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_refused_request_is_told_to_the_dialplan() -> None:
    with full_server() as (server, port), Asterisk(server=f"127.0.0.1:{port}") as asterisk, asterisk.call() as caller:
        until(caller.landed, 10, "landed")
        assert caller.landed() == ["fallback"]
        told = [step.data for step in caller.steps() if step.application == "NoOp" and "AI_STATUS" in step.data]
        assert any("AGISTATUS=SUCCESS AI_STATUS=FULL" in text for text in told), caller.steps()
        assert server.counters.refused >= 1
