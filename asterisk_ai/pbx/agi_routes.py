"""What the dialplan asks for over FastAGI: ``call/start``, ``call/next``, ``call/end``, ``call/eagi``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asterisk_ai.errors import CallRefused, LocalProtocolError
from asterisk_ai.protocol.audiosocket import KIND_BY_RATE
from asterisk_ai.session.model import OUTCOMES, CallSession, new_call_id
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.fastagi.session import AgiSession, Handler
from asterisk_ai.transport.file_player import FileSink

logger = logging.getLogger(__name__)

MAX_CONNECTS_WITHOUT_TURN = 5
"""After this many connections in which nobody has said anything the caller goes to the fallback."""
_RELEASE_SECONDS = 2.0
"""Asterisk may ask what comes next before we have seen its audio connection close."""

_ALL_DIGITS = "0123456789*#ABCD"
_IDLE_MS = "100"
"""How long an EAGI channel listens for a digit before it looks for something to play again."""

_VARIABLES = {
    "transfer": {"context": "AI_CONTEXT", "exten": "AI_EXTEN", "priority": "AI_PRIORITY"},
    "queue": {"queue": "AI_QUEUE"},
    "voicemail": {"mailbox": "AI_MAILBOX"},
    "play": {"file": "AI_FILE"},
}
"""Kind of action: argument to channel variable."""
_KINDS = frozenset((*_VARIABLES, "talk", "hangup", "fallback"))


class CallRoutes:
    """The handlers, over one session store.

    :param admit: takes an agent's name (empty: the default one) and returns the name of the agent that takes
        the call; raises CallRefused with the word for AI_STATUS.
    :param address: host:port of the AudioSocket listener as Asterisk reaches it.
    :param server: where the dialplan has to ask about this call from now on (AI_SERVER), given the host that it
        reached us at; empty: where it asked first.
    :param spool: the folder for replies that are played as files.
    """

    def __init__(
        self,
        store: SessionStore,
        metrics: Metrics,
        *,
        admit: Callable[[str], str],
        address: Callable[[], str],
        spool: Callable[[], Path],
        server: Callable[[str], str] = lambda host: "",
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._admit = admit
        self._address = address
        self._spool = spool
        self._server = server

    def table(self) -> Mapping[str, Handler]:
        """Script path to handler."""
        return {"call/start": self.start, "call/next": self.next, "call/end": self.end, "call/eagi": self.eagi}

    async def start(self, agi: AgiSession) -> None:
        """Register the call: sets AI_CALL_ID, AI_AUDIOSOCKET and AI_STATUS.

        Query: ``agent``, ``rate`` (8000; 16000 and others for the AudioSocket channel driver).
        """
        await self._start(agi)

    async def _start(
        self, agi: AgiSession, sink: Callable[[CallSession], FileSink] | None = None
    ) -> CallSession | None:
        """Register and announce the call; None where it was refused."""
        route = agi.request.script
        try:
            session = self.register(agi)
        except CallRefused as refused:
            logger.warning("call refused: %s (%s)", refused.reason, refused)
            self._metrics.calls.labels("refused").inc()
            self._count(route, refused.reason)
            await agi.set_variable("AI_STATUS", refused.reason)
            return None
        if sink is not None:
            session.sink = sink(session)
        # The status last: a dialplan that sees OK has the other two.
        await agi.set_variable("AI_CALL_ID", session.call_id)
        await agi.set_variable("AI_AUDIOSOCKET", self._address())
        server = self._server(agi.local_host)
        if server:
            await agi.set_variable("AI_SERVER", server)
        await agi.set_variable("AI_STATUS", "OK")
        self._count(route, "OK")
        return session

    async def eagi(self, agi: AgiSession) -> None:
        """A whole conversation for a PBX without AudioSocket, driven by ``asterisk-ai-eagi``.

        The caller's audio comes over AudioSocket from that program; the
        replies are played as files over this AGI connection. Returns when the
        agent has something for the dialplan to do; ``call/next`` tells what.
        """
        session = await self._start(agi, lambda session: FileSink(self._spool(), session.call_id, session.rate))
        if session is None:
            return
        sink: FileSink = session.sink

        def digit(code: str) -> None:
            if code.isdecimal() and 0 < int(code) < 128 and sink.on_digit is not None:
                sink.on_digit(chr(int(code)))

        async def play(path: str, offset: int) -> None:
            digit((await agi.command("STREAM FILE", path, _ALL_DIGITS, str(offset), seconds=None)).result)

        async def idle() -> None:
            digit((await agi.command("WAIT FOR DIGIT", _IDLE_MS)).result)

        await sink.play(play, idle)

    def register(self, agi: AgiSession) -> CallSession:
        """A new session for the channel that asks. Raises CallRefused."""
        query, environment = agi.request.query, agi.request.environment
        rate = query.get("rate", "8000")
        if rate not in map(str, KIND_BY_RATE):
            raise CallRefused("ERROR", f"rate={rate[:20]!r} is none of {', '.join(map(str, KIND_BY_RATE))}")
        session = CallSession(new_call_id(), self._admit(query.get("agent", "")), rate=int(rate))
        session.caller = {
            name: value for name, key in _CALLER.items() if (value := environment.get(key, "")) and value != "unknown"
        }
        self._store.add(session)
        logger.info(
            "call registered: channel %s, agent %s",
            session.caller.get("channel", "?"),
            session.agent,
            extra={"call_id": session.call_id},
        )
        return session

    async def next(self, agi: AgiSession) -> None:
        """What the dialplan has to do now: sets AI_NEXT and the action's variables. Argument: AI_CALL_ID."""
        session = self._session(agi)
        if session is None:
            self._count("call/next", "UNKNOWN")
            await agi.set_variable("AI_NEXT", "fallback")
            return
        await self._released(session)
        kind, arguments = self._decide(session)
        if kind not in _KINDS:
            logger.error("there is no action %r", kind, extra={"call_id": session.call_id})
            kind = self._fall_back(session)
        logger.info("next: %s", kind, extra={"call_id": session.call_id})
        try:
            for argument, variable in _VARIABLES.get(kind, {}).items():
                await agi.set_variable(variable, _value(kind, argument, arguments))
        except LocalProtocolError as error:
            logger.error("%s cannot be handed to the dialplan: %s", kind, error, extra={"call_id": session.call_id})
            kind = self._fall_back(session)
        await agi.set_variable("AI_NEXT", kind)
        self._count("call/next", kind)
        self._handed_over(session, kind)

    def _decide(self, session: CallSession) -> tuple[str, Mapping[str, Any]]:
        if session.pending is not None:
            return session.pending["kind"], session.pending["arguments"]
        if session.ended and session.outcome != "lost":
            return "hangup", {}
        said = any(record.role == "caller" for record in session.history)
        if not said and session.connects >= MAX_CONNECTS_WITHOUT_TURN:
            return "fallback", {}
        return "talk", {}

    def _fall_back(self, session: CallSession) -> str:
        session.pending = {"kind": "fallback", "arguments": {}}
        return "fallback"

    def _handed_over(self, session: CallSession, kind: str) -> None:
        """The dialplan knows; keep the record in step with it."""
        if kind in ("talk", "play"):
            session.pending = None
            if session.ended:
                self._store.reopen(session)
            session.detached_at = time.time()
            # After a file was played the dialplan asks again, and what it gets is the way back.
            session.away = "played" if session.away == "play" else kind
            self._store.save(session)
        else:
            self.close(session, kind if kind in OUTCOMES and kind != "hangup" else "agent_hangup")

    async def end(self, agi: AgiSession) -> None:
        """The channel is gone, or the dialplan has given up. Arguments: AI_CALL_ID, and an outcome if it knows one."""
        session = self._session(agi)
        self._count("call/end", "OK" if session else "UNKNOWN")
        if session is not None:
            await self._released(session)
            told = agi.request.arguments[1] if len(agi.request.arguments) > 1 else ""
            self.close(session, told if told in OUTCOMES else "hangup")

    def close(self, session: CallSession, outcome: str) -> None:
        """End the record, once."""
        if session.ended:
            return
        if session.pending is not None:
            outcome = "agent_hangup" if session.pending["kind"] == "hangup" else session.pending["kind"]
        self._store.end(session, outcome)
        self._metrics.calls.labels(outcome).inc()
        logger.info(
            "call ended: %s after %.1f s and %d turns",
            outcome,
            session.ended_at - session.started_at,
            len(session.history),
            extra={"call_id": session.call_id},
        )

    def _session(self, agi: AgiSession) -> CallSession | None:
        given = agi.request.arguments[0] if agi.request.arguments else ""
        try:
            return self._store.find(str(uuid.UUID(given)))
        except ValueError:
            logger.warning("%s without a call id (AI_CALL_ID)", agi.request.script)
            return None

    async def _released(self, session: CallSession) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._store.released(session)

    def _count(self, route: str, status: str) -> None:
        self._metrics.fastagi_requests.labels(route, status).inc()


_CALLER = {
    "number": "agi_callerid",
    "name": "agi_calleridname",
    "channel": "agi_channel",
    "uniqueid": "agi_uniqueid",
    "dialled": "agi_dnid",
    "context": "agi_context",
    "exten": "agi_extension",
    "language": "agi_language",
}


def _value(kind: str, argument: str, arguments: Mapping[str, Any]) -> str:
    """What a channel variable gets. VoiceMail() wants BOX@CONTEXT in one."""
    value, context = str(arguments.get(argument, "")), str(arguments.get("context", ""))
    return f"{value}@{context}" if kind == "voicemail" and context else value
