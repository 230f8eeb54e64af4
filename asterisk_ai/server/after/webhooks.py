"""A call's events, posted and signed as Standard Webhooks says (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import time
import urllib.parse

import urllib3
from urllib3 import exceptions as problems

from asterisk_ai import __version__
from asterisk_ai.config import Proxies, WebhookConfig
from asterisk_ai.server.after.courier import DeliveryFailed
from asterisk_ai.session.backends.deliveries import Delivery
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.report import event

AT_ONCE = 4
"""Requests to one address: one that takes a second for each is told of four calls in it."""
CONNECT_SECONDS = 5.0
_MAX_ANSWER = 64 * 1024
_MAX_PROBLEM = 200


class Webhook:
    """One address. Used by its couriers' threads."""

    def __init__(self, config: WebhookConfig, proxies: Proxies) -> None:
        self._config = config
        self._proxy = proxies.for_url(config.url)
        self._pool: urllib3.PoolManager | None = None

    def send(self, one: Delivery, session: CallSession) -> None:
        """Post it; anything but a 2xx is a failure. Raises DeliveryFailed."""
        body = json.dumps(event(one.event, session), default=str).encode()
        at = int(time.time())
        headers = {
            **{name: str(value) for name, value in self._config.headers.items()},
            "Content-Type": "application/json",
            "User-Agent": f"asterisk-ai/{__version__}",
            "webhook-id": one.id,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self._config.key(), one.id, at, body),
        }
        try:
            status = self._post(body, headers)
        except (problems.HTTPError, OSError, ValueError) as error:  # ValueError: an address that is none after all
            raise DeliveryFailed(_words(error)) from error
        if status in range(300, 400):
            raise DeliveryFailed(f"HTTP {status}: it sends us on; name the new address in the configuration")
        if status not in range(200, 300):
            raise DeliveryFailed(f"HTTP {status}")

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        self._pool = self._pool or self._connections()
        response = self._pool.request(
            "POST", self._config.url, body=body, headers=headers, redirect=False, preload_content=False
        )
        try:
            whole = len(response.read(_MAX_ANSWER)) < _MAX_ANSWER
        except (problems.HTTPError, OSError):
            whole = False  # the status has been told: that counts
        if whole:
            response.release_conn()
        else:
            response.close()
        return int(response.status)

    def _connections(self) -> urllib3.PoolManager:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=self._config.timeout_seconds)
        # Reads all authorities' certificates: once, and not on the loop.
        tls = ssl.create_default_context() if self._config.url.startswith("https:") else None
        if not self._proxy:
            return urllib3.PoolManager(timeout=timeout, ssl_context=tls, retries=False, maxsize=AT_ONCE)
        parts = urllib.parse.urlsplit(self._proxy)
        login = f"{urllib.parse.unquote(parts.username or '')}:{urllib.parse.unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login) if parts.username else None
        return urllib3.ProxyManager(
            self._proxy,
            proxy_headers=headers,
            timeout=timeout,
            ssl_context=tls,
            proxy_ssl_context=tls,
            retries=False,
            maxsize=AT_ONCE,
        )


def signature(key: bytes, delivery_id: str, at: int, body: bytes) -> str:
    """The header ``webhook-signature``."""
    signed = b".".join((delivery_id.encode(), str(at).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _words(error: Exception) -> str:
    """What failed, without the address, which may hold a key."""
    match error:
        case problems.ConnectTimeoutError():
            return f"no connection within {CONNECT_SECONDS:g} s"
        case problems.TimeoutError():
            return "no answer in time"
        case problems.NewConnectionError():
            return f"no connection: {error.__cause__ or 'refused, or no such host'}"[:_MAX_PROBLEM]
        case problems.SSLError():
            return f"its certificate is not accepted: {error}"[:_MAX_PROBLEM]
        case _:
            return type(error).__name__
