"""The HTTP client of the three engines: one connection pool each, kept warm, every failure one of two errors."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx

from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.base import Readiness

NAME = "openai"
BASE_URL = "https://api.openai.com/v1"
KEEP_SECONDS = 25.0
"""How often an idle connection is used, so that the next caller need not wait for TCP and TLS."""
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
LIMITED_SECONDS = 2.0
"""For a 429 without Retry-After."""
LONGEST_LIMITED_SECONDS = 600.0
DRAIN_SECONDS = 0.2
MAX_ERROR = 300
_SHARED = ("base_url", "api_key", "seconds", "connect_seconds", "proxy", "headers")
_KINDS = ("chat", "transcription", "speech")


class Settings:
    """``providers.openai`` as one engine sees it: what all share, and its own part.

    :param kind: the key of its own part; empty where its own keys stand beside the shared ones.
    :raises ConfigError: unknown keys or wrong types.
    """

    def __init__(self, settings: Mapping[str, Any], kind: str, known: Mapping[str, Any], name: str = NAME) -> None:
        allowed = (*_SHARED, *(_KINDS if kind else known))
        for key in settings:
            if key not in allowed:
                raise ConfigError(f"unknown key; known: {', '.join(allowed)}", path=f"providers.{name}.{key}")
        own = settings.get(kind) or {} if kind else {key: settings[key] for key in known if key in settings}
        for key, value in own.items():
            path = ".".join(part for part in ("providers", name, kind, key) if part)
            if key not in known:
                raise ConfigError(f"unknown key; known: {', '.join(known)}", path=path)
            wanted = known[key]
            number = isinstance(wanted, float) and type(value) is int
            if wanted is not None and type(value) is not type(wanted) and not number and not isinstance(value, str):
                raise ConfigError(f"expected {type(wanted).__name__}", path=path)
        self.name = name
        self.own: dict[str, Any] = {**known, **own}
        self.base_url = str(settings.get("base_url") or BASE_URL).rstrip("/") + "/"
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError("expected http:// or https://", path=f"providers.{name}.base_url")
        self.api_key = str(settings.get("api_key") or "")
        self.seconds = float(settings.get("seconds", 10.0))
        self.connect_seconds = float(settings.get("connect_seconds", 3.0))
        self.proxy = str(settings.get("proxy") or "") or None
        self.headers = {str(key): str(value) for key, value in (settings.get("headers") or {}).items()}


class Client:
    """Requests to one service. ``start`` opens the connection, a task keeps it open and knows how the service is."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._http: httpx.AsyncClient | None = None
        self.tls: ssl.SSLContext | None = None
        """Made once, by :meth:`start`; None for a service without TLS."""
        self._keeper: asyncio.Task[None] | None = None
        self._reason = "not started"
        self._limited_until = 0.0

    async def start(self) -> None:
        """Open the connection. A service that is not there is no error: it is tried again, and readiness says so."""
        if self._http is not None:
            return
        settings = self._settings
        headers = {**settings.headers}
        if settings.api_key:
            headers["Authorization"] = f"Bearer {settings.api_key}"
        if settings.base_url.startswith("https:") and not self.tls:
            self.tls = await asyncio.to_thread(httpx.create_ssl_context)  # it reads every authority there is
        self._http = httpx.AsyncClient(
            verify=self.tls or False,
            base_url=settings.base_url,
            headers=headers,
            timeout=httpx.Timeout(settings.seconds, connect=settings.connect_seconds, pool=settings.connect_seconds),
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=2 * KEEP_SECONDS),
            proxy=settings.proxy,
            trust_env=False,
        )
        await self._probe()
        self._keeper = asyncio.create_task(self._keep(), name=f"{self._settings.name} keeper")

    async def stop(self) -> None:
        """Close everything; open streams fail."""
        keeper, self._keeper = self._keeper, None
        http, self._http = self._http, None
        self._reason = "stopped"
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        if http is not None:
            await http.aclose()

    def readiness(self) -> Readiness:
        wait = self._limited_until - self._clock()
        if wait > 0 and not self._reason:
            return Readiness(False, f"the service asked to be left alone for {wait:.0f} s more")
        return Readiness(not self._reason, self._reason)

    def check(self) -> None:
        """Raise ProviderUnavailable where no request may be sent now."""
        if self._http is None:
            raise ProviderUnavailable(self._settings.name, self._reason)
        if (wait := self._limited_until - self._clock()) > 0:
            raise ProviderUnavailable(self._settings.name, f"the service asked to be left alone for {wait:.0f} s more")

    def refused(self, status: int, retry_after: str, body: bytes) -> ProviderError:
        """What an answer of 300 or more means; a 429 keeps the service from being asked for a while."""
        text = _message(body[: 16 * MAX_ERROR])
        if status == 429:
            wait = _retry_after(retry_after)
            self._limited_until = self._clock() + wait
            return ProviderUnavailable(self._settings.name, f"rate limit, to be tried again in {wait:.0f} s: {text}")
        if status >= 500 or status in (408, 409, 425):
            return ProviderUnavailable(self._settings.name, f"answered {status}: {text}")
        return ProviderRejected(self._settings.name, f"answered {status}: {text}")

    async def _keep(self) -> None:
        failed = 0
        while True:
            await asyncio.sleep(
                BACKOFF_SECONDS[min(failed, len(BACKOFF_SECONDS) - 1)] if self._reason else KEEP_SECONDS
            )
            await self._probe()
            failed = failed + 1 if self._reason else 0

    async def _probe(self) -> None:
        """Ask for the list of models: cheap, and it needs the key. A service without that list is there, too."""
        if self._http is None:
            return
        try:
            response = await self._http.get("models", timeout=self._settings.connect_seconds)
        except (httpx.HTTPError, OSError) as error:
            self._reason = _told(error)
        else:
            self._reason = f"refused the key ({response.status_code})" if response.status_code in (401, 403) else ""
            if response.status_code >= 500:
                self._reason = f"answered {response.status_code}"

    @contextlib.asynccontextmanager
    async def post(self, path: str, **body: Any) -> AsyncIterator[httpx.Response]:
        """Send a request; the answer's head has come and is well when this is entered. Raises ProviderError.

        What goes wrong while the body is read inside is a ProviderError as well.
        """
        self.check()
        assert self._http is not None  # noqa: S101 - for the type checker
        try:
            async with self._http.stream("POST", path, **body) as response:
                if response.status_code >= 300:
                    text = await response.aread()
                    raise self.refused(response.status_code, response.headers.get("retry-after", ""), text)
                yield response
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise ProviderUnavailable(self._settings.name, _told(error)) from error
        except RuntimeError as error:
            if self._http is not None:  # httpx says so where the client was closed meanwhile
                raise
            raise ProviderUnavailable(self._settings.name, self._reason) from error


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The server-sent events of a stream up to ``[DONE]``. Raises ProviderUnavailable where it breaks off."""
    lines = response.aiter_lines()
    async for line in lines:
        if not line.startswith("data:"):
            continue  # empty lines, comments, other fields
        data = line[5:].strip()
        if data == "[DONE]":
            with contextlib.suppress(TimeoutError):  # read to the end, the connection can be used again
                async with asyncio.timeout(DRAIN_SECONDS):
                    async for _ in lines:
                        pass
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise ProviderUnavailable(NAME, "sent an event that is not JSON") from None
        if not isinstance(event, dict):
            raise ProviderUnavailable(NAME, "sent an event that is not an object")
        if event.get("error"):
            raise ProviderUnavailable(NAME, f"broke off: {_message(data.encode())}")
        yield event
    raise ProviderUnavailable(NAME, "closed the stream in the middle of the answer")


def _told(error: Exception) -> str:
    """A network failure in words."""
    if isinstance(error, httpx.TimeoutException):
        return "no connection in time" if isinstance(error, httpx.ConnectTimeout) else "no answer in time"
    return f"{type(error).__name__}: {error}"[:MAX_ERROR] if str(error) else type(error).__name__


def _message(body: bytes) -> str:
    """What an error's body says, on one line; never what it does not say."""
    try:
        error = json.loads(body).get("error", "")
        text = str(error.get("message", "")) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = body.decode("utf-8", "replace")
    return " ".join(text.split())[:MAX_ERROR]


def _retry_after(text: str) -> float:
    """Seconds; the header is a number or a date. Source: RFC 9110, 10.2.3."""
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError):
            wait = LIMITED_SECONDS
    return min(max(wait, 0.0), LONGEST_LIMITED_SECONDS)
