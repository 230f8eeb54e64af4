"""The only home of call state."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from asterisk_ai.errors import CallRefused, Refusal
from asterisk_ai.session.feed import LiveFeed
from asterisk_ai.session.lock import StoreLock
from asterisk_ai.session.model import CallSession, Outcome

logger = logging.getLogger(__name__)

MAX_ABSENCE_SECONDS = 3600.0
"""A call whose server was away for longer than this has surely ended: so much is the date trusted."""


class Backend(Protocol):
    """Where sessions survive. Called on the event loop: must not block for longer than a queue's put."""

    @property
    def lock(self) -> StoreLock | None:
        """What keeps other servers off, where they could be on it."""

    @property
    def lost(self) -> int:
        """Records that were given up, since the start."""

    def start(self) -> list[CallSession]:
        """Open it; returns the sessions that had not ended. Raises StoreError."""

    def write(self, session: CallSession) -> None:
        """Keep the session as it is now. Never raises: a failure shows in :meth:`problem`."""

    def find(self, call_id: str) -> CallSession | None:
        """An earlier call's record, None also where it cannot be read. May read a disk."""

    def recent(self, limit: int) -> list[CallSession]:
        """The newest records first."""

    def shared(self) -> str:
        """``connected`` to what several hosts share, or why not; empty where there is none."""

    def problem(self) -> str:
        """Why writes fail, in plain words; empty when they do not."""

    def stop(self) -> None:
        """Write what waits and close."""


@dataclass(slots=True)
class _Live:
    """A call that has not ended. Times are those of a clock that nobody sets."""

    session: CallSession
    began: float
    idle_since: float


