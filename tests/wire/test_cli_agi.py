"""The AGI programs as Asterisk starts them: a process of its own, pipes on stdin and stdout, audio on descriptor 3."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import struct
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from asterisk import agi as pyst2

from asterisk_ai.protocol.agi.commands import split_command, works_on_dead_channel
from asterisk_ai.transport.fastagi.server import AgiSession, FastAgiServer

ENVIRONMENT = {
    "agi_request": "asterisk-ai-agi",
    "agi_channel": "PJSIP/alice-00000001",
    "agi_callerid": "4912345678",
    "agi_calleridname": 'O\'Neil, "Bob" \\ ${SHELL(id)}',
    "agi_extension": "100",
    "agi_arg_1": "start",
    "agi_arg_2": "sales",
}


def run(main: Coroutine[Any, Any, Any]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(15):
            await main

    asyncio.run(limited())


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


class Pbx:
    """Asterisk around one AGI process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.variables: dict[str, str] = {}
        self.verbose: list[str] = []
        self.commands: list[list[str]] = []
        self.dead = False

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    async def line(self) -> list[str]:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert not line or line.endswith(b"\n")
        return split_command(line.decode().removesuffix("\n"))

    async def answer_all(self) -> None:
        """Answer until the process closes stdout."""
        while words := await self.line():
            self.send(self.answer(words))

    def answer(self, words: list[str]) -> bytes:
        self.commands.append(words)
        if self.dead and not works_on_dead_channel(" ".join(words[:3])):
            return b"511 Command Not Permitted on a dead channel\n"
        match words:
            case ["SET", "VARIABLE", name, value]:
                self.variables[name] = value
                return b"200 result=1\n"
            case ["GET", "FULL", "VARIABLE", text]:
                value = re.sub(r"\$\{(\w+)\}", lambda found: self.variables.get(found[1], ""), text)
                return f"200 result=1 ({value})\n".encode() if value else b"200 result=0\n"
            case ["VERBOSE", text, _]:
                self.verbose.append(text)
                return b"200 result=1\n"
            case ["STREAM", "FILE", _, _]:
                return b"200 result=0 endpos=8000\n"
            case _:
                return b"510 Invalid or unknown command\n"

    def hang_up(self) -> None:
        self.dead = True
        self.process.send_signal(signal.SIGHUP)

    async def ended(self) -> tuple[int, str]:
        """Exit status and what was said on stderr."""
        assert self.process.stderr is not None
        errors = await self.process.stderr.read()
        return await self.process.wait(), errors.decode()


@contextlib.asynccontextmanager
async def agi(
    *arguments: str,
    program: str = "agi",
    environment: Mapping[str, str] = ENVIRONMENT,
    header: bytes | None = None,
    audio: int | None = None,
) -> AsyncIterator[Pbx]:
    def give_audio() -> None:
        if audio is not None:
            os.dup2(audio, 3)

    code = f"import sys; from asterisk_ai.agi.{program} import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        preexec_fn=give_audio, close_fds=audio is None, cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )  # fmt: skip
    pbx = Pbx(process)
    if header is None:
        header = "".join(f"{key}: {value}\n" for key, value in environment.items()).encode() + b"\n"
    pbx.send(header)
    try:
        yield pbx
    finally:
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def serving(**routes: Callable[[AgiSession], Awaitable[None]]) -> AsyncIterator[tuple[FastAgiServer, list[str]]]:
    table = {f"call/{name}": route for name, route in routes.items()}
    server = FastAgiServer(table, header_seconds=5, command_seconds=5, max_connections=10)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, ["--host", "127.0.0.1", "--port", str(port)]
    finally:
        await server.stop(1)


def test_start_next_and_end_are_the_servers_routes() -> None:
    async def main() -> None:
        seen: list[tuple[str, dict[str, str], tuple[str, ...], str]] = []

        async def route(session: AgiSession) -> None:
            request = session.request
            name = request.environment["agi_calleridname"]
            seen.append((request.script, dict(request.query), request.arguments, name))
            await session.set_variable("AI_STATUS", 'OK "quoted" \\')
            assert await session.get_variable("AI_STATUS") == 'OK "quoted" \\'
            assert (await session.stream_file("hello")).endpos == 8000
            assert (await session.command("COFFEE")).code == 510

        async with serving(start=route, next=route, end=route) as (server, where):
            for arguments in (["start", "the sales & co"], ["start"], ["next", "some-id"], ["end", 'a"\n\\b']):
                async with agi(*where, *arguments) as pbx:
                    await pbx.answer_all()
                    assert await pbx.ended() == (0, "")
                    assert pbx.variables == {"AI_STATUS": 'OK "quoted" \\'}
            assert server.counters.failed_handlers == 0
        name = ENVIRONMENT["agi_calleridname"]
        assert seen == [
            ("call/start", {"agent": "the sales & co"}, (), name),
            ("call/start", {}, (), name),
            ("call/next", {}, ("some-id",), name),
            ("call/end", {}, ('a" \\b',), name),
        ]

    run(main())


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["start"], {"AI_STATUS": "UNAVAILABLE"}),
        (["next", "x"], {"AI_STATUS": "UNAVAILABLE", "AI_NEXT": "fallback"}),
        (["end", "x"], {}),
    ],
)
def test_no_server(arguments: list[str], variables: dict[str, str]) -> None:
    async def main() -> None:
        async with serving() as (_, where):
            pass
        async with agi(*where, *arguments) as pbx:
            await pbx.answer_all()
            assert await pbx.ended() == (0, "")
            assert pbx.variables == variables
            assert len(pbx.verbose) == 1
            assert "no answer from the server" in pbx.verbose[0]

    run(main())


