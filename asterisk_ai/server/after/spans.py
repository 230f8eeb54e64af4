"""The spans of one call, by the official SDK: the call, its turns, what engines and tools did in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

from asterisk_ai import __version__
from asterisk_ai.config import TracingConfig
from asterisk_ai.providers.api.work import Work
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord

_PREFIX = "asterisk_ai."
_LEEWAY_SECONDS = 0.05
"""Two clocks tell when a turn began and when its work did."""
_BAD = (Outcome.FALLBACK, Outcome.LOST)


class _CallIds(RandomIdGenerator):
    """The trace of a call has its UUID. Used by one thread."""

    trace = 0

    def generate_trace_id(self) -> int:
        return self.trace


@dataclass(slots=True)
class _Turn:
    """One answer: from the caller's last sound to the first sound of the answer, Unix times."""

    began: float
    ended: float
    agent: TurnRecord
    caller: TurnRecord | None
    works: list[Work] = field(default_factory=list)


class Tracing:
    """Makes spans and hands them to the SDK's batch processor, which has a thread of its own."""

    def __init__(self, config: TracingConfig, exporter: SpanExporter | None = None) -> None:
        """:param exporter: instead of the one over HTTP."""
        self._words = config.words
        self._ids = _CallIds()
        headers = {name: str(value) for name, value in config.headers.items()}
        url = f"{config.endpoint.rstrip('/')}/v1/traces"
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "asterisk-ai", "service.version": __version__}),
            sampler=ParentBased(TraceIdRatioBased(config.share)),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter or OTLPSpanExporter(url, headers=headers, timeout=config.timeout_seconds))
        )
        self._tracer = self._provider.get_tracer("asterisk_ai", __version__)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()

    def call(self, session: CallSession, works: Sequence[Work]) -> None:
        """One call that has ended."""
        self._ids.trace = UUID(session.call_id).int
        about: dict[str, AttributeValue] = {
            "call_id": session.call_id,
            "agent": session.agent,
            "outcome": session.outcome.value,
            "turns": len(session.history),
            "connections": session.connects,
        }
        ended_at = session.ended_at or session.started_at
        span = self._tracer.start_span(
            "call", Context(), SpanKind.SERVER, _named(about), start_time=_ns(session.started_at)
        )
        if session.outcome in _BAD:
            span.set_status(Status(StatusCode.ERROR, session.outcome.value))
        inside = set_span_in_context(span, Context())
        turns = _turns(session.history)
        for work in works:
            turn = _turn_of(work, turns)
            if turn is None:
                self._work(work, inside)
            else:
                turn.works.append(work)
        for turn in turns:
            self._turn(turn, inside)
        span.end(_ns(ended_at))

    def _turn(self, turn: _Turn, inside: Context) -> None:
        about: dict[str, AttributeValue] = {"interrupted": turn.agent.interrupted}
        about |= {f"turn.{part}_seconds": seconds for part, seconds in turn.agent.timings.items()}
        if turn.caller is not None:
            about |= {"understood": turn.caller.understood, "dialled": turn.caller.dialled}
        if self._words:
            about |= {"agent_text": turn.agent.text, "caller_text": turn.caller.text if turn.caller else ""}
        began = min([turn.began, *(_began(work) for work in turn.works)])
        span = self._tracer.start_span("turn", inside, attributes=_named(about), start_time=_ns(began))
        for work in turn.works:
            self._work(work, set_span_in_context(span, inside))
        span.end(_ns(max(began, turn.ended)))

    def _work(self, work: Work, inside: Context) -> None:
        about: dict[str, AttributeValue] = {"stage": work.kind, "engine": work.name}
        span = self._tracer.start_span(
            f"{work.kind} {work.name}", inside, SpanKind.CLIENT, _named(about), start_time=_ns(_began(work))
        )
        if work.problem:
            span.set_status(Status(StatusCode.ERROR, work.problem))
        span.end(_ns(work.ended_at))


def _turns(history: Sequence[TurnRecord]) -> list[_Turn]:
    """The agent's turns that answer the caller."""
    found: list[_Turn] = []
    caller: TurnRecord | None = None
    for record in history:
        if record.role == "caller":
            caller = record
        elif "first_audio" in record.timings:
            began = record.at - record.timings["first_audio"]
            found.append(_Turn(began, began + max(record.timings.values()), record, caller))
            caller = None
    return found


def _turn_of(work: Work, turns: Sequence[_Turn]) -> _Turn | None:
    """What listens is open before the caller has ended, and is done after it; all other work begins after it."""
    at = work.ended_at if work.kind in ("stt", "turn") else _began(work)
    return next((turn for turn in reversed(turns) if turn.began <= at + _LEEWAY_SECONDS), None)


def _began(work: Work) -> float:
    return work.ended_at - work.seconds


def _named(about: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {_PREFIX + name: value for name, value in about.items()}


def _ns(at: float) -> int:
    return int(at * 1e9)
