"""/health, /live, /ready and /metrics, from threads of their own: they answer while the media loop is busy.

Not :mod:`http.server`: its time limit is for each read and it begins a thread
for every connection, so a peer that sends a byte a second holds one for hours.
Here a request has two seconds in all and there are never more than eight.
"""

from __future__ import annotations

import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

log = logging.getLogger(__name__)

Probe = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Whether all is well, and what to show. Called in an HTTP thread; must not block."""


class Rendered(Protocol):
    """Metrics in Prometheus's text format."""

    content_type: str

    def render(self) -> bytes: ...


REQUEST_SECONDS = 2.0
MAX_REQUEST = 8192
MAX_REQUESTS_AT_ONCE = 8
_JSON = "application/json"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"

    def encode(self, *, head: bool) -> bytes:
        reason = _REASONS[self.status]
        body = self.body or f"{reason}\n".encode()
        lines = [
            f"HTTP/1.1 {self.status} {reason}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        ]
        if self.status == 405:
            lines.append("Allow: GET, HEAD")
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else body)


class HttpServer:
    """Serves the four paths from :meth:`start` to :meth:`stop`; a context manager does both.

    :param health: whether calls are served well; not so is HTTP 503.
    :param ready: whether new calls are taken; not so is HTTP 503.
    :raises OSError: from :meth:`start`, where the address cannot be had.
    """

    def __init__(self, host: str, port: int, *, health: Probe, ready: Probe, metrics: Rendered) -> None:
        self._address = (host, port)
        self._probes = {"/health": health, "/ready": ready}
        self._metrics = metrics
        self._slots = threading.BoundedSemaphore(MAX_REQUESTS_AT_ONCE)
        self._listener: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on, 0 before :meth:`start`."""
        return int(self._listener.getsockname()[1]) if self._listener else 0

    def start(self) -> None:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        listener = socket.create_server(self._address, family=family, backlog=32)
        listener.setblocking(False)
        self._wake, woken = socket.socketpair()
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, args=(listener, woken), name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Requests being served end by themselves within their time limit. May be called twice."""
        if self._wake and self._thread and self._listener:
            self._wake.close()
            self._thread.join()
            self._listener.close()
        self._listener = self._wake = self._thread = None

    def __enter__(self) -> HttpServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket, woken: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, woken:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                if any(key.fileobj is woken for key, _ in selector.select()):
                    return
                try:
                    connection, _ = listener.accept()
                except (BlockingIOError, ConnectionError):
                    continue
                except OSError as error:  # out of file descriptors: it would come again at once
                    log.warning("http: cannot accept: %s", error)
                    time.sleep(0.2)
                    continue
                self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        if not self._slots.acquire(blocking=False):
            connection.close()
            return
        thread = threading.Thread(target=self._serve, args=(connection,), name="http-request", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had
            self._slots.release()
            connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._exchange(connection, time.monotonic() + REQUEST_SECONDS)
        except OSError:
            pass  # the peer went away or was too slow to take its answer
        finally:
            self._slots.release()

    def _exchange(self, connection: socket.socket, deadline: float) -> None:
        request = _receive(connection, deadline)
        if request == b"":
            return
        response = _Response(500)
        try:
            response = self._answer(request)
        finally:  # a probe that raises is a 500, and its traceback goes to the thread's hook
            connection.settimeout(_left(deadline))
            connection.sendall(response.encode(head=bool(request and request.startswith(b"HEAD "))))
            _linger(connection, deadline)

    def _answer(self, request: bytes | None) -> _Response:
        """:param request: the header, or None where it did not end in time."""
        if request is None:
            return _Response(408)
        if len(request) > MAX_REQUEST:
            return _Response(431)
        words = request.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
            return _Response(400)
        if words[0] not in (b"GET", b"HEAD"):
            return _Response(405)
        path = words[1].partition(b"?")[0].decode("latin-1")
        if path == "/live":
            return _Response(200, b'{"status": "live"}\n', _JSON)
        if path == "/metrics":
            return _Response(200, self._metrics.render(), self._metrics.content_type)
        if path not in self._probes:
            return _Response(404)
        well, details = self._probes[path]()
        return _Response(200 if well else 503, json.dumps(details, default=str).encode() + b"\n", _JSON)


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())


def _receive(connection: socket.socket, deadline: float) -> bytes | None:
    """The request's header; None where time ran out, empty where the peer said nothing or left in the middle."""
    received = b""
    while b"\r\n\r\n" not in received and len(received) <= MAX_REQUEST:
        if time.monotonic() >= deadline:
            return None
        connection.settimeout(_left(deadline))
        try:
            chunk = connection.recv(4096)
        except TimeoutError:
            return None
        if not chunk:
            return b""
        received = (received + chunk).lstrip(b"\r\n")  # empty lines before a request are allowed (RFC 9112, 2.2)
    return received.partition(b"\r\n\r\n")[0] if len(received) <= MAX_REQUEST else received


def _linger(connection: socket.socket, deadline: float) -> None:
    """Let the peer read the answer: closing with its bytes unread would reset the connection."""
    connection.shutdown(socket.SHUT_WR)
    while time.monotonic() < deadline:
        connection.settimeout(_left(deadline))
        if not connection.recv(65536):
            return
