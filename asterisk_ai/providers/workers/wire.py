"""What the pool and a worker say to each other over a socket pair.

A frame is a kind (1 byte), a stream's number (4 bytes, big-endian), the
payload's length (4 bytes) and the payload. ``AUDIO`` carries bytes as they
are, every other kind a JSON object.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

HEADER = struct.Struct(">BII")
PAYLOAD_LIMIT = 1 << 24
"""Bytes in one payload at most: far above any grammar, and a bound for a reader out of step."""


class Kind(enum.IntEnum):
    """From the pool: SETUP, OPEN, ASK, AUDIO, FINISH, CLOSE. From the worker: READY, FAILED, RESULT, ERROR,
    PARTIAL."""

    SETUP = 1
    OPEN = 2
    ASK = 3
    AUDIO = 4
    FINISH = 5
    CLOSE = 6
    READY = 17
    FAILED = 18
    RESULT = 19
    ERROR = 20
    PARTIAL = 21


def audio(stream: int, data: bytes) -> bytes:
    """Encode a piece of audio."""
    return HEADER.pack(Kind.AUDIO, stream, len(data)) + data


def message(kind: Kind, stream: int = 0, body: Mapping[str, Any] | None = None) -> bytes:
    """Encode a frame of any other kind."""
    payload = json.dumps(body or {}).encode()
    return HEADER.pack(kind, stream, len(payload)) + payload


def body(payload: bytes) -> dict[str, Any]:
    """Decode the payload of any frame but AUDIO.

    :raises ValueError: it is not a JSON object.
    """
    found = json.loads(payload)
    if not isinstance(found, dict):
        raise ValueError("the payload is not an object")
    return found


class Reader:
    """Puts frames together from bytes split anywhere."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, int, bytes]]:
        """Take in ``data`` and yield the frames that are whole; to be read to its end.

        :raises ValueError: the bytes are no frames.
        """
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            kind, stream, length = HEADER.unpack_from(self._buffer, start)
            if length > PAYLOAD_LIMIT:
                raise ValueError("the peer is out of step")
            end = start + HEADER.size + length
            if len(self._buffer) < end:
                break
            yield Kind(kind), stream, bytes(self._buffer[start + HEADER.size : end])
            start = end
        del self._buffer[:start]
