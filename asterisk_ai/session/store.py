"""The only home of call state."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Protocol

from asterisk_ai.errors import CallRefused
from asterisk_ai.session.model import CallSession

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """Where sessions survive. Called on the event loop: must not block for longer than a queue's put."""

    def start(self) -> list[CallSession]:
        """Open it; returns the sessions that had not ended. Raises StoreError."""

    def write(self, session: CallSession) -> None:
        """Keep the session as it is now. Never raises: a failure shows in :meth:`problem`."""

    def find(self, call_id: str) -> CallSession | None:
        """An earlier call's record. May read a disk."""

    def recent(self, limit: int) -> list[CallSession]:
        """The newest records first."""

    def problem(self) -> str:
        """Why writes fail, in plain words; empty when they do not."""

    def stop(self) -> None:
        """Write what waits and close."""


class MemoryBackend:
    """Keeps the last ``keep`` ended calls until the process ends."""

    def __init__(self, keep: int = 1000) -> None:
        self._records: dict[str, CallSession] = {}
        self._keep = keep

    def start(self) -> list[CallSession]:
        return []

    def write(self, session: CallSession) -> None:
        if session.ended:
            self._records[session.call_id] = session
            if len(self._records) > self._keep:
                del self._records[next(iter(self._records))]

    def find(self, call_id: str) -> CallSession | None:
        return self._records.get(call_id)

    def recent(self, limit: int) -> list[CallSession]:
        return list(self._records.values())[: -limit - 1 : -1]

    def problem(self) -> str:
        return ""

    def stop(self) -> None:
        self._records.clear()


class SessionStore:
    """All sessions of this server: those that have not ended in memory, every one in the backend.

    Of ``workers`` processes over one backend, this is the one numbered ``worker``; each has its own calls.
    """

    def __init__(self, backend: Backend, *, worker: int = 0, workers: int = 1) -> None:
        self._backend = backend
        self._worker, self._workers = worker, workers
        self._live: dict[str, CallSession] = {}
        self._claimed: dict[str, asyncio.Event] = {}  # set when the claim ends

    def start(self) -> None:
        """Open the backend and take over the calls that a lost server left. Raises StoreError."""
        now = time.time()
        for session in self._backend.start():
            if session.worker % self._workers != self._worker:  # there may have been more of us
                continue
            # Whoever held it is gone; the dialplan has until the reaper's limit to come back.
            session.detached_at = now
            self._live[session.call_id] = session
        if self._live:
            logger.info("%d calls of an earlier server may come back", len(self._live))

    def stop(self) -> None:
        self._backend.stop()

    def add(self, session: CallSession) -> None:
        """Register a new call."""
        if session.call_id in self._live:
            raise CallRefused("DUPLICATE", f"call {session.call_id} is registered already")
        session.worker = self._worker
        self._live[session.call_id] = session
        self._backend.write(session)

    def get(self, call_id: str) -> CallSession | None:
        """A call that has not ended."""
        return self._live.get(call_id)

    def find(self, call_id: str) -> CallSession | None:
        """A call that has not ended, or an earlier one's record (which may read a disk)."""
        return self._live.get(call_id) or self._backend.find(call_id)

    def reopen(self, session: CallSession) -> None:
        """Take back a call that was given up as lost."""
        session.ended_at, session.outcome, session.detached_at = 0.0, "", time.time()
        self._live[session.call_id] = session
        self._backend.write(session)

    def claim(self, call_id: str) -> CallSession:
        """Give the call's audio to one connection. Raises CallRefused: UNKNOWN or BUSY."""
        session = self._live.get(call_id)
        if session is None:
            raise CallRefused("UNKNOWN", f"call {call_id} is not registered")
        if call_id in self._claimed:
            raise CallRefused("BUSY", f"call {call_id} has a connection already")
        self._claimed[call_id] = asyncio.Event()
        session.connects += 1
        session.connected_at, session.detached_at = time.time(), 0.0
        self._backend.write(session)
        return session

    def release(self, session: CallSession) -> None:
        """The connection that claimed the call is gone."""
        claim = self._claimed.pop(session.call_id, None)
        if claim is not None:
            claim.set()
        session.detached_at = time.time()
        session.gating.clear()
        self._backend.write(session)

    def save(self, session: CallSession) -> None:
        """A turn boundary: keep what has been said and heard."""
        self._backend.write(session)

    def end(self, session: CallSession, outcome: str) -> None:
        """Close the record. The first outcome stands."""
        if not session.ended:
            session.ended_at, session.outcome = time.time(), outcome
        self._live.pop(session.call_id, None)
        self._backend.write(session)

    def is_claimed(self, session: CallSession) -> bool:
        """Whether audio flows."""
        return session.call_id in self._claimed

    async def released(self, session: CallSession) -> None:
        """Wait until no connection has the call."""
        claim = self._claimed.get(session.call_id)
        if claim is not None:
            await claim.wait()

    @property
    def live(self) -> Iterable[CallSession]:
        """The calls that have not ended."""
        return tuple(self._live.values())

    @property
    def count(self) -> int:
        """How many calls have not ended."""
        return len(self._live)

    @property
    def talking(self) -> int:
        """How many calls have audio."""
        return len(self._claimed)

    def recent(self, limit: int) -> list[CallSession]:
        return self._backend.recent(limit)

    def problem(self) -> str:
        return self._backend.problem()
