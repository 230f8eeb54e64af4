"""Calls from ``call/start`` to their record: who is let in, who has the audio, what comes next, who is given up.

It knows neither FastAGI nor AudioSocket: the routes, the listeners and the server ask it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from asterisk_ai.config.schema import DIAGNOSTIC_AGENTS
from asterisk_ai.dialog.dialplan import FALL_BACK, HANG_UP, ActionKind, DialplanAction
from asterisk_ai.errors import CallRefused, Refusal
from asterisk_ai.session.model import END_BY, Away, CallSession, Outcome, new_call_id
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_CONNECTS_WITHOUT_TURN = 5
"""After this many connections in which nobody has said anything the caller goes to the fallback."""
LOST_SECONDS = 3.0
"""A call whose audio has ended, and for which the dialplan has not asked, is over after this long."""
NEVER_CONNECTED_SECONDS = 15.0
"""A registered call that brings no audio in this time does not come any more."""
AWAY_SECONDS = {Away.PLAY: 900.0, Away.PLAYED: 30.0, Away.TALK: 30.0, Away.CONNECT: 300.0, Away.RESTART: 60.0}
"""How long a call may be with the dialplan before it counts as lost, by what it does there."""
_BRING_SECONDS = 3.0
"""So long is waited for a call that another process has; Asterisk tells it that the audio is over, too."""
_RELEASE_SECONDS = 2.0
"""Asterisk may ask what comes next before we have seen its audio connection close."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Which new calls are taken, as the configuration in use has it."""

    agents: Collection[str]
    default_agent: str
    max_calls: int


