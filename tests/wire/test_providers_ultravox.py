"""Ultravox against the published protocol, with every fault."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aside import aside
from shop import Shop, tool
from sound import tone
from talk import Talk
from ultravox_server import KEY, FakeUltravox

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable, QuotaExceeded, RateLimited
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
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
from asterisk_ai.providers.vendors.ultravox import Ultravox

RATE = 8000
SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "ultravox_call.json").read_text())
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


def engine(fake: FakeUltravox, model: str = "", **agent: Any) -> Ultravox:
    settings = {"base_url": fake.base_url, "api_key": KEY, "seconds": 1.0, "connect_seconds": 0.5, "model": model}
    return Ultravox(settings, {**AGENT, **agent})


def test_conformance() -> None:
    dead = {"base_url": "http://127.0.0.1:9/api", "api_key": KEY}
    with aside(FakeUltravox(ANSWERS).running()) as (fake,):
        testing.check_realtime_agent(
            lambda: engine(fake), speech=tone(HOURS), rate=RATE, broken=lambda: Ultravox(dead, AGENT)
        )


def talk(hertz: int = 0, model: str = "", request: RealtimeRequest | None = None, **agent: Any) -> Any:
    """Decorates what is done in a conversation with the fake; the caller says a tone, if any."""

    def run(what: Any) -> None:
        async def main() -> None:
            async with FakeUltravox(dict(ANSWERS)).running() as fake:
                made = engine(fake, model, **agent)
                await made.start()
                try:
                    async with made.open(request or RealtimeRequest(RATE)) as session:
                        conversation = Talk(session, RATE, pace=2.0)
                        conversation.speech = tone(hertz) if hertz else b""
                        feeding = asyncio.create_task(conversation.feed())
                        await what(conversation, fake)
                        feeding.cancel()
                finally:
                    await made.stop()

        asyncio.run(asyncio.wait_for(main(), 20))

    return run


def test_the_call_is_as_it_is_to_be() -> None:
    turns = [Message("caller", "hello"), Message("agent", "Yes?")]
    request = RealtimeRequest(RATE, GREETING, turns, {}, {"number": "200", "name": "Ann", "channel": "x"})

    async def check(talk: Talk, fake: FakeUltravox) -> None:
        await talk.until(ResponseDone)
        assert talk.words() == GREETING
        assert talk.of(SpeechStarted) == [], "nobody has spoken"
        (call,) = fake.requests
        jsonschema.validate(call, SCHEMA)
        assert [turn["role"].rpartition("_")[2] for turn in call["initialMessages"]] == ["USER", "USER", "AGENT"]
        assert "Ann" in call["initialMessages"][0]["text"]
        assert call["systemPrompt"].endswith("The caller: number 200.")
        assert [one["temporaryTool"]["modelToolName"] for one in call["selectedTools"]] == ["hangup", "transfer"]
        assert call["voice"] == "Mark"

    talk(request=request, voice="Mark")(check)


def test_a_mistake_would_be_found() -> None:
    wanted = Ultravox({"call": {"vadSettings": {"turnEndpointDelay": "0.3s"}}}, AGENT).wanted(RealtimeRequest(RATE))
    jsonschema.validate(wanted, SCHEMA)
    for wrong in ({"systemPromt": ""}, {"medium": {"serverWebSocket": {"rate": 8000}}}, {"maxDuration": "an hour"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wanted | wrong, SCHEMA)


def test_the_caller_asks_and_is_answered() -> None:
    async def check(talk: Talk, _: FakeUltravox) -> None:
        await talk.until(ResponseDone)
        kinds = [type(event) for event in talk.seen]
        assert (
            kinds.index(SpeechStarted) < kinds.index(SpeechStopped) < kinds.index(CallerText) < kinds.index(AgentText)
        )
        assert talk.of(CallerText) == [CallerText("a tone of 400 hertz", talk.of(SpeechStarted)[0].item)]
        assert sum(len(event.pcm) for event in talk.of(AgentAudio)) == 9 * RATE // 2
        assert talk.words() == "We are open from nine to five every day."

    talk(HOURS)(check)


def test_the_caller_interrupts() -> None:
    async def check(talk: Talk, fake: FakeUltravox) -> None:
        first = await talk.until(AgentAudio)
        talk.speech = tone(HOURS)
        await talk.until(SpeechStarted)
        await talk.until(ResponseDone)
        talk.session.interrupt(first.item, 100)
        await talk.until(CallerText)
        answer = await talk.until(AgentAudio)
        assert answer.item != first.item
        session: Any = fake.sessions[0]
        assert session.interruptions == 1

    talk(request=RealtimeRequest(RATE, GREETING * 3))(check)


def test_what_we_interrupt_is_not_heard_and_what_was_dialled_is_answered_at_once() -> None:
    async def check(talk: Talk, fake: FakeUltravox) -> None:
        first = await talk.until(AgentAudio)
        talk.session.interrupt(first.item, 100)
        talk.session.tell("(dialled on the keys: 42)")
        await talk.until(ResponseDone)
        seen = len(talk.seen)
        await talk.until(ResponseDone)
        assert {event.item for event in talk.seen[seen:] if isinstance(event, AgentAudio)} == {"agent-2"}
        assert "dialled" in "".join(one.text for one in talk.seen[seen:] if isinstance(one, AgentText))
        assert talk.of(SpeechStarted) == []
        session: Any = fake.sessions[0]
        assert session.interruptions == 1, "it did not speak to its end before"

    talk(request=RealtimeRequest(RATE, GREETING * 3))(check)


def test_tools() -> None:
    async def transfer(talk: Talk, fake: FakeUltravox) -> None:
        call = await talk.until(ToolCall)
        assert call.part == DialplanAction("transfer", {"exten": "200", "context": "from-internal"})
        talk.session.tool_done(call.call, "done", answer=True)
        await talk.until(ResponseDone)
        assert "Result: done" in talk.words()

    async def wrong(talk: Talk, fake: FakeUltravox) -> None:
        problem = await talk.until(ServiceProblem)
        assert "to is one of sales" in problem.text
        await talk.until(ResponseDone)

    talk(SALES)(transfer)
    talk(WRONG)(wrong)


def test_requests_of_the_model_are_sent() -> None:
    with aside(Shop().running()) as (shop,):

        async def check(talk: Talk, fake: FakeUltravox) -> None:
            await talk.until(ResponseDone)
            assert "shipped /ok/7" in talk.words()

        talk(ORDER, tools={"http": {"order": tool(shop)}})(check)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", ProviderRejected),
        ("402", QuotaExceeded),
        ("429", RateLimited),
        ("429-after", RateLimited),
        ("500", ProviderUnavailable),
        ("unjoinable", ProviderUnavailable),
    ],
)
def test_no_call(fault: str, error: type[ProviderError]) -> None:
    async def main() -> None:
        async with FakeUltravox().running() as fake:
            made = engine(fake, fault)
            await made.start()
            with pytest.raises(error) as found:
                async with made.open(RealtimeRequest(RATE)):
                    pass
            assert type(found.value) is error
            await made.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("fault", ["hang", "close", "reset", "malformed", "shapeless"])
def test_what_breaks_in_an_answer_ends_the_session(fault: str) -> None:
    async def check(talk: Talk, _: FakeUltravox) -> None:
        with pytest.raises(ProviderUnavailable):
            await talk.until(ResponseDone)

    talk(HOURS, fault)(check)


def test_half_a_sample_is_kept_for_the_rest_of_it() -> None:
    async def check(talk: Talk, _: FakeUltravox) -> None:
        await talk.until(ResponseDone)
        assert all(len(event.pcm) % 2 == 0 for event in talk.of(AgentAudio))

    talk(HOURS, "odd")(check)
