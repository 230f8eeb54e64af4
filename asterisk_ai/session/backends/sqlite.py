"""Sessions in SQLite, in WAL mode: they survive the server, and other processes can read along."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from asterisk_ai.errors import StoreError
from asterisk_ai.session.backends import call_figures, call_index, deliveries
from asterisk_ai.session.backends.call_figures import Figures
from asterisk_ai.session.backends.call_index import CallFilter, readable
from asterisk_ai.session.backends.database import connect, identity, may_pass, remedy
from asterisk_ai.session.backends.deliveries import Delivery
from asterisk_ai.session.lock import StoreInUse, StoreLock
from asterisk_ai.session.model import CallSession

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    call_id TEXT PRIMARY KEY, started_at REAL NOT NULL, ended_at REAL NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_started ON calls (started_at);
CREATE INDEX IF NOT EXISTS calls_live ON calls (ended_at) WHERE ended_at = 0;
"""
MAX_WAITING = 5000
"""Calls whose records wait for a disk that takes none: some 20 MB."""
_RETRY_SECONDS = 1.0
_PURGE_SECONDS = 3600.0
_ENTER_SECONDS, _ENTER_CALLS = 0.02, 20
"""An earlier version's records are entered into the index in small steps, for the media loop's sake."""


_Row = tuple[str, float, float, str]


