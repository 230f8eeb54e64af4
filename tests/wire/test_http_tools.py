"""HTTP tools that the administrator declares, against a real server that answers well, badly and not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openai_server import KEY, FakeOpenAI
from realtime_server import FakeRealtime
from shop import Shop, tool
from sound import tone
from talk import Talk
from whole_calls import calls, records

from asterisk_ai.config import parse
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api import RealtimeRequest, ReplyPart, ResponseDone, Say, TurnRequest
from asterisk_ai.providers.chain import LanguageModelChain, Limits, Member, Trouble
from asterisk_ai.providers.ledger import Ledger
from asterisk_ai.providers.tools.http import BadToolCall, declare
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.openai import OpenAIChat
from asterisk_ai.providers.vendors.openai.realtime import OpenAIRealtime
from asterisk_ai.session.model import CallSession


def one(**more: Any) -> Any:
    return declare({"order": tool(**more)}, "agents.a.tools.http")["order"]


# ---- templates ------------------------------------------------------------------------


def test_what_models_add_is_left_out_and_what_they_clearly_mean_is_taken() -> None:
    parameters = {"number": {"type": "string"}, "count": {"type": "integer"}, "gift": {"type": "boolean"}}
    made = one(
        method="post", url="http://shop.test/x", body={"all": ["{number}", "{count}", "{gift}"]}, parameters=parameters
    )
    loose = made.request({"number": 42, "count": "3", "gift": "true", "reason": "asked"}, {})
    exact = made.request({"number": "42", "count": 3, "gift": True}, {})
    assert json.loads(loose.content) == {"all": ["42", 3, True]}
    assert loose.key == exact.key, "it is the same order, and not sent twice"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("12 34", "/ok/12%2034"),
        ("a/b?c#d&e=f", "/ok/a%2Fb%3Fc%23d%26e%3Df"),
        ("@evil.test:80/", "/ok/%40evil.test%3A80%2F"),
        ("Käse", "/ok/K%C3%A4se"),
        ("a\r\nHost: evil.test", None),
        ("..", None),
        (".", None),
        ("x/../..", None),
        ("y" * 501, None),
    ],
)
def test_what_the_model_chose_stays_in_its_place_of_the_url(value: str, path: str | None) -> None:
    if path is None:
        with pytest.raises(BadToolCall):
            one().request({"number": value}, {})
    else:
        assert one().request({"number": value}, {}).url == f"http://shop.test{path}"


def test_values_in_a_body_are_json() -> None:
    body = {
        "phone": "{caller.number}",
        "n": "{count}",
        "urgent": "{urgent}",
        "text": "about: {subject}",
        "list": ["{count}"],
    }
    parameters = {
        "subject": {"type": "string"},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "urgent": {"type": "boolean", "required": False},
    }
    made = one(method="post", url="http://shop.test/x", body=body, parameters=parameters)
    request = made.request({"subject": 'x", "admin": true', "count": 3}, {"number": "200"})
    assert json.loads(request.content) == {
        "phone": "200",
        "n": 3,
        "text": 'about: x", "admin": true',
        "list": [3],
    }
    assert request.headers["Content-Type"] == "application/json"
    text = one(method="POST", url="http://shop.test/x", body='{"a": ["{number}"]}')
    assert json.loads(text.request({"number": '"]'}, {}).content) == {"a": ['"]']}
    for wrong in (
        {"subject": "x"},
        {"subject": "x", "count": 10},
        {"subject": "x", "count": True},
        {"subject": "x", "count": 1.5},
        {"subject": [5], "count": 1},
        {"subject": "x", "count": "many"},
    ):
        with pytest.raises(BadToolCall):
            made.request(wrong, {})


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"url": "http://{number}.test/"}, "url"),
        ({"url": "http://shop.test:{number}/"}, "url"),
        ({"url": "ftp://shop.test/"}, "url"),
        ({"url": "{number}"}, "url"),
        ({"url": "http://user@shop.test/"}, "url"),
        ({"url": "http://shop.test/{nummer}"}, "url"),
        ({"method": "CONNECT"}, "method"),
        ({"body": {"a": 1}}, "body"),
        ({"method": "POST", "body": "no JSON"}, "body"),
        ({"method": "POST", "body": {"a": "{nummer}"}}, "body"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": "5"}, "seconds"),
        ({"hosts": ["other.test"]}, "hosts"),
        ({"description": ""}, "description"),
        ({"parameters": {"number": {"type": "object"}}}, "parameters"),
        ({"parameters": {"number": {"type": "string", "pattern": "("}}}, "pattern"),
        ({"headers": {"X": "a\nb"}}, "headers"),
        ({"ulr": "x"}, "ulr: unknown key; did you mean 'url'?"),
        ({"parameters": {"number": {"type": "string", "patern": "x"}}}, "patern: unknown key; did you mean 'pattern'?"),
    ],
)
def test_declarations_that_cannot_be(wrong: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one(**wrong)
    assert caught.value.path.startswith("agents.a.tools.http.order")
    assert where.partition(":")[0] in caught.value.path
    assert where in str(caught.value)


def test_secrets_come_from_the_environment_and_are_not_shown() -> None:
    text = """
