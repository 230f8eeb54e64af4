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
        self.registry = registry or CollectorRegistry()
        self._of_calls()
        self._of_transports()
        self._of_process()
        self._of_deliveries()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _of_calls(self) -> None:
        self.active_calls = self._gauge("ai_agent_active_calls", "Calls in progress")
        self.calls = self._counter("ai_agent_calls_total", "Calls ended, by outcome", "outcome")
        self.barge_in = self._counter(
            "ai_agent_barge_in_events_total", "Callers who spoke while the agent did", "outcome"
        )
        self.turn_response = Histogram(
            "ai_agent_turn_response_seconds",
            "From the end of the caller's speech to the first audio of the answer",
            buckets=RESPONSE_BUCKETS,
            registry=self.registry,
        )
        self.turn_part = Histogram(
            "ai_agent_turn_part_seconds",
            "Parts of a turn's response, each from the end of the one before",
            ["part"],
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, *RESPONSE_BUCKETS),
            registry=self.registry,
        )
        self.underruns = self._counter(
            "ai_agent_playback_underruns_total",
            "Gaps in the agent's speech, as its voice was made more slowly than it is played",
        )
        self.downstream = self._counter(
            "ai_agent_downstream_total", "Connections of calls by how replies reach the caller", "mode"
        )
        self.streaming_fallbacks = self._counter(
            "ai_agent_streaming_fallbacks_total",
            "Calls that ceased to stream and had the rest played as files, by reason: transport, engine, underruns",
            "reason",
        )
        self.gating_active = self._gauge(
            "ai_agent_tts_gating_active", "Calls whose audio is gated by the agent's own voice"
        )
        self.capture_enabled = self._gauge("ai_agent_audio_capture_enabled", "Calls whose audio goes to a recogniser")
        self.conversation_state = self._gauge(
            "ai_agent_conversation_state", "Calls in each state of the conversation", "state"
        )
        for state in STATES:
            self.conversation_state.labels(state)

    def _of_transports(self) -> None:
        self.refused = self._counter("ai_agent_audiosocket_refused_total", "AudioSocket connections refused", "reason")
        self.rtp = self._counter(
            "ai_agent_rtp_total",
            "RTP of ExternalMedia by kind: calls, and packets damaged, of strangers, lost, late, reordered, not sent",
            "kind",
        )
        self.websocket_refused = self._counter(
            "ai_agent_websocket_refused_total", "chan_websocket connections refused", "reason"
        )
        self.websocket_unknown = self._counter(
            "ai_agent_websocket_unknown_messages_total", "chan_websocket messages of no known kind"
        )
        self.frames_late = self._counter("ai_agent_frames_late_total", "Audio frames sent later than the clock allows")
        self.frames_dropped = self._counter("ai_agent_frames_dropped_total", "Audio frames thrown away", "direction")
        self.clock_lag = self._gauge(
            "ai_agent_clock_lag_p99_seconds", "Lag of the audio clock, 99th percentile of the last 3 s"
        )
        self.connections = self._counter(
            "ai_agent_connections_total", "Connections taken, refused ones as well", "listener"
        )
        self.unknown_messages = self._counter(
            "ai_agent_audiosocket_unknown_messages_total", "AudioSocket messages of no known kind"
        )
        self.fastagi_failures = self._counter(
            "ai_agent_fastagi_failures_total",
            "FastAGI connections that were not served: refused (full), displaced (no request, and others came), "
            "protocol_errors, unknown_routes, failed_handlers",
            "reason",
        )
        self.fastagi_requests = self._counter(
            "ai_agent_fastagi_requests_total", "FastAGI requests served", "route", "status"
        )

    def _of_process(self) -> None:
        self.failing = self._gauge(
            "ai_agent_failing",
            "1 while a part of the server does not do its work: store, recordings, reload (the configuration that was "
            "to be read was refused)",
            "part",
        )
        self.engines_not_ready = self._gauge(
            "ai_agent_engines_not_ready", "1 while an engine cannot be used, by kind/name; another may serve", "engine"
        )
        self.provider_failures = self._counter(
            "ai_agent_provider_failures_total",
            "Engines that failed a call, by how (unavailable, rejected, rate_limited, quota, timeout, error)",
            "stage",
            "provider",
            "kind",
        )
        self.provider_losses = self._counter(
            "ai_agent_provider_losses_total",
            "What engines count as lost: refused_requests, dropped_bytes and dropped_frames of audio, worker_deaths",
            "provider",
            "kind",
        )
        self.provider_switches = self._counter(
            "ai_agent_provider_switches_total",
            "Engines that took over from one that failed",
            "stage",
            "provider",
            "next",
        )
        self.provider_usage = self._counter(
            "ai_agent_provider_usage_total",
            "What engines took: input_tokens (cached_tokens of them), output_tokens, characters, seconds of audio",
            "stage",
            "provider",
            "unit",
        )
        self.provider_cost = self._counter(
            "ai_agent_provider_cost_total",
            "What engines cost, by their price in the configuration and in its currency",
            "stage",
            "provider",
        )
        self.log_lines_dropped = self._counter(
            "ai_agent_log_lines_dropped_total",
            "Log lines that were not written: summed up as a flood, or nobody took them (slow)",
            "reason",
        )
        self.records_lost = self._counter(
            "ai_agent_records_lost_total",
            "Records of calls that were given up: the store could not be written for too long",
        )
        self.recording_lost = self._counter(
            "ai_agent_recording_lost_total", "Pieces of recordings, of about a second, that the disk did not take"
        )
        self.open_files = self._gauge("ai_agent_open_files", "Open files of the process")
        self.files_exhausted = self._counter(
            "ai_agent_open_files_exhausted_total", "Looks at which no more files could be opened"
        )

    def _of_deliveries(self) -> None:
        self.lookups = self._counter(
            "ai_agent_lookups_total", "Questions about a caller before the first word: found, nothing, failed", "result"
        )
        self.deliveries = self._counter(
            "ai_agent_deliveries_total",
            "What was to be told of calls, by how it went: delivered, failed (tried again later), given_up",
            "target",
            "result",
        )
        self.deliveries_waiting = self._gauge(
            "ai_agent_deliveries_waiting", "What is still to be told of calls, by whom it is for", "target"
        )
        self.deliveries_oldest = self._gauge(
            "ai_agent_deliveries_oldest_seconds", "How long the oldest of it has been waiting", "target"
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