class SqliteBackend:
    """Writes on a thread of its own, so that a slow disk is never felt by the media path.

    What waits is the newest state of each call. A failing disk is retried for as long as the server runs; of more than
    :data:`MAX_WAITING` calls the oldest that has ended is given up, and counted.

    :param path: the database; its folder is made where it does not exist.
    :param keep_days: records older than this are removed; 0 keeps all.
    :param shared: this is one of several processes of a server that holds the store's lock.
    :param wanted: who is to be told of a call as it is now.
    :param entered: called on the writing thread when deliveries were entered.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float = 30.0,
        shared: bool = False,
        wanted: Callable[[CallSession], Sequence[Delivery]] = lambda session: (),
        entered: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.lock = None if shared else StoreLock(path)
        self._database: sqlite3.Connection | None = None
        self._keep = keep_days * 86400
        self._purge_at = 0.0
        self._wanted, self._entered = wanted, entered
        self._waiting: dict[str, tuple[_Row, Sequence[Delivery]]] = {}
        self._writing: dict[str, tuple[_Row, Sequence[Delivery]]] = {}  # taken from those, and not in the file yet
        self._condition = threading.Condition()
        self._stopping = False
        self.lost = 0
        self._problem = ""
        self._thread: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()  # of the reader, while it is used, opened or closed
        self._file: tuple[int, int] | None = None
        self._entering = False  # whether calls of an earlier version may be missing in the index

    def start(self) -> list[CallSession]:
        """See :class:`Backend`. A disk that is full or fails keeps nobody from being served: it is tried again."""
        live = []
        try:
            # What callers said is nobody else's business.
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            if self.lock is not None:
                self.lock.acquire()
            live = self._open()
        except StoreInUse:
            raise
        except (sqlite3.Error, OSError, StoreError) as error:
            cause = error.__cause__ or error
            if not may_pass(cause):
                if self.lock is not None:
                    self.lock.release()
                raise StoreError(f"{self.path}: {error}; {remedy(cause)}") from error
            self._failed(cause)
            logger.error("calls go on without a record until then")
        self._thread = threading.Thread(target=self._write_all, name="session-store", daemon=True)
        self._thread.start()
        return live

    def _open(self) -> list[CallSession]:
        """Connect; returns the calls that have not ended."""
        # Made before SQLite does it, which gives its journals the same mode as they are made.
        self.path.touch(mode=0o640)
        database = reader = None
        try:
            database = connect(self.path, writable=True)
            database.execute("PRAGMA journal_mode=WAL")
            # NORMAL: a power cut may lose the last turns, a killed process never does.
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA + call_index.SCHEMA + deliveries.SCHEMA)
            with database:
                self._purge(database)
            entering = call_index.look(database)
            reader = connect(self.path, writable=False)
            live = _sessions(reader, "WHERE ended_at = 0", ())
        except (sqlite3.Error, StoreError):
            for opened in (database, reader):
                if opened is not None:
                    opened.close()
            raise
        self._database, self._reader, self._file = database, reader, identity(self.path)
        self._entering = entering
        return live

    def _close(self) -> None:
        """Close what is open; the reader first, as whoever closes last clears the journal away."""
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        if self._database is not None:
            self._database.close()
            self._database = None

    def write(self, session: CallSession) -> None:
        row = (session.call_id, session.started_at, session.ended_at, session.to_json())
        with self._condition:
            self._waiting[session.call_id] = row, self._wanted(session)
            self._give_up_some()
            self._condition.notify()

    def _give_up_some(self) -> None:
        while len(self._waiting) > MAX_WAITING:
            over = (call_id for call_id, ((_, _, ended_at, _), _) in self._waiting.items() if ended_at)
            del self._waiting[next(over, next(iter(self._waiting)))]
            self.lost += 1

    def find(self, call_id: str) -> CallSession | None:
        with self._condition:
            waiting = self._waiting.get(call_id) or self._writing.get(call_id)
        if waiting:
            return CallSession.from_json(waiting[0][3])
        try:
            found = self._read("WHERE call_id = ?", (call_id,))
        except StoreError as error:  # the dialplan asks: no disk may keep it from an answer
            logger.error("%s", error)
            return None
        return found[0] if found else None

    def recent(self, limit: int) -> list[CallSession]:
        return self._read("ORDER BY started_at DESC LIMIT ?", (limit,))

    def shared(self) -> str:
        return ""

    def problem(self) -> str:
        return self._problem

    def stop(self) -> None:
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self.lock is not None:
            self.lock.release()

    def _read(self, where: str, arguments: tuple[object, ...]) -> list[CallSession]:
        with self._reading:
            if self._reader is None:
                raise StoreError(self._problem or f"{self.path} is closed")
            return _sessions(self._reader, where, arguments)

    def _write_all(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._stopping and self._database is not None:
                    if not self._condition.wait(_ENTER_SECONDS if self._entering else None):
                        break
                rows = self._writing = self._waiting
                self._waiting = {}
                last = self._stopping
            idle = not rows and self._database is not None and not self._entering
            written = idle or self._write_rows(rows)
            with self._condition:
                self._writing = {}
                if not written and not last:
                    self._waiting = {**rows, **self._waiting}  # newer states of the same calls go first
                    self._give_up_some()
                    self._condition.wait(_RETRY_SECONDS)
            if last:
                break
        self._close()

    def _write_rows(self, rows: dict[str, tuple[_Row, Sequence[Delivery]]]) -> bool:
        try:
            if self._database is not None and identity(self.path) != self._file:
                # SQLite would go on in the file that nobody finds any more.
                logger.warning("%s was moved or removed: call records go on in a new one", self.path)
                self._close()
            if self._database is None:
                self._open()
            assert self._database is not None  # noqa: S101 - open() has done it
            with self._database as database:
                database.executemany(
                    "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", [row for row, _ in rows.values()]
                )
                for session in readable((record,) for (_, _, ended_at, record), _ in rows.values() if ended_at):
                    call_index.enter(database, session)
                to_tell = [one for _, some in rows.values() for one in some]
                deliveries.enter(database, to_tell)
                self._entering = self._entering and call_index.enter_some(database, _ENTER_CALLS)
                if time.monotonic() >= self._purge_at:
                    self._purge(database)
        except (sqlite3.Error, OSError, StoreError) as error:
            self._failed(error)
            return False
        if self._problem:
            logger.info("call records are written to %s again", self.path)
        self._problem = ""
        if to_tell:
            self._entered()
        return True

    def _failed(self, error: BaseException) -> None:
        if not self._problem:
            logger.error("call records cannot be written to %s: %s (will be tried again)", self.path, error)
        self._problem = f"call records cannot be written to {self.path}: {error}"

    def _purge(self, database: sqlite3.Connection) -> None:
        """Remove what is older than it may be kept; now and then, as a server may run for months."""
        self._purge_at = time.monotonic() + _PURGE_SECONDS
        if self._keep:
            oldest = time.time() - self._keep
            deliveries.forget_before(database, oldest)
            database.execute("DELETE FROM calls WHERE started_at < ?", (oldest,))
            call_index.forget_before(database, oldest)


def _sessions(database: sqlite3.Connection, where: str, arguments: tuple[object, ...]) -> list[CallSession]:
    try:
        rows = database.execute(f"SELECT record FROM calls {where}", arguments).fetchall()  # noqa: S608 - ours
    except sqlite3.Error as error:
        raise StoreError(f"call records cannot be read: {error}") from error
    return readable(rows)


def remove_calls(path: Path, call_ids: Sequence[str]) -> None:
    """Remove calls so that none of their words is left in the store's files, also while a server uses it.

    :raises StoreError: it could not be done; the store is as it was, or still holds bytes of what was removed.
    """
    database = connect(path, writable=True)
    try:
        call_index.remove(database, call_ids)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: the calls could not be removed: {error}; try again") from error
    finally:
        database.close()


class SqliteReader:
    """Reads along while a server writes, from another process. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StoreError(f"{path} does not exist: no server has kept its calls there")
        self._database = connect(path, writable=False)

    def find(self, call_id: str) -> CallSession | None:
        found = _sessions(self._database, "WHERE call_id = ?", (call_id,))
        return found[0] if found else None

    def search(self, wanted: CallFilter) -> list[CallSession]:
        """The calls that are meant, newest first; those of a damaged record are left out, and told of in the log."""
        try:
            return call_index.search(self._database, wanted)
        except sqlite3.Error as error:
            raise StoreError(f"call records cannot be read: {error}") from error

    def deliveries(self, *, call_ids: Sequence[str] = (), every: bool = False) -> list[Delivery]:
        """Who is to be told of these calls, or of all; with ``every`` also who was told."""
        try:
            return deliveries.listed(self._database, call_ids=call_ids, every=every)
        except sqlite3.Error as error:
            raise StoreError(f"deliveries cannot be read: {error}") from error

    def figures(self, edges: Sequence[float]) -> Figures:
        """See :func:`asterisk_ai.session.backends.call_figures.figures`."""
        try:
            return call_figures.figures(self._database, edges)
        except sqlite3.Error as error:
            raise StoreError(f"call records cannot be read: {error}") from error

    def close(self) -> None:
        self._database.close()
