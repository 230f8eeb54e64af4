"""Connections to calls: what each transport hands over becomes a conversation with the agent that the call is for."""

from __future__ import annotations

import asyncio
import contextlib
from weakref import WeakValueDictionary

from asterisk_ai.agents.agent import Agent, RealtimeAgentSetup
from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.call import diagnostic
from asterisk_ai.call.call import Call
from asterisk_ai.call.diagnostic import DiagnosticCall
from asterisk_ai.call.kinds import conversations
from asterisk_ai.errors import CallRefused, Refusal
from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.server.reload import ConfigInUse
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.audiosocket.handshake import Connect
from asterisk_ai.transport.file_player import FilePlayer
from asterisk_ai.transport.media import MediaConnection
from asterisk_ai.vad.service import VadService

AnyCall = Call | DiagnosticCall


class Calls:
    """What the transports' listeners ask for the call of a new connection."""

    def __init__(
        self, registry: CallRegistry, in_use: ConfigInUse, vad: VadService, metrics: Metrics, group: asyncio.TaskGroup
    ) -> None:
        """Calls run in ``group``."""
        self._registry = registry
        self._in_use = in_use
        self._vad = vad
        self._metrics = metrics
        self._group = group
        # Those of the EAGI requests that are being served, which own them.
        self._file_players: WeakValueDictionary[str, FilePlayer] = WeakValueDictionary()

    def accept(self, call_id: str, connect: Connect) -> AnyCall:
        """The call of an AudioSocket connection.

        :raises CallRefused: there is none, it has a connection, or there is no agent for it.
        """
        if not self._in_use.config.audiosocket.require_registration:
            self._registry.register_bare(call_id)
        session = self._registry.claim(call_id)
        with contextlib.ExitStack() as claim:
            claim.callback(self._registry.release, session)
            player = self._file_players.get(call_id)
            call = self._call(session, connect, player)
            self._group.create_task(self._run(call, player, self._in_use.agent_set))
            claim.pop_all()  # the call's from here on
        return call

    def accept_media(self, call_id: str, connection: MediaConnection) -> AnyCall:
        """The call of a connection that is there already, such as RTP.

        :raises CallRefused: as :meth:`accept`.
        """
        session = self._registry.claim(call_id)
        with contextlib.ExitStack() as claim:
            claim.callback(self._registry.release, session)
            agent = self._agent(session)
            call: AnyCall
            if isinstance(agent, str):
                call = diagnostic.OVER_ANY[agent](session, connection)
            else:
                call = self._conversation(session, agent, connection)
            self._group.create_task(self._run(call, None, self._in_use.agent_set))
            claim.pop_all()
        return call

    def file_player(self, session: CallSession) -> FilePlayer:
        """Plays the replies of a call that comes by EAGI."""
        player = FilePlayer(self._in_use.config.spool_path(), session.call_id, session.rate)
        self._file_players[session.call_id] = player
        return player

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

    def _call(self, session: CallSession, connect: Connect, player: FilePlayer | None = None) -> AnyCall:
        agent = self._agent(session)
        if isinstance(agent, str):
            return diagnostic.AGENTS[agent](session, connect)
        connection = connect(AudioSocketConnection)
        call = self._conversation(session, agent, player or connection)
        if player is not None:
            player.serve(call, connection)
        return call

    def _conversation(
        self, session: CallSession, agent: Agent | RealtimeAgentSetup, connection: MediaConnection
    ) -> Call:
        kinds = conversations(agent)
        return Call(session, connection, self._registry.store, self._metrics, kinds, detector=self._vad.detector)

    async def _run(self, call: AnyCall, player: FilePlayer | None, agent_set: AgentSet) -> None:
        agent_set.enter()
        try:
            await call.run()
        finally:
            if player is not None:
                player.close()
            agent_set.leave()
            self._registry.release(call.session)
