"""AGI with a real Asterisk on the other end: FastAGI, and the AGI and EAGI programs as Asterisk starts them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rig import Asterisk, until

from asterisk_ai.errors import CallHungUp, RemoteProtocolError
from asterisk_ai.transport.fastagi.server import AgiSession, FastAgiServer, Handler

DIALPLAN = """
[agi-test]
exten => fast,1,Answer()
 same => n,AGI(agi://{address}/call/fast?agent=front,one,"two, three")
 same => n,NoOp(AGISTATUS=${{AGISTATUS}} AI_STATUS=${{AI_STATUS}})
 same => n,Wait(2)
exten => nowhere,1,AGI(agi://{address}/no/such/route)
 same => n,NoOp(AGISTATUS=${{AGISTATUS}} AI_STATUS=${{AI_STATUS}})
 same => n,Wait(2)
exten => process,1,Answer()
 same => n,AGI(asterisk-ai-agi,start,sales)
 same => n,NoOp(AGISTATUS=${{AGISTATUS}} AI_STATUS=${{AI_STATUS}})
 same => n,Wait(2)
exten => eagi,1,Answer()
 same => n,EAGI(asterisk-ai-eagi,sales)
 same => n,NoOp(AGISTATUS=${{AGISTATUS}} AI_STATUS=${{AI_STATUS}})
 same => n,Wait(2)
exten => absent,1,AGI(absent-agi,next,x)
 same => n,NoOp(AGISTATUS=${{AGISTATUS}} AI_STATUS=${{AI_STATUS}} AI_NEXT=${{AI_NEXT}})
 same => n,Wait(2)
"""


class Server:
    """A FastAGI server whose routes a test gives; it runs in a thread, as the rig's own part blocks."""

    def __init__(self) -> None:
        self.results: queue.Queue[Any] = queue.Queue()
        self.play: dict[str, Handler] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        routes = {f"call/{name}": self._route(name) for name in ("fast", "start", "eagi")}
        self.agi = FastAgiServer(routes, header_seconds=5, command_seconds=10, max_connections=10)
        self.port: int = self.run(self.agi.start("127.0.0.1", 0))

    def _route(self, name: str) -> Handler:
        async def route(session: AgiSession) -> None:
            try:
                self.results.put(await self.play[name](session))  # type: ignore[func-returns-value]
            except BaseException as error:
                self.results.put(error)
                raise

        return route

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def result(self) -> Any:
        """What the last route gave; raises what it raised."""
        result = self.results.get(timeout=20)
        if isinstance(result, BaseException):
            raise result
        return result

    def stop(self) -> None:
        self.run(self.agi.stop(1))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def asterisk(server: Server) -> Iterator[Asterisk]:
    address = f"127.0.0.1:{server.port}"
    with Asterisk(server=address, dialplan=DIALPLAN.format(address=address)) as asterisk:
        asterisk.rx("module load func_base64.so")
        for name, program, port in (
            ("asterisk-ai-agi", "agi", server.port),
            ("asterisk-ai-eagi", "eagi", server.port),
            ("absent-agi", "agi", 1),
        ):
            asterisk.install_program(name, program, "--host", "127.0.0.1", "--port", str(port))
        yield asterisk


def said(asterisk: Asterisk, caller: Any) -> Callable[[], str]:
    """What the dialplan's NoOp told about the call."""
    return lambda: "".join(step.data for step in asterisk.executed(caller.near) if step.application == "NoOp")


NASTY = [
    '"',
    "\\",
    '\\"',
    '" "SET VARIABLE X y',
    "${CHANNEL}",
    "a, b|c;d",
    "'(",
    ")",
    "\u00fc\U0001f600",
    " x ",
    "z" * 4000,
]


def test_a_conversation(asterisk: Asterisk, server: Server) -> None:
    async def fast(session: AgiSession) -> Any:
        request = session.request
        assert (request.script, request.query, request.arguments) == (
            "call/fast", {"agent": "front"}, ("one", "two, three"),
        )  # fmt: skip
        assert request.environment["agi_calleridname"] == 'Ann "x" \\ Example'
        for value in NASTY:
            await session.set_variable("V", value)
            assert await session.get_variable("V") == value
        assert (await session.command("GET VARIABLE", "V")).data == "z" * 1023
        assert await session.get_variable("NOT_THERE") == ""
        assert (await session.command("MAKE COFFEE")).code == 510
        usage = await session.command("DATABASE GET", "only-one")
        assert usage.code == 520
        assert "200 result=1 (testvariable)" in usage.data
        lines = "a\nHANGUP\n(b"
        assert (await session.command("GET FULL VARIABLE", decoded(lines))).data == lines
        assert not session.hung_up
        await session.set_variable("AI_STATUS", "OK")

    server.play["fast"] = fast
    with asterisk.call("agi-test,fast,1", record=False, caller_id='"Ann \\"x\\" \\\\ Example" <5551234>') as caller:
        server.result()
        assert until(said(asterisk, caller), 5, "NoOp") == "AGISTATUS=SUCCESS AI_STATUS=OK"


def decoded(text: str) -> str:
    """An expression of the dialplan with this value, which may hold newlines."""
    return f"${{BASE64_DECODE({base64.b64encode(text.encode()).decode()})}}"


def test_a_value_that_forges_a_reply_ends_the_connection(asterisk: Asterisk, server: Server) -> None:
    async def fast(session: AgiSession) -> Any:
        await session.set_variable("AI_STATUS", "LEFT")
        await session.command("GET FULL VARIABLE", decoded("a)\n200 result=1 (forged"))
        return await session.get_variable("AI_STATUS")

    server.play["fast"] = fast
    with asterisk.call("agi-test,fast,1", record=False) as caller:
        with pytest.raises(RemoteProtocolError):
            server.result()
        assert until(said(asterisk, caller), 5, "NoOp") == "AGISTATUS=SUCCESS AI_STATUS=LEFT"


@pytest.mark.parametrize(("exten", "route"), [("fast", "fast"), ("process", "start")])
@pytest.mark.parametrize(
    "command",
    [("STREAM FILE", "demo-instruct", ""), ("WAIT FOR DIGIT", "9000"), ("GET DATA", "demo-instruct", "9000", "1")],
    ids=lambda command: command[0],
)
def test_cancelling_stops_what_plays(
    asterisk: Asterisk, server: Server, exten: str, route: str, command: tuple[str, ...]
) -> None:
    async def play(session: AgiSession) -> Any:
        await session.set_variable("V", "right")
        times: list[float] = []
        for seconds in (0.001, 0.05, 0.5):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await session.command(*command, seconds=None)
            started = time.monotonic()
            assert await session.get_variable("V") == "right"
            times.append(time.monotonic() - started)
        return max(times)

    server.play[route] = play
    with asterisk.call(f"agi-test,{exten},1", record=False):
        assert server.result() < 1


def test_a_caller_hangs_up_in_a_prompt(asterisk: Asterisk, server: Server) -> None:
    async def fast(session: AgiSession) -> Any:
        reply = await session.stream_file("demo-instruct")
        await asyncio.wait_for(session.wait_hung_up(), 5)
        with pytest.raises(CallHungUp):
            await session.stream_file("beep")
        assert (await session.get_variable("CHANNEL(state)")) is not None
        await session.set_variable("AI_NEXT", "hangup")
        return reply.result, await session.get_variable("AI_NEXT")

    server.play["fast"] = fast
    with asterisk.call("agi-test,fast,1", record=False) as caller:
        caller.wait(0.5)
    assert server.result() == ("-1", "hangup")


def test_a_closed_connection_looks_like_success(asterisk: Asterisk) -> None:
    with asterisk.call("agi-test,nowhere,1", record=False) as caller:
        assert until(said(asterisk, caller), 5, "NoOp") == "AGISTATUS=SUCCESS AI_STATUS="


def test_the_agi_program(asterisk: Asterisk, server: Server) -> None:
    async def start(session: AgiSession) -> Any:
        await session.set_variable("V", 'q"\\')
        seen = await session.get_variable("V"), session.request.query, session.request.environment["agi_callerid"]
        played = await session.stream_file("beep")
        await session.set_variable("AI_STATUS", "OK")
        return *seen, played.result

    server.play["start"] = start
    with asterisk.call("agi-test,process,1", record=False) as caller:
        assert server.result() == ('q"\\', {"agent": "sales"}, "5551234", "0")
        assert until(said(asterisk, caller), 5, "NoOp") == "AGISTATUS=SUCCESS AI_STATUS=OK"


def test_the_agi_program_when_the_caller_hangs_up(asterisk: Asterisk, server: Server) -> None:
    async def start(session: AgiSession) -> Any:
        await session.stream_file("demo-instruct")
        await asyncio.wait_for(session.wait_hung_up(), 5)
        await session.set_variable("AI_NEXT", "hangup")
        return await session.get_variable("AI_NEXT")

    server.play["start"] = start
    with asterisk.call("agi-test,process,1", record=False) as caller:
        until(lambda: server.agi.active, 5, "the program's connection")
        caller.wait(0.3)
    assert server.result() == "hangup"
    assert "Traceback" not in (asterisk.folder / "console").read_text(errors="replace")


def test_the_agi_program_without_a_server(asterisk: Asterisk) -> None:
    with asterisk.call("agi-test,absent,1", record=False) as caller:
        told = until(said(asterisk, caller), 5, "NoOp")
        assert told == "AGISTATUS=SUCCESS AI_STATUS=UNAVAILABLE AI_NEXT=fallback"


def test_the_eagi_program_brings_the_callers_voice(asterisk: Asterisk, server: Server) -> None:
    heard = bytearray()
    call = uuid.uuid4()
    greeted: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.append(await reader.readexactly(19))
        while header := await reader.read(3):
            heard.extend(await reader.readexactly(int.from_bytes(header[1:], "big")))
        writer.close()

    async def eagi(session: AgiSession) -> Any:
        sockets = await asyncio.start_server(listen, "127.0.0.1", 0)
        await session.set_variable("AI_CALL_ID", str(call))
        await session.set_variable("AI_AUDIOSOCKET", f"127.0.0.1:{sockets.sockets[0].getsockname()[1]}")
        played = await session.stream_file("demo-congrats")
        sockets.close()
        return played.result

    server.play["eagi"] = eagi
    with asterisk.call("agi-test,eagi,1", record=False) as caller:
        until(lambda: greeted, 5, "the audio connection")
        caller.say("vm-goodbye")
        caller.wait(0.5)
    assert server.result() == "-1"
    assert greeted == [b"\x01\x00\x10" + call.bytes]
    loudest = max(abs(int.from_bytes(heard[at : at + 2], "little", signed=True)) for at in range(0, len(heard), 2))
    assert len(heard) > 8000
    assert loudest > 1000
