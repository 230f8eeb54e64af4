"""AMI over real sockets: reconnecting, peers that go away, and panoramisk's defects beside our answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
from panoramisk import Manager

from asterisk_ai.config import AmiConfig
from asterisk_ai.errors import ControlError, LocalProtocolError
from asterisk_ai.pbx.ami import Ami, AmiRefused
from asterisk_ai.pbx.calling import Calling
from asterisk_ai.protocol.ami import Callee, Outcome

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BANNER = b"Asterisk Call Manager/9.0.0\r\n"
LIMIT = 20.0


def run(test: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await test

    asyncio.run(limited())


async def action(reader: asyncio.StreamReader) -> dict[str, str]:
    """The next one; empty at the end."""
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return {}
    return dict(line.split(": ", 1) for line in text.strip().split("\r\n"))


def message(*lines: str) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, str]:
    writer.write(BANNER)
    asked = await action(reader)
    writer.write(message("Response: Success", f"ActionID: {asked['ActionID']}", "Message: Authentication accepted"))
    return asked


@contextlib.asynccontextmanager
async def asterisk(*peers: Peer) -> AsyncIterator[AmiConfig]:
    """One peer for each connection; the last one for all that follow."""
    left = list(peers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (left.pop(0) if len(left) > 1 else left[0])(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield AmiConfig(port=server.sockets[0].getsockname()[1], secret="s3cret")
    finally:
        server.close()


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def connected(config: AmiConfig, **more: Any) -> AsyncIterator[Ami]:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    ami = Ami(config, received=lambda event: None, pause=at_once, **more)
    task = asyncio.create_task(ami.run(ready))
    try:
        await ready
        yield ami
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await login(reader, writer)
    while asked := await action(reader):
        writer.write(message("Response: Success", f"ActionID: {asked['ActionID']}", f"Value: {asked['Action']}"))


async def gone_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def gone_after_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await login(reader, writer)


def test_it_connects_again() -> None:
    async def main() -> None:
        again = asyncio.Event()
        times: list[None] = []

        async def counted() -> None:
            times.append(None)
            if len(times) == 2:
                again.set()

        peers = gone_after_login, gone_at_once, answering
        async with asterisk(*peers) as config, connected(config, connected=counted) as ami:
            await again.wait()
            assert (await ami.do({"Action": "Ping"}))["Value"] == "Ping"

    run(main())


def test_who_is_not_let_in_is_told_at_once() -> None:
    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BANNER)
        asked = await action(reader)
        writer.write(message("Response: Error", f"ActionID: {asked['ActionID']}", "Message: Authentication failed"))
        await reader.read()

    async def main() -> None:
        async with asterisk(refusing) as config:
            with pytest.raises(AmiRefused, match=r"Authentication failed \(compare `ami` with \[asterisk-ai\]"):
                await Ami(config, received=lambda event: None).run()

    run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        with pytest.raises(ControlError, match=r"nobody answers at 127.0.0.1:1.*enabled=yes in manager.conf"):
            await Ami(AmiConfig(port=1), received=lambda event: None).run()

    run(main())


def test_who_never_says_a_word_costs_a_few_seconds() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        async with asterisk(silent) as config:
            with pytest.raises(ControlError, match="no answer"):
                await Ami(config, received=lambda event: None, seconds=0.2).run()

    run(main())


def test_a_call_is_not_ordered_twice_over_a_lost_connection() -> None:
    ordered: list[dict[str, str]] = []

    async def lost_in_the_middle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await login(reader, writer)
        ordered.append(await action(reader))

    async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await login(reader, writer)
        writer.write(message("Event: FullyBooted", "Status: Fully Booted"))
        while asked := await action(reader):
            ordered.append(asked)
            of = f"ActionID: {asked['ActionID']}"
            end = [message("Response: Success", of)]
            if asked["Action"] == "DBGet":
                end.append(message("Event: DBGetResponse", of, "Val: BUSY"))
            if asked["Action"] in ("DBGet", "CoreShowChannels"):
                end.append(message(f"Event: {asked['Action']}Complete", of))
            writer.write(b"".join(end))

    async def main() -> None:
        async with asterisk(lost_in_the_middle, then) as config, Calling(config) as calling:
            with pytest.raises(ControlError, match="lost"):
                await calling.call(Callee("c0ffee", "5551234", "x", "Local/{number}@x"))
            while (found := await again(calling)) is None:
                await asyncio.sleep(0.01)
            assert found is Outcome.BUSY  # Asterisk tells what came of it
        assert [asked["Action"] for asked in ordered].count("Originate") == 1

    async def again(calling: Calling) -> Outcome | None:
        try:
            found = await calling.follow("c0ffee")
        except ControlError:
            return None
        return found.outcome if found else None

    run(main())


def test_defect_an_early_end_freezes_it() -> None:
    """The end is there before the task that connects has told panoramisk's Manager of the connection."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        unhandled: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        async with asterisk(gone_at_once, answering) as config:
            plain = Manager(loop=loop, host=config.host, port=config.port, username="x", secret="x", ping_delay=60)
            connecting = plain.connect()
            _, protocol = await connecting
            protocol.factory = None  # as it is until the Manager is told
            protocol.connection_made(protocol.transport)
            protocol.transport.close()
            while not unhandled:
                await asyncio.sleep(0.01)
            assert "NoneType" in str(unhandled[0]["exception"])  # nobody is told, and nobody connects again
            plain.close()
        loop.set_exception_handler(None)
        async with asterisk(gone_at_once, answering) as config:
            with pytest.raises(ControlError):
                await Ami(config, received=lambda event: None).run()

    run(main())


