"""Connections that are open before a caller comes: speech to speech, both vendors, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from deepgram_agent_server import KEY, FakeDeepgramAgent
from deepgram_server import FakeDeepgram
from realtime_server import FakeRealtime
from websockets.protocol import State

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import AgentAudio, RealtimeRequest
from asterisk_ai.providers.net import keeper
from asterisk_ai.providers.net import websocket as sockets
from asterisk_ai.providers.net.websocket import Keep
from asterisk_ai.providers.vendors.deepgram import agent
from asterisk_ai.providers.vendors.deepgram.agent import DeepgramAgent
from asterisk_ai.providers.vendors.openai import realtime
from asterisk_ai.providers.vendors.openai.realtime import OpenAIRealtime

VENDORS = ("openai", "deepgram")
REQUEST = RealtimeRequest(8000, "Hello.")
Fake = FakeRealtime | FakeDeepgramAgent


class Service:
    """One vendor's fake, and engines for it."""

    def __init__(self, vendor: str, fake: Fake, probe: FakeDeepgram) -> None:
        self.vendor, self.fake, self._probe = vendor, fake, probe

    def engine(self, fault: str = "well", *, key: str = KEY, spare: bool = True) -> OpenAIRealtime | DeepgramAgent:
        common = {"api_key": key, "seconds": 5.0, "connect_seconds": 0.5}
        if isinstance(self.fake, FakeRealtime):
            return OpenAIRealtime({**common, "base_url": self.fake.base_url, "model": fault, "spare": spare}, {})
        own = {"url": self.fake.url(fault), "spare": spare}
        return DeepgramAgent({**common, "base_url": self._probe.base_url, "agent": own}, {})

    def open(self) -> list[Any]:
        """The connections that the service has, with and without a caller."""
        return [session for session in self.fake.sessions if session.connection.state is State.OPEN]

    async def until(self, condition: Callable[[], Any], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def service(vendor: str) -> AsyncIterator[Service]:
    fake: Fake = FakeRealtime() if vendor == "openai" else FakeDeepgramAgent()
    probe = FakeDeepgram()
    async with fake.running(), probe.running():
        yield Service(vendor, fake, probe)


def keep(monkeypatch: pytest.MonkeyPatch, seconds: float, oldest: float) -> None:
    for module in (realtime, agent):
        monkeypatch.setattr(module, "KEEP", Keep(seconds, oldest))


async def converse(engine: OpenAIRealtime | DeepgramAgent) -> float:
    """A call up to the first sound of the greeting; the seconds until the session was there."""
    began = time.monotonic()
    async with asyncio.timeout(10), engine.open(REQUEST) as session:
        took = time.monotonic() - began
        async for event in session.events():
            if isinstance(event, AgentAudio):
                return took
    raise AssertionError


def run(main: Any) -> None:
    asyncio.run(asyncio.wait_for(main, 30))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_call_needs_no_connect(vendor: str) -> None:
    async def main() -> None:
        async with service(vendor) as here:
            engine = here.engine()
            await engine.start()
            for call in range(3):
                await here.until(lambda: len(here.open()) == 1)
                waiting = here.open()[0]
                assert here.fake.handshakes == call + 1, "one a call, and one that waits"
                here.fake.refusing = 500 if call == 2 else 0  # who had to connect now could not
                await converse(engine)
                assert here.fake.conversations[-1] is waiting
                assert len(here.fake.conversations) == call + 1
                await here.until(lambda: here.fake.handshakes > call + 1)  # noqa: B023
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
def test_two_callers_at_once_have_a_connection_each(vendor: str) -> None:
    async def main() -> None:
        async with service(vendor) as here:
            engine = here.engine()
            await engine.start()
            await asyncio.gather(converse(engine), converse(engine))
            assert len(here.fake.conversations) == 2
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_spare_that_died_without_a_word_costs_a_moment(vendor: str) -> None:
    """As behind a firewall that has forgotten the connection: it looks open, and nobody answers."""

    async def main() -> None:
        async with service(vendor) as here:
            engine = here.engine()
            await engine.start()
            here.open()[0].connection.transport.pause_reading()
            took = await converse(engine)
            assert sockets.PONG_SECONDS <= took < sockets.PONG_SECONDS + 1.0
            assert here.fake.conversations[-1] is not here.fake.sessions[0]
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("kind", ["close", "abort"])
def test_a_spare_that_the_service_closed_costs_nothing(vendor: str, kind: str) -> None:
    async def main() -> None:
        async with service(vendor) as here:
            engine = here.engine()
            await engine.start()
            connection = here.open()[0].connection
            if kind == "close":
                await connection.close(1001, "Your session hit the maximum duration")
            else:
                connection.transport.abort()
            await asyncio.sleep(0.05)
            assert await converse(engine) < 0.5
            assert engine.readiness().ready
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_spare_that_is_gone_or_old_is_replaced_meanwhile(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with service(vendor) as here:
            keep(monkeypatch, 0.05, 600.0)
            engine = here.engine()
            await engine.start()
            await here.open()[0].connection.close()
            await here.until(lambda: here.fake.handshakes == 2 and here.open())
            here.open()[0].connection.transport.pause_reading()
            await here.until(lambda: here.fake.handshakes == 3)
            await engine.stop()

            keep(monkeypatch, 0.05, 0.4)
            engine = here.engine()
            await engine.start()
            first = here.fake.sessions[-1]
            began, least = time.monotonic(), 9
            while first.connection.state is State.OPEN:
                await asyncio.sleep(0.005)
                least = min(least, len(here.open()))
            assert time.monotonic() - began < 1.0
            assert least >= 1, "the new one was there before the old one went"
            assert await converse(engine) < 0.5
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_service_that_refuses_is_asked_less_and_less(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BACKOFF_SECONDS", (0.1, 0.2, 0.4, 0.8))

    async def main() -> None:
        async with service(vendor) as here:
            here.fake.refusing = 500
            engine = here.engine()
            await engine.start()
            assert engine.readiness().reason == "answered 500: not now"
            await here.until(lambda: here.fake.handshakes == 5)
            gaps = [after - before for before, after in zip(here.fake.times, here.fake.times[1:], strict=False)]
            assert all(gap > wait for gap, wait in zip(gaps, (0.1, 0.2, 0.4, 0.8), strict=True)), gaps
            with pytest.raises(ProviderUnavailable, match="answered 500"):
                await converse(engine)
            assert here.fake.handshakes == 6, "a call does not hurry what is waiting"
            here.fake.refusing = 0
            await converse(engine)
            await here.until(lambda: engine.readiness().ready and len(here.open()) == 1, 0.5)
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("status", "says", "error"),
    [
        (401, "answered 401: not now", ProviderRejected),
        (404, "answered 404: not now", ProviderRejected),
        (429, "the service asked to be left alone for 2 s more", ProviderUnavailable),
    ],
)
def test_readiness_tells_before_a_caller_finds_out(
    vendor: str, status: int, says: str, error: type[ProviderError]
) -> None:
    """The probe of the account finds nothing: it is this endpoint, or its model, that is refused."""

    async def main() -> None:
        async with service(vendor) as here:
            here.fake.refusing = status
            engine = here.engine()
            assert engine.readiness().reason == "not started"
            await engine.start()
            assert (engine.readiness().ready, engine.readiness().reason) == (False, says)
            with pytest.raises(error):
                await converse(engine)
            await engine.stop()
            assert engine.readiness().reason == "stopped"

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
def test_nothing_is_left_open(vendor: str) -> None:
    async def main() -> None:
        async with service(vendor) as here:
            before = len(asyncio.all_tasks())
            engine = here.engine()
            await engine.start()
            await converse(engine)
            async with engine.open(REQUEST) as session:
                await engine.stop()
                with pytest.raises(ProviderUnavailable):
                    async for _ in session.events():
                        pass
            await here.until(lambda: not here.open())
            await here.until(lambda: len(asyncio.all_tasks()) == before)
            with pytest.raises(ProviderUnavailable, match="stopped"):
                await converse(engine)
            await engine.start()  # as after a reload
            assert await converse(engine) < 0.5
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_service_that_ends_the_session_is_not_asked_twice_for_ever(vendor: str) -> None:
    async def main() -> None:
        async with service(vendor) as here:
            engine = here.engine("close-setup")
            await engine.start()
            with pytest.raises(ProviderUnavailable, match="1011"):
                await converse(engine)
            await here.until(lambda: here.fake.handshakes == 3)  # the spare, another, and the next spare
            await engine.stop()

    run(main())


@pytest.mark.parametrize("vendor", VENDORS)
def test_none_is_kept_where_it_is_not_wanted(vendor: str) -> None:
    async def main() -> None:
        async with service(vendor) as here:
            engine = here.engine(spare=False)
            await engine.start()
            assert engine.readiness().ready
            assert here.fake.handshakes == 0
            await converse(engine)
            assert here.fake.handshakes == 1
            await engine.stop()

    run(main())