def test_the_address_comes_from_the_configuration(tmp_path: Path) -> None:
    async def main() -> None:
        async def route(session: AgiSession) -> None:
            await session.set_variable("AI_STATUS", "OK")

        async with serving(start=route) as (_, where):
            file = tmp_path / "asterisk_ai.yaml"
            sample = (Path(__file__).parents[2] / "etc-asterisk" / "asterisk_ai.yaml").read_text()
            for text, status in (
                (
                    re.sub(
                        r"(?m)^fastagi:(.*\n)( .*\n|\n)*", f"fastagi: {{host: 0.0.0.0, port: {where[3]}}}\n\n", sample
                    ),
                    "OK",
                ),
                ("nonsense: [", None),  # the default address, where somebody or nobody may listen
            ):
                file.write_text(text)
                async with agi("--config", str(file), "start") as pbx:
                    await pbx.answer_all()
                    assert (await pbx.ended())[0] == 0
                    assert status is None or pbx.variables == {"AI_STATUS": status}

    run(main())


def test_a_server_that_closes_at_once_is_unavailable() -> None:
    async def main() -> None:
        async with serving() as (_, where), agi(*where, "start") as pbx:  # no such route
            await pbx.answer_all()
            assert (await pbx.ended())[0] == 0
            assert pbx.variables == {"AI_STATUS": "UNAVAILABLE"}

    run(main())


@pytest.mark.parametrize("own_reply", [b"", b"200 result=0 endpos=99\n"], ids=["stopped", "had-ended"])
def test_a_server_that_is_lost_in_a_command(own_reply: bytes) -> None:
    async def main() -> None:
        async def lose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\n\n")
            writer.write(b'STREAM FILE "long" ""\n')
            await asyncio.sleep(0.2)
            writer.transport.get_extra_info("socket").setsockopt(1, 13, struct.pack("ii", 1, 0))  # reset, not close
            writer.transport.abort()

        server = await asyncio.start_server(lose, "127.0.0.1", 0)
        port = port_of(server)
        async with agi("--host", "127.0.0.1", "--port", str(port), "start") as pbx:
            assert (await pbx.line())[:2] == ["STREAM", "FILE"]
            marker = (await pbx.line())[-1]  # which stops the file; Asterisk answers this one only
            pbx.send(own_reply + f"200 result=1 ({marker})\n".encode())
            await pbx.answer_all()
            assert (await pbx.ended())[0] == 0
            assert pbx.variables == {"AI_STATUS": "UNAVAILABLE"}
        server.close()

    run(main())


def test_usage_errors_are_told_to_the_dialplan() -> None:
    async def main() -> None:
        for arguments in ([], ["dance"], ["next"], ["start", "a", "b"], ["--what"], ["--port", "x", "start"]):
            async with agi(*arguments) as pbx:
                await pbx.answer_all()
                assert (await pbx.ended())[0] == 0
                assert pbx.variables == {"AI_STATUS": "ERROR"}
                assert len(pbx.verbose) == 1

    run(main())


def test_help_keeps_off_stdout() -> None:
    async def main() -> None:
        async with agi("--help") as pbx:
            assert await pbx.line() == []
            status, errors = await pbx.ended()
            assert status == 0
            assert "asterisk-ai-agi" in errors

    run(main())


def test_hang_up_reaches_the_server_and_ends_clean() -> None:
    async def main() -> None:
        hung: list[bool] = []

        async def route(session: AgiSession) -> None:
            await session.set_variable("AI_STATUS", "OK")
            await session.wait_hung_up()
            await session.set_variable("AI_NEXT", "hangup")
            hung.append(session.hung_up)

        async with serving(start=route) as (server, where), agi(*where, "start") as pbx:
            answering = asyncio.create_task(pbx.answer_all())
            while not pbx.variables:
                await asyncio.sleep(0.01)
            pbx.hang_up()
            await answering
            assert await pbx.ended() == (0, "")
            assert pbx.variables == {"AI_STATUS": "OK", "AI_NEXT": "hangup"}
            assert hung == [True]
            assert server.counters.protocol_errors == 0

    run(main())


