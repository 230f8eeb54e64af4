"""The settings and the HTTP client of the engines: one connection pool each, kept warm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx

from asterisk_ai.errors import ConfigError, ProviderUnavailable
from asterisk_ai.providers.net.http import HttpService, message

NAME = "openai"
BASE_URL = "https://api.openai.com/v1"
DRAIN_SECONDS = 0.2
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


class Client(HttpService):
    """Requests to one service."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        authorization = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        super().__init__(
            settings.name,
            base_url=settings.base_url,
            headers={**settings.headers, **authorization},
            seconds=settings.seconds,
            connect_seconds=settings.connect_seconds,
            proxy=settings.proxy,
            probe="models",
            clock=clock,
        )


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
            raise ProviderUnavailable(NAME, f"broke off: {message(data.encode())}")
        yield event
    raise ProviderUnavailable(NAME, "closed the stream in the middle of the answer")
