"""Language models with a protocol of their own: asked as the vendors' types have it, and read whatever they send."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsStreaming
from aside import aside
from chat_servers import KEY, FakeAnthropic, FakeChat, FakeGemini, text, thinking, tool_use
from google.genai import types as google
from vendor_types import example, members, problems

from asterisk_ai.dialog.dialplan import ActionKind
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import catalog, testing
from asterisk_ai.providers.api import DialplanAction, Message, ReplyPart, Say, TurnRequest, Usage
from asterisk_ai.providers.net.answer import Answer
from asterisk_ai.providers.net.sse import EventReader
from asterisk_ai.providers.vendors.anthropic.message import Message as AnthropicMessage
from asterisk_ai.providers.vendors.gemini.content import Content

AGENT = {
    "name": "desk",
    "prompt": "You are the receptionist.",
    "tools": {"hangup": True, "transfer": {"sales": "200@from-internal"}, "digits": True},
}
FAKES: Mapping[str, type[FakeChat]] = {"anthropic": FakeAnthropic, "gemini": FakeGemini}
HISTORY = [Message("agent", "Hello."), Message("caller", "hi"), Message("agent", "Yes?")]


@pytest.fixture(params=FAKES)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake(vendor: str) -> Iterator[FakeChat]:
    with aside(FAKES[vendor]().running()) as (server,):
        yield server


def made(vendor: str, fake: FakeChat, **more: Any) -> Any:
    settings = {"base_url": fake.base_url, "api_key": KEY, "seconds": 2, **more}
    return catalog.LLM.load(vendor)(settings, AGENT)


def asked(engine: Any, *requests: TurnRequest) -> list[ReplyPart]:
    async def main() -> list[ReplyPart]:
        await engine.start()
        try:
            found: list[ReplyPart] = []
            for request in requests:
                async with engine.reply(request) as parts:
                    found += [part async for part in parts]
            return found
        finally:
            await engine.stop()

    return asyncio.run(asyncio.wait_for(main(), 20))


def said(parts: Sequence[ReplyPart]) -> str:
    return " ".join(part.text for part in parts if isinstance(part, Say))


def events(vendor: str, *content: str | tuple[str, str]) -> list[dict[str, Any]]:
    """An answer: texts, thoughts (in brackets) and calls, as the vendor sends them."""
    if vendor == "anthropic":
        blocks = [
            tool_use(part[0], part[1], f"toolu_{number}") if isinstance(part, tuple)
            else thinking(part, "c2ln") if part.startswith("[") else text(part)
            for number, part in enumerate(content)
        ]  # fmt: skip
        called = any(isinstance(part, tuple) for part in content)
        return FakeAnthropic.message(*blocks, reason="tool_use" if called else "end_turn")
    parts: list[dict[str, Any]] = [
        {"functionCall": {"name": part[0], "args": json.loads(part[1])}, "thoughtSignature": "c2ln"}
        if isinstance(part, tuple)
        else {"text": part, **({"thought": True} if part.startswith("[") else {})}
        for part in content
    ]
    return FakeGemini.content(*parts)


def test_conformance(vendor: str, fake: FakeChat) -> None:
    testing.check_language_model(
        lambda: made(vendor, fake), broken=lambda: made(vendor, fake, base_url="http://127.0.0.1:9")
    )


def test_thoughts_are_not_spoken_and_actions_are_done(vendor: str, fake: FakeChat) -> None:
    fake.script = [events(vendor, "[They want sales.]", "One moment, please.", ("transfer", '{"to": "sales"}'))]
    parts = asked(made(vendor, fake), TurnRequest("sales", history=HISTORY))
    assert said(parts) == "One moment, please."
    assert parts[-1] == DialplanAction(ActionKind.TRANSFER, {"exten": "200", "context": "from-internal"})


def test_what_came_of_a_call_is_told_with_the_thoughts_before_it(vendor: str, fake: FakeChat) -> None:
    fake.script = [
        events(vendor, "[Hm.]", ("transfer", '{"to": "the moon"}'), ("hang", "{}")),
        events(vendor, "Sorry, nobody is there."),
    ]
    assert said(asked(made(vendor, fake), TurnRequest("the moon", history=HISTORY))) == "Sorry, nobody is there."
    again = json.dumps(fake.requests[1])
    assert "to is one of sales" in again
    assert "c2ln" in again, "signatures of thoughts go back"
    assert "there is no function" in again


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        *((fault, ProviderUnavailable) for fault in "silent hang close reset 500 529 429 429-after".split()),
        *((fault, ProviderUnavailable) for fault in ("malformed", "error", "empty", "refused")),
        ("401", ProviderRejected),
        ("404", ProviderRejected),
    ],
)  # fmt: skip
def test_every_fault_is_one_of_the_two_errors(
    vendor: str, fake: FakeChat, fault: str, error: type[ProviderError]
) -> None:
    engine = made(vendor, fake, model=fault, seconds=0.3)
    with pytest.raises(error) as found:
        asked(engine, TurnRequest("hello"))
    assert isinstance(found.value, ProviderRejected) == (error is ProviderRejected)
    if fault == "429-after":
        assert "in 30 s" in str(found.value)


def test_an_answer_that_another_engine_began_goes_on(vendor: str, fake: FakeChat) -> None:
    asked(made(vendor, fake), TurnRequest("when", history=HISTORY, said=("We are open.",)))
    (body,) = fake.requests
    last = [json.dumps(one) for one in body["messages" if vendor == "anthropic" else "contents"][-2:]]
    assert "We are open." in last[0]
    assert "Go on behind it" in last[1]


def test_what_was_taken_is_told(vendor: str, fake: FakeChat) -> None:
    told: list[Usage] = []
    asked(made(vendor, fake), TurnRequest("hello", spent=told.append))
    assert told == [Usage(9, 0, 7 if vendor == "anthropic" else 9)]


def test_a_long_call_fits_and_what_was_called_stays_with_its_result(vendor: str, fake: FakeChat) -> None:
    long = [Message("agent" if number % 2 else "caller", f"turn {number} " * 10) for number in range(100)]
    fake.script = [events(vendor, "[Hm.]", ("transfer", '{"to": "the moon"}')), events(vendor, "Sorry.")]
    engine = made(vendor, fake, context_tokens=1500, max_tokens=300)
    assert said(asked(engine, TurnRequest("the moon", history=long, caller={"name": "Ann"}))) == "Sorry."
    for number, body in enumerate(fake.requests):
        assert len(json.dumps(body)) / 4 < 1500
        assert _problems(vendor, body) == []
        text = json.dumps(body)
        assert "Ann" in text
        assert "beginning of the conversation is left out" in text
        assert "turn 99" in text
        assert "turn 20 " not in text
        roles = [one["role"] for one in body["messages" if vendor == "anthropic" else "contents"]]
        assert all(one != other for one, other in pairwise(roles))
        assert ("to is one of sales" in text) == bool(number)


def test_leaving_in_the_middle_closes_everything_at_once(vendor: str, fake: FakeChat) -> None:
    problems: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        engine = made(vendor, fake)
        await engine.start()
        for _ in range(5):
            async with engine.reply(TurnRequest("hello")) as parts:
                async for part in parts:
                    assert isinstance(part, Say)
                    break
            gc.collect()
            await asyncio.sleep(0)
        await engine.stop()

    fake.script = [events(vendor, "One. ", "Two. ", "Three. ")]
    asyncio.run(asyncio.wait_for(main(), 20))
    assert problems == []


def test_a_wrong_key_is_told_before_the_first_call(vendor: str, fake: FakeChat) -> None:
    async def main() -> str:
        engine = made(vendor, fake, api_key="wrong")
        await engine.start()
        reason: str = engine.readiness().reason
        await engine.stop()
        return reason

    assert asyncio.run(main()) == "refused the key (401)"


# ---- streams, in every split --------------------------------------------------------------

READERS: Mapping[str, Callable[[], Answer]] = {
    "anthropic": lambda: AnthropicMessage("x"), "gemini": lambda: Content("x"),
}  # fmt: skip


def wire(found: Sequence[Mapping[str, Any]], end: str) -> bytes:
    return "".join(
        f"event: {one.get('type')}{end}data: {json.dumps(one, ensure_ascii=False)}{end}{end}" for one in found
    ).encode()


def read(vendor: str, pieces: Sequence[bytes]) -> tuple[str, list[tuple[str, Any]], bool]:
    reader, answer = EventReader(), READERS[vendor]()
    heard = "".join([answer.feed(one) for piece in pieces for one in reader.feed(piece)])
    heard += "".join([answer.feed(one) for one in reader.end()])
    return heard, [(call.name, call.given()) for call in answer.calls], answer.ended


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_split(vendor: str, end: str) -> None:
    data = wire(events(vendor, "[Hm.]", "Grüß ", "Gott.", ("transfer", '{"to": "Büro"}'), ("hangup", "{}")), end)
    whole = ("Grüß Gott.", [("transfer", {"to": "Büro"}), ("hangup", {})], True)
    for at in range(len(data) + 1):
        assert read(vendor, [data[:at], data[at:]]) == whole, at
    assert read(vendor, [data[at : at + 1] for at in range(len(data))]) == whole


def test_an_answer_that_is_not_streamed(vendor: str) -> None:
    whole: dict[str, Any] = {"candidates": [{"content": {"parts": [{"text": "Hi."}]}, "finishReason": "STOP"}]}
    if vendor == "anthropic":
        call = {"type": "tool_use", "id": "t", "name": "hangup", "input": {"why": "bye"}}
        whole = {"type": "message", "content": [text("Hi."), call], "stop_reason": "tool_use"}
    answer = READERS[vendor]()
    assert (answer.feed(json.dumps(whole)), answer.ended) == ("Hi.", True)
    assert [one.given() for one in answer.calls] == ([{"why": "bye"}] if vendor == "anthropic" else [])


@pytest.mark.parametrize("data", ["{", "[]", '{"error": {"message": "x"}}', '{"type": "content_block_delta"}'])
def test_what_makes_no_sense_is_a_failure(data: str) -> None:
    with pytest.raises(ProviderUnavailable):
        AnthropicMessage("x").feed(data)


# ---- the vendors' own types -------------------------------------------------------------------


def test_every_request_is_what_the_vendors_types_know(vendor: str, fake: FakeChat) -> None:
    wrong = events(vendor, "[Hm.]", "Well.", ("transfer", '{"to": "the moon"}'))
    own: Mapping[str, dict[str, Any]] = {
        "anthropic": {"thinking": {"type": "adaptive"}, "extra": {"metadata": {"user_id": "pbx"}}},
        "gemini": {
            "temperature": 0.5,
            "max_tokens": 90,
            "thinking": {"thinkingBudget": 0},
            "safety": {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"},
        },
    }
    request = TurnRequest("the moon", history=HISTORY, caller={"name": "Ann"})
    for settings in ({}, own[vendor]):
        fake.script = [wrong, wrong, events(vendor, "Sorry.")]
        asked(made(vendor, fake, **settings), request)
    assert len(fake.requests) == 6
    for body in fake.requests:
        assert _problems(vendor, body) == []


def _problems(vendor: str, body: Mapping[str, Any]) -> list[str]:
    if vendor == "anthropic":
        return problems(MessageCreateParamsStreaming, body)
    kinds: Mapping[str, Any] = {
        "contents": list[google.Content],
        "systemInstruction": google.Content,
        "tools": list[google.Tool],
        "generationConfig": google.GenerationConfig,
        "safetySettings": list[google.SafetySetting],
    }
    assert set(body) <= set(kinds)
    found = [one for key, value in body.items() for one in problems(kinds[key], value)]
    for content in body["contents"]:
        google.Content.model_validate(content)  # also what problems() does not look into, such as base64
    return found


def test_a_mistake_would_be_found() -> None:
    good = {"model": "m", "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    assert problems(MessageCreateParamsStreaming, good) == []
    assert problems(MessageCreateParamsStreaming, good | {"max_token": 5}) == ["the message: unknown key 'max_token'"]
    assert problems(MessageCreateParamsStreaming, good | {"messages": [{"role": "me", "content": "hi"}]})
    assert problems(google.GenerationConfig, {"maxTokens": 5})


@pytest.mark.parametrize("whole", [False, True])
def test_every_event_of_anthropic_is_understood(whole: bool) -> None:
    seen = set()
    for kind in members(RawMessageStreamEvent):
        event = example(kind, whole=whole)
        answer = AnthropicMessage("x")
        block = {"type": "content_block_start", "index": event.get("index", 0), "content_block": text("")}
        answer.feed(json.dumps(block))
        answer.feed(json.dumps(event))
        seen.add(event["type"])
    assert {"message_start", "content_block_start", "content_block_delta", "message_delta", "message_stop"} <= seen


@pytest.mark.parametrize("whole", [False, True])
def test_every_answer_of_gemini_is_understood(whole: bool) -> None:
    event = example(google.GenerateContentResponse, whole=whole, depth=7)
    event.pop("promptFeedback", None)  # an answer that is blocked has nothing else
    for candidate in event.get("candidates", ()):
        candidate["finishReason"] = "STOP"
        for part in candidate["content"]["parts"]:
            part["thought"] = False
    answer = Content("x")
    assert answer.feed(json.dumps(event)) == ("AAAA" if whole else "")
    assert [call.name for call in answer.calls] == (["AAAA"] if whole else [])


# ---- what is kept from turn to turn ----------------------------------------------------------------


def test_what_stays_the_same_is_marked_for_the_cache() -> None:
    with aside(FakeAnthropic().running()) as (fake,):
        asked(made("anthropic", fake), TurnRequest("hi", history=HISTORY))
        asked(made("anthropic", fake, cache=False), TurnRequest("hi", history=HISTORY))
    kept, plain = fake.requests
    marked = {"type": "ephemeral"}
    assert kept["system"][0]["cache_control"] == marked
    assert [
        message["content"][-1]["cache_control"] for message in kept["messages"] if isinstance(message["content"], list)
    ] == [marked]
    assert kept["messages"][-1]["content"] == "hi", "what is new is not kept"
    assert "cache_control" not in json.dumps(plain)
