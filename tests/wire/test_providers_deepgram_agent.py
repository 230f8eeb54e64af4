"""Deepgram's voice agent against the published protocol, with every fault."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest
from aside import aside
from deepgram_agent_server import KEY, FakeDeepgramAgent
from deepgram_server import FakeDeepgram
from shop import Shop, tool
from sound import tone
from talk import Talk

from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected, ProviderUnavailable
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
from asterisk_ai.providers.vendors.deepgram.agent import DeepgramAgent

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


def engine(fake: FakeDeepgramAgent, service: FakeDeepgram, fault: str = "", **agent: Any) -> DeepgramAgent:
    settings = {"base_url": service.base_url, "api_key": KEY, "seconds": 1.0, "connect_seconds": 0.5}
    return DeepgramAgent({**settings, "agent": {"url": fake.url(fault)}}, {**AGENT, **agent})


def test_conformance() -> None:
    dead = {"base_url": "http://127.0.0.1:9/v1", "api_key": KEY, "agent": {"url": "ws://127.0.0.1:9/"}}
    with aside(FakeDeepgramAgent(ANSWERS).running(), FakeDeepgram().running()) as (fake, service):
        testing.check_realtime_agent(
            lambda: engine(fake, service), speech=tone(HOURS), broken=lambda: DeepgramAgent(dead, AGENT)
        )
        testing.check_realtime_agent(lambda: engine(fake, service), speech=tone(HOURS, rate=16_000), rate=16_000)


def talk(hertz: int = 0, fault: str = "", request: RealtimeRequest | None = None, **agent: Any) -> Any:
    """Decorates what is done in a conversation with the fake; the caller says a tone, if any."""

    def run(what: Any) -> None:
        async def main() -> None:
            fake, service = FakeDeepgramAgent(ANSWERS), FakeDeepgram()
            async with fake.running(), service.running():
                made = engine(fake, service, fault, **agent)
                await made.start()
                try:
                    async with made.open(request or RealtimeRequest(8000)) as session:
                        conversation = Talk(session, 8000, pace=2.0)
                        conversation.speech = tone(hertz) if hertz else b""
                        feeding = asyncio.create_task(conversation.feed())
                        await what(conversation, fake)
                        feeding.cancel()
                finally:
                    await made.stop()

        asyncio.run(asyncio.wait_for(main(), 20))

    return run


def test_the_session_is_as_it_is_to_be() -> None:
    turns = [Message("caller", "hello"), Message("agent", "Yes?")]
    request = RealtimeRequest(8000, GREETING, turns, {}, {"number": "200", "name": "Ann", "channel": "x"})

    async def check(talk: Talk, fake: FakeDeepgramAgent) -> None:
        await talk.until(ResponseDone)
        assert talk.words() == GREETING
        agent = fake.sessions[0].settings["agent"]
        assert agent["context"]["messages"][2] == {"type": "History", "role": "assistant", "content": "Yes?"}
        assert agent["listen"]["provider"] == {"type": "deepgram", "model": "nova-3", "language": "en"}
        assert agent["speak"]["provider"]["model"] == "aura-2-apollo-en"
        assert agent["think"]["prompt"].startswith("You are the receptionist.")
        assert agent["think"]["prompt"].endswith("The caller: number 200.")
        assert "Ann" in agent["context"]["messages"][0]["content"]
        assert [function["name"] for function in agent["think"]["functions"]] == ["hangup", "transfer"]

    talk(request=request, voice="aura-2-apollo-en")(check)


def test_the_caller_asks_and_is_answered() -> None:
    async def check(talk: Talk, _: FakeDeepgramAgent) -> None:
        await talk.until(ResponseDone)
        kinds = [type(event) for event in talk.seen]
        assert (
            kinds.index(SpeechStarted) < kinds.index(SpeechStopped) < kinds.index(CallerText) < kinds.index(AgentText)
        )
        assert talk.of(CallerText) == [CallerText("a tone of 400 hertz", talk.of(SpeechStarted)[0].item)]
        assert sum(len(event.pcm) for event in talk.of(AgentAudio)) == 9 * 4000

    talk(HOURS)(check)


def test_the_caller_interrupts() -> None:
    async def check(talk: Talk, fake: FakeDeepgramAgent) -> None:
        first = await talk.until(AgentAudio)
        talk.speech = tone(HOURS)
        await talk.until(SpeechStarted)
        await talk.until(ResponseDone)
        talk.session.interrupt(first.item, 100)
        await talk.until(CallerText)
        answer = await talk.until(AgentAudio)
        assert answer.item != first.item
        assert fake.sessions[0].interruptions == 1

    talk(request=RealtimeRequest(8000, GREETING * 3))(check)


def test_tools() -> None:
    async def transfer(talk: Talk, fake: FakeDeepgramAgent) -> None:
        call = await talk.until(ToolCall)
        assert call.part == DialplanAction("transfer", {"exten": "200", "context": "from-internal"})
        talk.session.tool_done(call.call, "done", answer=True)
        await talk.until(ResponseDone)

    async def wrong(talk: Talk, fake: FakeDeepgramAgent) -> None:
        problem = await talk.until(ServiceProblem)
        assert "may not" in problem.text
        await talk.until(ResponseDone)
        assert "error: transfer" in talk.words()
        assert not talk.of(ToolCall)

    talk(SALES)(transfer)
    talk(WRONG)(wrong)


def test_a_function_called_before_the_turn_is_over_waits_for_its_end_and_one_that_was_cancelled_is_not_done() -> None:
    async def early(talk: Talk, fake: FakeDeepgramAgent) -> None:
        call = await talk.until(ToolCall)
        assert [type(event) for event in talk.seen if not isinstance(event, ServiceProblem)] == [
            SpeechStarted,
            SpeechStopped,
            CallerText,
            ToolCall,
        ]
        assert talk.of(ServiceProblem)[0].text == "slow think request (SLOW_THINK_REQUEST)"
        talk.session.tool_done(call.call, "done", answer=True)
        await talk.until(ResponseDone)

    async def resumed(talk: Talk, fake: FakeDeepgramAgent) -> None:
        await talk.until(ResponseDone)
        assert not talk.of(ToolCall)
        assert len(talk.of(SpeechStarted)) == 1, "it is the same turn"
        talk.session.tool_done("call_1", "done", answer=True)
        await asyncio.sleep(0.1)
        assert [one["type"] for one in fake.sessions[0].messages if one["type"] != "KeepAlive"] == ["Settings"]

    talk(SALES, "early")(early)
    talk(SALES, "resumed")(resumed)


def test_a_message_of_ours_that_is_refused_is_told_again_and_not_spoken() -> None:
    async def check(talk: Talk, fake: FakeDeepgramAgent) -> None:
        talk.session.tell("(dialled on the keys: 1)")
        await talk.until(ResponseDone)
        kinds = [one["type"] for one in fake.sessions[0].messages if one["type"].startswith("Inject")]
        assert kinds == ["InjectUserMessage", "InjectUserMessage"]

    talk(0, "refuse-user")(check)


def wanted(agent: dict[str, Any], **own: Any) -> dict[str, Any]:
    made = DeepgramAgent({"agent": agent}, {**AGENT, **own})
    found: dict[str, Any] = made.wanted(RealtimeRequest(8000))["agent"]
    return found


def test_the_makers_of_voices_and_models_have_keys_of_their_own() -> None:
    assert wanted({}, voice="aura-2-luna-en")["speak"]["provider"]["model"] == "aura-2-luna-en"
    cartesia = {"type": "cartesia", "model_id": "sonic-2"}
    assert wanted({"speak": cartesia}, voice="a1")["speak"]["provider"] == {
        **cartesia,
        "voice": {"mode": "id", "id": "a1"},
    }
    eleven = {"provider": {"type": "eleven_labs", "model_id": "eleven_turbo_v2_5"}, "endpoint": {"url": "wss://x/a1"}}
    assert wanted({"speak": eleven}, voice="a1")["speak"] == eleven
    assert wanted({})["listen"]["provider"]["language"] == "en"
    flux = {"type": "deepgram", "version": "v2", "model": "flux-general-en"}
    assert wanted({"listen": flux})["listen"]["provider"] == flux
    own = {"endpoint": {"url": "https://llm.example/v1"}, "provider": {"type": "open_ai", "model": "mine"}}
    think = wanted({"think": own})["think"]
    assert (think["endpoint"], think["provider"]) == (own["endpoint"], own["provider"])
    assert "receptionist" in think["prompt"]
    assert all(function["defer_until_eot"] for function in think["functions"])


def test_other_settings_of_the_vendor_are_merged_and_not_replaced() -> None:
    made = DeepgramAgent({"agent": {"extra": {"agent": {"language": "de"}, "tags": ["pbx"]}}}, AGENT)
    found = made.wanted(RealtimeRequest(8000))
    assert (found["agent"]["language"], found["tags"]) == ("de", ["pbx"])
    assert found["agent"]["think"]["prompt"]


def test_http_tools() -> None:
    async def main() -> None:
        async with Shop().running() as shop:
            fake, service = FakeDeepgramAgent(ANSWERS), FakeDeepgram()
            async with fake.running(), service.running():
                tools = {"http": {"order": tool(shop, method="POST", say="One moment.")}}
                made = engine(fake, service, tools=tools)
                await made.start()
                async with made.open(RealtimeRequest(8000)) as session:
                    conversation = Talk(session, 8000, pace=2.0)
                    conversation.speech = tone(ORDER)
                    feeding = asyncio.create_task(conversation.feed())
                    while "shipped" not in conversation.words():
                        await conversation.until(AgentText)
                    feeding.cancel()
                assert "One moment." in conversation.words()
                assert [request[1] for request in shop.requests] == ["/ok/7"]
                assert not conversation.of(ToolCall)
                await made.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


FAULTS: dict[str, type[ProviderError]] = dict.fromkeys(
    "silent-handshake 429 429-after 500 silent malformed-setup close-setup hang close reset malformed shapeless".split(
        " "
    ),
    ProviderUnavailable,
) | dict.fromkeys(["401", "403", "refused"], ProviderRejected)


async def listen(made: DeepgramAgent) -> None:
    async with made.open(RealtimeRequest(8000, GREETING)) as session, aclosing(session.events()) as events:
        async for _ in events:
            pass


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_one_of_the_two_errors(fault: str) -> None:
    async def main() -> None:
        fake, service = FakeDeepgramAgent(ANSWERS), FakeDeepgram()
        async with fake.running(), service.running():
            made = engine(fake, service, fault)
            await made.start()
            began = time.monotonic()
            with pytest.raises(FAULTS[fault]):
                await listen(made)
            assert time.monotonic() - began < 6.0
            if fault == "429-after":
                assert "left alone for 30 s" in made.readiness().reason
            await made.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("fault", ["error", "failed", "odd", "slow"])
def test_what_the_session_survives(fault: str) -> None:
    async def check(talk: Talk, _: FakeDeepgramAgent) -> None:
        done = await talk.until(ResponseDone)
        assert ("Failed to" in done.problem) == (fault in ("error", "failed"))
        talk.session.say("Goodbye.")
        await talk.until(AgentText)

    talk(HOURS, fault)(check)


def test_settings_that_cannot_be() -> None:
    for wrong in ({"agent": {"url": "http://x"}}, {"agent": {"modle": 1}}, {"agent": {"think": "gpt"}}):
        with pytest.raises(ConfigError, match=r"providers\.deepgram\.agent"):
            DeepgramAgent(wrong, AGENT)
