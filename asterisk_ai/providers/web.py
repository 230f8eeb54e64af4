"""What everything that asks over HTTP has in common: certificates that are read once, failures in words.

Needs the ``remote`` extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx

MAX_ERROR = 300


@functools.cache
def _context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


async def secure_context(url: str) -> ssl.SSLContext | None:
    """For TLS, where ``url`` wants it: one for all. Reading the certificates takes 20 ms and more: not on the loop."""
    if not url.startswith(("https:", "wss:")):
        return None
    return await asyncio.to_thread(_context)


def describe(error: Exception) -> str:
    """A network failure in words."""
    if isinstance(error, httpx.TimeoutException):
        return "no connection in time" if isinstance(error, httpx.ConnectTimeout) else "no answer in time"
    return f"{type(error).__name__}: {error}"[:MAX_ERROR] if str(error) else type(error).__name__


@contextlib.asynccontextmanager
async def response_bytes(response: httpx.Response, size: int | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body of an answer as it comes. Who leaves early has it closed here and now, by the task that reads it.

    :param size: of the pieces; None: as they come.
    """
    data: Any = response.aiter_bytes(size)
    try:
        yield data
    finally:
        await data.aclose()
