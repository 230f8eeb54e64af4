"""What the fakes of speech to speech have in common: a WebSocket server whose sessions hear tones and speak one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Generic, Self, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "sk-test"
WORD_SECONDS = 0.25
AHEAD = 4.0
"""It speaks so many times as fast as it is to be played."""
VOICED_RMS = 500.0
Answer = tuple[str, str, str]
S = TypeVar("S", bound="VoiceSession")


def is_voiced(pcm: bytes) -> bool:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return len(samples) > 0 and float(np.sqrt(np.mean(samples**2))) > VOICED_RMS


def tone_of(pcm: bytes, rate: int, known: Iterable[int | str]) -> int:
    """Which of the known tones was heard; 0 where none is known."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    hertz = float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))
    return min((key for key in known if isinstance(key, int)), key=lambda key: abs(key - hertz), default=0)


def word(rate: int) -> bytes:
    """One word of the agent."""
    times = np.arange(round(WORD_SECONDS * rate)) / rate
    return (np.sin(2 * np.pi * 800 * times) * 8000).astype("<i2").tobytes()


class VoiceSession:
    """One connection."""

    is_set_up = False
    """Others wait for a caller."""

    def __init__(self, server: Any, connection: ServerConnection, fault: str) -> None:
        self.server, self.connection, self.fault = server, connection, fault

    async def run(self) -> None:
        raise NotImplementedError


class VoiceServer(Generic[S]):
    """Give ``answers``: hertz of the caller's tone, or a text, to (reply, function name, arguments)."""

    session: ClassVar[type[VoiceSession]]
    scheme: ClassVar[str]
    """Of the Authorization header; or the name of another header, with its colon; empty: the address is the key."""
    path: ClassVar[str]
    fault_in: ClassVar[str]
    """The key of the query that names the fault."""
    slow_seconds: ClassVar[float] = 0.3

    def __init__(self, answers: Mapping[int | str, Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.sessions: list[S] = []
        self.handshakes = 0
        self.times: list[float] = []
        """When a connection was asked for (seconds, monotonic)."""
        self.refusing = 0
        """The HTTP status that everybody gets who connects; 0: nobody is refused."""
        self.port = 0

    @property
    def conversations(self) -> list[S]:
        """The sessions that were set up."""
        return [session for session in self.sessions if session.is_set_up]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        server = await serve(
            self._converse, "127.0.0.1", self.port, process_request=self._handshake, compression=None, open_timeout=2,
            close_timeout=0.2,
        )  # fmt: skip
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    def error(self, message: str) -> Mapping[str, Any]:
        """The body of a refusal."""
        raise NotImplementedError

    def other(self, url: SplitResult, request: Request) -> tuple[int, str] | None:
        """The answer to a request that is no connection, as status and body."""
        return None if url.path == self.path else (404, f"Unknown request URL: {url.path}")

    async def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        fault = parse_qs(url.query).get(self.fault_in, [""])[0]

        def refuse(status: int, message: str) -> Response:
            response = connection.respond(HTTPStatus(status), json.dumps(self.error(message)))
            if fault.endswith("-after"):
                response.headers["Retry-After"] = "30"
            return response

        header, colon, _ = self.scheme.partition(":")
        found = request.headers.get(header if colon else "Authorization")
        if self.scheme and found != (KEY if colon else f"{self.scheme} {KEY}"):
            return refuse(401, "Incorrect API key provided")
        if (answer := self.other(url, request)) is not None:
            status, text = answer
            return connection.respond(HTTPStatus.OK, text) if status == 200 else refuse(status, text)
        self.handshakes += 1
        self.times.append(time.monotonic())
        if self.refusing:
            return refuse(self.refusing, "not now")
        if fault[:3] in ("401", "403", "404", "429", "500"):
            return refuse(int(fault[:3]), f"no luck with {fault}")
        if fault in ("slow", "silent-handshake"):
            await asyncio.sleep(self.slow_seconds if fault == "slow" else 3600)
        elif fault == "reset-handshake":
            connection.transport.abort()
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        fault = parse_qs(urlsplit(connection.request.path).query).get(self.fault_in, [""])[0]
        session: Any = self.session(self, connection, fault)
        self.sessions.append(session)
        with contextlib.suppress(ConnectionClosed):
            await session.run()
