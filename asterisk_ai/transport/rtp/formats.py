"""How PCM is coded in RTP's payload. Source: RFC 3551; Asterisk's main/rtp_engine.c for the payload types."""

from __future__ import annotations

import array
import audioop
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.protocol.ari import PAYLOAD_TYPES


@dataclass(frozen=True, slots=True)
class Coder:
    """PCM to payload and back."""

    encode: Callable[[bytes], bytes]
    """Whole samples of little-endian PCM in."""
    decode: Callable[[bytes], bytes]
    """Any payload in; whole samples of little-endian PCM out."""
    remembers: bool = False
    """Silence is not always the same bytes: it depends on what came before."""


@dataclass(frozen=True, slots=True)
class Format:
    """One of Asterisk's names of formats."""

    name: str
    payload_types: tuple[int, ...]
    """The first is what we send; all are taken."""
    rate: int
    coder: Callable[[], Coder]
    """Makes the one of a call: some remember what came before."""
    clock_rate: int
    """Timestamps a second, which is not everywhere the rate (RFC 3551, section 4.5.2)."""


def _swap(pcm: bytes) -> bytes:
    """Linear audio goes over the network with the high byte first; half a sample at the end is left out."""
    return audioop.byteswap(pcm[: len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES], SAMPLE_BYTES)


_ULAW = Coder(lambda pcm: audioop.lin2ulaw(pcm, SAMPLE_BYTES), lambda data: audioop.ulaw2lin(data, SAMPLE_BYTES))
_ALAW = Coder(lambda pcm: audioop.lin2alaw(pcm, SAMPLE_BYTES), lambda data: audioop.alaw2lin(data, SAMPLE_BYTES))
_SLIN = Coder(_swap, _swap)


def _g722() -> Coder:
    """G.722 at 64 kbit/s. Raises ModuleNotFoundError."""
    from G722 import G722

    encoder, decoder = G722(16_000, 64_000), G722(16_000, 64_000)
    return Coder(
        lambda pcm: bytes(encoder.encode(array.array("h", pcm))),
        lambda data: bytes(decoder.decode(data).tobytes()),
        remembers=True,
    )


_CODERS: Mapping[str, Callable[[], Coder]] = {
    "ulaw": lambda: _ULAW,
    "alaw": lambda: _ALAW,
    "slin": lambda: _SLIN,
    "g722": _g722,
}

FORMATS: Mapping[str, Format] = {
    name: Format(name, payload_types, rate, _CODERS[name], clock_rate=8000)
    for name, (payload_types, rate) in PAYLOAD_TYPES.items()
}
"""By Asterisk's name."""
