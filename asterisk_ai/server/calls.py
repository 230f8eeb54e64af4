"""Connections to calls: what each transport hands over becomes a conversation with the agent that the call is for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from weakref import WeakValueDictionary

from asterisk_ai.agents.agent import Agent, RealtimeAgentSetup
from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.transfers import Target
from asterisk_ai.audio.ambience import Ambience
from asterisk_ai.call import diagnostic
from asterisk_ai.call.briefing import Briefing
from asterisk_ai.call.call import Call
from asterisk_ai.call.diagnostic import DiagnosticCall
from asterisk_ai.call.kinds import conversations
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.errors import CallRefused, ProviderUnavailable, Refusal
from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.providers.api.work import watching
from asterisk_ai.recording.recordings import Recordings
from asterisk_ai.server.after.traces import Traces
from asterisk_ai.server.reload import ConfigInUse
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.audiosocket.handshake import Connect
from asterisk_ai.transport.file_player import FilePlayer
from asterisk_ai.transport.media import Line, MediaConnection, MediaHandler
from asterisk_ai.transport.spool import SUFFIXES, Spool
from asterisk_ai.transport.switched import SwitchedConnection
from asterisk_ai.vad.service import VadService

logger = logging.getLogger(__name__)

AnyCall = Call | DiagnosticCall


class Calls:
    """What the transports' listeners ask for the call of a new connection."""

    def __init__(
        self,
        registry: CallRegistry,
        in_use: ConfigInUse,
        vad: VadService,
        metrics: Metrics,
        group: asyncio.TaskGroup,
        *,
        recordings: Recordings,
        traces: Traces,
    ) -> None:
        """Calls run in ``group``."""
        self._registry = registry
        self._in_use = in_use
        self._vad = vad
        self._metrics = metrics
        self._group = group
        self._recordings = recordings
        self._traces = traces
        # Those of the EAGI requests that are being served, which own them.
        self._file_players: WeakValueDictionary[str, FilePlayer] = WeakValueDictionary()
        # Those whose replies are, or may come to be, played by the dialplan. Their calls own them.
        self._switched: WeakValueDictionary[str, SwitchedConnection] = WeakValueDictionary()
        # Those that have audio now; their tasks own them.
        self._running: WeakValueDictionary[str, Call] = WeakValueDictionary()

    def accept(self, call_id: str, connect: Connect) -> MediaHandler:
        """The call of an AudioSocket connection.

        :raises CallRefused: there is none, it has a connection, or there is no agent for it.
        """
        if (switched := self.away(call_id)) is not None and switched.waits:
            session = self._registry.store.get(call_id)
            line = connect(AudioSocketConnection)
            if session is not None:
                self._hear_ambience(session, line, session.rate)
            switched.attach(line)
            return switched
        if not self._in_use.config.audiosocket.require_registration:
            self._registry.register_bare(call_id)
        session = self._registry.claim(call_id)
        with contextlib.ExitStack() as claim:
            claim.callback(self._registry.release, session)
            handler = self._begin(session, connect)
            claim.pop_all()  # the call's from here on
        return handler

    def accept_media(self, call_id: str, connection: Line) -> MediaHandler:
        """The call of a connection that is there already, such as RTP.

        :raises CallRefused: as :meth:`accept`.
        """
        if (switched := self.away(call_id)) is not None and switched.waits:
            switched.attach(connection)
            return switched
        session = self._registry.claim(call_id)
        with contextlib.ExitStack() as claim:
            claim.callback(self._registry.release, session)
            agent = self._agent(session)
            handler: MediaHandler
            if isinstance(agent, str):
                handler = diagnostic.OVER_ANY[agent](session, connection)
                self._start(handler)
            else:
                self._hear_ambience(session, connection, connection.rate)
                handler = self._converse(session, agent, connection)
            claim.pop_all()
        return handler

    def away(self, call_id: str) -> SwitchedConnection | None:
        """The connection of a call that the dialplan may be playing replies of."""
        return self._switched.get(call_id)

    # ---- asked from outside, on the loop ----------------------------------------------

    def phase(self, call_id: str) -> str:
        """Where its conversation is; empty where it has none. May be asked from other threads."""
        call = self._running.get(call_id)
        return "" if call is None else call.phase

    def leave(self, session: CallSession, action: DialplanAction) -> None:
        """Give a call back to the dialplan, which is to do this.

        :raises CallRefused: it cannot be.
        """
        call = self._talking(session)
        if action.kind not in session.actions:
            raise CallRefused(
                Refusal.ERROR, "there is no dialplan that could do that: the call came without call/start"
            )
        call.leave(action)

    def hand_over(self, session: CallSession, agent: str) -> None:
        """Have another agent go on with a call, from its greeting on.

        :raises CallRefused: it cannot be.
        """
        call = self._talking(session)
        if agent not in self._in_use.agent_set.agents:
            raise CallRefused(Refusal.ERROR, f"there is no agent {agent[:50]!r}")
        if not session.registered:
            raise CallRefused(Refusal.ERROR, "the call came without call/start: nobody would bring it back")
        session.agent, session.handed_over = agent, True
        session.memory, session.digits_wanted, session.pending = {}, 0, None
        logger.info("handed over to agent %s", agent, extra=_of(session))
        self._registry.store.save(session)
        call.connection.hang_up()  # the dialplan asks what comes next, and brings it back

    def _talking(self, session: CallSession) -> Call:
        call = self._running.get(session.call_id)
        if call is None or call.closed.is_set() or session.pending is not None:
            raise CallRefused(Refusal.BUSY, "the call is with the dialplan, or has no agent that talks")
        return call

    def close(self) -> None:
        """The server stops: calls that are with the dialplan are not waited for."""
        for switched in tuple(self._switched.values()):
            switched.gone("the server stops")

    def tell_ready(self) -> None:
        """Log which way each agent's replies take from now on, and whether that way is there."""
        for name, agent in self._in_use.agent_set.agents.items():
            mode = agent.config.downstream_mode
            if mode != "file":
                logger.info("agent %s: streaming is ready (downstream_mode %s)", name, mode)
            if mode != "stream":
                try:
                    self._spool().make_room()
                    logger.info("agent %s: replies as files are ready, in %s", name, self._spool().folder)
                except (ProviderUnavailable, OSError) as error:
                    logger.error("agent %s: replies as files are not ready: %s", name, error)

    def _spool(self) -> Spool:
        config = self._in_use.config
        playback = config.playback
        return Spool(config.spool_path(), max_bytes=playback.spool_mb * 1_000_000, max_age=playback.keep_hours * 3600)

    def file_player(self, session: CallSession) -> FilePlayer:
        """Plays the replies of a call that comes by EAGI."""
        player = FilePlayer(self._spool(), session.call_id, session.rate)
        self._file_players[session.call_id] = player
        return player

    def targets(self, session: CallSession) -> Mapping[str, Target]:
        """Whom the call's agent can have rung."""
        agent = self._agent(session)
        return {} if isinstance(agent, str) else self._in_use.agent_set.transfers[agent.config.name]

    def listed(self, session: CallSession) -> Mapping[str, str]:
        """The ``variables`` of the call's agent."""
        agent = self._agent(session)
        return {} if isinstance(agent, str) else agent.config.variables

    def briefing(self, session: CallSession, texts: Callable[[str], tuple[str, ...]]) -> Briefing:
        """What somebody who is rung hears of the call, of these texts for a language."""
        agent = self._agent(session)
        language = "" if isinstance(agent, str) else agent.config.language
        speaker = agent.fallback if isinstance(agent, RealtimeAgentSetup) else agent
        return Briefing(texts(language), None if isinstance(speaker, str) else speaker, self._spool(), session.call_id)

    def _agent(self, session: CallSession) -> Agent | RealtimeAgentSetup | str:
        """Whose call it is; a word for the diagnostic ones."""
        # A call of an earlier server may have an agent that the configuration does not have any more.
        agents = self._in_use.agent_set.agents
        for name in (session.agent, self._in_use.config.default_agent):
            if name in agents:
                return agents[name]
            if name in diagnostic.AGENTS:
                return name
        raise CallRefused(Refusal.UNKNOWN_AGENT, f"no agent {session.agent!r}")

    def _begin(self, session: CallSession, connect: Connect) -> MediaHandler:
        agent = self._agent(session)
        if isinstance(agent, str):
            call = diagnostic.AGENTS[agent](session, connect)
            self._start(call)
            return call
        line = connect(AudioSocketConnection)
        self._hear_ambience(session, line, session.rate or line.rate)
        return self._converse(session, agent, line)

    def _converse(self, session: CallSession, agent: Agent | RealtimeAgentSetup, line: Line) -> MediaHandler:
        """Begin the conversation, with the replies on the way that they are to take."""
        player = self._file_players.get(session.call_id)
        mode = "file" if player is not None else self._mode(session, agent)
        self._metrics.downstream.labels(mode).inc()
        logger.info("replies: %s", mode, extra={"call_id": session.call_id})
        if player is not None:
            call = self._call(session, agent, player)
            player.serve(call, line)
            self._start(call, player.close)
            return call
        if mode == "stream":
            call = self._call(session, agent, line)
            self._start(call)
            return call
        return self._switch(session, agent, line, streaming=mode == "auto")

    def _hear_ambience(self, session: CallSession, line: Line, rate: int) -> None:
        agent = self._agent(session)
        if not isinstance(agent, str) and (ambiences := self._in_use.agent_set.ambiences[agent.config.name]):
            if rate in ambiences:
                line.hear_behind(Ambience(ambiences[rate]))
            else:
                logger.warning("no ambience on a line of %d Hz", rate, extra=_of(session))

    def _mode(self, session: CallSession, agent: Agent | RealtimeAgentSetup) -> str:
        mode = session.downstream or agent.config.downstream_mode
        if mode != "stream" and not session.registered:
            logger.warning("replies can only be streamed: no dialplan would play them", extra=_of(session))
            return "stream"
        if mode != "stream" and session.rate not in SUFFIXES:
            logger.warning("replies can only be streamed: Asterisk plays no files of %d Hz", session.rate)
            return "stream"
        return mode

    def _switch(
        self, session: CallSession, agent: Agent | RealtimeAgentSetup, line: Line, *, streaming: bool
    ) -> SwitchedConnection:
        def fallen_back(reason: str) -> None:
            session.downstream = "file"
            self._metrics.streaming_fallbacks.labels(reason).inc()
            text = f"streaming failed ({reason}): the rest of the call's replies are played as files"
            logger.warning("%s", text, extra=_of(session))
            call.troubles.note({"kind": "fallback", "stage": "playback", "engine": reason, "text": text})

        files = FilePlayer(self._spool(), session.call_id, session.rate, whole=True)
        switched = SwitchedConnection(files, streaming=streaming, fallen_back=fallen_back)
        call = self._call(session, agent, switched, beside=switched.run)
        switched.serve(call, line)
        self._switched[session.call_id] = switched
        self._start(call, switched.gone)
        return switched

    def _call(
        self,
        session: CallSession,
        agent: Agent | RealtimeAgentSetup,
        connection: MediaConnection,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> Call:
        store, kinds = self._registry.store, conversations(agent, session)
        turn = agent.config.turn
        call = Call(
            session,
            connection,
            store,
            self._metrics,
            kinds,
            detector=functools.partial(self._vad.detector, hangover=turn.hangover_ms / 1000),
            cancels_echo=turn.echo_cancelling,
            beside=beside,
        )
        self._running[session.call_id] = call
        if agent.config.record:
            call.sound.record(self._recordings, agent.config.record_decline)
        return call

    def _start(self, call: AnyCall, close: Callable[[], None] = lambda: None) -> None:
        self._group.create_task(self._run(call, self._in_use.agent_set, close))

    async def _run(self, call: AnyCall, agent_set: AgentSet, close: Callable[[], None]) -> None:
        agent_set.enter()
        try:
            with watching(self._traces.watch(call.session)):
                await call.run()
        finally:
            close()
            agent_set.leave()
            self._registry.release(call.session)


def _of(session: CallSession) -> dict[str, str]:
    return {"call_id": session.call_id}
