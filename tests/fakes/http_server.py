"""What the fakes of remote services have in common: HTTP/1.1 over real sockets, as strict as the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

REASONS = {
    200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required",
    403: "Forbidden", 404: "Not Found", 429: "Too Many Requests", 500: "Error", 529: "Overloaded",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    raw: bytes
    """The head as it came."""
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class FakeHttp:
    """A server whose kinds say what they answer."""

    def __init__(self, idle_seconds: float) -> None:
        """:param idle_seconds: a connection without a request is closed after that."""
        self.idle_seconds = idle_seconds
        self.connections = 0
        self.aborted = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        """False: the connection is over."""
        raise NotImplementedError

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await self._request(reader)) is not None:
                if not await self.answer(request, reader, writer, Answer(writer)):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            self.aborted += 1
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            async with asyncio.timeout(self.idle_seconds):
                raw = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return None
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        first, *lines = raw.decode().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(raw, method, target, headers, body)


class Answer:
    """One HTTP answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.fault = ""

    async def begin(self, kind: str) -> None:
        self.writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        if data:
            self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await self.writer.drain()

    async def event(self, body: dict[str, Any]) -> None:
        body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", **body}
        await self.chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def json(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> bool:
        data = json.dumps(body).encode()
        more = "".join(f"{key}: {value}\r\n" for key, value in (headers or {}).items())
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        )
        self.writer.write(f"{head}{more}\r\n".encode() + data)
        await self.writer.drain()
        return True

    async def error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> bool:
        return await self.json({"error": {"message": message, "type": "error", "code": None}}, status, headers)
