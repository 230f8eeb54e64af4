"""One call's conversation with Ultravox: its messages to events, and commands to its messages.

Audio comes in binary messages faster than it is played; ``playback_clear_buffer`` says that the caller interrupted.
Source: https://docs.ultravox.ai/apps/datamessages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import MappingProxyType

from websockets.asyncio.client import ClientConnection

from asterisk_ai.providers.api import RealtimeEvent, RealtimeRequest
from asterisk_ai.providers.net.realtime_session import Json
from asterisk_ai.providers.net.unnamed_session import UnnamedSession
from asterisk_ai.providers.tools.toolbox import Toolbox

NAME = "ultravox"


class UltravoxSession(UnnamedSession):
    """Made by ``Ultravox.open``."""

    asking_interrupts = True

    def __init__(self, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        super().__init__(NAME, connection, request, tools)
        self._asked = {"text": request.greeting} if request.greeting else None  # it was asked for with the call
        self._told = 0  # letters of the agent's words in this answer

    # ---- out -----------------------------------------------------------------------

    def _caller_audio(self, pcm: bytes) -> bytes:
        return pcm

    def say(self, text: str) -> None:
        as_json = json.dumps(text, ensure_ascii=False)
        self._ask({"text": f"(Say exactly this to the caller, and nothing else: {as_json})"})

    def tell(self, text: str) -> None:
        self._ask({"text": text})

    def _request(self, wish: Json) -> None:
        self._send({"type": "user_text_message", "urgency": "immediate", **wish})

    def _result(self, call: str, name: str, result: str, *, answer: bool) -> None:
        reaction = "speaks" if answer else "listens"
        self._send({"type": "client_tool_result", "invocationId": call, "result": result, "agentReaction": reaction})

    def _meanwhile(self, words: str) -> None:
        """The service waits for the result, and says nothing before it."""

    # ---- in ------------------------------------------------------------------------

    def _binary(self, data: bytes) -> Iterator[RealtimeEvent]:
        yield from self._agent_audio(data)

    def _transcript(self, message: Json) -> Iterator[RealtimeEvent]:
        if message["role"] == "user":
            if message.get("final"):
                yield from self._caller_said(str(message.get("text") or ""))
                if self._speaking and not self._answer:
                    yield from self._caller_done()
            return
        delta, text = message.get("delta"), message.get("text")
        # The whole text comes with the last message of an utterance, where others brought its parts.
        words = str(delta) if delta is not None else str(text or "")[self._told :]
        if words and not self._stale:
            yield from self._agent_text(words)
            self._told += len(words)

    def _begun(self) -> Iterator[RealtimeEvent]:
        if not self._answer:
            self._told = 0
        yield from super()._begun()

    def _state(self, message: Json) -> Iterator[RealtimeEvent]:
        """It is idle, listening, thinking or speaking: an answer is over when it does something else again."""
        if message["state"] != "speaking" and (self._answer or self._stale):
            yield from self._complete()

    def _clear(self, message: Json) -> Iterator[RealtimeEvent]:
        if self._stale:  # by what we asked for
            self._stale = False
        else:
            yield from self._interrupted()

    def _speaks(self, message: Json) -> Iterator[RealtimeEvent]:
        yield from self._caller_begins()

    def _function(self, message: Json) -> Iterator[RealtimeEvent]:
        if self._speaking:
            yield from self._caller_done()
        arguments = json.dumps(message.get("parameters") or {}, ensure_ascii=False)
        yield from self._called(str(message["invocationId"]), str(message["toolName"]), arguments)

    handlers = MappingProxyType(
        {
            "transcript": _transcript,
            "state": _state,
            "playback_clear_buffer": _clear,
            "user_started_speaking": _speaks,
            "client_tool_invocation": _function,
        }
    )
