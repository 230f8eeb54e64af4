"""Calls that last, in a Redis or Valkey that several hosts share: whichever the dialplan asks next goes on with a call.

Records stay with the host that has the call; here is only what another one needs to go on. Each time that a call is
taken over its epoch grows, and what a server writes that has lost the call meanwhile is refused: two servers never
hold one call. While Redis is away calls go on, and what has changed is written when it is back.

Needs the ``redis`` extra.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import redis

from asterisk_ai.errors import StoreError
from asterisk_ai.session.lock import StoreLock
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import Backend

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 1.0
"""Redis is in the same building, or it is away."""
RETRY_SECONDS = 0.5
LASTS_SECONDS, ENDED_SECONDS = 86_400, 600
"""How long a call is kept here after it was last written: one that lasts, and one that has ended."""
RELEASE_SECONDS = 1.5
"""Asterisk asks what comes next before the other server has told that the audio is over; a lost one never tells."""
_WRITE = """
local held = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
if held > tonumber(ARGV[1]) then return held end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'record', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 0
"""


class SharedBackend:
    """A host's own backend, and beside it the calls that last for the other hosts.

    What waits is the newest state of each call; it is written by a thread of its own.

    :param own: where this host keeps its records.
    :param url: as in ``redis://HOST:6379/0``, with ``rediss`` for TLS and ``:PASSWORD@`` before the host.
    :param taken: told, on another thread, of a call that another host has taken over.
    """

    def __init__(self, own: Backend, url: str, taken: Callable[[str], None] = lambda call_id: None) -> None:
        self._own, self._taken = own, taken
        self._redis = redis.Redis.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, decode_responses=True
        )
        self._write = self._redis.register_script(_WRITE)
        self._waiting: dict[str, tuple[int, str, int]] = {}
        self._condition = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._away = ""  # why other hosts are not told; empty while they are

    # ---- the host's own ------------------------------------------------------------

    @property
    def lock(self) -> StoreLock | None:
        return self._own.lock

    @property
    def lost(self) -> int:
        return self._own.lost

    def recent(self, limit: int) -> list[CallSession]:
        return self._own.recent(limit)

    def shared(self) -> str:
        return self._away or "connected"

    def problem(self) -> str:
        return self._own.problem()

    # ---- both ----------------------------------------------------------------------

    def start(self) -> list[CallSession]:
        """See :class:`Backend`. Calls that another host has gone on with are not ours any more."""
        live = [session for session in self._own.start() if not self._is_elsewhere(session)]
        self._thread = threading.Thread(target=self._write_all, name="shared-calls", daemon=True)
        self._thread.start()
        return live

    def _is_elsewhere(self, session: CallSession) -> bool:
        other = self._read(session.call_id)
        return other is not None and other.epoch > session.epoch

    def write(self, session: CallSession) -> None:
        self._own.write(session)
        keep = ENDED_SECONDS if session.ended else LASTS_SECONDS
        with self._condition:
            self._waiting[session.call_id] = session.epoch, session.to_json(), keep
            self._condition.notify()

    def find(self, call_id: str) -> CallSession | None:
        """The newest that is known of the call. Waits for its server to let go of it; not to be called on a loop."""
        until = time.monotonic() + RELEASE_SECONDS
        while True:
            own, other = self._own.find(call_id), self._read(call_id)
            if other is None or (own is not None and own.epoch >= other.epoch):
                return own
            if other.ended or not other.connects or other.detached_at or time.monotonic() > until:
                return other
            time.sleep(0.05)

    def _read(self, call_id: str) -> CallSession | None:
        """As the hosts know it; None also where Redis is away."""
        if self._away:
            return None  # the thread finds out when it is back
        try:
            record = self._redis.hget(_key(call_id), "record")
            return CallSession.from_json(str(record)) if record else None
        except (redis.RedisError, StoreError) as error:
            logger.error("a call that several hosts share cannot be read: %s", error)
            return None

    def stop(self) -> None:
        """Write what waits, if Redis is there, and close."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._redis.close()
        self._own.stop()

    def _write_all(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stopping and not self._away:
                    self._condition.wait()
                calls, self._waiting, last = self._waiting, {}, self._stopping
            written = self._write_calls(calls)
            if last:
                return
            if not written:
                with self._condition:
                    self._waiting = {**calls, **self._waiting}
                    self._condition.wait(RETRY_SECONDS)

    def _write_calls(self, calls: dict[str, tuple[int, str, int]]) -> bool:
        try:
            if not calls:
                self._redis.ping()
            for call_id, (epoch, record, keep) in calls.items():
                if self._write(keys=[_key(call_id)], args=[epoch, record, keep]):
                    logger.warning("another host has gone on with the call", extra={"call_id": call_id})
                    self._taken(call_id)
        except redis.RedisError as error:
            if not self._away:
                logger.error("the other hosts cannot be told of calls: %s (will be tried again)", error)
            self._away = str(error)
            return False
        if self._away:
            logger.info("the other hosts are told of calls again")
        self._away = ""
        return True


def _key(call_id: str) -> str:
    return f"asterisk-ai:call:{call_id}"
