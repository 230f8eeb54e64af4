"""The OpenAI realtime API as it is published, over real sockets, as strict as the real one, with faults on demand.

It hears tones (by their frequency: ``answers``) with a VAD of its own, and speaks a tone of 0.25 s a word, four times
as fast as it is to be played.

The ``model`` of the connection names the fault.

At the handshake: slow, silent-handshake, reset-handshake, 401, 403, 404, 429, 429-after (Retry-After: 30), 500. When
the session is set up: silent, refused, wrong-rate, malformed-setup, close-setup. In the middle of an answer: hang
(nothing comes any more, whatever is sent), stall (the answer does not go on, all else does), close, reset, malformed,
shapeless, binary, error (an error event, then the answer goes on), failed (no audio), racing. With ``-later`` the
fault befalls the second answer and not the first. Any other model works well.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import SplitResult

from voice_server import AHEAD, KEY, WORD_SECONDS, Answer, VoiceServer, VoiceSession, is_voiced, tone_of, word
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from asterisk_ai.audio.g711 import decode_mu_law, encode_mu_law

__all__ = ["KEY", "FakeRealtime", "Session"]

ONSET_MS = 60
Event = dict[str, Any]


class Session(VoiceSession):
    """One connection."""

    def __init__(self, server: FakeRealtime, connection: ServerConnection, fault: str) -> None:
        super().__init__(server, connection, fault.removesuffix("-later"))
        self.fault_at = 2 if fault.endswith("-later") else 1
        self.session: Event = {}
        self.received: list[Event] = []
        self.errors: list[str] = []
        self.items: dict[str, Event] = {}
        """The conversation: what the model knows."""
        self.heard = bytearray()
        self.answering: asyncio.Task[None] | None = None
        self.response: Event = {}
        self.responses = 0
        self.hung = False
        self._count = 0
        self._voiced_ms = self._silent_ms = 0.0
        self._utterance = bytearray()
        self._speech_item = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_set_up(self) -> bool:  # type: ignore[override]
        return bool(self.session)

    # ---- the wire ------------------------------------------------------------------

    async def send(self, kind: str, **fields: Any) -> None:
        if not self.hung:
            await self.connection.send(json.dumps({"type": kind, "event_id": self._id("event"), **fields}))

    async def error(self, message: str, code: str | None = None, event: Event | None = None) -> None:
        self.errors.append(message)
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
        await self.send("error", error={**error, "event_id": (event or {}).get("event_id")})

    def _id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    async def run(self) -> None:
        if self.fault != "silent":
            await self.send("session.created", session={"type": "realtime", "object": "realtime.session"})
        try:
            async for message in self.connection:
                assert isinstance(message, str)
                event = json.loads(message)
                self.received.append({key: value for key, value in event.items() if key != "audio"})
                handler = getattr(self, "on_" + event["type"].replace(".", "_"), None)
                if handler is None:
                    await self.error(f"Invalid value: '{event['type']}'", "invalid_value", event)
                else:
                    await handler(event)
        finally:
            for task in self._tasks:
                task.cancel()

    def _begin(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- the client's events ----------------------------------------------------------

    async def on_session_update(self, event: Event) -> None:
        wanted = event["session"]
        if wanted.get("type") != "realtime":
            await self.error("Missing required parameter: 'session.type'.", "missing_required_parameter", event)
            return
        if self.fault == "silent":
            return
        if self.fault == "refused":
            await self.error("Invalid value: 'no such voice'.", "invalid_value", event)
            return
        if self.fault == "close-setup":
            await self.connection.close(1011, "internal error")
            return
        if self.fault == "malformed-setup":
            await self.connection.send('{"type": "session.updated", "session": ')
            return
        for side in ("input", "output"):
            form = wanted.get("audio", {}).get(side, {}).get("format")
            if form is not None and form not in (
                {"type": "audio/pcmu"}, {"type": "audio/pcma"}, {"type": "audio/pcm", "rate": 24_000}
            ):  # fmt: skip
                await self.error(f"Invalid value: '{form}'.", "invalid_value", event)
                return
        self.session = {**self.session, **wanted}
        shown = json.loads(json.dumps(self.session))
        if self.fault == "wrong-rate":
            shown["audio"]["output"]["format"] = {"type": "audio/pcm", "rate": 24_000}
        await self.send("session.updated", session=shown)

    async def on_input_audio_buffer_append(self, event: Event) -> None:
        data = base64.b64decode(event["audio"], validate=True)
        pcm = decode_mu_law(data) if self._narrow("input") else data
        self.heard += pcm
        rate = 8000 if self._narrow("input") else 24_000
        await self._voice(pcm, 1000 * len(pcm) / 2 / rate, rate)

    async def on_conversation_item_create(self, event: Event) -> None:
        item = {"id": self._id("item"), **event["item"]}
        allowed = {"user": ("input_text", "input_audio"), "assistant": ("output_text",), "system": ("input_text",)}
        if item["type"] == "message" and any(part["type"] not in allowed[item["role"]] for part in item["content"]):
            await self.error(f"Invalid value: '{item['content'][0]['type']}'.", "invalid_value", event)
            return
        await self._added(item)

    async def on_conversation_item_delete(self, event: Event) -> None:
        if self.items.pop(event["item_id"], None) is None:
            await self.error("Item does not exist", "item_delete_invalid_item_id", event)
        else:
            await self.send("conversation.item.deleted", item_id=event["item_id"])

    async def on_conversation_item_truncate(self, event: Event) -> None:
        item = self.items.get(event["item_id"])
        if item is None or item.get("role") != "assistant":
            await self.error("Only assistant message items can be truncated", "invalid_value", event)
            return
        if event["audio_end_ms"] > item["ms"]:
            text = f"Audio content of {item['ms']:.0f}ms is already shorter than {event['audio_end_ms']}ms"
            await self.error(text, "invalid_value", event)
            return
        item["ms"] = event["audio_end_ms"]
        item["content"] = [{"type": "output_audio", "transcript": ""}]
        fields = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
        await self.send("conversation.item.truncated", **fields)

    async def on_response_cancel(self, event: Event) -> None:
        if not await self._cancel("client_cancelled"):
            await self.error("Cancellation failed: no active response found", "response_cancel_not_active", event)

    async def on_response_create(self, event: Event) -> None:
        if self.answering is not None:
            text = f"Conversation already has an active response in progress: {self.response['id']}"
            await self.error(text, "conversation_already_has_active_response", event)
            return
        await self._respond(event.get("response") or {})

    # ---- the conversation ----------------------------------------------------------------

    def _narrow(self, side: str) -> bool:
        return bool(self.session["audio"][side]["format"]["type"] == "audio/pcmu")

    async def _added(self, item: Event) -> None:
        self.items[item["id"]] = item
        shown = {key: value for key, value in item.items() if key != "ms"}
        await self.send("conversation.item.added", previous_item_id=None, item=shown)
        await self.send("conversation.item.done", previous_item_id=None, item=shown)

    async def _voice(self, pcm: bytes, ms: float, rate: int) -> None:
        """Server VAD."""
        detection = self.session["audio"]["input"].get("turn_detection") or {}
        voiced = is_voiced(pcm)
        self._silent_ms = 0.0 if voiced else self._silent_ms + ms
        self._voiced_ms = self._voiced_ms + ms if voiced else self._voiced_ms
        if voiced:
            self._utterance += pcm
        if not self._speech_item:
            if not voiced:
                self._voiced_ms = 0.0
                self._utterance.clear()
            elif self._voiced_ms >= ONSET_MS:
                self._speech_item = self._id("item")
                await self.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id=self._speech_item)
                if detection.get("interrupt_response", True):
                    await self._cancel("turn_detected")
        elif self._silent_ms >= detection.get("silence_duration_ms", 500):
            item, utterance = self._speech_item, bytes(self._utterance)
            self._speech_item, self._voiced_ms = "", 0.0
            self._utterance.clear()
            await self._committed(item, utterance, rate)

    async def _committed(self, item: str, utterance: bytes, rate: int) -> None:
        await self.send("input_audio_buffer.speech_stopped", audio_end_ms=0, item_id=item)
        await self.send("input_audio_buffer.committed", previous_item_id=None, item_id=item)
        tone = tone_of(utterance, rate, self.server.answers)
        await self._added(
            {"id": item, "type": "message", "role": "user", "content": [{"type": "input_audio"}], "tone": tone}
        )
        if self.session["audio"]["input"].get("transcription"):
            self._begin(self._transcribe(item, tone))
        if self.answering is None:
            await self._respond({})

    async def _transcribe(self, item: str, tone: int) -> None:
        await asyncio.sleep(0.1)  # after the answer has begun, as it mostly is
        fields = {"item_id": item, "content_index": 0}
        await self.send("conversation.item.input_audio_transcription.completed", transcript=f"tone {tone}\n", **fields)

    async def _cancel(self, reason: str) -> bool:
        task, self.answering = self.answering, None
        if task is None:
            return False
        task.cancel()
        details = {"type": "cancelled", "reason": reason}
        await self._response_done("cancelled", details)
        return True

    async def _response_done(self, status: str, details: Event | None = None) -> None:
        self.answering = None
        response = {**self.response, "status": status, "status_details": details, "usage": {"total_tokens": 10}}
        await self.send("response.done", response=response)

    def _answer(self, response: Event) -> Answer:
        instructions = response.get("instructions", "")
        if instructions:
            return json.loads(instructions.partition(": ")[2]), "", ""
        last = list(self.items.values())[-1] if self.items else {}
        if last.get("type") == "function_call_output":
            return self.server.answers.get(last["output"], ("What else?", "", ""))
        if "tone" in last:
            return self.server.answers.get(last["tone"], ("Pardon?", "", ""))
        text = (last.get("content") or [{}])[0].get("text", "")
        return self.server.answers.get(text, ("Yes.", "", ""))

    async def _respond(self, response: Event) -> None:
        self.responses += 1
        self.response = {"id": self._id("resp"), "object": "realtime.response", "output": []}
        faulty = self.fault if self.responses == self.fault_at else ""
        self.answering = asyncio.current_task()  # until it has begun
        await self.send("response.created", response={**self.response, "status": "in_progress"})
        if faulty == "failed":
            error = {"type": "server_error", "code": "rate_limit_exceeded", "message": "Rate limit reached"}
            await self._response_done("failed", {"type": "failed", "error": error})
            return
        self.answering = self._begin(self._speak(*self._answer(response), faulty, self.response))

    async def _speak(self, text: str, name: str, arguments: str, fault: str, response: Event) -> None:
        index = 0
        if text:
            item = {"id": self._id("item"), "type": "message", "role": "assistant", "content": [], "ms": 0.0}
            await self._say(item, text, fault, response)
            index = 1
        if name:
            await self._call(name, arguments, index, response)
        await self._response_done("completed", {"type": "completed"})

    async def _say(self, item: Event, text: str, fault: str, response: Event) -> None:
        where = {"response_id": response["id"], "item_id": item["id"], "output_index": 0, "content_index": 0}
        shown = {key: value for key, value in item.items() if key != "ms"}
        await self.send("response.output_item.added", response_id=response["id"], output_index=0, item=shown)
        await self._added(item)
        await self.send("response.content_part.added", part={"type": "audio", "transcript": ""}, **where)
        for number, said in enumerate(text.split()):
            if number == 2 and fault:
                await self._misbehave(fault, where)
            await self.send("response.output_audio_transcript.delta", delta=said if not number else f" {said}", **where)
            for audio in self._word():
                await self.send("response.output_audio.delta", delta=base64.b64encode(audio).decode(), **where)
            item["ms"] += WORD_SECONDS * 1000
            item["content"] = [{"type": "output_audio", "transcript": " ".join(text.split()[: number + 1])}]
            await asyncio.sleep(WORD_SECONDS / AHEAD)
        await self.send("response.output_audio.done", **where)
        await self.send("response.output_audio_transcript.done", transcript=text, **where)
        done = {**shown, "status": "completed", "content": item["content"]}
        response["output"].append(done)
        await self.send("response.output_item.done", response_id=response["id"], output_index=0, item=done)

    async def _call(self, name: str, arguments: str, index: int, response: Event) -> None:
        call = self._id("call")
        item = {"id": self._id("item"), "type": "function_call", "name": name, "call_id": call, "arguments": ""}
        where = {"response_id": response["id"], "item_id": item["id"], "output_index": index, "call_id": call}
        await self.send("response.output_item.added", response_id=response["id"], output_index=index, item=item)
        for start in range(0, len(arguments), 5):
            await self.send("response.function_call_arguments.delta", delta=arguments[start : start + 5], **where)
        await self.send("response.function_call_arguments.done", name=name, arguments=arguments, **where)
        done = {**item, "arguments": arguments, "status": "completed"}
        response["output"].append(done)
        await self.send("response.output_item.done", response_id=response["id"], output_index=index, item=done)
        await self._added(done)

    def _word(self) -> list[bytes]:
        narrow = self._narrow("output")
        rate = 8000 if narrow else 24_000
        data = encode_mu_law(word(rate)) if narrow else word(rate)
        middle = len(data) // 2 + 1  # in wideband, half a sample
        return [data[:middle], data[middle:]]

    async def _misbehave(self, fault: str, where: Event) -> None:
        """In the middle of an answer."""
        match fault:
            case "hang":
                self.hung = True
                await asyncio.sleep(3600)
            case "stall":
                await asyncio.sleep(3600)
            case "close":
                await self.connection.close(1011, "internal error")
                await asyncio.sleep(3600)
            case "reset":
                self.connection.transport.abort()
                await asyncio.sleep(3600)
            case "malformed":
                await self.connection.send('{"type": "response.output_audio.delta", "delta')
            case "shapeless":
                await self.send("response.output_audio.delta", delta="///")
            case "binary":
                await self.connection.send(b"\x00\x01" * 80)
            case "error":
                error = {"type": "server_error", "code": None, "message": "The server had an error", "event_id": None}
                await self.send("error", error=error)


class FakeRealtime(VoiceServer[Session]):
    """See above."""

    session, scheme, path, fault_in, slow_seconds = Session, "Bearer", "/v1/realtime", "model", 0.2

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def error(self, message: str) -> Event:
        return {"error": {"message": message, "type": "error", "code": None}}

    def other(self, url: SplitResult, request: Request) -> tuple[int, str] | None:
        if url.path == "/v1/models":
            return 200, '{"object": "list", "data": []}'
        return (400, "The beta is over") if "OpenAI-Beta" in request.headers else super().other(url, request)