default_agent: a
pipelines: {offline: {llm: "openai"}}
agents:
  a:
    tools:
      http:
        order:
          description: x
          url: http://shop.test/
          headers: {Authorization: "Bearer ${SHOP_KEY}"}
"""
    config = parse(text, environ={"SHOP_KEY": "s3cret"})
    headers = config.agents["a"].tools["http"]["order"]["headers"]
    assert str(headers["Authorization"]) == "Bearer s3cret"
    assert "s3cret" not in repr(config)


# ---- requests -----------------------------------------------------------------------------


def send(*steps: Mapping[str, Any], **more: Any) -> tuple[list[str], Shop]:
    """What comes of calling the tool with each of ``steps``, one after the other, in one call."""

    async def main() -> tuple[list[str], Shop]:
        async with Shop().running() as shop:
            ready = {
                key: value.replace("SHOP", shop.url) if isinstance(value, str) else value for key, value in more.items()
            }
            box = Toolbox({"http": {"order": tool(shop, **ready)}}, "agents.a.tools")
            await box.start()
            ledger = Ledger()
            results = []
            for arguments in steps:
                request = box.request("order", json.dumps(arguments), {})
                results.append(await request.result(ledger, at_once))
            await box.stop()
            assert asyncio.all_tasks() - {asyncio.current_task()} <= servers()
            return results, shop

    return asyncio.run(main())


async def at_once() -> None: ...


def servers() -> set[Any]:
    return {task for task in asyncio.all_tasks() if "FakeHttp._serve" in repr(task)}


def test_the_result_goes_back_to_the_model() -> None:
    results, shop = send({"number": "7"}, headers={"X-Key": "k"})
    assert results == ['{"state": "shipped /ok/7"}']
    assert shop.requests[0][2]["x-key"] == "k"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("silent", "error: no answer within 0.2 s"),
        ("close", "error: RemoteProtocolError"),
        ("500", "error: the service answered 500"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_failures_are_told_to_the_model(path: str, told: str, method: str) -> None:
    results, shop = send({"number": "7"}, {"number": "7"}, url=f"SHOP/{path}", method=method, seconds=0.2)
    assert results[0].startswith(told)
    if method == "GET":
        assert len(shop.requests) == 2, "it may be asked again"
    else:
        assert len(shop.requests) == 1, "sent once, whatever came of it"
        assert ("Do not send it again" in results[1]) == (path != "500")


def test_an_answer_has_a_bound() -> None:
    (result,), _ = send({"number": "7"}, url="SHOP/huge")
    assert result.endswith("... (cut off)")
    assert len(result) < 8100


def test_redirects_stay_on_the_list() -> None:
    (result,), shop = send({"number": "7"}, url="SHOP/redirect?302=/ok", headers={"X-Key": "k"})
    assert result == '{"state": "shipped /ok"}'
    assert shop.requests[1][2]["x-key"] == "k"
    (result,), _ = send({"number": "7"}, url="SHOP/redirect?302=http://localhost:1/x")
    assert result == "error: order: the host is not allowed"
    (result,), shop = send({"number": "7"}, url="SHOP/redirect?307=/ok", method="POST")
    assert "not sent twice" in result
    assert len(shop.requests) == 1
    (result,), shop = send({"number": "7"}, url="SHOP/redirect?303=/ok", method="POST", body={"n": "{number}"})
    assert [request[0] for request in shop.requests] == ["POST", "GET"]
    (result,), shop = send({"number": "7"}, url="SHOP/redirect?302=/redirect?302=/x")
    assert len(shop.requests) <= 4


def test_the_same_is_not_done_twice_in_a_call() -> None:
    results, shop = send({"number": "7"}, {"number": "7"}, {"number": "8"}, method="POST")
    assert [request[1] for request in shop.requests] == ["/ok/7", "/ok/8"]
    assert results[1] == f"(done before in this call, not done again) {results[0]}"


def test_what_never_reached_the_service_may_be_tried_again() -> None:
    results, _ = send({"number": "7"}, {"number": "7"}, method="POST", url="http://127.0.0.1:9/x")
    assert results[0].startswith("error: the service cannot be reached")
    assert results[1] == results[0], "tried again"


def test_what_was_sent_is_kept_with_the_call() -> None:
    async def main() -> None:
        async with Shop().running() as shop:
            saved: list[str] = []
            session = CallSession("1", "a")
            box = Toolbox({"http": {"order": tool(shop, method="POST")}}, "agents.a.tools")
            await box.start()
            ledger = Ledger(session.done, lambda: saved.append(session.to_json()))
            await box.request("order", '{"number": "7"}', {}).result(ledger, at_once)
            assert len(saved) == 2, "before it was sent, and after"
            again = CallSession.from_json(saved[0])
            told = await box.request("order", '{"number": "7"}', {}).result(Ledger(again.done), at_once)
            assert "not known" in told, "a server that takes the call over does not know what came of it"
            assert len(shop.requests) == 1
            await box.stop()

    asyncio.run(main())


def test_nothing_is_changed_before_the_turn_is_certain_and_what_was_sent_goes_on() -> None:
    async def main() -> None:
        async with Shop().running() as shop:
            box = Toolbox({"http": {"order": tool(shop, method="POST", url=f"{shop.url}/slow")}}, "agents.a.tools")
            await box.start()
            certain, ledger = asyncio.Event(), Ledger()
            draft = asyncio.ensure_future(box.request("order", '{"number": "7"}', {}).result(ledger, certain.wait))
            await asyncio.sleep(0.1)
            draft.cancel()
            assert not shop.requests, "the caller went on"
            certain.set()
            sent = asyncio.ensure_future(box.request("order", '{"number": "7"}', {}).result(ledger, certain.wait))
            await asyncio.sleep(0.1)
            sent.cancel()  # the caller interrupts the answer
            again = await box.request("order", '{"number": "7"}', {}).result(ledger, certain.wait)
            assert "shipped" in again
            assert len(shop.requests) == shop.ended == 1
            await box.stop()

    asyncio.run(main())


# ---- with a model ---------------------------------------------------------------------------


def agent(shop: Shop, **more: Any) -> dict[str, Any]:
    return {"name": "desk", "tools": {"hangup": True, "http": {"order": tool(shop, **more)}}}


async def parts_of(chain: LanguageModelChain, request: TurnRequest) -> list[ReplyPart]:
    async with chain.reply(request) as parts:
        return [part async for part in parts]


def ask(*models: str, limit: float = 2.0, **more: Any) -> tuple[list[str], FakeOpenAI, Shop, list[Trouble]]:
    """One turn with a chain of models (see :class:`FakeOpenAI` for their faults) that call the tool."""

    async def main() -> tuple[list[str], FakeOpenAI, Shop, list[Trouble]]:
        fake = FakeOpenAI({"my order": ("", "order", '{"number": "7"}')})
        fake.after_tool = "It says {}."
        troubles: list[Trouble] = []
        async with Shop().running() as shop, fake.running():
            ready = {
                key: value.replace("SHOP", shop.url) if isinstance(value, str) else value for key, value in more.items()
            }
            engines = [
                OpenAIChat({"base_url": fake.base_url, "api_key": KEY, "chat": {"model": name}}, agent(shop, **ready))
                for name in models
            ]
            members = [Member(f"m{number}", engine) for number, engine in enumerate(engines)]
            for engine in engines:
                await engine.start()
            chain = LanguageModelChain(members, Limits(limit), troubles.append)
            parts = await parts_of(chain, TurnRequest("my order"))
            for engine in engines:
                await engine.stop()
        return [part.text for part in parts if isinstance(part, Say)], fake, shop, troubles

    return asyncio.run(main())


def test_the_model_hears_the_result_and_the_caller_that_it_takes_a_moment() -> None:
    said, fake, shop, _ = ask("good", say="One moment.", headers={"X-Key": "s3cret"})
    assert " ".join(said) == 'One moment. It says "state": "shipped /ok/7".'
    assert len(shop.requests) == 1
    schemas = [item["function"]["name"] for item in fake.requests[0][1]["tools"]]
    assert schemas == ["hangup", "order"]
    last = fake.requests[-1][1]["messages"][-1]
    assert (last["role"], last["tool_call_id"]) == ("tool", "call_1")
    assert "s3cret" not in json.dumps(fake.requests)


def test_a_slow_tool_is_not_held_against_the_model() -> None:
    said, _, _, troubles = ask("good", limit=0.2, url="SHOP/slow", seconds=1)
    assert " ".join(said) == 'It says "state": "shipped /slow".'
    assert not troubles
    said, _, _, troubles = ask("good", limit=0.2, url="SHOP/silent", seconds=0.3)
    assert " ".join(said) == "It says error: no answer within 0.3 s."


def test_a_model_that_fails_after_the_request_does_not_have_it_sent_again() -> None:
    said, _, shop, troubles = ask("tool-close", "good", method="POST", body={"n": "{number}"})
    assert [trouble.next for trouble in troubles] == ["m1"]
    assert len(shop.requests) == 1
    assert "shipped /ok/7" in " ".join(said)


def test_a_whole_call(tmp_path: Path) -> None:
    async def main() -> Shop:
        fake = FakeOpenAI({"my order": ("", "order", '{"number": "7"}')})
        fake.after_tool = "Shipped."
        async with Shop().running() as shop, fake.running():
            config = f"""
