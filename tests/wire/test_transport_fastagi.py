"""FastAGI over real sockets: the conversation, hostile peers, and each defect of panoramisk beside our answer to it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import pytest
import uvloop
from panoramisk import fast_agi

from asterisk_ai.errors import CallHungUp, LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol.agi.commands import set_variable_line, split_command
from asterisk_ai.simulator.agi_client import AgiOutcome, run_agi
from asterisk_ai.transport.fastagi.server import AgiSession, FastAgiServer, Handler

# Plain panoramisk asks asyncio what Python 3.14 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.asyncio.iscoroutinefunction:DeprecationWarning")

HEADER = b"agi_network: yes\nagi_network_script: go?agent=x\nagi_arg_1: one\n\n"


def run(main: Coroutine[Any, Any, Any], seconds: float = 8) -> None:
    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await main

    asyncio.run(limited())


@contextlib.asynccontextmanager
async def serving(
    routes: Mapping[str, Handler] | Handler,
    *,
    header_seconds: float = 2,
    command_seconds: float = 2,
    max_connections: int = 20,
    **more: Any,
) -> AsyncIterator[tuple[FastAgiServer, int]]:
    table = routes if isinstance(routes, Mapping) else {"go": routes}
    server = FastAgiServer(
        table, header_seconds=header_seconds, command_seconds=command_seconds, max_connections=max_connections, **more
    )
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.stop(1)


@contextlib.asynccontextmanager
async def connected(port: int, *data: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines(data)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def closed_by_server(reader: asyncio.StreamReader) -> bytes:
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


class Stage:
    """A handler that keeps what it saw, for the test to judge."""

    def __init__(self, play: Callable[[AgiSession], Awaitable[Any]]) -> None:
        self._play = play
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def __call__(self, session: AgiSession) -> None:
        try:
            result = await self._play(session)
        except BaseException as error:
            if not self.done.done():
                self.done.set_result(error)
            raise
        self.done.set_result(result)


# -- a whole conversation -----------------------------------------------------------------------------------------


async def talk(session: AgiSession) -> None:
    assert session.request.script == "call/start"
    assert session.request.query == {"agent": "front"}
    assert session.request.arguments == ("a b", "")
    await session.verbose("hello")
    await session.set_variable("AI_STATUS", await session.get_variable("WHO") + ' "quoted" \\ ${HASH(x)}, end')
    assert await session.get_variable("NOT_THERE") == ""
    reply = await session.stream_file("hello-world", "12#")
    assert (reply.code, reply.result, reply.endpos) == (200, "0", 8000)
    assert (await session.command("STREAM FILE", "too", "many", "words", "here")).code == 520
    assert (await session.command("MAKE COFFEE")).code == 510
    assert (await session.command("NOOP")).code == 200


async def whole_conversation() -> None:
    async with serving({"call/start": talk}) as (server, port):
        outcome = await run_agi(
            "127.0.0.1", port, "call/start?agent=front",
            arguments=("a b", ""), variables={"WHO": "me"}, timeout=5,
        )  # fmt: skip
        assert outcome.status == "SUCCESS", outcome
        assert outcome.variables["AI_STATUS"] == 'me "quoted" \\ ${HASH(x)}, end'
        assert outcome.commands[0] == ["VERBOSE", "hello", "1"]
        assert server.counters.failed_handlers == 0


def test_a_whole_conversation_on_asyncio() -> None:
    run(whole_conversation())


def test_a_whole_conversation_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole_conversation())


def test_nobody_listens() -> None:
    async def main() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            outcome = await run_agi("127.0.0.1", free.getsockname()[1], "go", timeout=2)
        assert outcome.status == "FAILURE"
        assert outcome.reason

    run(main())


def test_the_client_takes_no_line_that_asterisk_cannot() -> None:
    async def main() -> None:
        async def rogue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"NOOP " + b"x" * 9000 + b"\n")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(rogue, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RemoteProtocolError):
            await run_agi("127.0.0.1", port, "go", timeout=2)
        server.close()

    run(main())


def test_the_client_reports_a_connection_that_breaks() -> None:
    async def main() -> None:
        async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\n\n")
            writer.write(b'SET VARIABLE "A" "b"\n')
            await reader.readline()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

        server = await asyncio.start_server(reset, "127.0.0.1", 0)
        outcome = await run_agi("127.0.0.1", server.sockets[0].getsockname()[1], "go", timeout=2)
        assert (outcome.status, outcome.variables) == ("FAILURE", {"A": "b"})
        server.close()

    run(main())


def test_the_client_knows_asterisks_commands() -> None:
    async def main() -> None:
        async def handler(session: AgiSession) -> None:
            async def result(command: str, *arguments: str) -> tuple[int, str, str]:
                reply = await session.command(command, *arguments)
                return reply.code, reply.result, reply.data

            assert await result("ANSWER") == (200, "0", "")
            assert await result("channel status") == (200, "6", "")
            assert await result("DATABASE GET", "a", "b") == (200, "0", "")
            assert await result("DATABASE PUT", "a", "b", "c d") == (200, "1", "")
            assert await result("DATABASE GET", "a", "b") == (200, "1", "c d")
            assert await result("DATABASE DEL", "a", "b") == (200, "1", "")
            assert await result("GET VARIABLE", "LONG") == (200, "1", "x" * 1023)
            assert await result("GET VARIABLE", "NONE") == (200, "0", "")
            assert (await result("SET VARIABLE", "ONE"))[0] == 520
            assert await result("EXEC", "Playback", "beep") == (200, "0", "")
            for command, value in (("SET CONTEXT", "there"), ("SET EXTENSION", "s"), ("SET PRIORITY", "1")):
                assert await result(command, value) == (200, "0", "")
            assert await result("HANGUP") == (200, "1", "")
            await session.wait_hung_up()
            session._hung_up.clear()  # as if it were not known
            with pytest.raises(CallHungUp):
                await session.command("ANSWER")
            assert session.hung_up
            assert await session.get_variable("LONG") == "x" * 2000

        async with serving(handler) as (server, port):
            outcome = await run_agi("127.0.0.1", port, "go", variables={"LONG": "x" * 2000}, timeout=5)
            assert server.counters.failed_handlers == 0
        assert outcome.status == "HANGUP"
        assert outcome.variables == {"LONG": "x" * 2000, "CONTEXT": "there", "EXTEN": "s", "PRIORITY": "1"}

    run(main())


# -- hang-up --------------------------------------------------------------------------------------------------------


def test_after_the_hang_up_only_what_a_dead_channel_can_do() -> None:
    async def main() -> None:
        hang_up = asyncio.Event()

        async def play(arguments: Sequence[str]) -> str:
            hang_up.set()
            await asyncio.sleep(0.05)
            return "-1 endpos=400"

        async def handler(session: AgiSession) -> None:
            reply = await session.stream_file("long-music")
            assert (reply.result, reply.endpos, session.hung_up) == ("-1", 400, True)
            with pytest.raises(CallHungUp):
                await session.stream_file("more")
            await session.set_variable("AI_NEXT", "hangup")
            assert await session.get_variable("AI_NEXT") == "hangup"
            assert (await session.command("EXEC", "UserEvent", "x")).result == "0"

        async with serving(handler) as (server, port):
            outcome = await run_agi("127.0.0.1", port, "go", timeout=5, hang_up=hang_up, commands={"stream file": play})
            assert (outcome.status, outcome.variables) == ("HANGUP", {"AI_NEXT": "hangup"})
            assert ["STREAM", "FILE", "more", ""] not in outcome.commands
            assert server.counters.failed_handlers == 0

    run(main())


def test_a_511_is_a_hang_up() -> None:
    async def main() -> None:
        stage = Stage(lambda session: session.command("ANSWER"))
        async with serving(stage) as (_, port), connected(port, HEADER) as (reader, writer):
            await reader.readline()
            writer.write(b"511 Command Not Permitted on a dead channel\n")
            assert isinstance(await stage.done, CallHungUp)
            assert await closed_by_server(reader) == b""

    run(main())


def test_a_hang_up_is_known_without_a_command() -> None:
    async def main() -> None:
        for last in (b"HANGUP\n", b""):
            stage = Stage(lambda session: session.wait_hung_up())
            async with serving(stage) as (_, port), connected(port, HEADER) as (_, writer):
                if last:
                    writer.write(last)
                else:
                    writer.write_eof()
                assert await stage.done is None

    run(main())


def test_a_connection_that_ends_in_a_command() -> None:
    async def main() -> None:
        for reset in (False, True):
            stage = Stage(lambda session: session.command("NOOP"))
            async with serving(stage) as (server, port):
                async with connected(port, HEADER) as (reader, writer):
                    await reader.readline()
                    if reset:
                        writer.transport.abort()
                    else:
                        writer.write_eof()  # half open: it still reads
                    assert isinstance(await stage.done, CallHungUp)
                assert server.counters.failed_handlers == 0

    run(main())


@pytest.mark.parametrize("own_reply", [b"", b"200 result=0 endpos=99\n"], ids=["stopped", "had-ended"])
@pytest.mark.parametrize("after", [0.05, 0.3], ids=["at-once", "later"])
def test_a_cancelled_command_does_not_shift_the_replies(own_reply: bytes, after: float) -> None:
    """Asterisk stops STREAM FILE for a further command, without a reply to it; unless it had just ended."""

    async def main() -> None:
        async def impatient(session: AgiSession) -> str:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(after):
                    await session.stream_file("long")
            return await session.get_variable("X")

        stage = Stage(impatient)
        async with serving(stage) as (server, port), connected(port, HEADER) as (reader, writer):
            start = asyncio.get_running_loop().time()
            assert (await reader.readline()).startswith(b"STREAM FILE")
            marker = split_command((await reader.readline()).decode().strip())[-1]
            assert asyncio.get_running_loop().time() - start > 0.08  # never both in one read
            writer.write(own_reply + f"200 result=1 ({marker})\n".encode())
            assert await reader.readline() == b'GET FULL VARIABLE "${X}"\n'
            writer.write(b"200 result=1 (right)\n")
            assert await stage.done == "right"
            assert server.counters.protocol_errors == 0

    run(main())


def test_a_command_that_is_cancelled_again_and_again() -> None:
    async def main() -> None:
        async def restless(session: AgiSession) -> list[str]:
            for number in range(30):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.003 * (number % 7)):
                        await session.get_variable("X")
            return [await session.get_variable("X"), await session.get_variable("Y")]

        stage = Stage(restless)
        async with serving(stage) as (server, port):
            variables = {"X": "x", "Y": "y"}
            assert (await run_agi("127.0.0.1", port, "go", variables=variables, timeout=6)).status == "SUCCESS"
            assert await stage.done == ["x", "y"]
            assert server.counters.protocol_errors == 0

    run(main())


def test_two_replies_too_many() -> None:
    async def main() -> None:
        async def impatient(session: AgiSession) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await session.stream_file("long")
            await session.get_variable("X")

        stage = Stage(impatient)
        async with serving(stage) as (_, port), connected(port, HEADER) as (reader, writer):
            await reader.readline()
            await reader.readline()
            writer.write(b"200 result=0\n" * 2)
            assert isinstance(await stage.done, RemoteProtocolError)

    run(main())


def test_commands_of_several_tasks_go_one_by_one() -> None:
    async def main() -> None:
        async def many(session: AgiSession) -> list[str]:
            return list(await asyncio.gather(*(session.get_variable(f"V{n}") for n in range(10))))

        stage = Stage(many)
        async with serving(stage) as (_, port):
            variables = {f"V{n}": str(n) for n in range(10)}
            await run_agi("127.0.0.1", port, "go", variables=variables, timeout=5)
            assert await stage.done == list(variables.values())

    run(main())


# -- what is not sent -------------------------------------------------------------------------------------------------


def test_callers_data_cannot_break_out() -> None:
    async def main() -> None:
        nasty = ['"', "\\", '\\"', '" "SET VARIABLE X y', "${SHELL(id)}", "a, b|c", "'; x", "\u00fc\U0001f600", " ", ""]

        async def handler(session: AgiSession) -> None:
            for number, value in enumerate(nasty):
                await session.set_variable(f"V{number}", value)
            for bad in ("a\nSET VARIABLE X y", "a\rb", "a\0b", "\x1b[2J"):
                with pytest.raises(LocalProtocolError):
                    await session.set_variable("V", bad)
            with pytest.raises(LocalProtocolError):
                await session.command("NOOP\nSET VARIABLE X y")
            with pytest.raises(LocalProtocolError):
                await session.command("NOOP", "x" * 9000)

        async with serving(handler) as (server, port):
            outcome = await run_agi("127.0.0.1", port, "go", timeout=5)
            assert list(outcome.variables.values()) == nasty
            assert server.counters.failed_handlers == 0

    run(main())


# -- hostile peers ---


async def never() -> None:
    await asyncio.Event().wait()


async def greet(session: AgiSession) -> None:
    await session.set_variable("GREETED", "yes")


async def is_served(port: int, *arguments: str) -> bool:
    outcome: AgiOutcome = await run_agi("127.0.0.1", port, "go", arguments=arguments, timeout=2)
    return outcome.variables == {"GREETED": "yes"}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"agi_network: yes\n" + b"x" * 1_000_000,
        b"agi_x: " + b"y" * 1_000_000 + b"\n\n",
        b"".join(b"agi_arg_%d: x\n" % number for number in range(100_000)),
        b"agi_network: \0\n\n",
        b"\n\n",
        os.urandom(4000) + b"\n" * 3,
    ],
    ids=["http", "endless-line", "long-line", "endless-header", "nul", "empty", "noise"],
)
def test_bad_header(data: bytes) -> None:
    async def main() -> None:
        async with serving(greet) as (server, port):
            async with connected(port, data) as (reader, _):
                assert await closed_by_server(reader) == b""
            assert server.counters.protocol_errors == 1
            assert await is_served(port)

    run(main())


def test_slow_header_is_bounded_and_harms_nobody() -> None:
    async def main() -> None:
        async with serving(greet, header_seconds=0.3) as (server, port):
            async with connected(port, b"agi_network: yes\n") as (reader, writer):
                for _ in range(3):
                    writer.write(b"agi_")
                    assert await is_served(port)
                    await asyncio.sleep(0.05)
                assert await closed_by_server(reader) == b""
            assert server.counters.protocol_errors == 1

    run(main())


@pytest.mark.parametrize(
    "data", [b"hello\n", b"\0\n", b"200 result=0\n" * 2, b"200 result=" + b"1" * 1_000_000, HEADER]
)
def test_bad_reply(data: bytes) -> None:
    async def main() -> None:
        async def handler(session: AgiSession) -> None:
            await session.command("NOOP")
            await asyncio.sleep(0.05)
            await session.command("NOOP")

        stage = Stage(handler)
        async with serving({"go": stage, "greet": greet}) as (server, port):
            async with connected(port, HEADER) as (reader, writer):
                await reader.readline()
                writer.write(data)
                assert isinstance(await stage.done, RemoteProtocolError)
            outcome = await run_agi("127.0.0.1", port, "greet", timeout=2)
            assert outcome.status == "SUCCESS"
            assert (server.counters.protocol_errors, server.counters.failed_handlers) == (1, 0)

    run(main())


def test_no_reply_in_time() -> None:
    async def main() -> None:
        stage = Stage(lambda session: session.command("NOOP"))
        async with serving(stage, command_seconds=0.1) as (server, port), connected(port, HEADER) as (reader, _):
            assert isinstance(await stage.done, RemoteProtocolError)
            assert await closed_by_server(reader) == b"NOOP\n"
            assert server.counters.protocol_errors == 1

    run(main())


def test_a_peer_that_does_not_read() -> None:
    async def main() -> None:
        async def flood(session: AgiSession) -> None:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.0005):
                        await session.command("NOOP", "x" * 8000)

        stage = Stage(lambda session: asyncio.wait_for(flood(session), 0.5))
        async with serving(stage) as (server, port), connected(port, HEADER) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await stage.done
            await asyncio.sleep(1.2)
            assert server.active == 0

    run(main())


def test_a_request_over_the_limit_is_told_so_but_not_one_that_is_expected() -> None:
    waiting = HEADER.replace(b"go?", b"wait?")

    async def main() -> None:
        routes = {"wait": AgiSession.wait_hung_up, "go": greet}
        refusal = set_variable_line("AI_STATUS", "FULL")
        expects = lambda request: list(request.arguments) == ["one of ours"]  # noqa: E731
        async with serving(routes, max_connections=2, refusal=refusal, expects=expects) as (server, port):
            async with connected(port, waiting), connected(port, waiting):
                while server._serving < 2:
                    await asyncio.sleep(0.01)
                outcome = await run_agi("127.0.0.1", port, "go", timeout=2)
                assert (outcome.status, outcome.variables) == ("SUCCESS", {"AI_STATUS": "FULL"})
                assert server.counters.refused == 1
                assert await is_served(port, "one of ours")
            while server._serving:
                await asyncio.sleep(0.01)
            assert await is_served(port)

    run(main())


def test_connections_without_a_request_take_nobodys_place() -> None:
    async def main() -> None:
        async with serving(greet, max_connections=5) as (server, port), contextlib.AsyncExitStack() as silent:
            first = [await silent.enter_async_context(connected(port)) for _ in range(5)]
            for _ in range(50):
                await silent.enter_async_context(connected(port, HEADER[:10]))
                assert await is_served(port)
            for reader, _ in first:
                assert await closed_by_server(reader) == b""
            assert server.active <= 6
            assert server.counters.displaced >= 50
            assert server.counters.refused == 0

    run(main())


def test_unknown_route() -> None:
    async def main() -> None:
        async with serving(greet) as (server, port):
            outcome = await run_agi("127.0.0.1", port, "nowhere/else", timeout=2)
            assert (outcome.status, outcome.commands) == ("SUCCESS", [])
            assert server.counters.unknown_routes == 1

    run(main())


def test_a_handler_that_fails_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(session: AgiSession) -> None:
        await session.verbose("so far so good")
        raise KeyError("oops")

    async def main() -> None:
        async with serving({"fail": fail, "go": greet}) as (server, port):
            outcome = await run_agi("127.0.0.1", port, "fail", timeout=2)
            assert outcome.status == "SUCCESS"
            assert server.counters.failed_handlers == 1
            assert await is_served(port)

    with caplog.at_level(logging.INFO):
        run(main())
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


# -- stopping, leaks ---


def test_stop_waits_then_cancels() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def short(session: AgiSession) -> None:
            await asyncio.sleep(0.1)
            await session.verbose("still here")
            ended.append("short")

        async def endless(session: AgiSession) -> None:
            try:
                await never()
            finally:
                ended.append("endless")

        async with serving({"short": short, "endless": endless}) as (server, port):
            first = asyncio.create_task(run_agi("127.0.0.1", port, "short", timeout=5))
            second = asyncio.create_task(run_agi("127.0.0.1", port, "endless", timeout=5))
            while server.active < 2:
                await asyncio.sleep(0.01)
            await server.stop(0.4)
            assert ended == ["short", "endless"]
            assert (await first).commands
            await second
            assert server.active == 0
            assert (await run_agi("127.0.0.1", port, "short", timeout=1)).status == "FAILURE"

    run(main())


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_burst_of_calls_waits_for_a_busy_loop_and_is_let_in(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """As where a server comes back and all its callers' dialplans ask at once."""
    calls = 160

    async def main() -> None:
        async with serving(greet, max_connections=calls) as (server, port):
            # The loop stands still meanwhile. A connection that the system has no room for would take a second.
            waiting = [socket.create_connection(("127.0.0.1", port), timeout=0.9) for _ in range(calls)]
            turns = 0
            while server.counters.connections < calls:
                await asyncio.sleep(0)
                turns += 1
            for each in waiting:
                each.close()
        assert turns < calls / 4

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_nothing_is_left(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    def fds() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        async with serving(greet) as (server, port):
            await is_served(port)
            await asyncio.sleep(0.05)
            tasks, files = len(asyncio.all_tasks()), fds()
            for _ in range(5):
                await asyncio.gather(*(is_served(port) for _ in range(10)))
                async with connected(port, HEADER[:20]), connected(port, HEADER, b"garbage\n"), connected(port):
                    pass
            while server.active:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            gc.collect()
            assert (len(asyncio.all_tasks()), fds()) == (tasks, files)

    before = fds()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 10))
    assert fds() <= before


