"""Calls are refused before everyone's audio breaks: by the clock's lag."""

from __future__ import annotations

import asyncio
import time

import pytest

from asterisk_ai import config
from asterisk_ai.errors import CallRefused
from asterisk_ai.server.server import Server
from asterisk_ai.telemetry.lateness import PERIODS, Lateness
from asterisk_ai.transport.clock import LAG_SLOTS, PlayoutClock


def lags(**late: int) -> list[int]:
    """``m0=990, m30=10``: so many slots that late."""
    counts = [0] * LAG_SLOTS
    for name, count in late.items():
        counts[int(name[1:])] = count
    return counts


def test_a_punctual_clock_lets_calls_in() -> None:
    lateness = Lateness()
    lateness.add(lags(m0=500), calls=500, limit_ms=20)
    assert (lateness.p99_ms, lateness.too_late) == (0.0, False)


def test_no_calls_at_all_are_on_time() -> None:
    lateness = Lateness()
    lateness.add(lags(), calls=0, limit_ms=20)
    assert (lateness.p99_ms, lateness.too_late) == (0.0, False)


def test_one_slot_in_a_hundred_decides() -> None:
    lateness = Lateness()
    lateness.add(lags(m0=991, m40=9), calls=100, limit_ms=20)
    assert not lateness.too_late
    lateness.add(lags(m0=950, m40=50), calls=100, limit_ms=20)
    assert (lateness.p99_ms, lateness.too_late) == (40.0, True)


def test_it_ends_at_half_the_limit_and_when_the_late_seconds_are_over() -> None:
    lateness = Lateness()
    lateness.add(lags(m30=500), calls=100, limit_ms=20)
    for _ in range(PERIODS - 1):
        lateness.add(lags(m15=500), calls=100, limit_ms=20)
        assert lateness.too_late
    lateness.add(lags(m15=500), calls=100, limit_ms=20)
    assert lateness.too_late  # 15 ms is more than half
    for _ in range(PERIODS):
        lateness.add(lags(m5=500), calls=100, limit_ms=20)
    assert not lateness.too_late


def test_a_handful_of_calls_or_no_limit_refuse_nobody() -> None:
    lateness = Lateness()
    lateness.add(lags(m90=500), calls=3, limit_ms=20)
    assert not lateness.too_late
    lateness.add(lags(m90=500), calls=300, limit_ms=0)
    assert not lateness.too_late


def test_the_clock_counts_its_lag() -> None:
    async def body() -> list[int]:
        clock = PlayoutClock()
        clock.add(lambda: None)
        await asyncio.sleep(0.05)
        clock.take_lags()
        time.sleep(0.040)  # the loop stands still
        await asyncio.sleep(0.02)
        clock.close()
        return clock.take_lags()

    counts = asyncio.run(body())
    assert sum(counts[:20]) >= 1
    assert sum(counts[20:]) == 1  # one of the two frames of that time was 20 to 30 ms late


def test_a_server_whose_clock_is_late_takes_no_new_call_and_says_so() -> None:
    text = """
http: false
store: {backend: memory}
pipelines: {delay: {stt: "asterisk_ai.providers.engines.delay:DelaySpeechToText",
  llm: "asterisk_ai.providers.engines.delay:DelayLanguageModel",
  tts: "asterisk_ai.providers.engines.delay:DelayTextToSpeech"}}
pipeline: delay
agents: {a: {}}
"""

    async def body() -> None:
        server = Server(config.parse(text, environ={}))
        assert server.registry.admit("") == "a"
        server._lateness.add(lags(m0=10, m50=10), calls=100, limit_ms=server.config.server.max_lateness_ms)
        with pytest.raises(CallRefused, match="50 ms late") as refused:
            server.registry.admit("")
        assert refused.value.reason == "FULL"
        assert server.status.ready()[1]["reason"] == "full"
        assert server.status.health()[1]["frames"]["clock_lag_p99_ms"] == 50.0

    asyncio.run(body())