pipelines: {{offline: {{stt: ears, llm: openai, tts: voice}}}}
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {tmp_path}/sessions.db}}
providers:
  ears: {{engine: "faulty:FaultySpeechToText", words: my order}}
  voice: {{engine: "faulty:FaultyTextToSpeech"}}
  openai: {{base_url: "{fake.base_url}", api_key: {KEY}}}
agents:
  desk:
    greeting: Hello
    turn: {{endpoint_ms: 200, no_input_seconds: 60}}
    tools:
      http:
        order:
          description: The state of an order.
          method: POST
          url: "{shop.url}/slow"
          body: {{number: "{{number}}", from: "{{caller.number}}"}}
          parameters: {{number: {{type: string}}}}
          say: One moment.
"""
            await calls(config, ["desk"])
        return shop

    shop = asyncio.run(main())
    record = records(tmp_path)["desk"]
    assert [turn.text for turn in record.history if turn.role == "agent"] == ["Hello", *["One moment. Shipped."] * 2]
    assert record.troubles == []
    assert json.loads(shop.requests[0][3]) == {"number": "7", "from": "5550100"}
    assert len(shop.requests) == 1, "asked twice in the call, done once"
    assert len(record.done) == 1


def test_a_service_of_speech_to_speech_asks_as_well() -> None:
    async def main() -> None:
        answers = {400: ("", "order", '{"number": "7"}'), '{"state": "shipped /ok/7"}': ("It is shipped.", "", "")}
        async with Shop().running() as shop, FakeRealtime(answers).running() as fake:
            engine = OpenAIRealtime(
                {"base_url": fake.base_url, "api_key": KEY}, agent(shop, method="POST", say="Wait.")
            )
            await engine.start()
            async with engine.open(RealtimeRequest(8000)) as session:
                talk = Talk(session, 8000)
                talk.speech = tone(400)
                feeding = asyncio.create_task(talk.feed())
                while "shipped" not in talk.words():
                    await talk.until(ResponseDone)
                feeding.cancel()
                assert "Wait." in talk.words()
                assert [request[1] for request in shop.requests] == ["/ok/7"]
                assert not fake.conversations[-1].errors
            await engine.stop()

    asyncio.run(asyncio.wait_for(main(), 20))
