"""G.711 mu-law to and from linear PCM. Source: ITU-T G.711 (11/88), table 2."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BIAS = 0x84
_CLIP = 32635


def _decoding() -> npt.NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + _BIAS << exponent) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2")


def _encoding() -> npt.NDArray[np.uint8]:
    """By the sample's 16 bits taken as unsigned."""
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum(np.abs(samples), _CLIP) + _BIAS
    exponent = np.maximum(np.floor(np.log2(magnitude)).astype(np.int32) - 7, 0)
    code = (samples < 0) * 0x80 | exponent << 4 | magnitude >> exponent + 3 & 15
    table: npt.NDArray[np.uint8] = np.bitwise_not(code.astype(np.uint8))
    return table


_TO_PCM = _decoding()
_TO_MU_LAW = _encoding()


def decode_mu_law(data: bytes) -> bytes:
    """A sample a byte in, two bytes of PCM a sample out."""
    return bytes(_TO_PCM[np.frombuffer(data, dtype=np.uint8)].tobytes())


def encode_mu_law(pcm: bytes) -> bytes:
    """Whole samples of PCM in, a byte a sample out."""
    return bytes(_TO_MU_LAW[np.frombuffer(pcm, dtype="<u2")].tobytes())
