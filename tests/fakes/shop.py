"""A web service whose answers are in its paths, and the declaration of a tool that asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from http_server import Answer, FakeHttp, Request


class Shop(FakeHttp):
    """A web service. A path names what it does: /ok, /slow, /silent, /close, /500, /huge, /redirect?to=URL, ..."""

    def __init__(self) -> None:
        super().__init__(idle_seconds=60)
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.ended = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        self.requests.append((request.method, request.target, request.headers, request.body))
        return await self._answer(request.target, out)

    async def _answer(self, target: str, out: Answer) -> bool:
        path, _, query = target.partition("?")
        what = path.strip("/").split("/")[0]
        if what in ("slow", "silent"):
            await asyncio.sleep(0.3 if what == "slow" else 30)
        if what == "close":
            return False
        if what == "huge":
            await out.begin("text/plain")
            for _ in range(1000):
                await out.chunk(b"x" * 10_000)
            await out.end()
        elif what == "redirect":
            status, _, place = query.partition("=")
            out.writer.write(f"HTTP/1.1 {status} Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
        elif what == "500":
            await out.error(500, "out of order")
        else:
            await out.json({"state": f"shipped {target}"})
        self.ended += 1
        return True


def tool(shop: Shop | None = None, **more: Any) -> dict[str, Any]:
    base = shop.url if shop else "http://shop.test"
    given = {"description": "The state of an order.", "url": f"{base}/ok/{{number}}", **more}
    return {"parameters": {"number": {"type": "string"}}, **given}