class CallRegistry:
    """All calls of this process, over one session store.

    :param overload: why this machine can carry no more calls now; empty where it can.
    :param ended: told each call that has ended.
    """

    def __init__(
        self,
        store: SessionStore,
        metrics: Metrics,
        admission: Admission,
        *,
        overload: Callable[[], str],
        ended: Callable[[CallSession], None] = lambda session: None,
    ) -> None:
        self.store = store
        self.admission = admission
        self.draining = False
        self.want: Callable[[str], None] = lambda call_id: None
        """Asks the process before us for a call that it carries ..."""
        self.taken: Callable[[str], None] = lambda call_id: None
        """... and tells it that the call is here, whatever it does."""
        self._metrics = metrics
        self._overload = overload
        self._ended = ended
        for outcome in Outcome:  # what has been counted from its first one on is seen to grow
            if outcome:
                metrics.calls.labels(outcome)

    # ---- new calls --------------------------------------------------------------

    def admit(self, agent: str) -> str:
        """The name of the agent that takes a new call for ``agent`` (empty: the default one).

        :raises CallRefused: with the word for AI_STATUS.
        """
        if self.draining:
            raise CallRefused(Refusal.DRAINING, "the server is about to stop")
        if self.full:
            raise CallRefused(Refusal.FULL, f"server.max_calls is {self.admission.max_calls}")
        if overload := self._overload():
            raise CallRefused(Refusal.FULL, overload)
        agent = agent or self.admission.default_agent
        if agent not in self.admission.agents and agent not in DIAGNOSTIC_AGENTS:
            known = ", ".join(self.admission.agents)
            raise CallRefused(
                Refusal.UNKNOWN_AGENT, f"no agent {agent[:50]!r} in the configuration (there are: {known})"
            )
        return agent

    @property
    def full(self) -> bool:
        """Whether there are as many calls as ``server.max_calls`` allows."""
        return self.store.count + len(self.store.elsewhere) >= self.admission.max_calls

    def register(self, agent: str, *, rate: int, caller: Mapping[str, str], downstream: str = "") -> CallSession:
        """A new call, announced by the dialplan.

        :raises CallRefused: as :meth:`admit`.
        """
        session = CallSession(new_call_id(), self.admit(agent), rate=rate, caller=dict(caller), downstream=downstream)
        self.store.add(session)
        channel = caller.get("channel", "?")
        logger.info("call registered: channel %s, agent %s", channel, session.agent, extra={"call_id": session.call_id})
        return session

    def register_bare(self, call_id: str) -> None:
        """A bare AudioSocket(): there is nobody to tell the agent or the rate.

        :raises CallRefused: as :meth:`admit`.
        """
        if self.store.get(call_id) is None:
            self.store.add(CallSession(call_id, self.admit(""), rate=0, registered=False))

    # ---- a call's audio ------------------------------------------------------------

    def claim(self, call_id: str) -> CallSession:
        """Give the call's audio to one connection.

        :raises CallRefused: UNKNOWN or BUSY.
        """
        session = self.store.claim(call_id)
        logger.info("audio connected (connection %d of the call)", session.connects, extra={"call_id": session.call_id})
        return session

    def release(self, session: CallSession) -> None:
        """The conversation over that connection has ended."""
        self.store.release(session)
        session.away = Away.NONE
        if not session.registered:
            self.end(session, Outcome.HANGUP)

    # ---- what comes next -------------------------------------------------------------

    async def wait_released(self, session: CallSession) -> None:
        """Wait until no connection has the call; not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self.store.wait_released(session)

    def next_action(self, session: CallSession) -> DialplanAction:
        """What the dialplan has to do with the call now."""
        if session.pending is not None:
            return session.pending
        if session.ended and session.outcome is not Outcome.LOST:
            return HANG_UP
        said = any(record.role == "caller" for record in session.history)
        if not said and session.connects >= MAX_CONNECTS_WITHOUT_TURN:
            return FALL_BACK
        return DialplanAction(ActionKind.TALK)

    def handed_over(self, session: CallSession, kind: ActionKind) -> None:
        """The dialplan knows; keep the record in step with it."""
        if kind in END_BY:
            self.end(session, END_BY[kind])
        else:
            if kind is ActionKind.PLAY:  # else what is pending has come meanwhile, and is still to be done
                session.pending = None
            if self.store.get(session.call_id) is None:  # given up as lost, or not to be read at our start
                self.store.reopen(session)
            # After a file was played the dialplan asks again, and what it gets is the way back.
            session.away = Away.PLAYED if session.away is Away.PLAY else Away(kind)
            self.store.waiting(session)

    def came_back(self, session: CallSession) -> None:
        """Nobody took the call: the conversation goes on, and begins with why."""
        session.pending, session.tried = None, 0
        self.store.save(session)

    def connected(self, session: CallSession) -> None:
        """Somebody took the call."""
        session.pending, session.came_back = None, {}
        self.end(session, Outcome.TRANSFER)

    # ---- the end ------------------------------------------------------------------------

    def end(self, session: CallSession, outcome: Outcome) -> None:
        """Close the record, once. Where the dialplan could not do as it was told, it says what it did instead."""
        if session.ended:
            handed_on = session.outcome in (Outcome.TRANSFER, Outcome.QUEUE, Outcome.VOICEMAIL)
            if outcome is Outcome.FALLBACK and handed_on:
                logger.warning(
                    "%s did not succeed: the dialplan went to the fallback",
                    session.outcome,
                    extra={"call_id": session.call_id},
                )
                self.store.correct(session, outcome)
            return
        if session.pending is not None:
            outcome = END_BY.get(session.pending.kind, outcome)
        self.store.end(session, outcome)
        self._ended(session)
        self._metrics.calls.labels(outcome).inc()
        logger.info(
            "call ended: %s after %.1f s and %d turns",
            outcome,
            session.lasted,
            len(session.history),
            extra={"call_id": session.call_id},
        )

    def refused(self) -> None:
        """A new call was not taken."""
        self._metrics.calls.labels(Outcome.REFUSED).inc()

    def take_back(self) -> None:
        """After the start: the calls of a lost server may come back."""
        for session in self.store.live:
            session.away = Away.RESTART

    def take(self, call_id: str) -> bool:
        """The process before us is lost, or does not give the call: it goes on here. False where it has ended."""
        found = self.store.take_elsewhere(call_id)
        if (session := self.store.get(call_id)) is not None and found:
            session.away = Away.RESTART
        return found

    def leave(self, call_id: str) -> None:
        """Another host has gone on with the call: it is not ours any more, and nothing is told of it."""
        if (session := self.store.get(call_id)) is not None:
            self.store.give(session)

    async def bring(self, call_id: str) -> None:
        """The dialplan asks about a call: if the process before us carries it, its audio there is over."""
        came = self.store.elsewhere.get(call_id)
        if came is None:
            return
        self.want(call_id)
        try:
            async with asyncio.timeout(_BRING_SECONDS):
                await came.wait()
        except TimeoutError:
            logger.error("the server before us does not give the call: it is taken", extra={"call_id": call_id})
            self.taken(call_id)
            self.take(call_id)

    def reap(self) -> None:
        """End the calls that nobody came back for. To be called now and then."""
        for session in self.store.live:
            if not self.store.is_claimed(session):
                limit = AWAY_SECONDS.get(session.away, LOST_SECONDS) if session.connects else NEVER_CONNECTED_SECONDS
                if self.store.idle_seconds(session) > limit:
                    self.end(session, Outcome.LOST)
