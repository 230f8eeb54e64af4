"""The service manager hears that the media loop lives from the loop itself; the unit allows what the server needs."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from in_process import CONFIG

from asterisk_ai import config
from asterisk_ai.config import ServiceManager
from asterisk_ai.server.server import Server

UNIT = Path(__file__).parents[2] / "etc-asterisk" / "asterisk-ai.service"


def taken(manager: socket.socket) -> list[str]:
    """What was told so far."""
    told = []
    while True:
        try:
            told.append(manager.recv(4096).decode())
        except BlockingIOError:
            return told


def test_a_loop_that_hangs_sends_no_sign_of_life_whatever_other_threads_do() -> None:
    async def body(manager: socket.socket) -> None:
        address = f"@{manager.getsockname()[1:].decode()}"
        server = Server(config.parse(CONFIG, environ={}), ServiceManager(address, watchdog_seconds=2.0))
        ready = asyncio.Event()
        running = asyncio.create_task(server.run(lambda _: ready.set()))
        await ready.wait()

        async def alive() -> None:
            async with asyncio.timeout(20):
                while "WATCHDOG=1" not in taken(manager):
                    await asyncio.sleep(0.02)

        await alive()
        taken(manager)
        url = f"http://127.0.0.1:{server.listeners.http_port}/live"
        until = time.monotonic() + 1.5  # the loop stands still, three times as long as between two signs of life
        while time.monotonic() < until:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
        assert taken(manager) == []
        await alive()
        server.stop(at_once=True)
        await running

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)
        manager.bind(f"\0asterisk-ai-watchdog-{os.getpid()}")
        asyncio.run(body(manager))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_the_unit_leaves_little_open() -> None:
    found = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True, text=True, check=False, timeout=60,
    ).stdout  # fmt: skip
    level = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", found)
    assert level, found
    assert float(level[1]) <= 1.5, found
