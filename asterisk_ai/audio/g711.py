"""G.711 mu-law to and from linear PCM. Source: ITU-T G.711 (11/88), table 2."""

from __future__ import annotations

import audioop  # in C, ten times as quick as tables in numpy; `audioop-lts` has it where Python has not

from asterisk_ai.audio.formats import SAMPLE_BYTES


def decode_mu_law(data: bytes) -> bytes:
    """A sample a byte in, two bytes of PCM a sample out."""
    return audioop.ulaw2lin(data, SAMPLE_BYTES)


def encode_mu_law(pcm: bytes) -> bytes:
    """Whole samples of PCM in, a byte a sample out."""
    return audioop.lin2ulaw(pcm, SAMPLE_BYTES)
