"""Sizes of signed 16-bit little-endian mono PCM, the only sample format inside this package."""

from __future__ import annotations

PTIME_MS = 20
"""Duration of one frame in ms, Asterisk's packetisation time."""

SAMPLE_BYTES = 2


def frame_bytes(rate: int) -> int:
    """Bytes of one 20 ms frame at ``rate`` Hz (320 at 8 kHz)."""
    return rate * PTIME_MS // 1000 * SAMPLE_BYTES


def duration(pcm_bytes: int, rate: int) -> float:
    """Seconds that ``pcm_bytes`` bytes last at ``rate`` Hz."""
    return pcm_bytes / (SAMPLE_BYTES * rate)
