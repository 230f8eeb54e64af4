"""/health, /live, /ready, /metrics and live calls, from threads of their own: they answer while the media loop is busy.

The protocol is h11's. A request has two seconds in all, and a peer that keeps us waiting makes room for the next one.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl

import h11

from asterisk_ai.protocol.door import Door
from asterisk_ai.protocol.strangers import Strangers

logger = logging.getLogger(__name__)

Probe = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Whether all is well, and what to show. Called in an HTTP thread; must not block."""
Answer = tuple[int, bytes, str]
"""Status, body, media type."""


class Rendered(Protocol):
    """Metrics in Prometheus's text format."""

    content_type: str

    def render(self) -> bytes: ...


REQUEST_SECONDS = 2.0
MAX_REQUEST = 8192
MAX_WAITED_FOR = 8
"""Peers whose request, or whose end after the answer, is waited for."""
MAX_THREADS = 32
MAX_STREAMS = 4
_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"


class Live(Protocol):
    """Live calls, below ``/calls``."""

    @property
    def token(self) -> str:
        """What has to be known; empty where nobody may ask."""

    def stream(self) -> Generator[bytes]:
        """Lines, as things happen; some every second. Closed when nobody takes them any more."""

    def act(self, call_id: str, what: str, fields: Mapping[str, str]) -> tuple[int, str]:
        """Do something with a call; status, and why not."""


class HttpServer:
    """Serves the four paths from :meth:`start` to :meth:`stop`.

    :param health: whether calls are served well; not so is HTTP 503.
    :param ready: whether new calls are taken; not so is HTTP 503.
    :param door: who may connect.
    :param token: what a peer of another machine has to know for ``/health`` and ``/metrics``; empty where none gets
        them. ``/live`` and ``/ready`` tell nothing, and are there for everybody.
    :param calls: ``GET /calls`` is a stream of what happens in them, ``POST /calls/ID/WHAT`` does something with one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        health: Probe,
        ready: Probe,
        metrics: Rendered,
        calls: Live | None = None,
        door: Door | None = None,
        token: Callable[[], str] = lambda: "",
    ) -> None:
        self._address = (host, port)
        self._door, self._token = door or Door(), token
        live: Probe = lambda: (True, {"status": "live"})  # noqa: E731
        self._probes = {"/health": health, "/ready": ready, "/live": live}
        self._metrics = metrics
        self._calls = calls
        self._streams = threading.BoundedSemaphore(MAX_STREAMS)
        self._threads = threading.BoundedSemaphore(MAX_THREADS)
        self._waited_for: Strangers[socket.socket] = Strangers(MAX_WAITED_FOR)
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._waker: socket.socket
        self._woken: socket.socket
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on, 0 before :meth:`start`."""
        return int(self._listener.getsockname()[1]) if self._listener else 0

    def start(self, inherited: socket.socket | None = None) -> None:
        """Listen; on ``::`` for IPv4, too. Raises OSError.

        :param inherited: a socket of the process before this one, that listens there.
        """
        host = self._address[0]
        both = host == "::" and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = inherited or socket.create_server(
            self._address, family=family, backlog=32, dualstack_ipv6=both
        )
        self._listener.setblocking(False)
        self._waker, woken = socket.socketpair()
        self._woken = woken
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Requests being served end by themselves within their time limit. May be called twice."""
        listener, thread, self._listener, self._thread = self._listener, self._thread, None, None
        if listener and thread:
            self._waker.close()  # not the listener: another process may go on with it
            thread.join()
            self._woken.close()
            listener.close()

    @property
    def descriptor(self) -> int:
        """Of the socket that is listened on, for another process. The caller closes it."""
        return os.dup(self._listener.fileno()) if self._listener else -1

    def __enter__(self) -> HttpServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        waiting.register(self._woken, select.POLLIN)
        while self._listener is listener:
            waiting.poll()
            try:
                connection, address = listener.accept()
                connection.setblocking(True)
            except BlockingIOError:  # the process that shares it was faster, or we are to stop
                continue
            except OSError as error:  # out of file descriptors: it would come again at once
                if self._listener is listener and not isinstance(error, ConnectionError):
                    logger.warning("http: cannot accept: %s", error)
                    time.sleep(0.2)
                continue
            refused = self._door.refuses(address[0], time.monotonic())
            if refused or not self._threads.acquire(blocking=False):
                connection.close()
                continue
            self._wait_for(connection, address[0])
            work = threading.Thread(target=self._serve, args=(connection, address[0]), name="http-request", daemon=True)
            try:
                work.start()
            except RuntimeError:  # no more threads to be had
                self._end(connection)

    def _wait_for(self, connection: socket.socket, source: str) -> None:
        with self._lock:
            displaced = self._waited_for.add(connection, source)
        if displaced is not None:
            with contextlib.suppress(OSError):
                displaced.shutdown(socket.SHUT_RDWR)  # its thread wakes up and ends

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._waited_for.discard(connection)
        connection.close()
        self._threads.release()

    def _serve(self, connection: socket.socket, source: str) -> None:
        try:
            self._exchange(connection, source, time.monotonic() + REQUEST_SECONDS)
            connection.shutdown(socket.SHUT_WR)
            self._wait_for(connection, source)
            end = time.monotonic() + REQUEST_SECONDS
            while time.monotonic() < end and connection.recv(65536):
                pass  # closing with its bytes unread would reset the connection, and the answer
        except OSError:
            pass  # the peer went away, was too slow, or had to make room
        finally:
            self._end(connection)

    def _exchange(self, connection: socket.socket, source: str, deadline: float) -> None:
        peer = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        answer: Answer | None = None
        request = None
        try:
            request = _receive(peer, connection, deadline)
            with self._lock:
                self._waited_for.discard(connection)
            answer = 500, b"", _TEXT
            if request.target.startswith(b"/calls"):
                answer = self._about_calls(peer, connection, request, deadline)
            elif not _is_here(source) and not request.target.startswith((b"/live", b"/ready")):
                answer = self._answer(request) if _knows(request, self._token()) else _UNKNOWN
            else:
                answer = self._answer(request)
        except h11.RemoteProtocolError as error:
            answer = error.error_status_hint, b"", _TEXT
        except TimeoutError:
            answer = HTTPStatus.REQUEST_TIMEOUT, b"", _TEXT
        finally:  # a probe that raises is a 500, and its traceback goes to the thread's hook
            if answer is not None:
                connection.settimeout(REQUEST_SECONDS)
                connection.sendall(_encoded(peer, answer, head=request is not None and request.method == b"HEAD"))

    def _about_calls(
        self, peer: h11.Connection, connection: socket.socket, request: h11.Request, deadline: float
    ) -> Answer | None:
        """Of live calls; None where the answer has been sent."""
        if self._calls is None or not _knows(request, self._calls.token):
            return HTTPStatus.UNAUTHORIZED, b"", _TEXT
        path = request.target.decode("latin-1").split("/")
        if request.method == b"GET" and path == ["", "calls"]:
            return self._stream(peer, connection, self._calls)
        if request.method == b"POST" and len(path) == 4:
            fields = dict(parse_qsl(_body(peer, connection, deadline).decode("utf-8", "replace")))
            status, problem = self._calls.act(path[2], path[3], fields)
            return status, json.dumps({"problem": problem}).encode() + b"\n", _JSON
        return HTTPStatus.NOT_FOUND, b"", _TEXT

    def _stream(self, peer: h11.Connection, connection: socket.socket, live: Live) -> Answer | None:
        """Until the peer goes away, is too slow, or we stop."""
        if not self._streams.acquire(blocking=False):
            return HTTPStatus.SERVICE_UNAVAILABLE, b"too many look on\n", _TEXT
        connection.settimeout(REQUEST_SECONDS)
        listener, lines = self._listener, live.stream()
        try:
            head = h11.Response(status_code=200, headers=[("Content-Type", "application/jsonl"), *_HEADERS])
            connection.sendall(peer.send(head) or b"")
            for line in lines:
                if self._listener is not listener:
                    break
                connection.sendall(peer.send(h11.Data(data=line)) or b"")
            connection.sendall(peer.send(h11.EndOfMessage()) or b"")
        except OSError:
            pass  # nobody takes them any more
        finally:
            lines.close()
            self._streams.release()
        return None

    def _answer(self, request: h11.Request) -> Answer:
        path = request.target.partition(b"?")[0].decode("latin-1")
        if request.method not in (b"GET", b"HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, b"", _TEXT
        if path == "/metrics":
            return 200, self._metrics.render(), self._metrics.content_type
        if path not in self._probes:
            return HTTPStatus.NOT_FOUND if path.startswith("/") else HTTPStatus.BAD_REQUEST, b"", _TEXT
        well, details = self._probes[path]()
        return 200 if well else 503, json.dumps(details, default=str).encode() + b"\n", _JSON


_UNKNOWN: Answer = (
    HTTPStatus.UNAUTHORIZED,
    b"from another machine, with the token: http.token in asterisk_ai.yaml, and Authorization: Bearer TOKEN\n",
    _TEXT,
)


def _is_here(source: str) -> bool:
    """Whether the address is this machine's own."""
    return source == "::1" or source.removeprefix("::ffff:").startswith("127.")