def test_hang_up_in_a_command_keeps_the_replies_in_step() -> None:
    async def main() -> None:
        got: list[Any] = []

        async def route(session: AgiSession) -> None:
            got.append((await session.stream_file("long")).result)
            got.append(await session.get_variable("WHO"))

        async with serving(start=route) as (_, where), agi(*where, "start") as pbx:
            await pbx.line()
            pbx.hang_up()
            await asyncio.sleep(0.1)
            pbx.send(b"200 result=")
            await asyncio.sleep(0.05)
            pbx.send(b"-1 endpos=5\n")
            await pbx.line()
            pbx.send(b"200 result=1 (two\n")
            await asyncio.sleep(0.05)
            pbx.send(b"lines)\n")
            await pbx.answer_all()
            assert await pbx.ended() == (0, "")
            assert got == ["-1", "two\nlines"]

    run(main())


def test_asterisk_goes_away() -> None:
    async def main() -> None:
        async def route(session: AgiSession) -> None:
            await session.command("STREAM FILE", "long", "")

        async with serving(start=route) as (server, where), agi(*where, "start") as pbx:
            await pbx.line()
            assert pbx.process.stdin is not None
            pbx.process.stdin.close()
            assert await pbx.ended() == (0, "")
            while server.active:
                await asyncio.sleep(0.01)
            assert server.counters.failed_handlers == 0

    run(main())


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"", 0),  # closed at once
        (b"agi_request: x\n", 0),  # closed before the blank line
        (b"agi_request: " + b"x" * 1_000_000 + b"\n\n", 2),
        (b"agi_x: y\n" * 300, 2),
    ],
)
def test_environments_that_are_none(header: bytes, status: int) -> None:
    async def main() -> None:
        async with agi("start", header=header) as pbx:
            assert pbx.process.stdin is not None
            with contextlib.suppress(ConnectionError):
                await pbx.process.stdin.drain()
            pbx.process.stdin.close()
            code, errors = await pbx.ended()
            assert code == status
            assert "Traceback" not in errors

    run(main())


def test_a_newline_in_the_callers_name_forges_no_argument() -> None:
    async def main() -> None:
        seen: list[Any] = []

        async def route(session: AgiSession) -> None:
            seen.append((session.request.arguments, session.request.environment["agi_calleridname"]))
            await session.verbose("x")

        header = b"agi_request: x\nagi_calleridname: J\xfcrgen\nagi_arg_1: forged\nagi_arg_1: next\n\n"
        async with serving(next=route) as (_, where), agi(*where, "next", "true-id", header=header) as pbx:
            await pbx.answer_all()
            assert (await pbx.ended())[0] == 0
        assert seen == [(("true-id",), "J\ufffdrgen")]

    run(main())


# -- EAGI ---


class AudioSocketServer:
    """Keeps what one AudioSocket connection brings."""

    def __init__(self) -> None:
        self.call: uuid.UUID | None = None
        self.pcm = bytearray()
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, length = struct.unpack(">BH", await reader.readexactly(3))
                payload = await reader.readexactly(length)
                if kind == 0x01:
                    self.call = uuid.UUID(bytes=payload)
                else:
                    assert (kind, length) == (0x10, 320)
                    self.pcm += payload
                writer.write(struct.pack(">BH", 0x10, 320) + b"\1" * 320)  # our voice, to be dropped
        self.closed.set()
        writer.close()


