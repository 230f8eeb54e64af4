"""Fallback chains: engines that fail in every way, alone and in whole calls on a server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faulty import FaultyLanguageModel, FaultySpeechToText, FaultyTextToSpeech
from uncollected import left, uncollected
from whole_calls import calls, records

from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import DialplanAction, Hints, LanguageModel, ReplyPart, Say, TurnEnd, TurnRequest
from asterisk_ai.providers.chain import (
    Breaker,
    LanguageModelChain,
    Limits,
    Member,
    SpeechToTextChain,
    TextToSpeechChain,
    Trouble,
    TurnEndChain,
    listening,
)
from asterisk_ai.providers.chain.chain import Attempt, Chain
from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import Result

LIMIT = 0.2
WAYS = ("hang", "unavailable", "rejected", "raise", "oserror")
STT_FAULTS = [f"{point}-{way}" for point in ("open", "end") for way in WAYS] + ["feed-raise"]
LLM_FAULTS = [f"{point}-{way}" for point in ("open", "first", "middle") for way in WAYS] + ["empty"]
TTS_FAULTS = [f"{point}-{way}" for point in ("open", "first", "middle") for way in WAYS] + ["empty", "voice"]


# ---- the breaker ------------------------------------------------------------------


def test_the_breaker_opens_tries_once_and_closes() -> None:
    now = [0.0]
    breaker = Breaker(failures=2, open_seconds=10, clock=lambda: now[0])
    for _ in range(2):
        assert breaker.allows()
        breaker.begin()
        breaker.failed("down")
    assert not breaker.allows()
    assert breaker.problem() == "failed 2 times in a row, tried again in 10 s: down"
    now[0] = 10
    assert breaker.allows()
    breaker.begin()
    assert not breaker.allows(), "one call tries, the others do not"
    breaker.failed("still down")
    now[0] = 29
    assert not breaker.allows(), "a trial that fails doubles the wait"
    now[0] = 30
    breaker.begin()
    breaker.left()
    assert breaker.allows(), "who was interrupted leaves the trial to the next"
    breaker.begin()
    breaker.succeeded()
    assert breaker.allows()
    assert not breaker.problem()


def test_one_failure_among_successes_opens_nothing() -> None:
    breaker = Breaker(failures=2)
    for _ in range(10):
        breaker.failed("hiccup")
        breaker.succeeded()
    assert breaker.allows()


def test_failures_of_one_incident_count_once() -> None:
    breaker, death, another = Breaker(failures=2), object(), object()
    assert breaker.failed("died", death)
    assert not breaker.failed("died", death)
    assert breaker.allows()
    assert breaker.failed("died", another)
    assert not breaker.allows()


def test_the_death_of_a_shared_worker_is_one_failure_however_many_calls_it_served() -> None:
    async def main() -> None:
        engine = PocketSphinx({})
        await engine.start()
        counted: list[Trouble] = []
        heard: list[Trouble] = []
        breaker = Breaker(failures=3)
        chain = SpeechToTextChain([Member("shared", engine, breaker)], Limits(10), counted.append)
        all_open = asyncio.Barrier(7)

        async def call() -> None:
            with listening(heard.append):
                async with chain.open(rate=8000, hints=Hints.of("hello")) as stream:
                    stream.feed(bytes(320))
                    await all_open.wait()
                    with pytest.raises(ProviderUnavailable):
                        await stream.finish()

        calls = [asyncio.create_task(call()) for _ in range(6)]
        await all_open.wait()
        os.kill(engine.worker_pids[0], signal.SIGKILL)
        await asyncio.gather(*calls)
        assert [trouble.kind for trouble in counted] == ["unavailable"]
        assert len(heard) >= 6, "each call's record has it"
        assert not breaker.problem()
        assert engine.counters() == {"refused_requests": 0, "dropped_bytes": 0, "worker_deaths": 1}
        await engine.stop()

    asyncio.run(main())


# ---- the chains ---------------------------------------------------------------------


def told(troubles: list[Trouble]) -> list[tuple[str, str, str]]:
    return [(trouble.engine, trouble.next, trouble.kind) for trouble in troubles]


def kind_of(fault: str) -> str:
    way = fault.partition("-")[2]
    return {"hang": "timeout", "rejected": "rejected", "raise": "error", "oserror": "error"}.get(way, "unavailable")


@pytest.mark.parametrize("fault", STT_FAULTS)
def test_the_next_recogniser_hears_all_that_was_said(fault: str) -> None:
    async def main() -> None:
        bad, good = FaultySpeechToText({"fault": fault}), FaultySpeechToText({"words": "sales"})
        troubles: list[Trouble] = []
        chain = SpeechToTextChain([Member("bad", bad), Member("good", good)], Limits(LIMIT), troubles.append)
        async with chain.open(rate=8000, hints=Hints()) as stream:
            for _ in range(50):
                stream.feed(bytes(320))
            assert (await stream.finish()).text == "sales"
        assert good.heard_seconds == [pytest.approx(1.0, abs=0.02)]
        assert told(troubles) == [("bad", "good", kind_of(fault))]

    asyncio.run(main())


def test_where_all_recognisers_fail_the_last_failure_comes_out() -> None:
    async def main() -> None:
        engines = [FaultySpeechToText({"fault": fault}) for fault in ("end-hang", "open-unavailable", "end-rejected")]
        troubles: list[Trouble] = []
        chain = SpeechToTextChain([Member(str(n), it) for n, it in enumerate(engines)], Limits(LIMIT), troubles.append)
        with pytest.raises(ProviderRejected, match=r"^2: wrong key$"):
            async with chain.open(rate=16_000, hints=Hints()) as stream:
                await stream.finish()
        assert told(troubles) == [("0", "1", "timeout"), ("1", "2", "unavailable"), ("2", "", "rejected")]

    asyncio.run(main())


async def reply(chain: LanguageModelChain) -> list[ReplyPart]:
    async with chain.reply(TurnRequest("opening hours")) as parts:
        return [part async for part in parts]


@pytest.mark.parametrize("fault", LLM_FAULTS)
def test_the_next_model_answers(fault: str) -> None:
    async def main() -> None:
        bad, good = FaultyLanguageModel({"fault": fault, "answer": "Uh."}), FaultyLanguageModel({"do": "hangup"})
        troubles: list[Trouble] = []
        members = [Member("bad", bad), Member("good", good)]
        chain = LanguageModelChain(members, Limits(0.6 if "hang" in fault else LIMIT), troubles.append, switching="Hm.")
        parts = [part for part in await reply(chain) if isinstance(part, (Say, DialplanAction))]
        expected = [Say("Nine to five."), DialplanAction("hangup")]
        if "middle" in fault:
            expected = [Say("Uh."), Say("Hm."), *expected]
        elif "hang" in fault:
            expected = [Say("Hm."), *expected]
        assert parts == expected
        assert told(troubles) == [("bad", "good", kind_of(fault))]

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["end-hang", "end-raise", "leave-hang", "leave-raise", "leave-unavailable"])
def test_an_action_is_given_once_whatever_comes_after_it(fault: str) -> None:
    async def main() -> None:
        first, second = FaultyLanguageModel({"fault": fault, "do": "queue"}), FaultyLanguageModel({"do": "queue"})
        chain = LanguageModelChain([Member("first", first), Member("second", second)], Limits(LIMIT))
        assert [part for part in await reply(chain) if isinstance(part, DialplanAction)] == [DialplanAction("queue")]
        assert second.used == 0

    asyncio.run(main())


async def speak(chain: TextToSpeechChain, text: str, voice: str = "") -> bytes:
    async with chain.open(text, voice=voice) as pieces:
        return b"".join([pcm async for pcm in pieces])


@pytest.mark.parametrize("fault", TTS_FAULTS)
def test_the_next_voice_goes_on(fault: str) -> None:
    async def main() -> None:
        bad, good = FaultyTextToSpeech({"fault": fault}), FaultyTextToSpeech({"rate": 16_000, "hertz": 1000})
        troubles: list[Trouble] = []
        chain = TextToSpeechChain([Member("bad", bad), Member("good", good)], Limits(LIMIT), troubles.append)
        pcm = await speak(chain, "we are open from nine to five", voice="anna")
        assert chain.sample_rate == 8000
        assert len(pcm) / 16_000 == pytest.approx(1.75, abs=0.06), "all of the text, once, at the first one's rate"
        assert told(troubles) == ([] if fault == "voice" else [("bad", "good", kind_of(fault))])
        if "middle" in fault:
            assert good.texts == ["open from nine to five"], "half a second of sound is two words"
        else:
            assert good.texts == ([] if fault == "voice" else ["we are open from nine to five"])

    asyncio.run(main())


def test_nothing_to_say_is_no_failure() -> None:
    async def main() -> None:
        troubles: list[Trouble] = []
        chain = TextToSpeechChain([Member("a", FaultyTextToSpeech({}))], Limits(LIMIT), troubles.append)
        assert await speak(chain, "") == b""
        assert await speak(chain, "...") != b""
        assert not troubles

    asyncio.run(main())


def test_an_open_breaker_costs_no_time_and_is_told_by_readiness() -> None:
    async def main() -> None:
        bad, good = FaultyTextToSpeech({"fault": "first-hang"}), FaultyTextToSpeech({})
        members = [Member("bad", bad, Breaker(failures=2)), Member("good", good)]
        chain = TextToSpeechChain(members, Limits(LIMIT))
        for _ in range(2):
            await speak(chain, "hello")
        began = time.monotonic()
        assert await speak(chain, "hello")
        assert time.monotonic() - began < LIMIT / 2
        assert bad.used == 2
        assert chain.readiness().ready
        assert "failed 2 times in a row" in members[0].readiness().reason

    asyncio.run(main())


def test_no_engine_is_usable() -> None:
    async def main() -> None:
        chain = TextToSpeechChain([Member("down", FaultyTextToSpeech({"fault": "start"}))], Limits(LIMIT))
        assert not chain.readiness().ready
        with pytest.raises(ProviderUnavailable, match="down: its service is down"):
            await speak(chain, "hello")

    asyncio.run(main())


def test_the_end_of_a_turn_is_told_by_the_next_engine_where_one_fails() -> None:
    class Silent(TurnEnd):
        async def likelihood(self, pcm: bytes, rate: int) -> float:
            raise LookupError("a mistake")

    class Sure(TurnEnd):
        async def likelihood(self, pcm: bytes, rate: int) -> float:
            return 0.9

    async def main() -> None:
        troubles: list[Trouble] = []
        members: list[Member[TurnEnd]] = [Member("silent", Silent()), Member("sure", Sure())]
        chain = TurnEndChain(members, Limits(1), troubles.append)
        assert await chain.likelihood(bytes(320), 8000) == 0.9
        assert told(troubles) == [("silent", "sure", "error")]

    asyncio.run(main())


def test_where_one_model_takes_free_speech_the_others_phrases_are_likely() -> None:
    class Free(LanguageModel):
        @asynccontextmanager
        async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
            raise ProviderUnavailable("free", "not here")
            yield

    rules = Rules({}, {"name": "desk", "rules": {"intents": {"hi": {"say": "hello", "answer": "Hi."}}}})
    free, bound = Member[LanguageModel]("free", Free()), Member[LanguageModel]("rules", rules)
    hints = LanguageModelChain([free, bound], Limits(1)).hints({})
    assert (hints.phrases, hints.free) == (("hello",), True)
    hints = LanguageModelChain([bound, free], Limits(1)).hints({})
    assert (hints.phrases, hints.free) == (("hello",), False)


def test_leaving_and_cancelling_leave_nothing_behind() -> None:
    async def main() -> None:
        engine = FaultyTextToSpeech({"fault": "middle-hang"})
        member = Member("slow", engine, Breaker(failures=1))
        chain = TextToSpeechChain([member], Limits(5))
        async with chain.open("one two three four") as pieces:
            await anext(pieces)
        speaking = asyncio.ensure_future(speak(chain, "one two three four"))
        await asyncio.sleep(0.05)
        speaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await speaking
        assert member.usable(), "a caller who interrupts is no failure"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def failing(work: Awaitable[object]) -> None:
    with contextlib.suppress(ProviderError):
        await work
        raise AssertionError("it did not fail")


def test_a_failed_attempt_does_not_wait_for_the_collector() -> None:
    async def listen(chain: SpeechToTextChain) -> None:
        async with chain.open(rate=8000, hints=Hints()) as stream:
            await stream.finish()

    async def main() -> None:
        faults = {"fault": "open-unavailable"}
        await failing(listen(SpeechToTextChain([Member("bad", FaultySpeechToText(faults))], Limits(LIMIT))))
        await failing(reply(LanguageModelChain([Member("bad", FaultyLanguageModel(faults))], Limits(LIMIT))))
        await failing(speak(TextToSpeechChain([Member("bad", FaultyTextToSpeech(faults))], Limits(LIMIT)), "hello"))
        assert left((Attempt, Chain)) == Counter()

    with uncollected():
        asyncio.run(main())


def test_troubles_are_told_to_whoever_listens() -> None:
    async def main() -> None:
        chain = TextToSpeechChain(
            [Member("bad", FaultyTextToSpeech({"fault": "open-rejected"})), Member("good", FaultyTextToSpeech({}))],
            Limits(LIMIT),
        )
        heard: list[Trouble] = []
        with listening(heard.append):
            await asyncio.create_task(speak(chain, "hello"))
        await speak(chain, "hello")
        assert told(heard) == [("bad", "good", "rejected")]
        assert str(heard[0]).startswith("tts/bad failed after 0.00 s (wrong key); good takes over")

    asyncio.run(main())


# ---- whole calls ------------------------------------------------------------------------

CONFIG = """
default_agent: stt_
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {folder}/sessions.db}}
pipelines:
{pipelines}
providers:
{providers}
agents:
{agents}
"""
Outcome = tuple[list[tuple[str, str, str]], dict[str, Result], Mapping[str, float], dict[str, CallSession]]
"""(agent, stage, fault) of each call, what came of them, the counters of failures, the records."""
KINDS = {"stt": "FaultySpeechToText", "llm": "FaultyLanguageModel", "tts": "FaultyTextToSpeech"}
CALL_LIMIT = 0.5
CALL_FAULTS = {
    "stt": ["start", "open-hang", "open-rejected", "end-hang", "end-unavailable", "end-raise", "leave-hang"],
    "llm": ["start", "open-hang", "first-hang", "first-raise", "middle-hang", "middle-unavailable", "empty"],
    "tts": ["start", "open-hang", "first-hang", "first-rejected", "middle-hang", "middle-oserror", "empty"],
}


def configuration(folder: Path, *, alone: bool) -> tuple[str, list[tuple[str, str, str]]]:
    """An agent for each fault; ``alone``: with no engine behind the one that fails."""
    pipelines, providers, agents, cases = [], [], [], []
    for kind, name in KINDS.items():
        providers.append(f"  good_{kind}: {{engine: 'faulty:{name}'}}")
        for fault in CALL_FAULTS[kind]:
            bad = f"{kind}_{fault}"
            providers.append(f"  {bad}: {{engine: 'faulty:{name}', fault: {fault}}}")
            stages = {stage: f"[good_{stage}]" for stage in KINDS}
            stages[kind] = f"[{bad}]" if alone else f"[{bad}, good_{kind}]"
            limits = {f"{stage}_seconds": CALL_LIMIT for stage in KINDS}
            text = ", ".join(f"{key}: {value}" for key, value in {**stages, **limits}.items())
            pipelines.append(f"  {bad}: {{{text}, switching: Hold on}}")
            agents.append(
                f"  {bad}: {{pipeline: {bad}, greeting: Hello to you dear caller,"
                " turn: {endpoint_ms: 200, no_input_seconds: 60, trouble_prompt: Oh dear., max_troubles: 3}}"
            )
            cases.append((bad, kind, fault))
    text = CONFIG.format(
        folder=folder,
        pipelines="\n".join([*pipelines, "  offline: {stt: good_stt, llm: good_llm, tts: good_tts}"]),
        providers="\n".join(providers),
        agents="\n".join(agents),
    )
    return text.replace("default_agent: stt_", f"default_agent: {cases[0][0]}"), cases


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Outcome]:
    """All calls of both tests below, at once: with another engine behind the one that fails, and alone."""
    folders = {alone: tmp_path_factory.mktemp(f"alone-{alone}") for alone in (False, True)}
    made = {alone: configuration(folder, alone=alone) for alone, folder in folders.items()}

    async def main() -> list[tuple[dict[str, Result], Mapping[str, float]]]:
        return await asyncio.gather(*(calls(text, [agent for agent, _, _ in cases]) for text, cases in made.values()))

    done = dict(zip(made, asyncio.run(main()), strict=True))
    return {alone: (made[alone][1], *done[alone], records(folder)) for alone, folder in folders.items()}


def test_whole_calls_with_an_engine_that_fails_and_one_behind_it(outcomes: dict[bool, Outcome]) -> None:
    cases, results, counted, kept = outcomes[False]
    for agent, kind, fault in cases:
        result, record = results[agent], kept[agent]
        assert result.next == "caller hung up", (agent, result)
        assert len(result.responses) == 2, agent
        for response in result.responses:
            assert response.seconds is not None, (agent, response)
            assert response.seconds < 0.3 + CALL_LIMIT + 2.0, (agent, response)
        said = [turn.text for turn in record.history if turn.role == "agent"]
        assert any("Nine to five." in text for text in said), (agent, said)
        troubles = [(item["stage"], item["engine"], item["next"]) for item in record.troubles]
        if fault == "leave-hang":  # the words had come by then
            assert troubles == [], agent
        elif fault == "start":
            assert troubles == [(kind, f"{kind}_{fault}", f"good_{kind}")], "told once"
            assert record.troubles[0]["kind"] == "unready"
            assert "its service is down" in record.troubles[0]["text"]
        else:
            assert (kind, f"{kind}_{fault}", f"good_{kind}") in troubles, (agent, troubles)
            assert any(key.startswith(f"ai_agent_provider_failures {agent} ") for key in counted), (agent, counted)


def test_whole_calls_with_nothing_behind_the_engine_that_fails(outcomes: dict[bool, Outcome]) -> None:
    """Then the caller hears of the trouble, or goes to the dialplan's fallback; nobody is left in silence."""
    cases, results, _, kept = outcomes[True]
    for agent, kind, fault in cases:
        result, record = results[agent], kept[agent]
        assert result.next in ("caller hung up", "fallback"), (agent, result.next)
        if result.next == "fallback":
            assert kind == "tts", "without a voice there is nothing to say"
            continue
        for response in result.responses:
            assert response.seconds is not None, (agent, response)
            assert response.seconds < 0.3 + CALL_LIMIT + 2.0, (agent, response)
        if fault != "leave-hang":
            assert record.troubles, agent
            assert record.troubles[0]["next"] == "", agent
