"""Another process takes over from a server while it has calls: nobody is refused, nobody is cut."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from upgrading import Caller, Upgraded, left, under_calls


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Upgraded]:
    server = Upgraded(tmp_path)
    yield server
    server.kill()


def test_twice_under_calls(server: Upgraded) -> None:
    async def body() -> None:
        first = server.pid
        callers, meanwhile = await under_calls(server, 5, 2)
        assert meanwhile
        assert not [caller for caller in callers if caller.lost]
        assert len(left(server.file)) >= 2, "whoever has calls is there for them"
        assert first in left(server.file)
        await asyncio.to_thread(server.until, lambda: server.ask("/health")["active_calls"] == 5)
        # The dialplan asks the newest process about calls of the oldest, and of the one between.
        assert [await caller.end() for caller in callers] == ["talk"] * 5
        await asyncio.to_thread(server.until, lambda: server.ask("/health")["active_calls"] == 0)
        await asyncio.to_thread(server.until, lambda: left(server.file) == [server.pid])

    asyncio.run(body())
    server.end()
    log = server.log.read_text()
    assert "Traceback" not in log
    assert log.count("has taken over; ") == 2


def test_several_workers_take_over_from_several(tmp_path: Path) -> None:
    server = Upgraded(tmp_path, ", workers: 2, worker_ports: {}", ports=9)

    async def body() -> None:
        first = set(left(server.file))
        assert len(first) == 3
        callers, meanwhile = await under_calls(server, 6, 1)
        assert meanwhile
        assert not [caller for caller in callers if caller.lost]
        assert first <= set(left(server.file)), "workers stay with their calls, and their supervisor with them"
        assert [await caller.end() for caller in callers] == ["talk"] * 6
        await asyncio.to_thread(server.until, lambda: not first & set(left(server.file)))
        assert len(left(server.file)) == 3
        health = server.ask("/health")
        assert (health["active_calls"], health["restarts"]) == (0, 0)

    try:
        asyncio.run(body())
        server.end()
        assert "Traceback" not in server.log.read_text()
    finally:
        server.kill()


def test_the_conversation_goes_on_in_the_next_process(server: Upgraded) -> None:
    async def body() -> None:
        caller = Caller(server)
        await caller.begin("a")
        await caller.heard(20)
        before = server.pid
        await asyncio.to_thread(server.upgrade)
        caller._writer.close()  # its audio is lost in the middle of the greeting, and the dialplan asks what is next
        call_id = caller.variables["AI_CALL_ID"]
        assert (await server.agi("call/next", call_id))["AI_NEXT"] == "talk"
        await asyncio.to_thread(server.until, lambda: before not in left(server.file))
        assert server.ask("/health")["active_calls"] == 1
        await server.agi("call/end", call_id)
        assert server.ask("/health")["active_calls"] == 0

    asyncio.run(body())


def test_a_process_that_is_lost_with_its_calls_and_one_that_takes_over_again(server: Upgraded) -> None:
    """Whoever of two is killed: its calls come back to the other, or to the next."""

    async def body() -> None:
        old, caller = server.pid, Caller(server)
        await caller.begin("milliwatt")
        await caller.heard(5)
        await asyncio.to_thread(server.upgrade)
        os.kill(server.pid, signal.SIGKILL)  # the new one; the old one still has its call
        await asyncio.to_thread(server.until, lambda: left(server.file) == [old])
        assert not caller.lost
        next_one = await asyncio.create_subprocess_exec(*server.command)
        await asyncio.to_thread(server.until, lambda: server.ask("/ready").get("ready"))
        os.kill(old, signal.SIGKILL)
        call_id = caller.variables["AI_CALL_ID"]
        assert (await server.agi("call/next", call_id))["AI_NEXT"] == "talk"
        await server.agi("call/end", call_id)
        next_one.terminate()
        assert await next_one.wait() == 0

    asyncio.run(body())


def test_a_new_server_that_cannot_start_leaves_the_old_one_as_it_was(server: Upgraded) -> None:
    cannot_start(server)


def test_nor_does_another_supervisor_that_cannot(tmp_path: Path) -> None:
    server = Upgraded(tmp_path, ", workers: 2, worker_ports: {}", ports=9)
    try:
        cannot_start(server)
    finally:
        server.kill()


def cannot_start(server: Upgraded) -> None:
    pid = server.pid
    good = server.file.read_text()
    server.file.write_text(good.replace("DelaySpeechToText", "NoSuchThing"))
    os.kill(pid, signal.SIGUSR2)
    server.until(lambda: server.ask("/health").get("upgrade_problem"))
    assert "ended with status 1" in server.ask("/health")["upgrade_problem"]
    assert asyncio.run(server.agi("call/start"))["AI_STATUS"] == "OK"
    server.file.write_text(good)
    server.upgrade()
    assert server.pid != pid


def test_the_service_manager_is_told_of_the_new_main_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0asterisk-ai-test-{os.getpid()}")

        def listen() -> None:
            while data := manager.recv(4096):
                told.append(data.decode())

        threading.Thread(target=listen, daemon=True).start()
        monkeypatch.setenv("NOTIFY_SOCKET", f"@asterisk-ai-test-{os.getpid()}")
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        server = Upgraded(tmp_path)
        try:
            monkeypatch.setenv("WATCHDOG_PID", str(server.pid))
            server.upgrade()
            new = server.pid
            server.until(lambda: any(f"MAINPID={new}" in message for message in told))
            at = next(at for at, message in enumerate(told) if f"MAINPID={new}" in message)
            assert "RELOADING=1" in "".join(told[:at])
            server.until(lambda: "WATCHDOG=1" in told[at + 1 :])
            server.end()
        finally:
            server.kill()
            manager.shutdown(socket.SHUT_RDWR)