def test_defect_an_action_is_sent_again() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked: list[dict[str, str]] = []
        twice = asyncio.Event()

        async def lost(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await login(reader, writer)
            asked.append(await action(reader))

        async def then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await login(reader, writer)
            writer.write(message("Event: FullyBooted"))
            asked.append(await action(reader))
            twice.set()
            await reader.read()

        async with asterisk(lost, then) as config:
            plain = Manager(
                loop=loop, host=config.host, port=config.port, username="x", secret="x", ping_delay=60,
                reconnect_timeout=0,
            )  # fmt: skip
            on_login = asyncio.Event()
            plain.on_login = lambda _: on_login.set()
            plain.connect()
            await on_login.wait()
            plain.send_action({"Action": "Originate", "Channel": "PJSIP/1"})
            await twice.wait()
            assert [one["Action"] for one in asked] == ["Originate", "Originate"]
            plain.on_disconnect = lambda *_: None
            plain.connect = lambda *_: None
            plain.close()
            await asyncio.sleep(0)

    run(main())


def test_a_second_header_is_never_sent() -> None:
    async def main() -> None:
        asked: list[dict[str, str]] = []

        async def noting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await login(reader, writer)
            while one := await action(reader):
                asked.append(one)
                writer.write(message("Response: Success", f"ActionID: {one['ActionID']}"))

        async with asterisk(noting) as config, connected(config) as ami:
            for value in ("x\r\nAction: Command", "x\nCommand: core stop now", "x\r\n\r\nAction: Logoff"):
                with pytest.raises(LocalProtocolError):
                    await ami.do({"Action": "Setvar", "Variable": "X", "Value": value})
            await ami.do({"Action": "Ping"})
        assert [one["Action"] for one in asked] == ["Ping"]

    run(main())


def test_what_has_no_end_is_not_kept() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await login(reader, writer)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async def main() -> None:
        again = asyncio.Event()
        times: list[None] = []

        async def counted() -> None:
            times.append(None)
            if len(times) == 2:
                again.set()

        async with asterisk(endless, answering) as config, connected(config, connected=counted):
            await again.wait()

    run(main())