class SessionStore:
    """All sessions of this server: those that have not ended in memory, every one in the backend.

    Of ``workers`` processes over one backend, this is the one numbered ``worker``; each has its own calls. How long
    things last is told by ``clock``, which goes on evenly when the computer's date is set.
    """

    def __init__(
        self, backend: Backend, *, worker: int = 0, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._worker, self._workers = worker, workers
        self._clock = clock
        self._live: dict[str, _Live] = {}
        self._claimed: dict[str, asyncio.Event] = {}  # set when the claim ends
        self.elsewhere: dict[str, asyncio.Event] = {}
        """Calls that the process before us still carries; set when they are not there any more."""
        self.feed = LiveFeed()
        """Those who look on are told of every call that is saved."""

    @property
    def lock(self) -> StoreLock | None:
        """What keeps other servers off the backend, where they could be on it."""
        return self._backend.lock

    def start(self, elsewhere: Collection[str] = ()) -> None:
        """Open the backend and take over the calls that a lost server left. Raises StoreError.

        :param elsewhere: calls that the process before us still carries.
        """
        self.elsewhere = {call_id: asyncio.Event() for call_id in elsewhere}
        for session in self._backend.start():
            if (
                session.call_id in self.elsewhere or session.worker % self._workers != self._worker
            ):  # there may have been more of us
                continue
            self._take_back(session)
        if self._live:
            logger.info("%d calls of an earlier server may come back", len(self._live))

    def _take_back(self, session: CallSession) -> None:
        """Whoever held it is gone; the dialplan has until the reaper's limit to come back."""
        session.cut = True
        session.detached_at, now = time.time(), self._clock()
        lasted = session.detached_at - session.started_at
        if not session.seconds <= lasted <= session.seconds + MAX_ABSENCE_SECONDS:
            lasted = session.seconds  # the date was set in between
        self._live[session.call_id] = _Live(session, now - lasted, now)

    # ---- from one process to the next -------------------------------------------

    def adopt(self, session: CallSession) -> None:
        """A call of the process before us goes on here."""
        now = self._clock()
        self._live[session.call_id] = _Live(session, now - session.seconds, now)
        self.save(session)
        self.forget_elsewhere(session.call_id)

    def give(self, session: CallSession) -> str:
        """A call goes on in the process after us. Returns its record."""
        self._live.pop(session.call_id, None)
        return session.to_json()

    def forget_elsewhere(self, call_id: str) -> None:
        """It is over, or here."""
        if (came := self.elsewhere.pop(call_id, None)) is not None:
            came.set()

    def take_elsewhere(self, call_id: str) -> bool:
        """Go on with a call that the process before us carried, as it was last written. False where it has ended."""
        self.forget_elsewhere(call_id)
        session = self._backend.find(call_id)
        if session is None or session.ended:
            return False
        self._take_back(session)
        return True

    # ---- a call -----------------------------------------------------------------

    def stop(self) -> None:
        self._backend.stop()

    def add(self, session: CallSession) -> None:
        """Register a new call."""
        if session.call_id in self._live:
            raise CallRefused(Refusal.DUPLICATE, f"call {session.call_id} is registered already")
        session.worker = self._worker
        now = self._clock()
        self._live[session.call_id] = _Live(session, now, now)
        self.save(session)

    def get(self, call_id: str) -> CallSession | None:
        """A call that has not ended."""
        live = self._live.get(call_id)
        return live.session if live else None

    def find(self, call_id: str) -> CallSession | None:
        """A call that has not ended, or an earlier one's record (which may read a disk)."""
        return self.get(call_id) or self._backend.find(call_id)

    def reopen(self, session: CallSession) -> None:
        """Take back a call that was given up as lost, or that another host had."""
        session.epoch += 1
        session.ended_at, session.outcome = 0.0, Outcome.NONE
        self._take_back(session)
        self.save(session)

    def claim(self, call_id: str) -> CallSession:
        """Give the call's audio to one connection. Raises CallRefused: UNKNOWN or BUSY."""
        live = self._live.get(call_id)
        if live is None:
            raise CallRefused(Refusal.UNKNOWN, f"call {call_id} is not registered")
        if call_id in self._claimed:
            raise CallRefused(Refusal.BUSY, f"call {call_id} has a connection already")
        self._claimed[call_id] = asyncio.Event()
        session = live.session
        session.connects += 1
        session.connected_at, session.detached_at = time.time(), 0.0
        self.save(session)
        return session

    def release(self, session: CallSession) -> None:
        """The connection that claimed the call is gone."""
        claim = self._claimed.pop(session.call_id, None)
        if claim is not None:
            claim.set()
        session.gating.clear()
        self.waiting(session)

    def waiting(self, session: CallSession) -> None:
        """From now on the call is with the dialplan, and its coming back is waited for."""
        session.detached_at = time.time()
        live = self._live.get(session.call_id)
        if live is not None:  # it may have been ended meanwhile
            live.idle_since = self._clock()
        self.save(session)

    def save(self, session: CallSession) -> None:
        """A turn boundary: keep what has been said and heard."""
        live = self._live.get(session.call_id)
        if live is not None:
            session.seconds = round(self._clock() - live.began, 3)
        self._backend.write(session)
        self.feed.tell(session)

    def end(self, session: CallSession, outcome: Outcome) -> None:
        """Close the record. The first outcome stands."""
        if not session.ended:
            session.ended_at, session.outcome = time.time(), outcome
        session.epoch += session.call_id not in self._live  # another host may still hold it
        session.heard_all()
        self.save(session)
        self._live.pop(session.call_id, None)

    def correct(self, session: CallSession, outcome: Outcome) -> None:
        """The call ended otherwise than was thought."""
        session.outcome = outcome
        self._backend.write(session)

    def is_claimed(self, session: CallSession) -> bool:
        """Whether audio flows."""
        return session.call_id in self._claimed

    def idle_seconds(self, session: CallSession) -> float:
        """How long the call has been without audio, from its registration or from the end of its last connection."""
        return self._clock() - self._live[session.call_id].idle_since

    async def wait_released(self, session: CallSession) -> None:
        """Wait until no connection has the call."""
        claim = self._claimed.get(session.call_id)
        if claim is not None:
            await claim.wait()

    @property
    def live(self) -> Sequence[CallSession]:
        """The calls that have not ended."""
        return tuple(live.session for live in tuple(self._live.values()))

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

    @property
    def lost(self) -> int:
        """Records that were given up, since the start: nothing could be written for too long."""
        return self._backend.lost

    def shared(self) -> str:
        """See :meth:`Backend.shared`."""
        return self._backend.shared()

    def problem(self) -> str:
        return self._backend.problem()