def _knows(request: h11.Request, token: str) -> bool:
    """Whether it carries the token; never where there is none."""
    given = dict(request.headers).get(b"authorization", b"")
    return bool(token) and hmac.compare_digest(given, b"Bearer " + token.encode())


_HEADERS = (("Connection", "close"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


def _encoded(peer: h11.Connection, answer: Answer, *, head: bool) -> bytes:
    status, body, media_type = answer
    reason = HTTPStatus(status).phrase.encode()
    body = body or reason + b"\n"
    headers = [("Content-Type", media_type), ("Content-Length", str(len(body))), *_HEADERS]
    headers += [("Allow", "GET, HEAD")] * (status == HTTPStatus.METHOD_NOT_ALLOWED)
    encoded = peer.send(h11.Response(status_code=status, headers=headers, reason=reason)) or b""
    return encoded if head else encoded + (peer.send(h11.Data(data=body)) or b"")


def _body(peer: h11.Connection, connection: socket.socket, deadline: float) -> bytes:
    """What follows the request's header. Raises OSError and RemoteProtocolError."""
    found = b""
    while not isinstance(event := peer.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            peer.receive_data(connection.recv(4096))
        elif isinstance(event, h11.Data):
            found += event.data
        else:
            raise ConnectionAbortedError
        if len(found) > MAX_REQUEST:
            raise h11.RemoteProtocolError("too long", error_status_hint=413)
    return found


def _receive(peer: h11.Connection, connection: socket.socket, deadline: float) -> h11.Request:
    """The request's header. Raises OSError (the peer left before; TimeoutError is one) and RemoteProtocolError."""
    begun = False
    while (event := peer.next_event()) is h11.NEED_DATA:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data = connection.recv(4096)
        if not data:
            raise ConnectionAbortedError
        data = data if begun else data.lstrip(b"\r\n")  # empty lines before it are allowed (RFC 9112, 2.2)
        begun = begun or bool(data)
        if time.monotonic() >= deadline:
            raise TimeoutError
        peer.receive_data(data)
    if not isinstance(event, h11.Request):
        raise ConnectionAbortedError
    return event
