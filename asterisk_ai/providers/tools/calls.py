"""Sending the requests of :mod:`asterisk_ai.providers.tools.http`; needs the ``remote`` extra."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import httpx

from asterisk_ai.providers.api.work import worked
from asterisk_ai.providers.ledger import Ledger
from asterisk_ai.providers.tools.http import BadToolCall, HttpRequest, HttpTool
from asterisk_ai.providers.tools.once import Certain, Once, plain, unknown
from asterisk_ai.providers.web import describe, response_bytes, secure_context

logger = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024
MAX_REDIRECTS = 3
MAX_CONNECTIONS = 50
IDLE_SECONDS = 5.0
"""A connection that was idle for longer may be closed by the other side just as a request is sent: rather a new one."""


class HttpCalls:
    """Sends for the calls of one agent. ``start`` and ``stop`` as engines have them."""

    def __init__(self) -> None:
        self._http: httpx.AsyncClient | None = None
        self._once = Once()
        self._context: ssl.SSLContext | None = None

    async def start(self) -> None:
        if self._http is None:
            self._context = self._context or await secure_context("https:")
            self._http = httpx.AsyncClient(
                follow_redirects=False,
                trust_env=False,
                verify=self._context or False,
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=IDLE_SECONDS),
            )

    async def stop(self) -> None:
        """What is on its way ends now."""
        http, self._http = self._http, None
        await self._once.stop()
        if http is not None:
            await http.aclose()

    async def send(self, tool: HttpTool, request: HttpRequest, ledger: Ledger, certain: Certain) -> str:
        """What came of it, for the model; failures in words as well. Never raises but CancelledError.

        A request that changes something is not sent before the turn is ``certain``, goes on to its end where this is
        cancelled, and is not sent again for the same call.
        """
        if tool.safe:
            return (await self._send(tool, request))[0]
        return await self._once.do(tool.name, request.key, ledger, certain, lambda: self._send(tool, request))

    async def _send(self, tool: HttpTool, request: HttpRequest) -> tuple[str, bool]:
        """What came of it, and whether anything can have reached the service."""
        began, sent = time.monotonic(), True
        try:
            async with asyncio.timeout(tool.seconds):
                status, result = await self._exchange(tool, request)
        except TimeoutError:
            status, result = 0, _failure(tool, f"no answer within {tool.seconds:g} s")
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            status, result, sent = 0, f"error: the service cannot be reached: {describe(error)}", False
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            status, result = 0, _failure(tool, describe(error))
        except BadToolCall as error:
            status, result = 0, f"error: {error}"
        well = 200 <= status < 300
        worked("tool", tool.name, time.monotonic() - began, "" if well else f"HTTP {status}" if status else "no answer")
        level = logging.INFO if well else logging.WARNING
        took = (time.monotonic() - began) * 1000
        logger.log(level, "tool %s: %s after %.0f ms", tool.name, status or "no answer", took)
        return result, sent

    async def _exchange(self, tool: HttpTool, request: HttpRequest) -> tuple[int, str]:
        """The status and what the model is told. Follows a GET's redirects to hosts that are allowed."""
        if self._http is None:
            raise httpx.ConnectError("the engine is stopped")
        url, method, content, headers = request.url, request.method, request.content, request.headers
        for _ in range(MAX_REDIRECTS + 1):
            async with self._http.stream(
                method, url, headers=dict(headers), content=content, timeout=tool.seconds
            ) as response:
                place = response.headers.get("location", "") if response.is_redirect else ""
                if not place:
                    return response.status_code, await _read_result(response)
                if not (tool.safe or response.status_code == 303):
                    return response.status_code, "error: the service answers elsewhere, and it is not sent twice"
            url, headers = _redirect(tool, url, place, headers)
            method, content = "GET", b""  # 303: what was done is looked at. Source: RFC 9110, 15.4.4
        return 310, "error: the service sends us from one place to the next"


def _redirect(tool: HttpTool, url: str, place: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Where to go on, and with what: keys are for the server that they were written down for."""
    to = urljoin(url, place)
    tool.check_allowed(to)
    before, after = urlsplit(url), urlsplit(to)
    if (before.scheme, after.scheme) == ("https", "http"):
        raise BadToolCall(f"{tool.name}: the service redirects to an address that is not secure")
    return to, headers if (before.scheme, before.netloc) == (after.scheme, after.netloc) else {}


async def _read_result(response: httpx.Response) -> str:
    body = bytearray()
    async with response_bytes(response) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > MAX_BYTES:
                break
    text = plain(bytes(body[:MAX_BYTES]).decode("utf-8", "replace"))
    if not response.is_success:
        return f"error: the service answered {response.status_code}: {text}"
    return text or "done"


def _failure(tool: HttpTool, reason: str) -> str:
    if tool.safe:
        return f"error: {reason}"
    return unknown(reason)
