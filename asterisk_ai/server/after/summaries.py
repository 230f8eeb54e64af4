"""A language model's summary of a call that has ended, where its agent asks for one."""

from __future__ import annotations

import asyncio
import logging

from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.providers.api import Say, TurnRequest
from asterisk_ai.server.reload import ConfigInUse
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.report import summary, transcript
from asterisk_ai.session.store import SessionStore

logger = logging.getLogger(__name__)

SUMMARY_SECONDS = 20.0
MAX_AT_ONCE = 8
"""Calls that end while so many are being summed up are told from their records."""
_MAX_TRANSCRIPT, _MAX_SUMMARY = 20_000, 2000


class Summaries:
    """Asks for them beside the calls, on the loop, as every language model is asked."""

    def __init__(self, in_use: ConfigInUse, store: SessionStore, group: asyncio.TaskGroup) -> None:
        """They are made in ``group``."""
        self._in_use = in_use
        self._store = store
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def expected(self, session: CallSession) -> bool:
        """Whether a call that has ended is still to be summed up."""
        asked = session.agent in self._in_use.agent_set.summarisers and not session.summary
        return asked and any(record.role == "caller" and record.understood for record in session.history)

    def begin(self, session: CallSession) -> None:
        """Sum up a call that has ended, where that is expected; its record is written again then."""
        if not self.expected(session):
            return
        if len(self._tasks) >= MAX_AT_ONCE:
            self._keep(session, "")
            return
        task = self._group.create_task(self._sum_up(session, self._in_use.agent_set))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """The server ends: the others are told from their records."""
        for task in self._tasks:
            task.cancel()

    async def _sum_up(self, session: CallSession, agents: AgentSet) -> None:
        words = ""
        agents.enter()
        try:
            async with asyncio.timeout(SUMMARY_SECONDS):
                words = await self._ask(session, agents)
        except TimeoutError:
            logger.warning("no summary of a call within %g s", SUMMARY_SECONDS, extra={"call_id": session.call_id})
        finally:
            agents.leave()
            self._keep(session, words)

    async def _ask(self, session: CallSession, agents: AgentSet) -> str:
        request = TurnRequest(transcript(session)[-_MAX_TRANSCRIPT:], actions=frozenset())
        async with agents.summarisers[session.agent].reply(request) as parts:
            said = [part.text async for part in parts if isinstance(part, Say)]
        return " ".join(" ".join(said).split())[:_MAX_SUMMARY]

    def _keep(self, session: CallSession, words: str) -> None:
        session.summary = words or summary(session)
        if self._store.find(session.call_id) is not None:  # it may have been purged
            self._store.save(session)
