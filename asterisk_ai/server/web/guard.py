"""What holds for every request and every answer, whatever page it is for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 65_536
SAFE = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""Of an SVG, whose styles stand in itself."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets through what a browser sends from one of our own pages, by a name that is ours.

    A name that somebody else has pointed at our address (DNS rebinding) is none of ours, and what another site's page
    has sent is not from ours.

    :param hosts: the names that are ours, without ports; empty where any is.
    """

    def __init__(self, app: ASGIApp, hosts: Callable[[], Collection[str]]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if refused is None else PlainTextResponse(refused[1], refused[0])
        await app(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        hosts, host = self._hosts(), headers.get("host", "")
        if hosts and _name(host) not in hosts:
            return 421, "This page is not served under that name: add it to web.hosts in asterisk_ai.yaml."
        site = headers.get("sec-fetch-site", "none")
        if method in SAFE:
            followed = headers.get("sec-fetch-mode", "navigate") == "navigate"  # a link from somewhere else is no harm
            return None if site in ("none", "same-origin") or followed else (403, "Another site has asked for this.")
        origin = headers.get("origin")
        if site not in ("none", "same-origin") or (origin is not None and urlsplit(origin).netloc != host):
            return 403, "This was sent by a page of another site."
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return 411, "How long is it?"
        return None if int(length) <= MAX_BODY else (413, "That is too much.")


def _name(host: str) -> str:
    """Without the port, and without an IPv6 address's brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
