"""What engines cost: counted by call and engine, and a limit leads to the next engine, not to silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asterisk_ai.agents.engines import Engines
from asterisk_ai.call.spending import Spending
from asterisk_ai.cli.calls import print_call
from asterisk_ai.errors import ConfigError, ProviderRejected, ProviderUnavailable, QuotaExceeded, RateLimited
from asterisk_ai.providers import catalog
from asterisk_ai.providers.api import (
    Hints,
    LanguageModel,
    ReplyPart,
    Say,
    SpeechToText,
    TextToSpeech,
    Transcript,
    TurnRequest,
    Usage,
    ignore,
)
from asterisk_ai.providers.chain import (
    LanguageModelChain,
    Limits,
    Member,
    Meter,
    SpeechToTextChain,
    TextToSpeechChain,
    Trouble,
    TroubleKind,
    listening,
)
from asterisk_ai.providers.net.http import RateLimit
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.metrics import Metrics

PRICE = {"input_tokens": 1.0, "cached_tokens": 0.1, "output_tokens": 5.0, "characters": 50.0, "minute": 0.06}


class Model(LanguageModel):
    def __init__(self, words: str, usage: Usage) -> None:
        self.words, self.usage = words, usage

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        async def parts() -> AsyncIterator[ReplyPart]:
            yield Say(self.words)
            request.spent(self.usage)

        yield parts()


class Ears(SpeechToText):
    sample_rates = (8000,)

    @asynccontextmanager
    async def open(self, *, rate: int, hints: Hints, partial: Any = ignore) -> AsyncIterator[Any]:
        class Stream:
            def feed(self, pcm: bytes) -> None: ...

            async def finish(self) -> Transcript:
                return Transcript("hello")

        yield Stream()


class Voice(TextToSpeech):
    sample_rate = 8000

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(160)

        yield pieces()


def meter(now: list[float] | None = None, **limits: float) -> Meter:
    clock = now or [1_000_000.0]
    made = Meter(lambda: clock[0])
    made.set({"price": PRICE, "limits": limits}, "x")
    return made


@pytest.fixture
def session() -> CallSession:
    return CallSession("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "a")


@pytest.fixture
def troubles(session: CallSession) -> Iterator[list[Trouble]]:
    found: list[Trouble] = []
    with listening(found.append, Spending(session, Metrics())):
        yield found


def test_prices() -> None:
    made = meter()
    assert made.add(Usage(1_000_000, 500_000, 100_000)) == pytest.approx(0.5 + 0.05 + 0.5)
    assert made.add(Usage(characters=1000, seconds=120)) == pytest.approx(0.05 + 0.12)


def test_a_limit_of_a_day_is_over_at_midnight() -> None:
    now = [1_000_000.0]
    made = meter(now, day=1.0)
    made.add(Usage(1_000_000))
    assert made.problem() == "its limit of 1 a day is reached"
    now[0] += 86_400
    assert made.problem() == ""


def test_all_three_stages_are_counted(session: CallSession, troubles: list[Trouble]) -> None:
    async def main() -> None:
        llm = LanguageModelChain([Member("m", Model("Hi.", Usage(1000, 200, 50)), meter=meter())], Limits())
        async with llm.reply(TurnRequest("hello")) as parts:
            assert [part async for part in parts] == [Say("Hi.")]
        stt = SpeechToTextChain([Member("e", Ears(), meter=meter())], Limits())
        async with stt.open(rate=8000, hints=Hints()) as stream:
            stream.feed(bytes(16_000))
            await stream.finish()
        tts = TextToSpeechChain([Member("v", Voice(), meter=meter())], Limits())
        async with tts.open("Hello there.") as pieces:
            assert [pcm async for pcm in pieces]

    asyncio.run(main())
    assert session.usage == {
        "llm/m": {"input_tokens": 1000, "cached_tokens": 200, "output_tokens": 50, "cost": 0.00107},
        "stt/e": {"seconds": 1.0, "cost": 0.001},
        "tts/v": {"characters": 12, "cost": 0.0006},
    }
    assert CallSession.from_json(session.to_json()).usage == session.usage


@pytest.mark.parametrize(("limits", "says"), [({"call": 0.01}, "a call"), ({"day": 0.01}, "a day")])
def test_a_limit_leads_to_the_next_engine(
    limits: dict[str, float], says: str, session: CallSession, troubles: list[Trouble]
) -> None:
    dear = Member[LanguageModel]("dear", Model("Dear.", Usage(10_000)), meter=meter(**limits))
    cheap = Member[LanguageModel]("cheap", Model("Cheap.", Usage(10_000)))
    chain = LanguageModelChain([dear, cheap], Limits())

    async def ask() -> str:
        async with chain.reply(TurnRequest("hello")) as parts:
            return "".join([part.text async for part in parts if isinstance(part, Say)])

    assert [asyncio.run(ask()) for _ in range(3)] == ["Dear.", "Cheap.", "Cheap."]
    assert {(trouble.engine, trouble.next, trouble.kind) for trouble in troubles} == {
        ("dear", "cheap", TroubleKind.UNREADY)
    }
    assert says in troubles[0].reason
    alone = LanguageModelChain([dear], Limits())
    chain = alone
    assert asyncio.run(ask()) == "Dear.", "a limit is no reason for silence"
    assert chain.readiness().ready


def test_another_calls_limit_is_its_own(session: CallSession) -> None:
    dear = Member[LanguageModel]("dear", Model("Dear.", Usage(10_000)), meter=meter(call=0.01))
    with listening(lambda trouble: None, Spending(session, Metrics())):
        LanguageModelChain([dear], Limits()).spend(next(LanguageModelChain([dear], Limits()).attempts()), Usage(10_000))
        assert dear.enough()
    other = CallSession("7ba7b810-9dad-11d1-80b4-00c04fd430c8", "a")
    with listening(lambda trouble: None, Spending(other, Metrics())):
        assert not dear.enough()


def test_metrics_and_the_record_for_people(session: CallSession, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics()
    purse = Spending(session, metrics)
    purse.spent("llm", "m", Usage(1000, 0, 50), 0.00125)
    purse.close()
    purse.spent("llm", "m", Usage(1), 0.0)
    text = metrics.render().decode()
    assert 'ai_agent_provider_usage_total{provider="m",stage="llm",unit="input_tokens"} 1001.0' in text
    assert 'ai_agent_provider_cost_total{provider="m",stage="llm"} 0.00125' in text
    print_call(session)
    assert "llm/m: 1000 input tokens, 50 output tokens, 0.0013 cost" in capsys.readouterr().out


def test_prices_and_limits_are_not_the_engines_settings_and_are_checked() -> None:
    engines = Engines()
    settings = {"api_key": "x", "voice": "v", "price": PRICE, "limits": {"day": 20}}
    key = engines.take(catalog.TTS, "cartesia", settings, None)
    assert engines.member("cartesia", key).meter.add(Usage(characters=1000)) == pytest.approx(0.05)
    assert engines.take(catalog.TTS, "cartesia", {**settings, "price": {}}, None) == key, "a price is no other engine"
    for wrong, path in (({"prise": 1}, "price.prise"), ({"characters": -1}, "price.characters")):
        with pytest.raises(ConfigError) as found:
            engines.take(catalog.TTS, "cartesia", {**settings, "price": wrong}, None)
        assert found.value.path == f"providers.cartesia.{path}"


# ---- rate limits and quotas are told apart ------------------------------------------------

GOOGLE = "type.googleapis.com/google.rpc."
REFUSALS: dict[str, tuple[int, str, Any, type[Exception], float]] = {
    "OpenAI: too often": (429, "7", {"error": {"code": "rate_limit_exceeded"}}, RateLimited, 7),
    "OpenAI: nothing is left": (429, "", {"error": {"code": "insufficient_quota"}}, QuotaExceeded, 600),
    "Anthropic: too often": (429, "30", {"error": {"type": "rate_limit_error"}}, RateLimited, 30),
    "Anthropic: no credit": (
        400, "", {"error": {"message": "Your credit balance is too low to access the API."}}, QuotaExceeded, 600,
    ),
    "Google: too often": (
        429, "", {"error": {"status": "RESOURCE_EXHAUSTED", "message": "You exceeded your current quota", "details": [
            {"@type": f"{GOOGLE}QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]},
            {"@type": f"{GOOGLE}RetryInfo", "retryDelay": "17s"}]}}, RateLimited, 17,
    ),
    "Google: enough for today": (
        429, "", {"error": {"status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": f"{GOOGLE}QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}]}},
        QuotaExceeded, 600,
    ),
    "ElevenLabs: the plan is used up": (401, "", {"detail": {"status": "quota_exceeded"}}, QuotaExceeded, 600),
    "payment required": (402, "", {}, QuotaExceeded, 600),
    "a wrong key": (401, "", {"detail": {"status": "invalid_api_key"}}, ProviderRejected, 0),
    "out of order": (529, "", {"error": {"type": "overloaded_error"}}, ProviderUnavailable, 0),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_what_a_refusal_means(what: str) -> None:
    status, after, body, kind, wait = REFUSALS[what]
    now = [0.0]
    limit = RateLimit("x", lambda: now[0])
    assert type(limit.refused(status, after, json.dumps(body).encode())) is kind
    problem = limit.problem()
    assert ("quota is used up" in problem) == (kind is QuotaExceeded)
    if wait:
        assert f"left alone for {wait:g} s more" in problem
        with pytest.raises(kind):
            limit.check()
        now[0] = wait
    assert limit.problem() == ""
