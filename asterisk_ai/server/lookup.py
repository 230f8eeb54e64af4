"""Asking the administrator's own system about a caller, before the first word."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from asterisk_ai import __version__
from asterisk_ai.config import Config, LookupConfig
from asterisk_ai.dialog.caller import KNOWN, MAX_KNOWN, number_of
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.metrics import Metrics

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

MAX_ANSWER = 64 * 1024
MAX_CONNECTIONS = 50
IDLE_SECONDS = 5.0
"""A connection that was idle for longer may be closed by the other side just as it is used."""
_FIELD = re.compile(r"\{caller\.(number|dialled)\}")


class LookupFailed(Exception):
    """The text says why, without a word of the caller's."""


class Lookups:
    """For the calls of all agents that have one. Used on the loop.

    :param config: the configuration in use.
    """

    def __init__(self, config: Callable[[], Config], metrics: Metrics) -> None:
        self._config = config
        self._metrics = metrics
        self._http: httpx.AsyncClient | None = None
        for result in ("found", "nothing", "failed"):
            metrics.lookups.labels(result)

    async def start(self) -> None:
        """Have at hand what asking needs, where some agent asks: loading it takes a while. May be called again."""
        if self._http is not None or not any(agent.lookup for agent in self._config().agents.values()):
            return
        web = await asyncio.to_thread(importlib.import_module, "asterisk_ai.providers.web")
        self._http = web.httpx.AsyncClient(
            verify=await web.secure_context("https:") or False,
            trust_env=False,
            limits=web.httpx.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=IDLE_SECONDS),
        )

    async def look_up(self, session: CallSession) -> None:
        """Put what is known into the caller's mapping; where it fails there is nothing. Never raises."""
        agent = self._config().agents.get(session.agent)
        lookup = agent.lookup if agent else None
        url = _filled(lookup.url, session.caller) if lookup else ""
        if lookup is None or not url or self._http is None:
            return
        try:
            async with asyncio.timeout(lookup.timeout_seconds):
                answer = await self._ask(self._http, lookup, url)
            known = taken(answer, lookup)
        except (LookupFailed, TimeoutError) as error:
            why = str(error) or f"no answer within {lookup.timeout_seconds:g} s"
            self._metrics.lookups.labels("failed").inc()
            logger.warning("nothing is looked up about the caller: %s", why, extra={"call_id": session.call_id})
            return
        self._metrics.lookups.labels("found" if known else "nothing").inc()
        session.caller.update(known)

    async def close(self) -> None:
        """The server ends."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    @staticmethod
    async def _ask(http: httpx.AsyncClient, lookup: LookupConfig, url: str) -> Any:
        import httpx

        from asterisk_ai.providers.web import describe

        try:
            headers = {"User-Agent": f"asterisk-ai/{__version__}", **{k: str(v) for k, v in lookup.headers.items()}}
            async with http.stream("GET", url, headers=headers, timeout=lookup.timeout_seconds) as response:
                if response.status_code == 404:
                    return {}  # nobody knows the caller
                if not response.is_success:
                    raise LookupFailed(f"HTTP {response.status_code}")
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        raise LookupFailed(f"the answer is longer than {MAX_ANSWER} bytes")
            return json.loads(bytes(body))
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise LookupFailed(describe(error)) from error
        except (ValueError, RecursionError) as error:
            raise LookupFailed("the answer is no JSON") from error


def taken(answer: object, lookup: LookupConfig) -> dict[str, str]:
    """The variables that are wanted, as the caller's mapping has them. Raises LookupFailed."""
    if not isinstance(answer, Mapping):
        raise LookupFailed("the answer is no JSON object")
    found = {}
    for name in lookup.variables:
        value = answer.get(name)
        if isinstance(value, bool):
            found[KNOWN + name] = "yes" if value else "no"
        elif isinstance(value, (str, int, float)) and value != "":
            found[KNOWN + name] = str(value)[:MAX_KNOWN]
    return found


def _filled(url: str, caller: Mapping[str, str]) -> str:
    """Empty where what it asks by is not known."""
    values = {"number": number_of(caller), "dialled": number_of({"number": caller.get("dialled", "")})}
    if not all(values[name] for name in _FIELD.findall(url)):
        return ""
    return _FIELD.sub(lambda found: quote(values[found[1]], safe=""), url)
