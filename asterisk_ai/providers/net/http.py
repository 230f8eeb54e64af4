"""Requests to one vendor over HTTP: a connection that is opened before it is needed and kept, two errors, limits.

What several vendors' engines have in common; needs the ``remote`` extra.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

import httpx

from asterisk_ai.config.schema import Range
from asterisk_ai.errors import (
    AudioFormatError,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    RemoteProtocolError,
)
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.net.keeper import Keeper
from asterisk_ai.providers.web import MAX_ERROR, describe, secure_context

KEEP_SECONDS = 25.0
"""How often an idle connection is used, so that the next caller need not wait for TCP and TLS."""
LIMITED_SECONDS = 2.0
"""For a 429 without Retry-After."""
LONGEST_LIMITED_SECONDS = 600.0


QUOTA_SECONDS = 600.0
"""A service whose quota is used up is asked again so much later, where it tells no time of its own."""
_QUOTA = ("insufficient_quota", "quota_exceeded", "billing_error", "credit balance is too low", "spend_limit", "perday")
"""In the body of a refusal: OpenAI, ElevenLabs, Anthropic (three ways), Google's quotaId of daily quotas."""


class RateLimit:
    """Until when a service asked to be left alone."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._until, self._quota = 0.0, False

    def problem(self) -> str:
        """Empty where the service may be asked."""
        wait = self._until - self._clock()
        if wait <= 0:
            return ""
        why = "its quota is used up, it is" if self._quota else "the service asked to be"
        return f"{why} left alone for {wait:.0f} s more"

    def check(self) -> None:
        """Raises ProviderUnavailable while the service wants to be left alone: asking would make it longer."""
        if problem := self.problem():
            raise (QuotaExceeded if self._quota else RateLimited)(self._name, problem)

    def refused(self, status: int, retry_after: str, body: bytes) -> ProviderError:
        """The error that an answer of 300 or more stands for; rate limits and quotas are heeded from here on.

        :param retry_after: that header, empty where there is none.
        """
        text = message(body[: 16 * MAX_ERROR])
        quota = status == 402 or (status in (400, 401, 403, 429) and any(mark in _lower(body) for mark in _QUOTA))
        if quota or status == 429:
            told = retry_after or _retry_delay(body)
            wait = seconds_of(told) if told or not quota else QUOTA_SECONDS
            self._until, self._quota = self._clock() + wait, quota
            if quota:
                return QuotaExceeded(self._name, f"the quota is used up, to be tried again in {wait:.0f} s: {text}")
            return RateLimited(self._name, f"rate limit, to be tried again in {wait:.0f} s: {text}")
        if status >= 500 or status in (408, 409, 425):
            return ProviderUnavailable(self._name, f"answered {status}: {text}")
        return ProviderRejected(self._name, f"answered {status}: {text}")


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What is said about every service that is asked over HTTP."""

    base_url: str = ""
    """Of the API: another service that speaks the same protocol, or one's own host."""
    api_key: str = ""
    seconds: Annotated[float, Range(0.1, 600)] = 10.0
    """Each wait for an answer and its pieces."""
    connect_seconds: Annotated[float, Range(0.1, 600)] = 3.0
    proxy: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    """Sent with each request, beside the key."""

    def __post_init__(self) -> None:
        if self.base_url and not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url: expected http:// or https://")

    def all_headers(self, scheme: str) -> dict[str, str]:
        """With the key as ``Authorization: <scheme> <key>``, or as ``<scheme> <key>`` where that is a header's name
        with its colon.
        """
        name, colon, _ = scheme.partition(":")
        key = {name: self.api_key} if colon else {"Authorization": f"{scheme} {self.api_key}"}
        return {**{name: str(value) for name, value in self.headers.items()}, **(key if self.api_key else {})}


