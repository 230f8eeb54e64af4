"""Streaming recognition of several vendors as they publish it, over real sockets, with faults on demand.

The model's name tells the fault: slow (its words come late), mute (no word), hang (no answer at the end), close (in the
middle), garbage, nonsense (a message of the right kind without its parts), error, quota, 401, 429, 429-after, 500. Any
other works well.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from voice_server import is_voiced
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "sk-test"
WORD_SECONDS = 0.2
Messages = Iterable[dict[str, Any]]


class FakeListen:
    """Hears ``words`` in what is not silence, one word each 0.2 s of it."""

    path: str
    header: tuple[str, str]
    model_in: str
    garbage = "{["
    nonsense: dict[str, Any]

    def __init__(self) -> None:
        self.words = "opening hours"
        self.queries: list[dict[str, list[str]]] = []
        self.messages: list[dict[str, Any]] = []
        self.shortest = 1 << 30
        self.refusing = ""
        """The fault of a handshake, where no model stands in the query."""
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path.rpartition('/')[0]}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with serve(self._hear, "127.0.0.1", 0, process_request=self._handshake, compression=None) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

    async def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        query = parse_qs(url.query)
        fault = query.get(self.model_in, [self.refusing])[0]
        status = 0
        if request.headers.get(self.header[0]) != self.header[1]:
            status = 401
        elif url.path != self.path:
            status = 404
        elif fault[:3] in ("401", "429", "500"):
            status = int(fault[:3])
        if not status:
            self.queries.append(query)
            return None
        response = connection.respond(HTTPStatus(status), json.dumps({"error": f"no luck with {fault}"}))
        if fault.endswith("after"):
            response.headers["Retry-After"] = "30"
        return response

    async def _hear(self, connection: ServerConnection) -> None:
        query, voiced, told = self.queries[-1], 0.0, 0
        fault, rate = query.get(self.model_in, [""])[0], self.rate(query)
        words = self.words.split() if fault != "mute" else []
        with contextlib.suppress(ConnectionClosed):
            await self._say(connection, self.begin())
            async for message in connection:
                pcm = self.audio(message)
                if pcm is None:
                    self.messages.append(json.loads(message))
                    if (begun := self.agreed(self.messages[-1])) is not None:
                        fault, rate, answers = begun
                        words = self.words.split() if fault != "mute" else []
                        await self._say(connection, answers)
                        continue
                    if fault == "hang":
                        continue
                    if (last := self.last(self.messages[-1], words if voiced else [])) is not None:
                        await asyncio.sleep(0.3 if fault == "slow" else 0)
                        await self._say(connection, last)
                        if self.closes(self.messages[-1]):
                            return
                    continue
                self.shortest = min(self.shortest, len(pcm) // 2)
                if not is_voiced(pcm):
                    continue
                if (fault in ("close", "garbage", "nonsense", "error", "quota")) and await self._fail(
                    connection, fault
                ):
                    return
                voiced += len(pcm) / 2 / rate
                if words and voiced >= WORD_SECONDS * (told + 1) and told < len(words):
                    told += 1
                    await self._say(connection, self.interim(words[:told]))

    async def _fail(self, connection: ServerConnection, fault: str) -> bool:
        match fault:
            case "close":
                await connection.close(1011, "internal error")
                return True
            case "garbage":
                await connection.send(self.garbage)
            case "nonsense":
                await connection.send(json.dumps(self.nonsense))
            case _:
                await connection.send(json.dumps(self.error(fault)))
        return False

    async def _say(self, connection: ServerConnection, messages: Messages) -> None:
        for message in messages:
            await connection.send(json.dumps(message))

    # ---- the vendor's own ------------------------------------------------------------

    def rate(self, query: Mapping[str, list[str]]) -> int:
        return int(query["sample_rate"][0])

    def audio(self, message: str | bytes) -> bytes | None:
        """The samples that a message brings; None where it is another one."""
        return message if isinstance(message, bytes) else None

    def begin(self) -> Messages:
        return ()

    def agreed(self, message: Mapping[str, Any]) -> tuple[str, int, Messages] | None:
        """The fault and the rate that a first message asks for, and the answer to it; None where it is none."""
        return None

    def interim(self, words: list[str]) -> Messages:
        raise NotImplementedError

    def last(self, message: Mapping[str, Any], words: list[str]) -> Messages | None:
        raise NotImplementedError

    def closes(self, message: Mapping[str, Any]) -> bool:
        return False

    def error(self, fault: str) -> dict[str, Any]:
        raise NotImplementedError


class FakeFlux(FakeListen):
    """Source: https://developers.deepgram.com/reference/speech-to-text/listen-flux."""

    path, header, model_in = "/v2/listen", ("Authorization", f"Token {KEY}"), "model"
    nonsense: dict[str, Any] = {"type": "TurnInfo"}  # noqa: RUF012 - never changed

    def begin(self) -> Messages:
        return ({"type": "Connected", "request_id": "r", "sequence_id": 0},)

    def _turn(self, event: str, words: list[str], **more: Any) -> dict[str, Any]:
        told = [
            {"word": word, "confidence": 0.9, "start": 0.2 * at, "end": 0.2 * at + 0.2} for at, word in enumerate(words)
        ]
        return {
            "type": "TurnInfo", "request_id": "r", "sequence_id": 1, "event": event, "turn_index": 0,
            "audio_window_start": 0.0, "audio_window_end": 1.0, "transcript": " ".join(words), "words": told,
            "end_of_turn_confidence": 0.5, **more,
        }  # fmt: skip

    def interim(self, words: list[str]) -> Messages:
        return (self._turn("StartOfTurn" if len(words) == 1 else "Update", words),)

    def last(self, message: Mapping[str, Any], words: list[str]) -> Messages | None:
        if message["type"] == "ForceEndTurn" and words:
            return (self._turn("EndOfTurn", words, trigger="manual"),)
        return ()

    def closes(self, message: Mapping[str, Any]) -> bool:
        return message["type"] == "CloseStream"

    def error(self, fault: str) -> dict[str, Any]:
        return {"type": "Error", "sequence_id": 2, "code": "INTERNAL_SERVER_ERROR", "description": "out of order"}


