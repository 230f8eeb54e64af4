"""A conversation with a service that names neither its messages nor the caller's utterances: both are made here.

Such services cannot be told how much of an answer was heard; they find out by themselves that the caller interrupts,
and may tell of the caller's speech by its words alone. Needs the ``remote`` extra.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from typing import ClassVar

from websockets.asyncio.client import ClientConnection

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
)
from asterisk_ai.providers.net.realtime_session import Json, SocketSession
from asterisk_ai.providers.tools.toolbox import Toolbox

MAX_WORDS = 5000
"""Characters of one utterance of the caller that are kept."""


class UnnamedSession(SocketSession, ABC):
    """One call's. What was interrupted by us is ignored until the service is done with it."""

    asking_interrupts: ClassVar[bool] = False
    """What is asked for breaks off what the service is saying; else it has to be waited for."""

    def __init__(self, name: str, connection: ClientConnection, request: RealtimeRequest, tools: Toolbox) -> None:
        super().__init__(name, connection, request, tools)
        self._numbers = {"agent": 0, "caller": 0}
        self._stale = False  # what comes belongs to an answer that was interrupted
        self._speaking = ""  # the caller's item
        self._heard = ""  # words of the caller that were not told yet

    # ---- out -----------------------------------------------------------------------

    def interrupt(self, item: str, played_ms: int) -> None:
        """The service finds out by itself, and what it still sends is ignored."""
        self._next.clear()
        if self._answer or self._asked is not None:
            self._stale = True
            self._answer, self._asked = "", None
            self._tell(ResponseDone())

    def _ask(self, wish: Json) -> None:
        if self._stale and not self.asking_interrupts:
            self._next.append(wish)
        else:
            super()._ask(wish)

    # ---- the agent -----------------------------------------------------------------------

    def _agent_audio(self, data: bytes) -> Iterator[RealtimeEvent]:
        if self._stale or not data:
            return
        yield from self._begun()
        if pcm := self._whole(self._answer, data):
            yield AgentAudio(self._answer, pcm)

    def _agent_text(self, words: str) -> Iterator[RealtimeEvent]:
        if words and not self._stale:
            yield from self._begun()
            yield AgentText(self._answer, words)

    def _begun(self) -> Iterator[RealtimeEvent]:
        """Something of an answer has come: the caller is done, where it is one to him."""
        if self._answer:
            return
        asked, self._asked = self._asked, None
        if asked is None or self._speaking:
            yield from self._caller_done()
        self._numbers["agent"] += 1
        self._answer = f"agent-{self._numbers['agent']}"
        yield ResponseStarted()

    def _complete(self, problem: str = "") -> Iterator[RealtimeEvent]:
        """All of an answer has come, or none will."""
        was, self._stale = self._stale, False
        if not was and (self._answer or self._asked is not None):
            self._answer, self._asked = "", None
            yield ResponseDone(problem)
        elif problem:
            yield ServiceProblem(problem)
        if not self._speaking:
            yield from self._caller_text("")
            self._ask_next()

    # ---- the caller --------------------------------------------------------------------------

    def _caller_begins(self) -> Iterator[RealtimeEvent]:
        if not self._speaking:
            self._numbers["caller"] += 1
            self._speaking = f"caller-{self._numbers['caller']}"
            self._rounds = 0
            yield SpeechStarted(self._speaking)

    def _caller_said(self, words: str) -> Iterator[RealtimeEvent]:
        """Words may come before the answer to them, or while it is on its way already."""
        self._heard = (self._heard + words)[-MAX_WORDS:]
        if not self._answer:
            yield from self._caller_begins()

    def _caller_done(self) -> Iterator[RealtimeEvent]:
        yield from self._caller_begins()
        item, self._speaking = self._speaking, ""
        yield SpeechStopped(item)
        yield from self._caller_text(item)

    def _caller_text(self, item: str) -> Iterator[RealtimeEvent]:
        text, self._heard = " ".join(self._heard.split()), ""
        if text:
            yield CallerText(text, item)

    def _interrupted(self) -> Iterator[RealtimeEvent]:
        """The caller was heard, and the rest of the answer will not come."""
        self._stale = False
        if not self._speaking:
            yield from self._caller_text("")  # those of the turn before
        yield from self._caller_begins()
        if self._answer:
            self._answer = ""
            yield ResponseDone()
