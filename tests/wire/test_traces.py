"""Calls as traces of OpenTelemetry: what is in them, what is not, and that nobody waits for a collector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
import yaml
from http_server import Answer, FakeHttp, Request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from whole_calls import call, says, serving

from asterisk_ai.config import TracingConfig, parse
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api.work import Work
from asterisk_ai.server.after.spans import Tracing
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord, new_call_id

ENGINES = "asterisk_ai.providers.engines.delay:Delay"


class Collector(FakeHttp):
    """Takes OTLP over HTTP; or takes the requests and never answers."""

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__(60)
        self.hangs = hangs
        self.requests: list[Request] = []

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        self.requests.append(request)
        if self.hangs:
            await asyncio.sleep(60)
        return await out.json({})

    def spans(self) -> list[Any]:
        import gzip

        found = []
        for request in self.requests:
            body = gzip.decompress(request.body) if request.headers.get("content-encoding") == "gzip" else request.body
            sent = ExportTraceServiceRequest.FromString(body)
            found += [
                span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans
            ]
        return found


def configuration(endpoint: str, **tracing: Any) -> str:
    llm = ["broken", f"{ENGINES}LanguageModel"]
    return yaml.safe_dump(
        {
            "agents": {"desk": {"greeting": "Hi.", "turn": {"endpoint_ms": 200}}},
            "pipelines": {
                "offline": {"stt": f"{ENGINES}SpeechToText", "llm": llm, "tts": f"{ENGINES}TextToSpeech"}
            },
            "providers": {
                "broken": {"engine": "faulty:FaultyLanguageModel", "fault": "open-unavailable"},
                f"{ENGINES}TextToSpeech": {"seconds": 0.05, "speaking": 0.4},
            },
            "audiosocket": {"port": 0}, "fastagi": {"port": 0}, "http": None, "vad": {"engine": "energy"},
            "server": {"max_lateness_ms": 0}, "store": {"backend": "memory"},
            "tracing": {"endpoint": endpoint, "headers": {"x-key": "open sesame"}, **tracing},
        }
    )  # fmt: skip


def test_a_call_is_a_trace_at_a_collector() -> None:
    async def work() -> tuple[str, Collector]:
        collector = Collector()
        async with collector.running():
            async with serving(configuration(f"http://127.0.0.1:{collector.port}")) as server:
                result = await call(server, "desk", says(400), linger=0.5, patience=20)
            return result.call_id, collector

    call_id, collector = asyncio.run(work())
    assert {request.target for request in collector.requests} == {"/v1/traces"}
    assert {request.headers["x-key"] for request in collector.requests} == {"open sesame"}
    spans = {span.name: span for span in collector.spans()}
    assert {span.trace_id for span in spans.values()} == {UUID(call_id).bytes}
    stt, llm, tts = (f"{stage} {ENGINES}{kind}" for stage, kind in
                     (("stt", "SpeechToText"), ("llm", "LanguageModel"), ("tts", "TextToSpeech")))  # fmt: skip
    assert set(spans) == {"call", "turn", stt, llm, tts, "llm broken"}
    assert spans["turn"].parent_span_id == spans["call"].span_id
    assert all(spans[name].parent_span_id == spans["turn"].span_id for name in (stt, llm, "llm broken"))
    assert spans["llm broken"].status.message == "unavailable"
    assert spans["call"].start_time_unix_nano <= spans["turn"].start_time_unix_nano <= spans[stt].end_time_unix_nano
    assert b"something" not in b"".join(request.body for request in collector.requests), "no said words"


def test_nobody_waits_for_a_collector_that_hangs() -> None:
    async def work() -> float:
        collector = Collector(hangs=True)
        async with collector.running():
            async with serving(configuration(f"http://127.0.0.1:{collector.port}", timeout_seconds=60)) as server:
                result = await call(server, "desk", says(400), linger=0.3, patience=20)
                assert result.responses[-1].seconds is not None, "answered"
                stopping = time.monotonic()
            return time.monotonic() - stopping

    assert asyncio.run(work()) < 30, "and not for the minute that the collector has"


def spans_of(session: CallSession, works: Sequence[Work], **settings: Any) -> Mapping[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(TracingConfig(**settings), exporter)
    tracing.call(session, works)
    tracing.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def talked() -> CallSession:
    at = 1_772_622_000.0
    session = CallSession(new_call_id(), "desk", started_at=at, ended_at=at + 30, outcome=Outcome.FALLBACK)
    session.caller = {"number": "5550100", "name": "Anna"}
    timings = {"endpoint": 0.3, "words": 0.4, "first_token": 0.9, "first_audio": 1.2, "first_frame": 1.25}
    session.history = [
        TurnRecord("agent", "Hello.", at + 1),
        TurnRecord("caller", "where is my order", at + 9),
        TurnRecord("agent", "It is on its way.", at + 11.2, timings=timings, interrupted=True),
    ]
    return session


def test_engines_and_tools_stand_in_their_turn() -> None:
    session = talked()
    at = session.started_at
    works = [
        Work("tts", "hibari", at + 1.0, 0.8),
        Work("stt", "moonshine", at + 10.4, 2.4),
        Work("tool", "order_status", at + 10.8, 0.3, "HTTP 500"),
        Work("llm", "openai", at + 12, 1.5),
    ]
    spans = spans_of(session, works)
    call_span, turn = spans["call"], spans["turn"]
    assert set(spans) == {"call", "turn", "tts hibari", "stt moonshine", "tool order_status", "llm openai"}
    parents = {name: span.parent.span_id if span.parent else None for name, span in spans.items()}
    assert parents["call"] is None
    assert call_span.context
    assert turn.context
    assert parents["turn"] == parents["tts hibari"] == call_span.context.span_id
    assert parents["stt moonshine"] == parents["tool order_status"] == parents["llm openai"] == turn.context.span_id
    assert turn.start_time == int((at + 8) * 1e9), "from the caller's first sound"
    assert turn.end_time == pytest.approx((at + 11.25) * 1e9, abs=1e6)
    assert turn.attributes is not None
    assert turn.attributes["asterisk_ai.turn.first_frame_seconds"] == 1.25
    assert turn.attributes["asterisk_ai.interrupted"] is True
    assert spans["tool order_status"].status.description == "HTTP 500"
    assert call_span.status.description == "fallback"


@pytest.mark.parametrize("words", [False, True])
def test_words_are_there_where_they_are_asked_for(words: bool) -> None:
    told = "".join(span.to_json() for span in spans_of(talked(), [], words=words).values())
    assert ("where is my order" in told) is words
    assert ("on its way" in told) is words
    assert "5550100" not in told
    assert "Anna" not in told


def test_a_share_of_the_calls_is_traced() -> None:
    assert spans_of(talked(), [], share=0.0) == {}


def test_a_collector_that_cannot_be_asked_is_told_of_at_once() -> None:
    with pytest.raises(ConfigError, match=r"tracing\.endpoint: must begin with"):
        parse("agents: {desk: {}}\ntracing: {endpoint: 'localhost:4318'}")