def test_eagi_carries_the_callers_audio() -> None:
    async def main() -> None:
        sink, call = AudioSocketServer(), uuid.uuid4()
        sockets = await asyncio.start_server(sink.serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{port_of(sockets)}"

        async def route(session: AgiSession) -> None:
            assert session.request.query == {"agent": "sales"}
            await session.set_variable("AI_CALL_ID", str(call))
            await session.set_variable("AI_AUDIOSOCKET", address)
            await session.stream_file("greeting")
            while len(sink.pcm) < 320 * 40:
                await asyncio.sleep(0.01)
            await session.set_variable("AI_STATUS", "OK")

        ear, mouth = os.pipe()
        async with serving(eagi=route) as (server, where), agi(*where, "sales", program="eagi", audio=ear) as pbx:
            os.close(ear)
            os.write(mouth, b"\xee" * 8000)  # before anybody listens: dropped
            answering = asyncio.create_task(pbx.answer_all())
            while sink.call is None:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            speech = b"".join(struct.pack("<h", number) for number in range(160 * 40))
            for at in range(0, len(speech), 500):  # not on frame boundaries
                os.write(mouth, speech[at : at + 500])
                await asyncio.sleep(0.005)
            await answering
            assert await pbx.ended() == (0, "")
            assert pbx.variables["AI_STATUS"] == "OK"
            assert server.counters.failed_handlers == 0
            await sink.closed.wait()
            assert sink.call == call
            assert bytes(sink.pcm) == speech
        os.close(mouth)
        sockets.close()

    run(main())


def test_eagi_keeps_reading_when_the_audio_connection_is_gone() -> None:
    async def main() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        sockets = await asyncio.start_server(refuse, "127.0.0.1", 0)

        async def route(session: AgiSession) -> None:
            await session.set_variable("AI_CALL_ID", str(uuid.uuid4()))
            await session.set_variable("AI_AUDIOSOCKET", f"127.0.0.1:{port_of(sockets)}")
            await asyncio.sleep(0.5)
            await session.set_variable("AI_STATUS", "OK")

        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        async with serving(eagi=route) as (_, where), agi(*where, program="eagi", audio=ear) as pbx:
            os.close(ear)
            answering = asyncio.create_task(pbx.answer_all())
            while len(pbx.variables) < 2:
                await asyncio.sleep(0.01)
            for _ in range(40):
                os.write(mouth, bytes(8000))  # 320 kB: more than the pipe holds
                await asyncio.sleep(0.005)
            await answering
            assert await pbx.ended() == (0, "")
            assert pbx.variables["AI_STATUS"] == "OK"
        os.close(mouth)
        sockets.close()

    run(main())


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "host:port"])
def test_eagi_without_an_audio_port(address: str) -> None:
    async def main() -> None:
        async def route(session: AgiSession) -> None:
            await session.set_variable("AI_CALL_ID", str(uuid.uuid4()))
            await session.set_variable("AI_AUDIOSOCKET", address)
            await session.stream_file("greeting")

        ear, mouth = os.pipe()
        async with serving(eagi=route) as (server, where), agi(*where, program="eagi", audio=ear) as pbx:
            os.close(ear)
            await pbx.answer_all()
            assert await pbx.ended() == (0, "")
            assert pbx.variables["AI_STATUS"] == "UNAVAILABLE"
            assert server.counters.failed_handlers == 0
        os.close(mouth)

    run(main())


def test_eagi_program_under_plain_agi() -> None:
    async def main() -> None:
        async with serving() as (_, where), agi(*where, program="eagi") as pbx:
            await pbx.answer_all()
            assert (await pbx.ended())[0] == 0
            assert pbx.variables == {"AI_STATUS": "ERROR"}
            assert "EAGI()" in pbx.verbose[0]

    run(main())


# -- the defects of pyst2 0.5.1: each test shows plain pyst2 fail, the tests above show ours pass -----------------


@contextlib.contextmanager
def plain_pyst2(text: str) -> Iterator[tuple[pyst2.AGI, io.StringIO, io.StringIO]]:
    """pyst2 on Asterisk's ``text``, with what it writes to stdout and stderr."""
    before = signal.getsignal(signal.SIGHUP)
    out, errors = io.StringIO(), io.StringIO()
    try:
        yield pyst2.AGI(io.StringIO(text), out, errors), out, errors
    finally:
        signal.signal(signal.SIGHUP, before)


def test_defect_the_callers_number_on_stderr() -> None:
    with plain_pyst2("agi_callerid: 5550123\n\n") as (_, _, errors):
        assert "5550123" in errors.getvalue()


def test_defect_the_end_of_the_stream_is_the_environments_end() -> None:
    with plain_pyst2("agi_callerid: 5550123\n") as (agi, _, _):
        assert agi.env == {"agi_callerid": "5550123"}


@pytest.mark.parametrize("reply", ["HANGUP\n", ""])
def test_defect_a_hang_up_is_no_reply(reply: str) -> None:
    with plain_pyst2(f"agi_request: x\n\n{reply}") as (agi, _, _), pytest.raises(ValueError, match="invalid literal"):
        agi.execute("NOOP")


def test_defect_minus_one_is_an_error() -> None:
    with plain_pyst2("agi_request: x\n\n200 result=-1\n") as (agi, _, _), pytest.raises(pyst2.AGIAppError):
        agi.execute("STREAM FILE", "not-there", '""')


def test_defect_nothing_is_escaped() -> None:
    with plain_pyst2("agi_request: x\n\n200 result=1\n200 result=1\n") as (agi, out, _):
        agi.set_variable("A", 'x" "y')
        assert split_command(out.getvalue().strip())[2:] != ["A", 'x" "y']


def test_defect_no_command_after_sighup() -> None:
    with plain_pyst2("agi_request: x\n\n200 result=1\n") as (agi, _, _):
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(pyst2.AGISIGHUPHangup):
            agi.execute("SET VARIABLE", "A", "b")
