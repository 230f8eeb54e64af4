"""A real HTTP server that misbehaves on demand, over TLS too, and a proxy; models and a registry made for it."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import select
import socket
import ssl
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asterisk_ai.models import registry
from asterisk_ai.models.registry import Model


@dataclass
class Fault:
    """How one request is answered wrongly. ``head`` is added to the headers."""

    status: int = 0  # answered with it, and no content
    head: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # the connection ends after so many bytes of content
    length: int | None = None  # Content-Length that is told
    content: bytes | None = None  # sent instead
    ignore_range: bool = False
    chunked: bool = False
    piece: int = 0  # so many bytes at a time ...
    pause: float = 0.0  # ... with so long between
    hold: threading.Event | None = None  # nothing more is sent until it is set
    then: Callable[[], None] | None = None  # called where content was cut or held
    content_range: str = ""


class Server(http.server.ThreadingHTTPServer):
    """``faults[path]`` are used up one a request; then the file comes as it should."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.requests: list[tuple[str, str]] = []
        self.tls = tls
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are the point here."""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.server_address[1]}"

    def ranges(self, path: str) -> list[str]:
        return [wanted for asked, wanted in self.requests if asked == path]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.requests.append((self.path, wanted))
        waiting = server.faults.get(self.path, [])
        fault = waiting.pop(0) if waiting else server.always.get(self.path, Fault())
        if fault.status:
            self._answer(fault.status, fault, b"", {})
            return
        content = server.files.get(self.path)
        if content is None:
            self._answer(404, fault, b"", {})
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not fault.ignore_range else 0
        if start >= len(content) and start:
            self._answer(416, fault, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        body = (fault.content if fault.content is not None else content)[start:]
        head = {}
        if start:
            head["Content-Range"] = fault.content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(206 if start else 200, fault, body, head)

    def _answer(self, status: int, fault: Fault, body: bytes, head: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (head | fault.head).items():
            self.send_header(name, value)
        if fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(fault.length if fault.length is not None else len(body)))
        self.end_headers()
        sent = body[: fault.cut] if fault.cut is not None else body
        if fault.chunked:
            sent = b"%x\r\n%s\r\n" % (len(sent), sent) + (b"0\r\n\r\n" if fault.cut is None else b"")
        step = fault.piece or 1 << 16
        for at in range(0, len(sent), step):
            self.wfile.write(sent[at : at + step])
            time.sleep(fault.pause)
        self.wfile.flush()
        if fault.then:
            fault.then()
        if fault.hold:
            fault.hold.wait(20)
        if fault.cut is not None or fault.hold or (fault.length is not None and fault.length != len(body)):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)


class Proxy(http.server.BaseHTTPRequestHandler):
    """Forwards GET and CONNECT, to this machine only; ``server.seen`` lists what was asked for."""

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Proxy-Authorization", "")))  # type: ignore[attr-defined]
        host, _, path = self.path.removeprefix("http://").partition("/")
        with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))) as onward:
            onward.sendall(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            while data := onward.recv(65536):
                self.wfile.write(data)
        self.close_connection = True

    def do_CONNECT(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Proxy-Authorization", "")))  # type: ignore[attr-defined]
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as onward:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ends = {self.connection: onward, onward: self.connection}
            while True:
                for ready in select.select(list(ends), [], [], 10)[0] or [None]:
                    data = ready.recv(65536) if ready else b""
                    if not data:
                        self.close_connection = True
                        return
                    ends[ready].sendall(data)


@contextlib.contextmanager
def running(server: http.server.HTTPServer) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def proxy() -> Iterator[Any]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads, server.block_on_close = True, False
    server.seen = []  # type: ignore[attr-defined]
    with running(server):
        yield server


# -- models

V2 = {"am/final.mdl": b"model" * 999, "conf/model.conf": b"--x=1\n", "conf/mfcc.conf": b"--sample-frequency=16000\n"}
V1 = {"final.mdl": b"model" * 999, "mfcc.conf": b"--sample-frequency=16000\n", "ivector/final.dubm": b"d" * 200}
LAYOUTS = {"vosk": [list(V2), ["final.mdl", "mfcc.conf"]], "vosk-v2": [list(V2)]}


def content(size: int, seed: int = 1) -> bytes:
    """Bytes without a pattern, the same each time."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def zipped(files: dict[str, bytes], top: str = "m") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{top}/{name}" if top else name, data)
    return packed.getvalue()


def entry(name: str, files: dict[str, bytes], base: str, **more: Any) -> dict[str, Any]:
    """A model of a registry; its files are at ``<base>/<path>``."""
    described = [
        {"path": path, "urls": [f"{base}/{path}"], "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in files.items()
    ]
    return {
        "id": name, "kind": "tts", "engine": "piper", "language": "en-US", "sample_rates": [16000], "files": described,
        "licence": {"name": "CC0", "commercial": "yes"}, "memory": None, **more,
    }  # fmt: skip


def document(*models: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schema": 1, "layouts": LAYOUTS, "models": list(models), **more}


def model_of(described: dict[str, Any]) -> Model:
    found = registry.merge([("test", document(described), "")])
    return found.models[described["id"]]


def settings_file(folder: Path, *models: dict[str, Any], mirror: str = "", **more: Any) -> Path:
    """An asterisk_ai.yaml with a registry of its own beside it."""
    (folder / "own.json").write_text(json.dumps(document(*models, **more)))
    path = folder / "asterisk_ai.yaml"
    path.write_text(
        f"models: {{directory: {folder / 'models'}, registries: [own.json], mirror: '{mirror}'}}\n"
        "agents: {one: {language: en-US}}\n"
    )
    return path