# -- the defects of panoramisk 1.4: each test shows plain panoramisk fail and ours pass --------------------------------


@contextlib.asynccontextmanager
async def plain(endpoint: Callable[[Any], Awaitable[None]], path: str = "go?agent=x") -> AsyncIterator[int]:
    application = fast_agi.Application(loop=asyncio.get_running_loop())
    application.add_route(path, endpoint)
    server = await asyncio.start_server(application.handler, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_defect_early_end_freezes_the_loop() -> None:
    class Ended:
        """A stream at its end that gives up after a while, so that the frozen loop can be seen and left."""

        reads = 0

        async def read(self, size: int) -> bytes:
            self.reads += 1
            if self.reads > 1000:
                raise RecursionError("read at the end again and again")
            return b""

    async def main() -> None:
        application = fast_agi.Application(loop=asyncio.get_running_loop())
        with pytest.raises(RecursionError):
            await application.handler(Ended(), None)
        async with serving(greet) as (server, port):
            async with connected(port, HEADER[:-1]) as (reader, writer):
                writer.write_eof()
                assert await closed_by_server(reader) == b""
            assert server.counters.protocol_errors == 1
            assert await is_served(port)

    run(main())


def test_defect_header_without_limits() -> None:
    async def main() -> None:
        big = b"agi_network: yes\n" + b"x" * 100_000
        endless = asyncio.StreamReader()
        endless.feed_data(big)
        application = fast_agi.Application(loop=asyncio.get_running_loop())
        with pytest.raises(TimeoutError):
            # It took all of it and waits for more, and would for ever
            await asyncio.wait_for(application.handler(endless, None), 0.3)
        async with serving(greet) as (_, port), connected(port, big) as (reader, _):
            assert await asyncio.wait_for(closed_by_server(reader), 1) == b""

    run(main())


def test_defect_replies_off_by_one_after_hangup() -> None:
    async def converse(port: int) -> None:
        async with connected(port, HEADER) as (reader, writer):
            for number in range(2):
                await reader.readline()
                writer.write(b"HANGUP\n" * (not number) + b"200 result=1 (%d)\n" % number)
            await reader.read()

    async def main() -> None:
        seen: list[Any] = []

        async def plain_ask(request: Any) -> None:
            seen.extend([await request.send_command("GET VARIABLE A"), await request.send_command("GET VARIABLE B")])

        async def ask(session: AgiSession) -> None:
            seen.extend([await session.get_variable("A"), await session.get_variable("B")])

        async with plain(plain_ask) as port:
            await converse(port)
        assert "error" in seen[0]
        assert seen[1]["result"] == ("1", "0")  # B's value is A's
        seen.clear()
        async with serving(ask) as (_, port):
            await converse(port)
        assert seen == ["0", "1"]

    run(main())


def test_defect_usage_of_many_lines() -> None:
    usage = b"520-Invalid\nfirst\nsecond\n520 End of proper usage.\n"

    async def converse(port: int) -> None:
        async with connected(port, HEADER) as (reader, writer):
            await reader.readline()
            writer.write(usage)
            await reader.readline()
            writer.write(b"200 result=1 (right)\n")
            await reader.read()

    async def main() -> None:
        seen: list[Any] = []

        async def plain_ask(request: Any) -> None:
            await request.send_command("SET VARIABLE")
            try:
                seen.append(await request.send_command("GET VARIABLE A"))
            except ValueError as error:
                seen.append(error)

        async def ask(session: AgiSession) -> None:
            assert (await session.command("SET VARIABLE")).data == "first\nsecond"
            seen.append(await session.get_variable("A"))

        async with plain(plain_ask) as port:
            await converse(port)
        assert isinstance(seen.pop(), ValueError)
        async with serving(ask) as (_, port):
            await converse(port)
        assert seen == ["right"]

    run(main())


def test_defect_line_breaks_in_commands() -> None:
    async def main() -> None:
        evil = 'SET VARIABLE A "x"\nSET VARIABLE B "y"'

        async def plain_send(request: Any) -> None:
            await request.send_command(evil)

        async def send(session: AgiSession) -> None:
            with pytest.raises(LocalProtocolError):
                await session.command(evil)

        async with plain(plain_send) as port, connected(port, HEADER) as (reader, writer):
            assert [await reader.readline(), await reader.readline()][1].startswith(b"SET VARIABLE B")
            writer.write(b"200 result=1\n" * 2)
            await reader.read()
        async with serving(send) as (server, port):
            assert (await run_agi("127.0.0.1", port, "go", timeout=2)).commands == []
            assert server.counters.failed_handlers == 0

    run(main())


def test_defect_routes_match_the_query() -> None:
    async def main() -> None:
        seen: list[str] = []

        async def plain_note(request: Any) -> None:
            seen.append("plain")

        async def note(session: AgiSession) -> None:
            seen.append(session.request.query["agent"])

        async with plain(plain_note, "go") as port, connected(port, HEADER) as (reader, _):
            await reader.read()
        assert seen == []
        async with serving(note) as (_, port), connected(port, HEADER) as (reader, _):
            await reader.read()
        assert seen == ["x"]

    run(main())


def test_defect_routes_that_are_no_async_def() -> None:
    class Greeter:
        def __call__(self, session: AgiSession) -> Coroutine[Any, Any, None]:
            return greet(session)

    async def main() -> None:
        application = fast_agi.Application(loop=asyncio.get_running_loop())
        with pytest.raises(AttributeError):
            application.add_route("go", Greeter())
        for handler in (Greeter(), functools.partial(greet)):
            async with serving(handler) as (_, port):
                assert await is_served(port)

    run(main())


def test_defect_cancellation_is_swallowed() -> None:
    async def main() -> None:
        async def forever(session: Any) -> None:
            await never()

        application = fast_agi.Application(loop=asyncio.get_running_loop())
        application.add_route("go?agent=x", forever)
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.send(HEADER)
            task = asyncio.ensure_future(application.handler(*await asyncio.open_connection(sock=ours)))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])
            assert not task.cancelled()
        async with serving(forever) as (server, port), connected(port, HEADER):
            await asyncio.sleep(0.05)
            (task,) = server._connections
            await server.stop(0.05)
            assert task.cancelled()

    run(main())
