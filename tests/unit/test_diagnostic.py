"""The agents echo and milliwatt, on a real server over sockets."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from unconnected import unconnected_call

from asterisk_ai import config
from asterisk_ai.audio.levels import dbov
from asterisk_ai.call.call import Call
from asterisk_ai.call.diagnostic import TONE_DBOV, TONE_HZ, MilliwattCall, tone_frame
from asterisk_ai.protocol import audiosocket
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession, new_call_id
from asterisk_ai.simulator.agi_client import run_agi

CONFIG = """
audiosocket: {port: 0}
fastagi: {port: 0}
http: false
server: {drain_seconds: 0.2}
store: {backend: memory}
pipelines: {delay: {stt: "asterisk_ai.providers.engines.delay:DelaySpeechToText",
  llm: "asterisk_ai.providers.engines.delay:DelayLanguageModel",
  tts: "asterisk_ai.providers.engines.delay:DelayTextToSpeech"}}
pipeline: delay
agents: {a: {}}
"""


def served(test: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    async def body() -> None:
        server = Server(config.parse(CONFIG, environ={}))
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run(lambda _: ready.set()))
            await ready.wait()
            async with asyncio.timeout(10):
                await test(server)
            server.stop()

    asyncio.run(body())


async def registered(server: Server, query: str) -> dict[str, str]:
    outcome = await run_agi("127.0.0.1", server.fastagi_port, "call/start" + query, timeout=5)
    return outcome.variables


async def connected(variables: dict[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = variables["AI_AUDIOSOCKET"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(audiosocket.uuid_message(uuid.UUID(variables["AI_CALL_ID"])))
    return reader, writer


async def frames(reader: asyncio.StreamReader, count: int, rate: int = 8000) -> list[bytes]:
    found = []
    for _ in range(count):
        header = await reader.readexactly(3)
        assert header[0] == audiosocket.KIND_BY_RATE[rate]
        found.append(await reader.readexactly(int.from_bytes(header[1:], "big")))
    return found


def test_echo_sends_back_what_it_hears_and_nothing_else() -> None:
    async def test(server: Server) -> None:
        reader, writer = await connected(await registered(server, "?agent=echo"))
        spoken = [audiosocket.audio_message(8000, bytes([n]) * (160 if n == 7 else 320)) for n in range(1, 20)]
        for n, message in enumerate(spoken):
            if n % 3:
                writer.write(message)
            else:  # cut anywhere
                writer.write(message[:100])
                await asyncio.sleep(0.002)
                writer.write(message[100:])
            assert await reader.readexactly(len(message)) == message
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        writer.close()

    served(test)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("cut", [0, 100])
def test_what_comes_at_once_is_echoed_at_once(rate: int, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a standstill of the server: its backlog would stay for good if each frame of it cost a write."""
    writes: list[bytes] = []
    write = os.write

    def spy(fd: int, data: bytes) -> int:
        if len(data) > 8 and any(data[3:]):  # no silence, no event's counter
            writes.append(data)
        return write(fd, data)

    monkeypatch.setattr(os, "write", spy)

    async def test(server: Server) -> None:
        reader, writer = await connected(await registered(server, f"?agent=echo&rate={rate}"))
        first = audiosocket.audio_message(rate, bytes(rate // 25))
        writer.write(first)
        assert await reader.readexactly(len(first)) == first
        messages = [audiosocket.audio_message(rate, bytes([n]) * (rate // 25)) for n in range(1, 8)]
        wire, whole = b"".join(messages), b"".join(messages[:-1] if cut else messages)
        writer.write(wire[: len(wire) - cut])
        assert await reader.readexactly(len(whole)) == whole
        assert writes == [whole]
        writer.write(wire[len(wire) - cut :])
        assert whole + await reader.readexactly(len(wire) - len(whole)) == wire
        writer.close()

    served(test)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_milliwatt_is_a_tone_without_a_click(rate: int) -> None:
    tone = tone_frame(rate) * 50
    samples = np.frombuffer(tone, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    assert spectrum.argmax() == TONE_HZ  # one second: bins of 1 Hz
    assert spectrum[TONE_HZ] / spectrum.sum() > 0.999999
    assert dbov(tone) == pytest.approx(TONE_DBOV, abs=0.1)


def test_milliwatt_plays_from_the_first_frame_on_and_without_end() -> None:
    async def test(server: Server) -> None:
        reader, writer = await connected(await registered(server, "?agent=milliwatt"))
        assert await frames(reader, 25) == [tone_frame(8000)] * 25
        assert server.store.talking == 1
        writer.close()

    served(test)


def test_they_hang_up_with_the_caller_and_leave_nothing() -> None:
    async def test(server: Server) -> None:
        variables = await registered(server, "?agent=milliwatt")
        reader, writer = await connected(variables)
        await frames(reader, 1)
        writer.close()
        outcome = await run_agi(
            "127.0.0.1", server.fastagi_port, "call/end", arguments=[variables["AI_CALL_ID"]], timeout=5
        )
        assert outcome.status == "SUCCESS"
        assert server.store.count == 0
        assert len(server.transports.audiosocket) == 0

    served(test)


def test_an_agent_of_the_configuration_goes_first() -> None:
    async def body() -> None:
        server = Server(config.parse(CONFIG.replace("{a: {}}", "{echo: {}}"), environ={}))
        assert isinstance(unconnected_call(server, CallSession(new_call_id(), "echo", rate=8000)), Call)
        assert isinstance(unconnected_call(server, CallSession(new_call_id(), "milliwatt", rate=8000)), MilliwattCall)

    asyncio.run(body())