class HttpService:
    """``start`` opens the connection, a task keeps it open and knows how the service is.

    :param name: of the engine, for errors.
    :param probe: what is asked to see how the service is: cheap, and it needs the key. A service that has no such
        list is there, too.
    """

    def __init__(
        self,
        name: str,
        settings: ServiceSettings,
        *,
        base_url: str,
        scheme: str = "Bearer",
        probe: str,
        headers: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        :param base_url: where the settings name none.
        :param scheme: see :meth:`ServiceSettings.all_headers`.
        :param headers: that the service wants beside the key.
        """
        self._name = name
        self.base_url = (settings.base_url or base_url).rstrip("/") + "/"
        self.headers = {**headers, **settings.all_headers(scheme)}
        self._proxy, self._seconds, self._connect_seconds = settings.proxy, settings.seconds, settings.connect_seconds
        self._path = probe
        self.limit = RateLimit(name, clock)
        """Of all requests to the service, those by other ways included."""
        self._http: httpx.AsyncClient | None = None
        self._keeper = Keeper(name, self._probe, KEEP_SECONDS)
        self._reason = "not started"

    async def start(self) -> None:
        """Open the connection. A service that is not there is no error: it is tried again, and readiness says so."""
        if self._http is not None:
            return
        wait = self._connect_seconds
        secure = await secure_context(self.base_url)
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers=self.headers,
            timeout=httpx.Timeout(self._seconds, connect=wait, pool=wait),
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=2 * KEEP_SECONDS),
            proxy=self._proxy or None,
            trust_env=False,
            verify=secure or False,
        )
        await self._keeper.start()

    async def stop(self) -> None:
        """Close everything; open streams fail."""
        http, self._http = self._http, None
        self._reason = "stopped"
        await self._keeper.stop()
        if http is not None:
            await http.aclose()

    def readiness(self) -> Readiness:
        problem = self._reason or self.limit.problem()
        return Readiness(not problem, problem)

    def check(self) -> None:
        """Raise ProviderUnavailable where no request may be sent now."""
        if self._http is None:
            raise ProviderUnavailable(self._name, self._reason)
        self.limit.check()

    async def _probe(self) -> bool:
        if self._http is None:
            return True
        try:
            response = await self._http.get(self._path, timeout=self._connect_seconds)
        except (httpx.HTTPError, OSError) as error:
            self._reason = describe(error)
        else:
            self._reason = f"refused the key ({response.status_code})" if response.status_code in (401, 403) else ""
            if response.status_code >= 500:
                self._reason = f"answered {response.status_code}"
        return not self._reason

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
                    answer = await response.aread()
                    raise self.limit.refused(response.status_code, response.headers.get("retry-after", ""), answer)
                yield response
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise ProviderUnavailable(self._name, describe(error)) from error
        except (AudioFormatError, RemoteProtocolError) as error:
            raise ProviderUnavailable(self._name, f"sent {error}") from error
        except RuntimeError as error:
            if self._http is not None:  # httpx says so where the client was closed meanwhile
                raise
            raise ProviderUnavailable(self._name, self._reason) from error


def message(body: bytes) -> str:
    """What an error's body says, on one line; never what it does not say."""
    try:
        found = json.loads(body)
        error = found.get("error") or found.get("detail") or found.get("err_msg") or found.get("message") or ""
        text = str(error.get("message", "")) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = body.decode("utf-8", "replace")
    return " ".join(text.split())[:MAX_ERROR]


def _lower(body: bytes) -> str:
    return body[: 16 * MAX_ERROR].decode("utf-8", "replace").lower()


def _retry_delay(body: bytes) -> str:
    """Google tells it in the body. Source: google/rpc/error_details.proto, RetryInfo; a duration is written ``17s``."""
    try:
        details = json.loads(body)["error"]["details"]
        return str(next(one["retryDelay"] for one in details if "retryDelay" in one)).removesuffix("s")
    except (ValueError, LookupError, TypeError, StopIteration):
        return ""


def seconds_of(text: str) -> float:
    """Of Retry-After: it is a number or a date. Source: RFC 9110, 10.2.3."""
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError):
            wait = LIMITED_SECONDS
    return min(max(wait, 0.0), LONGEST_LIMITED_SECONDS)
