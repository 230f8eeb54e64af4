"""WAV files of 16-bit mono, made and taken apart. Source: the RIFF/WAVE form as Microsoft published it."""

from __future__ import annotations

import struct

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.errors import AudioFormatError

MAX_HEAD = 4096


class Samples:
    """The bytes of a stream to whole samples at one rate, whether they are bare PCM or a WAV file.

    :param rate: Hz of what comes out, and of what comes in where no WAV head says otherwise.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler: Resampler | None = None
        self._rest = b""

    def push(self, data: bytes) -> bytes:
        """:raises AudioFormatError: where it is audio of another kind."""
        data = self._rest + data
        if self._resampler is None:
            if b"RIFF".startswith(data[:4]) and len(data) < MAX_HEAD and not _head(data):
                self._rest = data
                return b""
            start, rate = _head(data) or (0, self._rate)
            data = data[start:]
            self._resampler = Resampler(rate, self._rate)
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        return self._resampler.push(data[:whole])

    def flush(self) -> bytes:
        return self._resampler.flush() if self._resampler else b""


def _head(data: bytes) -> tuple[int, int] | None:
    """Where a WAV file's samples begin, and their rate; None where it is none, or not yet known."""
    if data[:4] != b"RIFF" or data[8:12] not in (b"WAVE", b""):
        return None
    place, rate = 12, 0
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        if name == b"data":
            return (place + 8, rate) if rate else None
        if name == b"fmt " and place + 24 <= len(data):
            coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, place + 8)
            if (coding, channels, bits) != (1, 1, 16) or not 4000 <= rate <= 192_000:
                raise AudioFormatError(f"WAV audio that is not 16-bit mono ({channels} x {bits} bit)")
        place += 8 + length + (length & 1)
    return None


def wav(pcm: bytes, rate: int) -> bytes:
    """A WAV file of 16-bit mono."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(pcm),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        2 * rate,
        2,
        16,
        b"data",
        len(pcm),
    )
    return head + pcm
