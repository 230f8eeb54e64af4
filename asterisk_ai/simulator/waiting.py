"""What everybody needs who starts programs and waits for them."""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def until(condition: Callable[[], _T], seconds: float, what: str) -> _T:
    """Poll until ``condition`` gives something true, and return that.

    :raises TimeoutError: it has not within ``seconds``; the message names ``what``.
    """
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def die_with_parent() -> None:
    """In a child, before exec: SIGKILL when the thread that started it is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
