"""The other end of webhooks: a server that takes what it is sent, or fails as it was told to."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asterisk_ai.server.after.webhooks import signature

HANG, CLOSE = -1, -2
"""Instead of a status: no answer at all, and a connection that is closed."""


class HookServer:
    """Keeps what it has accepted, with the id and the time of each; ``fails`` is what it does to the first requests."""

    def __init__(self, key: bytes, fails: Sequence[int] = ()) -> None:
        self.accepted: list[tuple[str, dict[str, Any], float]] = []
        self.tried: list[tuple[str, dict[str, Any]]] = []
        self.forged: list[str] = []
        self.fails = list(fails)
        self.always = 200
        """What all others are answered with."""
        self._key = key
        self._lock = threading.Lock()
        self._end = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Its address."""
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hooks.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # our side was killed

        server = Quiet(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/calls"
        finally:
            self._end.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        told = request.headers["webhook-id"]
        with self._lock:
            status = self.fails.pop(0) if self.fails else self.always
            self.tried.append((told, json.loads(body)))
            signed = signature(self._key, told, int(request.headers["webhook-timestamp"]), body)
            if signed != request.headers["webhook-signature"]:
                self.forged.append(told)
            if status == 200:
                self.accepted.append((told, json.loads(body), time.time()))
        if status == HANG:
            self._end.wait(60)
        if status in (HANG, CLOSE):
            request.close_connection = True
            return
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def calls(self) -> dict[str, set[str]]:
        """The ids that each accepted call was told with."""
        found: dict[str, set[str]] = {}
        for told, event, _ in list(self.accepted):
            found.setdefault(event["data"]["id"], set()).add(told)
        return found
