"""Who is still to be told of which call: a table beside the records.

A delivery is entered in the transaction that writes the call's record, so that a server that is killed loses none;
it is removed with the record. What is delivered is made of the record each time that it is tried.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asterisk_ai.errors import StoreError
from asterisk_ai.session.backends.database import connect
from asterisk_ai.session.model import CallSession

SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY, call_id TEXT NOT NULL, target TEXT NOT NULL, event TEXT NOT NULL, worker INTEGER NOT NULL,
    made_at REAL NOT NULL, due_at REAL NOT NULL, tries INTEGER NOT NULL, state TEXT NOT NULL, problem TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_waiting ON deliveries (target, due_at) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS deliveries_call ON deliveries (call_id);
"""
WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given up"
_COLUMNS = "id, call_id, target, event, worker, made_at, due_at, tries, state, problem"
_NAMESPACE = uuid.UUID("5f0a3c52-8a59-4f0e-9a43-4f7a6e0a3f6d")


@dataclass(frozen=True, slots=True)
class Delivery:
    """That one target is told of one event of one call. Times are Unix times."""

    id: str
    """The same however often it is tried."""
    call_id: str
    target: str
    event: str
    worker: int
    """Which of the server's processes has the call."""
    made_at: float
    due_at: float
    tries: int = 0
    state: str = WAITING
    problem: str = ""
    """Why the last try failed."""


def delivery(session: CallSession, target: str, event: str, *, seconds: float = 0.0) -> Delivery:
    """Of a call whose record is written now. Another outcome than was told makes another delivery.

    :param seconds: until it is due; it may be entered again, as due earlier.
    """
    made = uuid.uuid5(_NAMESPACE, "\n".join((session.call_id, target, event, session.outcome if session.ended else "")))
    now = time.time()
    return Delivery(str(made), session.call_id, target, event, session.worker, now, now + seconds)


def enter(database: sqlite3.Connection, deliveries: Iterable[Delivery]) -> None:
    """Those that were entered before stay, but may be due earlier now. Raises sqlite3.Error."""
    for one in deliveries:
        same = (one.call_id, one.target, one.event, one.id)
        database.execute(
            "DELETE FROM deliveries WHERE call_id = ? AND target = ? AND event = ? AND id != ? AND state = 'waiting'",
            same,
        )
        values = [getattr(one, name) for name in Delivery.__slots__]
        database.execute(
            f"INSERT INTO deliveries ({_COLUMNS}) VALUES (?{', ?' * 9})"  # noqa: S608
            " ON CONFLICT (id) DO UPDATE SET due_at = min(due_at, excluded.due_at) WHERE tries = 0",
            values,
        )


def due(
    database: sqlite3.Connection,
    target: str,
    *,
    now: float,
    latest: float,
    worker: int,
    workers: int,
    limit: int,
    part: int = 0,
    parts: int = 1,
) -> list[tuple[Delivery, str]]:
    """What is to be tried now, with the calls' records, the longest due first.

    :param part: of so many parts, of which each is somebody else's.
    :param latest: due after this is due now: the date was set back.
    """
    rows = database.execute(
        f"SELECT {', '.join(f'd.{name}' for name in _COLUMNS.split(', '))}, calls.record"  # noqa: S608
        " FROM deliveries d JOIN calls USING (call_id) WHERE d.target = ? AND d.state = 'waiting'"
        " AND (d.due_at <= ? OR d.due_at > ?) AND d.worker % ? = ? AND unicode(d.id) % ? = ? ORDER BY d.due_at LIMIT ?",
        (target, now, latest, workers, worker, parts, part, limit),
    )
    return [(Delivery(*row[:-1]), row[-1]) for row in rows]


def settle(database: sqlite3.Connection, one: Delivery) -> None:
    """Keep how a try has gone. Raises sqlite3.Error."""
    changed = (one.due_at, one.tries, one.state, one.problem, one.id)
    with database:
        database.execute("UPDATE deliveries SET due_at = ?, tries = ?, state = ?, problem = ? WHERE id = ?", changed)


def waiting(database: sqlite3.Connection, target: str, *, worker: int, workers: int) -> tuple[int, float, float]:
    """How many there are, since when the oldest is, and when the next one is due; 0 where there is none."""
    found: tuple[int, float, float] = database.execute(
        "SELECT count(*), ifnull(min(made_at), 0), ifnull(min(due_at), 0) FROM deliveries"
        " WHERE target = ? AND state = 'waiting' AND worker % ? = ?",
        (target, workers, worker),
    ).fetchone()
    return found


def give_up(database: sqlite3.Connection, target: str, *, before: float, most: int, worker: int, workers: int) -> int:
    """Give up what is older, then the oldest while more than so many wait; returns how many. Raises sqlite3.Error."""
    ours = "target = ? AND state = 'waiting' AND worker % ? = ?"
    mine = (target, workers, worker)
    with database:
        kept = f"SELECT id FROM deliveries WHERE {ours} AND made_at >= ? ORDER BY made_at DESC LIMIT ?"  # noqa: S608
        return database.execute(
            f"UPDATE deliveries SET state = ? WHERE {ours} AND id NOT IN ({kept})",  # noqa: S608
            (GIVEN_UP, *mine, *mine, before, most),
        ).rowcount


def retry(path: Path, ids: Sequence[str]) -> int:
    """Have these tried again now, also what was given up; returns how many that are. Raises StoreError."""
    now = time.time()
    change = "UPDATE deliveries SET due_at = ?, made_at = ?, state = 'waiting' WHERE id = ? AND state != 'delivered'"
    try:
        with contextlib.closing(connect(path, writable=True)) as database, database:
            return sum(database.execute(change, (now, now, one)).rowcount for one in ids)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}; try again") from error


def listed(database: sqlite3.Connection, *, call_ids: Sequence[str] = (), every: bool = False) -> list[Delivery]:
    """Those of these calls, or of all; the newest first, without those that were delivered unless ``every``."""
    if not exist(database):
        return []
    where = [] if every else ["state != 'delivered'"]
    if call_ids:
        where.append(f"call_id IN (?{', ?' * (len(call_ids) - 1)})")
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    query = f"SELECT {_COLUMNS} FROM deliveries {condition} ORDER BY made_at DESC"  # noqa: S608
    return [Delivery(*row) for row in database.execute(query, tuple(call_ids))]


def forget(database: sqlite3.Connection, call_ids: Iterable[str]) -> None:
    """Nobody is told of these calls any more. Raises sqlite3.Error."""
    if exist(database):
        database.executemany("DELETE FROM deliveries WHERE call_id = ?", [(one,) for one in call_ids])


def forget_before(database: sqlite3.Connection, when: float) -> None:
    """Nor of those that began earlier, whose records are about to be removed. Raises sqlite3.Error."""
    database.execute(
        "DELETE FROM deliveries WHERE call_id IN (SELECT call_id FROM calls WHERE started_at < ?)", (when,)
    )


def exist(database: sqlite3.Connection) -> bool:
    """Whether the store has this table: one of an earlier version has not."""
    return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'deliveries'").fetchone())
