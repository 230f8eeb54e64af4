"""How PCM is coded in RTP's payload. Source: RFC 3551; Asterisk's main/rtp_engine.c for the payload types."""

from __future__ import annotations

import array
import audioop
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.protocol.ari import PAYLOAD_TYPES


@dataclass(frozen=True, slots=True)
class Format:
    """One of Asterisk's names of formats."""

    name: str
    payload_types: tuple[int, ...]
    """The first is what we send; all are taken."""
    rate: int
    encode: Callable[[bytes], bytes]
    """Whole samples of little-endian PCM in."""
    decode: Callable[[bytes], bytes]
    """Any payload in; whole samples of little-endian PCM out."""


def _swap(pcm: bytes) -> bytes:
    """Linear audio goes over the network with the high byte first; half a sample at the end is left out."""
    samples = array.array("h", pcm[: len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES])
    samples.byteswap()
    return samples.tobytes()


_CODINGS: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "ulaw": (lambda pcm: audioop.lin2ulaw(pcm, SAMPLE_BYTES), lambda data: audioop.ulaw2lin(data, SAMPLE_BYTES)),
    "alaw": (lambda pcm: audioop.lin2alaw(pcm, SAMPLE_BYTES), lambda data: audioop.alaw2lin(data, SAMPLE_BYTES)),
    "slin": (_swap, _swap),
    "slin16": (_swap, _swap),
}

FORMATS: Mapping[str, Format] = {
    name: Format(name, payload_types, rate, *_CODINGS[name]) for name, (payload_types, rate) in PAYLOAD_TYPES.items()
}
"""By Asterisk's name."""
