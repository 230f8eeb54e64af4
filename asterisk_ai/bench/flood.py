"""Strangers without end, from an address of their own, at all doors of a server: what becomes of its callers?

Half-open connections, peers that write a byte now and then, peers that connect and reset at once, headers without an
end, and calls that nobody has registered.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import socket
import struct
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.synchronize import Event

from asterisk_ai.protocol import audiosocket

SOURCE = "127.0.0.2"
"""Limits are each source's: callers come from another one."""
AT_ONCE = 100
"""Connections of each kind that are being made."""
HELD = 2000
"""Connections of each kind that are kept open; the oldest is closed for one more."""
_RESET = struct.pack("ii", 1, 0)


class Flood:
    """All kinds at once, until cancelled.

    :param ports: of the server, by what listens there: ``audiosocket``, ``fastagi``, ``http``.
    """

    def __init__(self, ports: Mapping[str, int], *, at_once: int = AT_ONCE, held: int = HELD) -> None:
        self.done: Counter[str] = Counter()
        self._ports, self._at_once, self._held = ports, at_once, held
        self._open: dict[str, list[asyncio.Transport]] = {}

    async def run(self) -> None:
        kinds = {
            "half-open": b"",
            "slow": b"a",
            "reset": b"",
            "endless header": b"agi_x: y\n" * 2000,
            "unknown call": b"",
        }
        try:
            async with asyncio.TaskGroup() as group:
                for kind, data in kinds.items():
                    for number in range(max(1, self._at_once // len(kinds))):
                        names = ["audiosocket"] if kind == "unknown call" else list(self._ports)
                        group.create_task(self._come(kind, self._ports[names[number % len(names)]], data))
                group.create_task(self._trickle())
        finally:
            for connections in self._open.values():
                for connection in connections:
                    connection.abort()

    async def _come(self, kind: str, port: int, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.create_connection(
                    asyncio.Protocol, "127.0.0.1", port, local_addr=(SOURCE, 0)
                )
            except OSError:
                self.done["no connection"] += 1
                await asyncio.sleep(0.05)
                continue
            self.done[kind] += 1
            if kind == "reset":
                connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.abort()
                continue
            connection.write(audiosocket.uuid_message(uuid.uuid4()) if kind == "unknown call" else data)
            held = self._open.setdefault(kind, [])
            held.append(connection)
            if len(held) > self._held:
                held.pop(0).abort()
            await asyncio.sleep(0)

    async def _trickle(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            for connection in list(self._open.get("slow", ())):
                if not connection.is_closing():
                    connection.write(b"a")


@contextlib.contextmanager
def flooded(ports: Mapping[str, int], cpus: Sequence[int] = ()) -> Iterator[None]:
    """A flood from a process of its own, to the end of the block. Prints how much came."""
    context = multiprocessing.get_context("spawn")
    over = context.Event()
    process = context.Process(target=_flood, args=(dict(ports), over, tuple(cpus)), daemon=True)
    process.start()
    try:
        yield
    finally:
        over.set()
        process.join(20)
        if process.is_alive():
            process.kill()


def _flood(ports: Mapping[str, int], over: Event, cpus: Sequence[int]) -> None:
    if cpus:
        os.sched_setaffinity(0, cpus)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    flood = Flood(ports)

    async def until_over() -> None:
        flooding = asyncio.create_task(flood.run())
        await asyncio.to_thread(over.wait)
        flooding.cancel()
        await asyncio.wait((flooding,))

    asyncio.run(until_over())
    came = ", ".join(f"{count:,} {kind}" for kind, count in flood.done.most_common())
    print(f"strangers: {came}", file=sys.stderr)  # noqa: T201 - for who runs the benchmark
