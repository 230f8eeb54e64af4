"""The OpenAI realtime API's adapter against the published protocol, with every fault."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aside import aside
from realtime_server import KEY, FakeRealtime, Session
from sound import tone
from talk import Talk
from websockets.asyncio.client import ClientConnection, connect

from asterisk_ai.audio.g711 import decode_mu_law, encode_mu_law
from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import (
    AgentAudio,
    CallerText,
    DialplanAction,
    Message,
    RealtimeRequest,
    ResponseDone,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
)
from asterisk_ai.providers.vendors.openai.realtime import OpenAIRealtime
from asterisk_ai.providers.vendors.openai.realtime_session import OpenAIRealtimeSession

AGENT = {
    "name": "reception",
    "prompt": "You are the receptionist.",
    "language": "en-GB",
    "tools": {"hangup": True, "transfer": {"sales": "200@from-internal"}, "digits": True},
}
HOURS, SALES, WRONG = 400, 500, 600
ANSWERS: dict[int | str, tuple[str, str, str]] = {
    HOURS: ("We are open from nine to five every day.", "", ""),
    SALES: ("One moment please.", "transfer", '{"to": "sales"}'),
    WRONG: ("", "transfer", '{"to": "the moon"}'),
}
GREETING = "Hello, this is the front desk."


def engine(fake: FakeRealtime, model: str = "gpt-realtime", **more: Any) -> OpenAIRealtime:
    settings = {"base_url": fake.base_url, "api_key": KEY, "seconds": 1.0, "connect_seconds": 0.5, "model": model}
    return OpenAIRealtime({**settings, **more}, AGENT)


def test_conformance() -> None:
    dead = {"base_url": "http://127.0.0.1:9", "api_key": KEY}
    with aside(FakeRealtime(ANSWERS).running()) as (fake,):
        testing.check_realtime_agent(
            lambda: engine(fake), speech=tone(HOURS), broken=lambda: OpenAIRealtime(dead, AGENT)
        )
        testing.check_realtime_agent(lambda: engine(fake), speech=tone(HOURS, rate=24_000), rate=24_000)


@contextlib.asynccontextmanager
async def talking(
    model: str = "gpt-realtime", request: RealtimeRequest | None = None, **settings: Any
) -> AsyncIterator[tuple[Talk, Session]]:
    request = request or RealtimeRequest(8000, GREETING)
    async with FakeRealtime(ANSWERS).running() as fake:
        agent = engine(fake, model, **settings)
        await agent.start()
        try:
            async with agent.open(request) as session:
                talk = Talk(session, request.rate)
                feeding = asyncio.create_task(talk.feed())
                try:
                    yield talk, fake.conversations[-1]
                finally:
                    feeding.cancel()
        finally:
            await agent.stop()


def test_the_session_is_as_the_agent_is() -> None:
    async def main() -> None:
        history = [Message("agent", "Hello."), Message("caller", "who is there")]
        request = RealtimeRequest(8000, "", history=history, caller={"number": "200", "channel": "x"})
        async with talking(request=request, turn_detection={"type": "semantic_vad", "eagerness": "high"}) as (
            talk,
            server,
        ):
            talk.session.tell("(dialled on the keys: 42)")
            await talk.until(ResponseDone)
            session = server.session
            assert session["type"] == "realtime"
            assert "You are the receptionist." in session["instructions"]
            assert "The caller: number 200." in session["instructions"]
            assert session["audio"]["input"]["turn_detection"] == {"type": "semantic_vad", "eagerness": "high"}
            assert session["audio"]["input"]["format"] == session["audio"]["output"]["format"] == {"type": "audio/pcmu"}
            assert session["audio"]["input"]["transcription"]["language"] == "en"
            assert {tool["name"] for tool in session["tools"]} == {"hangup", "transfer", "digits"}
            texts = [item["content"][0]["text"] for item in list(server.items.values())[:3]]
            assert texts == ["Hello.", "who is there", "(dialled on the keys: 42)"]
            assert not server.errors

    asyncio.run(main())


@pytest.mark.parametrize("rate", [8000, 24_000])
def test_a_conversation(rate: int) -> None:
    async def main() -> None:
        async with talking(request=RealtimeRequest(rate, GREETING)) as (talk, server):
            await talk.until(ResponseDone)
            assert talk.words() == GREETING
            audio = b"".join(event.pcm for event in talk.of(AgentAudio))
            assert len(audio) / 2 / rate == pytest.approx(0.25 * len(GREETING.split()), abs=0.001)
            spectrum = np.abs(np.fft.rfft(np.frombuffer(audio, "<i2")))
            assert np.argmax(spectrum) * rate / (len(audio) / 2) == pytest.approx(800, abs=5)
            talk.seen.clear()
            talk.speech = tone(HOURS, rate=rate)
            await talk.until(ResponseDone)
            assert talk.words() == ANSWERS[HOURS][0]
            item = talk.of(SpeechStarted)[0].item
            assert talk.of(SpeechStopped)[0].item == item
            words = talk.of(CallerText) or [await talk.until(CallerText)]
            assert (words[0].text, words[0].item) == ("tone 400", item)
            assert not server.errors

    asyncio.run(main())


def test_what_was_not_heard_leaves_the_history() -> None:
    async def main() -> None:
        async with talking() as (talk, server):
            await talk.until(ResponseDone)  # all of it was made, and little of it was played
            item = talk.of(AgentAudio)[0].item
            talk.session.interrupt(item, 310)
            talk.session.say("Second.")
            await talk.until(ResponseDone)
            assert server.items[item]["ms"] == 310
            second = talk.of(AgentAudio)[-1].item
            talk.session.interrupt(second, 0)
            talk.session.say("Third one is longer than the others are, by far, and so it is interrupted.")
            third = await talk.until(AgentAudio)
            assert third.item not in (item, second)
            talk.session.interrupt(third.item, 1)
            before = len(talk.of(AgentAudio))
            await talk.until(ResponseDone)
            assert len(talk.of(AgentAudio)) == before, "nothing of it comes any more"
            talk.session.say("Fourth.")
            await talk.until(ResponseDone)
            assert second not in server.items
            assert server.items[third.item]["ms"] == 1
            kinds = [event["type"] for event in server.received]
            assert kinds.count("conversation.item.truncate") == 2
            assert kinds.count("response.cancel") == 1
            assert not server.errors, "never cut beyond the end, never cancelled what was done"

    asyncio.run(main())


def test_what_is_interrupted_before_it_began_is_not_said() -> None:
    async def main() -> None:
        async with talking() as (talk, _):
            talk.session.interrupt("", 0)  # the greeting was asked for, no more
            talk.session.say("Only this.")
            await talk.until(ResponseDone, 2)
            assert talk.words() == "Only this."

    asyncio.run(main())


def test_barge_in_by_the_services_own_ears() -> None:
    async def main() -> None:
        async with talking() as (talk, server):
            await talk.until(AgentAudio)
            talk.speech = tone(HOURS)
            await talk.until(SpeechStarted)
            item = talk.of(AgentAudio)[-1].item
            talk.session.interrupt(item, 100)
            await talk.until(ResponseDone, 2)
            assert talk.words().endswith(ANSWERS[HOURS][0])
            assert server.items[item]["ms"] == 100
            assert talk.of(ServiceProblem) == []

    asyncio.run(main())


def test_tools() -> None:
    async def main() -> None:
        async with talking(request=RealtimeRequest(8000)) as (talk, server):
            talk.speech = tone(SALES)
            call = await talk.until(ToolCall)
            assert call.part == DialplanAction("transfer", {"exten": "200", "context": "from-internal"})
            await talk.until(ResponseDone)
            talk.session.tool_done(call.call, "not done: the caller interrupted", answer=True)
            await talk.until(ResponseDone)
            output = next(item for item in server.items.values() if item["type"] == "function_call_output")
            assert (output["call_id"], output["output"]) == (call.call, "not done: the caller interrupted")
            assert len(talk.of(ToolCall)) == 1
            talk.seen.clear()
            talk.speech = tone(WRONG)
            await talk.until(ResponseDone, 2)
            assert talk.of(ToolCall) == []
            assert "to is one of sales" in talk.of(ServiceProblem)[0].text
            assert talk.words() == "What else?"
            assert not server.errors

    asyncio.run(main())


@pytest.mark.parametrize(
    ("model", "error", "says", "seconds"),
    [
        ("401", ProviderRejected, "answered 401", 0.5),
        ("403", ProviderRejected, "answered 403", 0.5),
        ("404", ProviderRejected, "answered 404", 0.5),
        ("429", ProviderUnavailable, "rate limit, to be tried again in 2 s: no luck", 0.5),
        ("429-after", ProviderUnavailable, "rate limit, to be tried again in 30 s", 0.5),
        ("500", ProviderUnavailable, "answered 500", 0.5),
        ("reset-handshake", ProviderUnavailable, "no connection", 0.5),
        ("silent-handshake", ProviderUnavailable, "no connection in time", 0.8),
        ("silent", ProviderUnavailable, "no session in time", 1.5),
        ("refused", ProviderRejected, "no session: Invalid value", 0.5),
        ("wrong-rate", ProviderRejected, "does not speak audio/pcmu, but audio/pcm", 0.5),
        ("malformed-setup", ProviderUnavailable, "makes no sense", 0.5),
        ("close-setup", ProviderUnavailable, "closed the connection: 1011", 0.5),
    ],
)
def test_a_session_that_does_not_come_about(model: str, error: type[ProviderError], says: str, seconds: float) -> None:
    async def main() -> None:
        async with FakeRealtime().running() as fake:
            agent = engine(fake, model, spare=False)
            await agent.start()
            began = time.monotonic()
            with pytest.raises(error, match=says):
                async with agent.open(RealtimeRequest(8000)):
                    pass
            assert time.monotonic() - began < seconds + 0.5
            await agent.stop()

    asyncio.run(main())


def test_a_service_that_asks_to_be_left_alone_is() -> None:
    async def main() -> None:
        async with FakeRealtime().running() as fake:
            agent = engine(fake, "429-after")
            await agent.start()
            for _ in range(3):
                with pytest.raises(ProviderUnavailable):
                    async with agent.open(RealtimeRequest(8000)):
                        pass
            assert fake.handshakes == 1
            assert "left alone for" in agent.readiness().reason
            await agent.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("model", "says", "seconds"),
    [
        ("close", "closed the connection: 1011 internal error", 0.5),
        ("reset", "closed the connection: without a word", 0.5),
        ("malformed", "a message that makes no sense", 0.5),
        ("shapeless", "a message that makes no sense", 0.5),
        ("hang", "has been silent for 4 s", 4.5),
    ],
)
def test_a_session_that_breaks_off(model: str, says: str, seconds: float) -> None:
    async def main() -> None:
        async with talking(model) as (talk, _):
            await talk.until(AgentAudio)
            began = time.monotonic()
            with pytest.raises(ProviderUnavailable, match=says):
                await talk.until(ResponseDone)
            assert time.monotonic() - began < seconds + 0.5

    asyncio.run(main())


@pytest.mark.parametrize(
    ("model", "problem"), [("binary", "160 bytes that are no event"), ("error", "The server had an error")]
)
def test_a_session_that_goes_on_all_the_same(model: str, problem: str) -> None:
    async def main() -> None:
        async with talking(model) as (talk, _):
            await talk.until(ResponseDone)
            assert talk.of(ServiceProblem)[0].text.endswith(problem)
            assert talk.words() == GREETING

    asyncio.run(main())


def test_an_answer_that_failed_says_why() -> None:
    async def main() -> None:
        async with talking("failed") as (talk, _):
            assert (await talk.until(ResponseDone)).problem == "answer failed: Rate limit reached"

    asyncio.run(main())


def test_silence_is_no_fault_of_a_service_that_is_there() -> None:
    async def main() -> None:
        async with talking(request=RealtimeRequest(8000)) as (talk, server):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(4.5):
                    await talk.until(AgentAudio)
            assert 2 <= [event["type"] for event in server.received].count("session.update") <= 4

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"base_url": "ftp://x"}, "providers.openai_realtime.base_url"),
        ({"modle": "x"}, "providers.openai_realtime.modle"),
        ({"voice": ["marin"]}, "providers.openai_realtime.voice"),
        ({"turn_detection": "server_vad"}, "providers.openai_realtime.turn_detection"),
    ],
)
def test_mistakes_in_the_settings(settings: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as found:
        OpenAIRealtime(settings, AGENT)
    assert found.value.path == path


def test_mu_law() -> None:
    every = np.arange(-32768, 32768, dtype="<i2")
    back = np.frombuffer(decode_mu_law(encode_mu_law(every.tobytes())), "<i2").astype(int)
    error = np.abs(back - every)
    assert bool(np.all(error <= np.maximum(8, np.abs(every.astype(int)) // 16 + 8)) or error.max() < 1100)
    assert bool(np.all(np.diff(back) >= 0))
    codes = bytes(range(256))
    assert encode_mu_law(decode_mu_law(codes)).replace(b"\x7f", b"\xff") == codes.replace(b"\x7f", b"\xff")
    assert decode_mu_law(b"\xff\x7f\x80\x00") == np.array([0, 0, 32124, -32124], "<i2").tobytes()


async def first_delta(connection: ClientConnection) -> float:
    """The service's own time, and the library's: nothing of ours."""
    began = time.perf_counter()
    await connection.send('{"type": "response.create", "response": {"instructions": "Say: \\"Hello.\\""}}')
    took = 0.0
    while True:
        event = json.loads(await connection.recv())
        if event["type"] == "response.output_audio.delta" and not took:
            took = time.perf_counter() - began
        if event["type"] == "response.done":
            return took


async def first_audio(session: OpenAIRealtimeSession, events: AsyncIterator[Any]) -> float:
    began = time.perf_counter()
    session.say("Hello.")
    took = 0.0
    async for event in events:
        if isinstance(event, AgentAudio) and not took:
            took = time.perf_counter() - began
        if isinstance(event, ResponseDone):
            return took
    raise AssertionError


def test_what_the_adapter_adds_beside_the_bare_library() -> None:
    async def main() -> None:
        async with FakeRealtime().running() as fake:
            agent = engine(fake)
            await agent.start()
            url, headers = fake.base_url.replace("http", "ws"), {"Authorization": f"Bearer {KEY}"}
            async with (
                agent.open(RealtimeRequest(8000)) as session,
                connect(f"{url}/realtime?model=m", additional_headers=headers, compression=None) as bare,
            ):
                wanted = {"type": "realtime", "audio": dict(fake.conversations[0].session["audio"])}
                await bare.send(json.dumps({"type": "session.update", "session": wanted}))
                events = session.events()
                pairs = [(await first_audio(session, events), await first_delta(bare)) for _ in range(30)]
                frame = tone(HOURS, 0.02)
                began = time.perf_counter()
                for _ in range(400):
                    session.feed(frame)
                fed = (time.perf_counter() - began) / 400
            await agent.stop()
        adds = statistics.median(ours for ours, _ in pairs) - statistics.median(theirs for _, theirs in pairs)
        print(f"adds {adds * 1000:.2f} ms to the first audio, {fed * 1e6:.0f} us to a frame")
        assert adds < 0.005
        assert fed < 0.001

    asyncio.run(main())


def test_the_vendors_own_session_is_merged_into_ours() -> None:
    noise = {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}, "tracing": "auto"}
    made = OpenAIRealtime({"session": noise}, AGENT).wanted(RealtimeRequest(8000))
    assert made["audio"]["input"]["noise_reduction"] == {"type": "near_field"}
    assert made["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert made["audio"]["output"]["voice"] == "marin"
    assert made["tracing"] == "auto"