class FakeAssembly(FakeListen):
    """Source: https://www.assemblyai.com/docs/streaming/message-sequence."""

    path, header, model_in = "/v3/ws", ("Authorization", KEY), "speech_model"
    nonsense: dict[str, Any] = {"type": "Turn", "turn_order": 0}  # noqa: RUF012 - never changed

    def begin(self) -> Messages:
        return ({"type": "Begin", "id": "s", "expires_at": 1759796682},)

    def _turn(self, words: list[str], *, ended: bool) -> dict[str, Any]:
        told = [
            {"start": 200 * at, "end": 200 * at + 200, "text": word, "confidence": 0.9, "word_is_final": ended}
            for at, word in enumerate(words)
        ]
        return {
            "type": "Turn", "turn_order": 0, "turn_is_formatted": ended, "end_of_turn": ended,
            "transcript": " ".join(words if ended else words[:-1]), "end_of_turn_confidence": 0.5, "words": told,
        }  # fmt: skip

    def interim(self, words: list[str]) -> Messages:
        return (self._turn(words, ended=False),)

    def last(self, message: Mapping[str, Any], words: list[str]) -> Messages | None:
        if message["type"] == "ForceEndpoint":
            return (self._turn(words, ended=True),) if words else ()
        return ({"type": "Termination", "audio_duration_seconds": 1, "session_duration_seconds": 1},)

    def closes(self, message: Mapping[str, Any]) -> bool:
        return message["type"] == "Terminate"

    def error(self, fault: str) -> dict[str, Any]:
        return {"type": "Error", "error_code": 3008, "error": "Session expired"}


class FakeScribe(FakeListen):
    """Source: https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime."""

    path, header, model_in = "/v1/speech-to-text/realtime", ("xi-api-key", KEY), "model_id"
    nonsense: dict[str, Any] = {"message_type": "partial_transcript"}  # noqa: RUF012 - never changed

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def rate(self, query: Mapping[str, list[str]]) -> int:
        return int(query["audio_format"][0].removeprefix("pcm_"))

    def audio(self, message: str | bytes) -> bytes | None:
        found = json.loads(message)
        self.messages.append(found)
        return None if found["commit"] else base64.b64decode(found["audio_base_64"])

    def begin(self) -> Messages:
        return ({"message_type": "session_started", "session_id": "s", "config": {}},)

    def interim(self, words: list[str]) -> Messages:
        return ({"message_type": "partial_transcript", "text": " ".join(words)},)

    def last(self, message: Mapping[str, Any], words: list[str]) -> Messages | None:
        if not words:
            return ({"message_type": "insufficient_audio_activity", "error": "nothing to commit"},)
        return ({"message_type": "committed_transcript", "text": " ".join(words)},)

    def error(self, fault: str) -> dict[str, Any]:
        return {"message_type": "quota_exceeded" if fault == "quota" else "error", "error": "out of order"}


class FakeSpeechmatics(FakeListen):
    """Source: https://docs.speechmatics.com/api-ref/realtime-transcription-websocket."""

    path, header, model_in = "/v2/", ("Authorization", f"Bearer {KEY}"), "model"
    nonsense: dict[str, Any] = {"message": "AddTranscript"}  # noqa: RUF012 - never changed

    def rate(self, query: Mapping[str, list[str]]) -> int:
        return 8000  # the first message tells

    def agreed(self, message: Mapping[str, Any]) -> tuple[str, int, Messages] | None:
        if message["message"] != "StartRecognition":
            return None
        sound, config = message["audio_format"], message["transcription_config"]
        assert (sound["type"], sound["encoding"]) == ("raw", "pcm_s16le")
        return str(config["model"]), sound["sample_rate"], ({"message": "RecognitionStarted", "id": "s"},)

    def _words(self, kind: str, words: list[str]) -> dict[str, Any]:
        results = [
            {"type": "word", "start_time": 0.2 * at, "end_time": 0.2 * at + 0.2,
             "alternatives": [{"content": word, "confidence": 0.9}]}
            for at, word in enumerate(words)
        ]  # fmt: skip
        metadata = {"transcript": " ".join(words) + " ", "start_time": 0.0, "end_time": 0.2 * len(words)}
        return {"message": kind, "metadata": metadata, "results": results}

    def interim(self, words: list[str]) -> Messages:
        return (self._words("AddPartialTranscript", words),)

    def last(self, message: Mapping[str, Any], words: list[str]) -> Messages | None:
        assert message["message"] == "EndOfStream"
        final = (self._words("AddTranscript", words),) if words else ()
        return (*final, {"message": "EndOfTranscript"})

    def closes(self, message: Mapping[str, Any]) -> bool:
        return True

    def error(self, fault: str) -> dict[str, Any]:
        kind = "timelimit_exceeded" if fault == "quota" else "job_error"
        return {"message": "Error", "type": kind, "reason": "out of order"}
