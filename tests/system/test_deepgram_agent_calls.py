"""Whole calls by Deepgram's voice agent, over AudioSocket and the published protocol: good ones, and every fault."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from deepgram_agent_server import KEY, FakeDeepgramAgent
from deepgram_server import FakeDeepgram
from shop import Shop
from whole_calls import call, records, says, serving, turns

from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import Result

HOURS, SALES, ORDER = 400, 500, 700
NINE = "We are open from nine to five."
ANSWERS: dict[int | str, tuple[str, str, str]] = {
    HOURS: (NINE, "", ""),
    SALES: ("One moment please.", "transfer", '{"to": "sales"}'),
    ORDER: ("", "order", '{"number": "7"}'),
}
LIMIT = 0.7
HEAD = """
default_agent: desk
pipeline: well
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {folder}/sessions.db}}
providers:
  well: {{{service}, agent: {{url: "{url}"}}}}
  good_stt: {{engine: "faulty:FaultySpeechToText"}}
  good_llm: {{engine: "faulty:FaultyLanguageModel"}}
  good_tts: {{engine: "faulty:FaultyTextToSpeech"}}
{providers}
pipelines:
  well: {{realtime: well}}
{pipelines}
agents:
  desk:
    greeting: Hello there.
    turn: {{no_input_seconds: 60}}
    tools:
      transfer: {{sales: 200@from-internal}}
      http:
        order:
          description: The state of an order.
          method: POST
          url: "{shop}/slow/{{number}}"
          parameters: {{number: {{type: string}}}}
{agents}
"""
FAULTS = (
    "slow silent-handshake 401 403 429 429-after 500 silent refused malformed-setup close-setup hang stall close "
    "reset malformed shapeless odd error failed"
).split()
GOES_ON = {"slow", "odd", "error"}
"""What the session survives: half a sample is no harm, and of an answer that broke off the caller has heard some."""
TOLD = {"401": "401", "403": "403", "429": "rate limit", "429-after": "", "500": "500", "refused": "Invalid settings"}


def configuration(folder: Path, fake: FakeDeepgramAgent, service: FakeDeepgram, shop: Shop, faults: list[str]) -> str:
    """An agent for each fault, with the service that works well behind it; and one with the three stages behind."""
    common = f"engine: deepgram, base_url: '{service.base_url}', api_key: {KEY}, connect_seconds: 0.5, seconds: 1"
    turn = "{endpoint_ms: 200, no_input_seconds: 60, trouble_prompt: Oh dear., resume_prompt: 'Where were we?'}"
    return HEAD.format(
        folder=folder,
        url=fake.url(),
        shop=shop.url,
        service=common,
        providers="\n".join(f"  bad_{name}: {{{common}, agent: {{url: '{fake.url(name)}'}}}}" for name in faults),
        pipelines="\n".join(
            f"  p_{name}: {{realtime: [bad_{name}, well], realtime_seconds: {LIMIT}}}" for name in faults
        ),
        agents="\n".join(
            f"  a_{name}: {{pipeline: p_{name}, greeting: Hello to you., turn: {turn}}}" for name in faults
        ),
    )


def test_conversations(tmp_path: Path) -> None:
    async def main() -> None:
        fake, service, shop = FakeDeepgramAgent(ANSWERS), FakeDeepgram(), Shop()
        async with fake.running(), service.running(), shop.running():
            async with serving(configuration(tmp_path, fake, service, shop, [])) as server:
                talk = await call(server, "desk", says(HOURS), says(HOURS))
                order = await call(server, "desk", says(ORDER), says(ORDER))
                away = await call(server, "desk", says(SALES))
            assert talk.next == order.next == "caller hung up"
            assert away.next == "transfer"
            assert away.variables["AI_EXTEN"] == "200"
            assert [request[1] for request in shop.requests] == ["/slow/7"], "asked twice in one call, done once"
            kept = {record.call_id: record for record in records_of(tmp_path)}
            said = [("agent", "Hello there."), *[("caller", f"a tone of {HOURS} hertz"), ("agent", NINE)] * 2]
            assert turns(kept[talk.call_id]) == said
            assert "shipped" in turns(kept[order.call_id])[2][1]
            assert "done before in this call" in turns(kept[order.call_id])[4][1]
            assert all(not record.troubles for record in kept.values())

    asyncio.run(main())


def records_of(folder: Path) -> list[CallSession]:
    from asterisk_ai.session.backends.call_index import CallFilter
    from asterisk_ai.session.backends.sqlite import SqliteReader

    reader = SqliteReader(folder / "sessions.db")
    try:
        return reader.search(CallFilter(limit=100))
    finally:
        reader.close()


def wrong(fault: str, result: Result, record: CallSession) -> str:
    """What is not as it should be; empty where all is."""
    said = " ".join(turn.text for turn in record.history if turn.role == "agent")
    failed = [item for item in record.troubles if item["stage"] == "realtime"]
    if result.next != "caller hung up":
        return f"{fault}: {result.next}"
    silences = [response.seconds for response in result.responses]
    if any(seconds is None or seconds > 0.5 + LIMIT + 2.0 for seconds in silences):
        return f"{fault}: heard nothing for {silences}"
    if fault in GOES_ON:
        return f"{fault}: {record.troubles}" if failed else ""
    if not failed or (failed[0]["engine"], failed[0]["next"]) != (f"bad_{fault}", "well"):
        return f"{fault}: {record.troubles}"
    if NINE not in said:
        return f"{fault}: said {said!r}"
    return "" if TOLD.get(fault, "") in failed[0]["reason"] else f"{fault}: the record says {failed[0]['reason']!r}"


@pytest.mark.slow
def test_every_fault(tmp_path: Path) -> None:
    async def main() -> list[str]:
        fake, service, shop = FakeDeepgramAgent(ANSWERS), FakeDeepgram(), Shop()
        async with fake.running(), service.running(), shop.running():
            left, problems = list(FAULTS), [""]
            for _ in range(3):  # who was kept waiting by this very machine and its callers at once is called again
                problems = []
                for start in range(0, len(left), 7):
                    batch = left[start : start + 7]
                    async with serving(configuration(tmp_path, fake, service, shop, batch)) as server:
                        lines = (says(HOURS), says(HOURS))
                        calling = (call(server, f"a_{fault}", *lines, linger=0.9) for fault in batch)
                        results = dict(zip(batch, await asyncio.gather(*calling), strict=True))
                    kept = records(tmp_path)
                    problems += [wrong(fault, results[fault], kept[f"a_{fault}"]) for fault in batch]
                problems = [problem for problem in problems if problem]
                left = [problem.partition(":")[0] for problem in problems]
                if not left:
                    break
                print(problems)
            return problems

    assert asyncio.run(main()) == []
