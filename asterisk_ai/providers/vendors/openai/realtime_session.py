"""One call's conversation over the OpenAI realtime API: its messages to events, and commands to its messages."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from websockets.asyncio.client import ClientConnection

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.g711 import decode_mu_law, encode_mu_law
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    CallerText,
    RealtimeEvent,
    RealtimeRequest,
    ResponseDone,
    ResponseStarted,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    Usage,
)
from asterisk_ai.providers.net.answer import count
from asterisk_ai.providers.net.realtime_session import Json, SocketSession, known
from asterisk_ai.providers.tools.toolbox import Toolbox

logger = logging.getLogger(__name__)

NAME = "openai_realtime"
_HARMLESS = ("response_cancel_not_active", "conversation_already_has_active_response")
"""Errors that only say that the service was quicker."""


class OpenAIRealtimeSession(SocketSession):
    """Made by ``OpenAIRealtime.open``."""

    probe = MappingProxyType({"type": "session.update", "session": {"type": "realtime"}})
    """Answered with ``session.updated``; it changes nothing."""

    def __init__(self, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        super().__init__(NAME, connection, request, tools)
        self._narrow = request.rate == 8000
        self._rate = request.rate
        self._unwanted: set[str] = set()  # responses that the caller interrupted
        self._discard = 0  # that have been asked for, and are not wanted any more
        self._items: dict[str, int] = {}  # the agent's messages to bytes of PCM, in their order
        self._cut: set[str] = set()
        for turn in known(request):
            caller = turn.role == "caller"
            content = {"type": "input_text" if caller else "output_text", "text": turn.text}
            self._item({"type": "message", "role": "user" if caller else "assistant", "content": [content]})
        if request.greeting:
            self.say(request.greeting)

    # ---- out -------------------------------------------------------------------

    def _caller_audio(self, pcm: bytes) -> str:
        data = encode_mu_law(pcm) if self._narrow else pcm
        return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(data).decode()})

    def interrupt(self, item: str, played_ms: int) -> None:
        if self._answer:
            self._unwanted.add(self._answer)
            # Server VAD may have cancelled it already; the service says so, and it does no harm.
            self._send({"type": "response.cancel", "response_id": self._answer})
        self._discard += self._asked is not None
        self._next.clear()
        reached = False
        for name, length in list(self._items.items()):
            reached = reached or name == item
            if reached:
                self._cut_off(name, played_ms if name == item else 0, length)

    def _cut_off(self, item: str, played_ms: int, length: int) -> None:
        """``audio_end_ms`` beyond the end is an error, and a message of which nothing was heard was never said."""
        self._cut.add(item)
        del self._items[item]
        length_ms = length * 1000 // (SAMPLE_BYTES * self._rate)
        if played_ms <= 0:
            self._send({"type": "conversation.item.delete", "item_id": item})
        elif played_ms < length_ms or self._answer:
            end = min(played_ms, length_ms)
            self._send({"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": end})

    def say(self, text: str) -> None:
        instructions = f"Say exactly this to the caller, and nothing else: {json.dumps(text, ensure_ascii=False)}"
        self._ask({"instructions": instructions, "tool_choice": "none"})

    def tell(self, text: str) -> None:
        self._item({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
        self._ask({})

    def _result(self, call: str, name: str, result: str, *, answer: bool) -> None:
        self._item({"type": "function_call_output", "call_id": call, "output": result})
        if answer:
            self._ask({})

    def _item(self, item: Json) -> None:
        self._send({"type": "conversation.item.create", "item": item})

    def _request(self, wish: Json) -> None:
        self._send({"type": "response.create", "response": wish} if wish else {"type": "response.create"})

    # ---- in ---------------------------------------------------------------------

    def _audio(self, event: Json) -> Iterator[RealtimeEvent]:
        item = str(event["item_id"])
        if item in self._cut or event["response_id"] in self._unwanted:
            return
        data = base64.b64decode(event["delta"], validate=True)
        pcm = decode_mu_law(data) if self._narrow else self._whole(item, data)
        self._items[item] = self._items.get(item, 0) + len(pcm)
        if pcm:
            yield AgentAudio(item, pcm)

    def _text(self, event: Json) -> Iterator[RealtimeEvent]:
        if event["item_id"] not in self._cut and event["response_id"] not in self._unwanted:
            yield AgentText(str(event["item_id"]), str(event["delta"]))

    def _speech_started(self, event: Json) -> Iterator[RealtimeEvent]:
        yield SpeechStarted(str(event["item_id"]))

    def _speech_stopped(self, event: Json) -> Iterator[RealtimeEvent]:
        self._rounds = 0
        yield SpeechStopped(str(event["item_id"]))

    def _caller_text(self, event: Json) -> Iterator[RealtimeEvent]:
        yield CallerText(" ".join(str(event["transcript"]).split()), str(event["item_id"]))

    def _caller_text_failed(self, event: Json) -> Iterator[RealtimeEvent]:
        yield ServiceProblem(f"no transcript of the caller: {_describe(event['error'])}")

    def _created(self, event: Json) -> Iterator[RealtimeEvent]:
        self._answer = str(event["response"].get("id") or "response")  # the vendor's types let it be left out
        self._asked = None
        if self._discard:  # it was interrupted before it had begun, when there was nothing to cancel yet
            self._discard -= 1
            self._unwanted.add(self._answer)
            self._send({"type": "response.cancel", "response_id": self._answer})
            return
        yield ResponseStarted()

    def _done(self, event: Json) -> Iterator[RealtimeEvent]:
        response = event["response"]
        told = response.get("usage") or {}
        cached = count(told, "input_token_details", "cached_tokens")
        self._spent(Usage(count(told, "input_tokens"), cached, count(told, "output_tokens")))
        name, status = str(response.get("id") or self._answer), response.get("status", "completed")
        self._answer = ""
        problem = ""
        if status in ("failed", "incomplete"):
            details = response.get("status_details") or {}
            problem = f"answer {status}: {_describe(details.get('error') or {'message': details.get('reason')})}"
        if name not in self._unwanted and status == "completed":
            # Not with response.function_call_arguments.done, which also comes for what was cancelled half-way.
            for item in response.get("output") or ():
                if item["type"] == "function_call":
                    call = str(item.get("call_id") or item.get("id") or "")
                    yield from self._called(call, str(item["name"]), str(item["arguments"]))
        self._unwanted.discard(name)
        yield ResponseDone(problem)
        self._ask_next()

    def _error(self, event: Json) -> Iterator[RealtimeEvent]:
        error: Mapping[str, Any] = event["error"]
        code = error.get("code")
        if code == "conversation_already_has_active_response" and self._asked is not None:
            # The service's own answer to the caller was quicker. What has words of its own comes after that.
            if self._asked and not self._discard:
                self._next.appendleft(self._asked)
            self._asked, self._discard = None, 0
        if code in _HARMLESS:
            logger.debug("%s", code)
            return
        if code == "session_expired":
            raise ProviderUnavailable(NAME, _describe(error))
        yield ServiceProblem(_describe(error))

    handlers = MappingProxyType(
        {
            "response.output_audio.delta": _audio,
            "response.output_audio_transcript.delta": _text,
            "input_audio_buffer.speech_started": _speech_started,
            "input_audio_buffer.speech_stopped": _speech_stopped,
            "conversation.item.input_audio_transcription.completed": _caller_text,
            "conversation.item.input_audio_transcription.failed": _caller_text_failed,
            "response.created": _created,
            "response.done": _done,
            "error": _error,
        }
    )


def _describe(error: Mapping[str, Any]) -> str:
    return " ".join(str(error.get("message") or error.get("code") or "no reason given").split())[:300]
