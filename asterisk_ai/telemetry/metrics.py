"""What the server counts, in Prometheus's terms. All names begin with ``ai_agent_``."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from asterisk_ai.dialog.phase import Phase

# From "at once" to "the caller has hung up": a turn's answer is felt as slow from about a second.
RESPONSE_BUCKETS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)

TURN_PARTS = ("endpoint", "words", "first_token", "first_audio", "first_frame")
"""What a turn's response is made of, in their order."""

STATES = tuple(phase.value for phase in Phase)
"""Values of ``ai_agent_conversation_state{state}``; all are shown from the start."""


class Metrics:
    """The server's metrics. Thread-safe; a registry of one's own keeps servers and tests apart.

    The gauges of gating and capture count calls: how many have the agent's
    voice gating the caller's audio now, how many have the capture switched on.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self.active_calls = Gauge("ai_agent_active_calls", "Calls in progress", registry=registry)
        self.calls = Counter("ai_agent_calls_total", "Calls ended, by outcome", ["outcome"], registry=registry)
        self.barge_in = Counter(
            "ai_agent_barge_in_events_total", "Callers who spoke while the agent did", ["outcome"], registry=registry
        )
        self.turn_response = Histogram(
            "ai_agent_turn_response_seconds",
            "From the end of the caller's speech to the first audio of the answer",
            buckets=RESPONSE_BUCKETS,
            registry=registry,
        )
        self.turn_part = Histogram(
            "ai_agent_turn_part_seconds",
            "Parts of a turn's response, each from the end of the one before",
            ["part"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, *RESPONSE_BUCKETS),
            registry=registry,
        )
        self.underruns = Counter(
            "ai_agent_playback_underruns_total",
            "Gaps in the agent's speech, as its voice was made more slowly than it is played",
            registry=registry,
        )
        self.gating_active = Gauge(
            "ai_agent_tts_gating_active", "Calls whose audio is gated by the agent's own voice", registry=registry
        )
        self.capture_enabled = Gauge(
            "ai_agent_audio_capture_enabled", "Calls whose audio goes to a recogniser", registry=registry
        )
        self.conversation_state = Gauge(
            "ai_agent_conversation_state", "Calls in each state of the conversation", ["state"], registry=registry
        )
        for state in STATES:
            self.conversation_state.labels(state)
        self.refused = Counter(
            "ai_agent_audiosocket_refused_total", "AudioSocket connections refused", ["reason"], registry=registry
        )
        self.rtp = Counter(
            "ai_agent_rtp_total",
            "RTP of ExternalMedia by kind: calls, and packets damaged, of strangers, lost, late, reordered, not sent",
            ["kind"],
            registry=registry,
        )
        self.websocket_refused = Counter(
            "ai_agent_websocket_refused_total", "chan_websocket connections refused", ["reason"], registry=registry
        )
        self.websocket_unknown = Counter(
            "ai_agent_websocket_unknown_messages_total", "chan_websocket messages of no known kind", registry=registry
        )
        self.frames_late = Counter(
            "ai_agent_frames_late_total", "Audio frames sent later than the clock allows", registry=registry
        )
        self.frames_dropped = Counter(
            "ai_agent_frames_dropped_total", "Audio frames thrown away", ["direction"], registry=registry
        )
        self.clock_lag = Gauge(
            "ai_agent_clock_lag_p99_seconds",
            "Lag of the audio clock, 99th percentile of the last 3 s",
            registry=registry,
        )
        self.open_files = Gauge("ai_agent_open_files", "Open files of the process", registry=registry)
        self.files_exhausted = Counter(
            "ai_agent_open_files_exhausted_total", "Looks at which no more files could be opened", registry=registry
        )
        self.connections = Counter(
            "ai_agent_connections_total", "Connections taken, refused ones as well", ["listener"], registry=registry
        )
        self.unknown_messages = Counter(
            "ai_agent_audiosocket_unknown_messages_total", "AudioSocket messages of no known kind", registry=registry
        )
        self.fastagi_failures = Counter(
            "ai_agent_fastagi_failures_total",
            "FastAGI connections that were not served: refused (full), displaced (no request, and others came), "
            "protocol_errors, unknown_routes, failed_handlers",
            ["reason"],
            registry=registry,
        )
        self.fastagi_requests = Counter(
            "ai_agent_fastagi_requests_total", "FastAGI requests served", ["route", "status"], registry=registry
        )
        self.log_lines_dropped = Counter(
            "ai_agent_log_lines_dropped_total",
            "Log lines that were not written: summed up as a flood, or nobody took them (slow)",
            ["reason"],
            registry=registry,
        )
        self.provider_failures = Counter(
            "ai_agent_provider_failures_total",
            "Engines that failed a call, by how (unavailable, rejected, timeout, error)",
            ["stage", "provider", "kind"],
            registry=registry,
        )
        self.provider_losses = Counter(
            "ai_agent_provider_losses_total",
            "What engines count as lost: refused_requests, dropped_bytes and dropped_frames of audio, worker_deaths",
            ["provider", "kind"],
            registry=registry,
        )
        self.provider_switches = Counter(
            "ai_agent_provider_switches_total",
            "Engines that took over from one that failed",
            ["stage", "provider", "next"],
            registry=registry,
        )

    def observe_turn(self, timings: Mapping[str, float]) -> None:
        """The timings of a turn whose answer's ``first_frame`` is on the wire."""
        self.turn_response.observe(timings["first_frame"])
        before = 0.0
        for part in TURN_PARTS:
            if part in timings:
                self.turn_part.labels(part).observe(max(0.0, timings[part] - before))
                before = timings[part]

    def barge_ins(self) -> int:
        """How many callers have interrupted the agent."""
        counted = [sample for family in self.barge_in.labels("barge_in").collect() for sample in family.samples]
        return int(sum(sample.value for sample in counted if sample.name.endswith("_total")))

    def render(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)
