"""Free ports for servers that run for a short time, beside one another, on this machine."""

from __future__ import annotations

import random
import socket

_BELOW_OUTGOING = range(10_000, 32_000)
"""The kernel gives ports above these to whoever connects: one of those may be taken between asking and using."""
_random = random.Random()  # noqa: S311 - nothing secret


def free_ports(count: int, kind: int = socket.SOCK_STREAM) -> int:
    """The first of ``count`` ports in a row that nobody uses now. Raises OSError where there are none."""
    for _ in range(1000):
        first = _random.randrange(_BELOW_OUTGOING.start, _BELOW_OUTGOING.stop - count)
        try:
            for port in range(first, first + count):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise OSError("there are no free ports on this machine")


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    return free_ports(1, kind)
