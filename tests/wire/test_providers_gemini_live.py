"""Gemini Live against the published protocol and the vendor's types, with every fault."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import aclosing
from typing import Any

import pytest
from aside import aside
from gemini_live_server import KEY, FakeGeminiLive
from google.genai import types as google
from shop import Shop, tool
from sound import tone
from talk import Talk
from vendor_types import example, problems

from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    CallerText,
    DialplanAction,
    Message,
    RealtimeEvent,
    RealtimeRequest,
    ResponseDone,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
)
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.gemini.live import GeminiLive
from asterisk_ai.providers.vendors.gemini.live_session import GeminiLiveSession

RATE = 24_000
TOOLS: dict[str, Any] = {"hangup": True, "transfer": {"sales": "200@from-internal"}}
AGENT = {"name": "reception", "prompt": "You are the receptionist.", "language": "en-GB", "tools": TOOLS}
HOURS, SALES, WRONG, ORDER = 400, 500, 600, 700
ANSWERS: dict[int | str, tuple[str, str, str]] = {
    HOURS: ("We are open from nine to five every day.", "", ""),
    SALES: ("One moment please.", "transfer", '{"to": "sales"}'),
    WRONG: ("", "transfer", '{"to": "the moon"}'),
    ORDER: ("", "order", '{"number": "7"}'),
}
GREETING = "Hello, this is the front desk."


def engine(fake: FakeGeminiLive, model: str = "m", **agent: Any) -> GeminiLive:
    settings = {"base_url": fake.base_url, "api_key": KEY, "seconds": 1.0, "connect_seconds": 0.5, "model": model}
    return GeminiLive(settings, {**AGENT, **agent})


def test_conformance() -> None:
    dead = {"base_url": "http://127.0.0.1:9/v1beta", "api_key": KEY, "model": "m"}
    with aside(FakeGeminiLive(ANSWERS).running()) as (fake,):
        testing.check_realtime_agent(
            lambda: engine(fake), speech=tone(HOURS, rate=RATE), rate=RATE, broken=lambda: GeminiLive(dead, AGENT)
        )


def talk(hertz: int = 0, model: str = "m", request: RealtimeRequest | None = None, **agent: Any) -> Any:
    """Decorates what is done in a conversation with the fake; the caller says a tone, if any."""

    def run(what: Any) -> None:
        async def main() -> None:
            async with FakeGeminiLive(dict(ANSWERS)).running() as fake:
                made = engine(fake, model, **agent)
                await made.start()
                try:
                    async with made.open(request or RealtimeRequest(RATE)) as session:
                        conversation = Talk(session, RATE, pace=2.0)
                        conversation.speech = tone(hertz, rate=RATE) if hertz else b""
                        feeding = asyncio.create_task(conversation.feed())
                        await what(conversation, fake)
                        feeding.cancel()
                finally:
                    await made.stop()

        asyncio.run(asyncio.wait_for(main(), 20))

    return run


def test_the_session_is_as_it_is_to_be() -> None:
    turns = [Message("caller", "hello"), Message("agent", "Yes?")]
    request = RealtimeRequest(RATE, GREETING, turns, {}, {"number": "200", "name": "Ann", "channel": "x"})

    async def check(talk: Talk, fake: FakeGeminiLive) -> None:
        await talk.until(ResponseDone)
        assert talk.words() == GREETING
        assert talk.of(SpeechStarted) == [], "nobody has spoken"
        session: Any = fake.sessions[0]
        assert [turn["role"] for turn in session.history] == ["user", "user", "model"]
        assert "Ann" in session.history[0]["parts"][0]["text"]
        prompt = session.setup["systemInstruction"]["parts"][0]["text"]
        assert prompt.startswith("You are the receptionist.")
        assert prompt.endswith("The caller: number 200.")
        voice = session.setup["generationConfig"]["speechConfig"]["voiceConfig"]
        assert voice == {"prebuiltVoiceConfig": {"voiceName": "Kore"}}

    talk(request=request, voice="Kore")(check)


def test_the_caller_asks_and_is_answered() -> None:
    async def check(talk: Talk, _: FakeGeminiLive) -> None:
        await talk.until(ResponseDone)
        kinds = [type(event) for event in talk.seen]
        assert kinds.index(SpeechStarted) < kinds.index(SpeechStopped) < kinds.index(AgentAudio)
        assert talk.of(CallerText) == [CallerText("a tone of 400 hertz", talk.of(SpeechStarted)[0].item)]
        assert sum(len(event.pcm) for event in talk.of(AgentAudio)) == 9 * RATE // 2
        assert talk.words() == "We are open from nine to five every day."

    talk(HOURS)(check)


def test_the_caller_interrupts() -> None:
    async def check(talk: Talk, fake: FakeGeminiLive) -> None:
        first = await talk.until(AgentAudio)
        talk.speech = tone(HOURS, rate=RATE)
        await talk.until(SpeechStarted)
        await talk.until(ResponseDone)
        talk.session.interrupt(first.item, 100)
        await talk.until(CallerText)
        answer = await talk.until(AgentAudio)
        assert answer.item != first.item
        session: Any = fake.sessions[0]
        assert session.interruptions == 1

    talk(request=RealtimeRequest(RATE, GREETING * 3))(check)


def test_what_we_interrupt_is_not_heard_and_what_was_dialled_is_answered() -> None:
    async def check(talk: Talk, fake: FakeGeminiLive) -> None:
        first = await talk.until(AgentAudio)
        talk.session.interrupt(first.item, 100)
        talk.session.tell("(dialled on the keys: 42)")
        await talk.until(ResponseDone)
        seen = len(talk.seen)
        await talk.until(ResponseDone)
        assert {event.item for event in talk.seen[seen:] if isinstance(event, AgentAudio)} == {"agent-2"}
        assert "dialled" in "".join(one.text for one in talk.seen[seen:] if isinstance(one, AgentText))

    talk(request=RealtimeRequest(RATE, GREETING))(check)


def test_tools() -> None:
    async def transfer(talk: Talk, fake: FakeGeminiLive) -> None:
        call = await talk.until(ToolCall)
        assert call.part == DialplanAction("transfer", {"exten": "200", "context": "from-internal"})
        talk.session.tool_done(call.call, "done", answer=True)
        await talk.until(ResponseDone)
        assert "Result: done" in talk.words()

    async def wrong(talk: Talk, fake: FakeGeminiLive) -> None:
        problem = await talk.until(ServiceProblem)
        assert "to is one of sales" in problem.text
        await talk.until(ResponseDone)

    async def cancelled(talk: Talk, fake: FakeGeminiLive) -> None:
        call = await talk.until(ToolCall)
        await talk.until(ResponseDone)
        talk.session.tool_done(call.call, "done", answer=True)  # would be an error to the service
        talk.session.tell("hello")
        await talk.until(AgentAudio)

    talk(SALES)(transfer)
    talk(WRONG)(wrong)
    talk(SALES, "cancel")(cancelled)


def test_requests_of_the_model_are_sent_beside_the_conversation() -> None:
    async def main() -> None:
        async with Shop().running() as shop:

            async def check(talk: Talk, fake: FakeGeminiLive) -> None:
                await talk.until(ResponseDone)
                assert "shipped /ok/7" in talk.words()

            async with FakeGeminiLive(dict(ANSWERS)).running() as fake:
                made = engine(fake, tools={"http": {"order": tool(shop)}})
                await made.start()
                async with made.open(RealtimeRequest(RATE)) as session:
                    conversation = Talk(session, RATE, pace=2.0)
                    conversation.speech = tone(ORDER, rate=RATE)
                    feeding = asyncio.create_task(conversation.feed())
                    await check(conversation, fake)
                    feeding.cancel()
                await made.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("silent", ProviderUnavailable),
        ("refused", ProviderRejected),
        ("close-setup", ProviderUnavailable),
        ("malformed-setup", ProviderUnavailable),
    ],
)
def test_no_session(fault: str, error: type[ProviderError]) -> None:
    async def main() -> None:
        async with FakeGeminiLive().running() as fake:
            made = engine(fake, fault)
            await made.start()
            with pytest.raises(error) as found:
                async with made.open(RealtimeRequest(RATE)):
                    pass
            assert type(found.value) is error
            await made.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("status", [401, 429, 500])
def test_no_connection(status: int) -> None:
    async def main() -> None:
        async with FakeGeminiLive().running() as fake:
            made = engine(fake)
            await made.start()
            fake.refusing = status
            with pytest.raises(ProviderError):
                async with made.open(RealtimeRequest(RATE)):
                    pass
            await made.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("fault", ["hang", "close", "reset", "malformed", "shapeless"])
def test_what_breaks_in_an_answer_ends_the_session(fault: str) -> None:
    async def check(talk: Talk, _: FakeGeminiLive) -> None:
        with pytest.raises(ProviderUnavailable):
            await talk.until(ResponseDone)

    talk(HOURS, fault)(check)


@pytest.mark.parametrize(("fault", "problem"), [("odd", ""), ("rejected", "RESPONSE_REJECTED"), ("leaving", "")])
def test_what_does_not_end_it(fault: str, problem: str) -> None:
    async def check(talk: Talk, _: FakeGeminiLive) -> None:
        done = await talk.until(ResponseDone)
        assert problem in done.problem
        assert bool(done.problem) == bool(problem)
        if fault == "leaving":
            assert talk.of(ServiceProblem) == [ServiceProblem("will close the connection in 10s")]

    talk(HOURS, fault)(check)


# ---- the vendor's own types ---------------------------------------------------------------


class Wire:
    """A connection: what the service says is given, what it is told is kept; closed when it has said all."""

    def __init__(self, *coming: Any) -> None:
        self.coming = [json.dumps(one).encode() for one in coming]
        self.sent: list[str] = []

    async def recv(self) -> bytes:
        if not self.coming:
            raise ProviderUnavailable("x", "all is said")
        return self.coming.pop(0)

    async def send(self, message: str) -> None:
        self.sent.append(message)


async def heard(session: GeminiLiveSession) -> list[RealtimeEvent]:
    events: list[RealtimeEvent] = []
    with contextlib.suppress(ProviderUnavailable):
        async with aclosing(session.events()) as coming:
            async for event in coming:
                events.append(event)  # noqa: PERF401 - what came before the end counts
    return events


def test_every_message_is_what_the_vendors_types_know() -> None:
    request = RealtimeRequest(RATE, "Hello.", [Message("caller", "hi")], caller={"name": "Ann"})
    call = {"toolCall": {"functionCalls": [{"id": "1", "name": "transfer", "args": {"to": "the moon"}}]}}

    async def main() -> list[str]:
        wire: Any = Wire(call)
        session = GeminiLiveSession(wire, request, Toolbox(TOOLS, "tools"))
        session.feed(bytes(960))
        await heard(session)
        writing = asyncio.create_task(session.write())
        await asyncio.sleep(0.01)
        writing.cancel()
        sent: list[str] = wire.sent
        return sent

    messages = [json.loads(one) for one in asyncio.run(main())]
    assert sorted(key for one in messages for key in one) == ["realtimeInput", "realtimeInput", "toolResponse"]
    wanted = GeminiLive({"model": "m", "setup": {"sessionResumption": {}}}, AGENT).wanted(request)
    for message in (*messages, {"setup": {**wanted, "systemInstruction": ""}}):
        assert problems(google.LiveClientMessage, message) == []
    assert problems(google.Content, wanted["systemInstruction"]) == []
    assert problems(google.LiveClientMessage, {"setup": {"modell": "m"}})


@pytest.mark.parametrize("whole", [False, True])
def test_every_message_of_the_service_is_understood(whole: bool) -> None:
    message = example(google.LiveServerMessage, whole=whole, depth=6)
    message.get("serverContent", {}).pop("turnCompleteReason", None)

    async def main() -> list[RealtimeEvent]:
        wire: Any = Wire(*({key: value} for key, value in message.items()))
        return await heard(GeminiLiveSession(wire, RealtimeRequest(RATE), Toolbox(TOOLS, "tools")))

    events = asyncio.run(main())
    kinds = {type(event) for event in events}
    if whole:
        assert {AgentText, AgentAudio, SpeechStarted, SpeechStopped, CallerText, ResponseDone, ServiceProblem} <= kinds


def test_a_model_has_to_be_named() -> None:
    with pytest.raises(ConfigError) as found:
        GeminiLive({"api_key": KEY}, AGENT)
    assert found.value.path == "providers.gemini_live.model"
