"""Deepgram's recognition and speech as they are published, over real sockets, as strict as the real one, with faults.

The ``model`` of a request names the fault: slow, mute (the connection is taken and never answered), silent (nothing
comes), hang (a beginning, then nothing), close (in the middle), reset, 401, 403, 404, 429, 429-after (Retry-After: 30),
500, malformed, odd (JSON that is no result), error (an Error message), empty, wav16 (speech as a WAV file of 16 kHz).
Any other works well.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from http_server import Answer, FakeHttp, Request
from openai_server import KEY, SLOW_SECONDS
from websockets.frames import Frame, Opcode
from websockets.protocol import Side
from websockets.server import ServerProtocol

WORD_SECONDS = 0.2
RATES = {8000, 16_000, 24_000, 48_000}


class FakeDeepgram(FakeHttp):
    """Hears ``words`` in what is not silence, one word each 0.2 s of it."""

    def __init__(self) -> None:
        super().__init__(idle_seconds=10)
        self.words = "opening hours"
        self.queries: list[dict[str, str]] = []
        self.texts: list[str] = []
        self.messages: list[str] = []
        self.audio = 0

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        method, headers = request.method, request.headers
        url = urlsplit(request.target)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        fault = out.fault = query.get("model", "")
        if headers.get("authorization") != f"Token {KEY}":
            return await _refuse(out, 401, "INVALID_AUTH", "Invalid credentials.")
        if (method, url.path) == ("GET", "/v1/projects"):
            return await out.json({"projects": []})
        self.queries.append(query)
        if fault in ("slow", "mute", "silent") and (method == "POST" or fault != "silent"):
            await asyncio.sleep(SLOW_SECONDS if fault == "slow" else 3600)
        if fault[:3] in ("401", "403", "404", "429", "500"):
            after = {"Retry-After": "30"} if fault.endswith("after") else {}
            return await _refuse(out, int(fault[:3]), "TOO_MANY_REQUESTS", f"no luck with {fault}", after)
        if fault == "reset" and method == "POST":
            writer.transport.abort()
            return False
        if (method, url.path) == ("POST", "/v1/speak"):
            return await self._speak(query, json.loads(request.body), out)
        if (method, url.path) == ("GET", "/v1/listen") and headers.get("upgrade") == "websocket":
            return await self._listen(request.raw, query, reader, writer, out)
        return await _refuse(out, 404, "NOT_FOUND", f"{method} {url.path}")

    # ---- speech ---------------------------------------------------------------------

    async def _speak(self, query: Mapping[str, str], body: Mapping[str, Any], out: Answer) -> bool:
        self.texts.append(body["text"])
        rate = int(query["sample_rate"])
        assert set(body) == {"text"}
        assert (query["encoding"], query["container"]) == ("linear16", "none")
        if rate not in RATES | {32_000} or query["model"] == "no such voice":
            return await _refuse(out, 400, "Bad Request", "Unsupported audio format or model")
        if out.fault in ("malformed", "odd", "error"):
            return await out.json({"err_code": "x"})
        rate = 16_000 if out.fault == "wav16" else rate
        word = (np.sin(2 * np.pi * 800 * np.arange(rate // 4) / rate) * 8000).astype("<i2").tobytes()
        await out.begin("audio/l16")
        if out.fault == "wav16":
            await out.chunk(struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 1, rate, 0, 2, 16))
            await out.chunk(struct.pack("<4sI", b"data", 0xFFFFFFFF))
        for number, _ in enumerate([] if out.fault == "empty" else body["text"].split()):
            if number == 1 and out.fault == "hang":
                await asyncio.sleep(3600)
            if number == 1 and out.fault == "close":
                return False
            await out.chunk(word[:1001])  # half a sample at the end
            await out.chunk(word[1001:])
        await out.end()
        return True

    # ---- recognition ------------------------------------------------------------------

    async def _listen(
        self,
        raw: bytes,
        query: Mapping[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        out: Answer,
    ) -> bool:
        if query["encoding"] != "linear16" or int(query["sample_rate"]) not in RATES or query["channels"] != "1":
            return await _refuse(out, 400, "Bad Request", "Bad Request: unsupported audio")
        protocol = ServerProtocol()
        protocol.receive_data(raw)
        (request,) = protocol.events_received()
        protocol.send_response(protocol.accept(request))
        await _flush(protocol, writer)
        session = _Session(self, int(query["sample_rate"]), out.fault)
        while True:
            try:
                data = await asyncio.wait_for(reader.read(65536), self.idle_seconds)
            except TimeoutError:
                protocol.send_close(1011, "NET-0001 did not receive audio data or a text message")
                await _flush(protocol, writer)
                return False
            if not data:
                self.aborted += 1
                return False
            protocol.receive_data(data)
            for frame in protocol.events_received():
                if protocol.close_expected():
                    break
                answers = session.take(frame)
                for answer in answers or ():
                    protocol.send_text(answer.encode())
                if answers is None:
                    return await self._end(session, protocol, writer)
            await _flush(protocol, writer)
            if protocol.close_expected():
                return False

    @staticmethod
    async def _end(session: _Session, protocol: ServerProtocol, writer: asyncio.StreamWriter) -> bool:
        if session.fault == "reset":
            writer.transport.abort()
        else:
            code, reason = (1011, "NET-0000 internal error") if session.fault == "close" else (1000, "")
            protocol.send_close(code, reason)
            await _flush(protocol, writer)
            await asyncio.sleep(0.05)
        return False


class _Session:
    """One recognition: frames in, messages out, None where the connection is to end."""

    def __init__(self, fake: FakeDeepgram, rate: int, fault: str) -> None:
        self.fake, self.rate, self.fault = fake, rate, fault
        self.voiced = self.seconds = 0.0
        self.given = self.told = 0

    def take(self, frame: Frame) -> list[str] | None:
        if frame.opcode is Opcode.BINARY:
            return self._audio(bytes(frame.data))
        if frame.opcode is Opcode.TEXT:
            return self._message(json.loads(bytes(frame.data)))
        return []

    def _audio(self, pcm: bytes) -> list[str] | None:
        assert pcm, "an empty frame ends the stream in the old protocol"
        assert len(pcm) % 2 == 0
        self.fake.audio += len(pcm)
        self.seconds += len(pcm) / 2 / self.rate
        samples = np.frombuffer(pcm, "<i2")
        self.voiced += np.count_nonzero(samples) / self.rate
        if self.seconds < 0.2:
            return []
        if self.fault in ("close", "reset"):
            return None
        if self.fault == "malformed":
            return ['{"type": "Results", ']
        if self.fault == "odd":
            return ['{"type": "Results", "channel": {}}']
        if self.fault == "error":
            return ['{"type": "Error", "variant": "SchemaError", "description": "no such thing"}']
        words = self._words()
        if self.fault == "silent" or len(words) == self.told:
            return []
        self.told = len(words)
        return [self._results(words, final=False)]

    def _message(self, message: Mapping[str, Any]) -> list[str] | None:
        kind = message["type"]
        self.fake.messages.append(kind)
        if kind == "KeepAlive" or self.fault in ("silent", "hang"):
            return []
        if kind == "Finalize":
            return [self._results(self._words(), final=True, from_finalize=True)] if self.voiced > 0.1 else []
        assert kind == "CloseStream", message
        left = self._words()
        last = [self._results(left, final=True)] if left else []
        return [*last, '{"type": "Metadata", "request_id": "1", "duration": 1.0, "channels": 1}']

    def _words(self) -> list[str]:
        """Those that are not given as final yet."""
        count = int(self.voiced / WORD_SECONDS + 0.5) if self.fault != "empty" else 0
        return self.fake.words.split()[self.given : max(self.given, count)]

    def _results(self, words: list[str], *, final: bool, from_finalize: bool = False) -> str:
        times = [
            {"word": word, "start": WORD_SECONDS * number, "end": WORD_SECONDS * (number + 1), "confidence": 0.9}
            for number, word in enumerate(words, self.given)
        ]
        if final:
            self.given += len(words)
        best = {"transcript": " ".join(words), "confidence": 0.9 if words else 0.0, "words": times}
        body = {
            "type": "Results",
            "channel_index": [0, 1],
            "start": 0.0,
            "duration": self.seconds,
            "is_final": final,
            "speech_final": final,
            "channel": {"alternatives": [best]},
            "metadata": {"request_id": "1"},
        }
        return json.dumps({**body, "from_finalize": True} if from_finalize else body)


async def _refuse(out: Answer, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> bool:
    return await out.json({"err_code": code, "err_msg": message, "request_id": "1"}, status, headers)


async def _flush(protocol: ServerProtocol, writer: asyncio.StreamWriter) -> None:
    assert protocol.side is Side.SERVER
    for data in protocol.data_to_send():
        if data:
            writer.write(data)
        elif writer.can_write_eof():
            writer.write_eof()
    await writer.drain()
