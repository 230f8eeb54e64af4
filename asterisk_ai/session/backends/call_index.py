"""Which calls there were with whom, and what was said in them: tables beside the records, for searching and removing.

A call is entered when it has ended: what it says is then written once. Calls that have not ended, and those of a
store that an earlier version wrote, are few or are entered soon; they are looked through one by one.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asterisk_ai.errors import StoreError
from asterisk_ai.session.backends import deliveries
from asterisk_ai.session.model import CallSession

logger = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS ended (
    number INTEGER PRIMARY KEY, call_id TEXT NOT NULL UNIQUE, started_at REAL NOT NULL,
    agent TEXT NOT NULL, outcome TEXT NOT NULL, digits TEXT NOT NULL, caller TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ended_started ON ended (started_at);
CREATE INDEX IF NOT EXISTS ended_outcome ON ended (outcome, started_at);
CREATE VIRTUAL TABLE IF NOT EXISTS spoken USING fts5 (text, tokenize = "unicode61 remove_diacritics 2", prefix = "3");
"""
COMPLETE = 1
"""``PRAGMA user_version`` of a store in which every ended call is entered."""
_WORD = re.compile(r"\w+")
_MIN_SUFFIX = 7
"""Digits of a telephone number that say enough where one is written with its country and the other without."""


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls are meant; what is empty does not matter. Times are Unix times."""

    since: float = 0.0
    until: float = 0.0
    agent: str = ""
    outcome: str = ""
    caller: str = ""
    """Part of the number (its digits count) or of the name; with ``whole_number`` all of the number."""
    whole_number: bool = False
    text: str = ""
    """Words (or their beginnings) all of which were said, by whomever."""
    ids: Sequence[str] = ()
    """Calls' ids or their beginnings."""
    limit: int = 0
    """The newest so many."""

    def fits(self, session: CallSession) -> bool:
        """Whether a call that is not entered is meant."""
        said = set(_WORD.findall(spoken_text(session).lower()))
        return (
            (not self.since or session.started_at >= self.since)
            and (not self.until or session.started_at < self.until)
            and self.agent in ("", session.agent)
            and self.outcome in ("", session.outcome)
            and (not self.caller or _is_caller(self.caller, session, whole=self.whole_number))
            and all(any(word.startswith(wanted) for word in said) for wanted in _WORD.findall(self.text.lower()))
            and (not self.ids or any(session.call_id.startswith(one) for one in self.ids))
        )

    def conditions(self) -> tuple[list[str], list[object]]:
        """The same, as conditions of SQL on ``ended`` and what they are to be filled with."""
        found: list[tuple[str, object]] = []
        for value, condition in (
            (self.since, "started_at >= ?"),
            (self.until, "started_at < ?"),
            (self.agent, "agent = ?"),
            (self.outcome, "outcome = ?"),
        ):
            if value:
                found.append((condition, value))
        if self.caller:
            found.append(self._caller())
        if words := _WORD.findall(self.text):
            match = " AND ".join(f'"{word}"*' for word in words)
            found.append(("number = spoken.rowid AND spoken MATCH ?", match))
        conditions, values = [one for one, _ in found], [value for _, value in found]
        if self.ids:
            conditions.append(f"({' OR '.join(['substr(call_id, 1, ?) = ?'] * len(self.ids))})")
            values += [value for one in self.ids for value in (len(one), one)]
        return conditions, [_storable(value) if isinstance(value, str) else value for value in values]

    def _caller(self) -> tuple[str, object]:
        digits = _digits(self.caller)
        if self.whole_number:
            return "same_caller(digits, caller, ?)", self.caller
        if digits:
            return "instr(digits, ?) > 0", digits
        return "instr(caller, ?) > 0", self.caller.lower()


def spoken_text(session: CallSession) -> str:
    """All that was said and dialled in a call."""
    return "\n".join(record.text for record in session.history)


def enter(database: sqlite3.Connection, session: CallSession) -> None:
    """Enter a call that has ended, or what has changed in it. Raises sqlite3.Error."""
    forget(database, [session.call_id])
    texts = (session.call_id, session.agent, session.outcome, *_caller_texts(session), spoken_text(session))
    call_id, agent, outcome, digits, caller, spoken = map(_storable, texts)
    row = database.execute(
        "INSERT INTO ended (call_id, started_at, agent, outcome, digits, caller) VALUES (?, ?, ?, ?, ?, ?)",
        (call_id, session.started_at, agent, outcome, digits, caller),
    )
    database.execute("INSERT INTO spoken (rowid, text) VALUES (?, ?)", (row.lastrowid, spoken))


def forget(database: sqlite3.Connection, call_ids: Iterable[str]) -> None:
    """Take calls out again. Raises sqlite3.Error."""
    for call_id in call_ids:
        database.execute("DELETE FROM spoken WHERE rowid = (SELECT number FROM ended WHERE call_id = ?)", (call_id,))
        database.execute("DELETE FROM ended WHERE call_id = ?", (call_id,))


def look(database: sqlite3.Connection) -> bool:
    """Whether calls are missing here, as another version may have written some. Raises sqlite3.Error."""
    every = database.execute("SELECT count(*) FROM calls").fetchone()[0]
    running = database.execute("SELECT count(*) FROM calls WHERE ended_at = 0").fetchone()[0]
    complete = every - running == database.execute("SELECT count(*) FROM ended").fetchone()[0]
    database.execute(f"PRAGMA user_version = {COMPLETE if complete else 0}")
    return not complete


def enter_some(database: sqlite3.Connection, most: int) -> bool:
    """Enter some of the calls that another version has written; False when none is left. Raises sqlite3.Error."""
    rows = database.execute(f"{_NOT_ENTERED} AND ended_at > 0 LIMIT ?", (most,)).fetchall()
    for call_id, record in rows:
        # What is damaged stays for people, and nothing can be found in it.
        enter(database, next(iter(readable([(record,)])), CallSession(call_id, "")))
    if len(rows) < most:
        database.execute(f"PRAGMA user_version = {COMPLETE}")
        return False
    return True


_NOT_ENTERED = "SELECT call_id, record FROM calls WHERE call_id NOT IN (SELECT call_id FROM ended)"


def search(database: sqlite3.Connection, wanted: CallFilter) -> list[CallSession]:
    """The calls that are meant, newest first. Raises sqlite3.Error."""
    limit = wanted.limit or -1
    if wanted == CallFilter(limit=wanted.limit):
        return readable(database.execute("SELECT record FROM calls ORDER BY started_at DESC LIMIT ?", (limit,)))
    database.create_function("same_caller", 3, same_caller, deterministic=True)
    found = [(one.started_at, one.call_id) for one in readable(_not_entered(database)) if wanted.fits(one)]
    if _has_index(database):
        conditions, values = wanted.conditions()
        # The index of words tells its finds in the order in which the calls were entered, without sorting them first.
        tables, order = ("spoken, ended", "spoken.rowid") if _WORD.search(wanted.text) else ("ended", "started_at")
        if tables == "ended" and wanted.caller and not wanted.since:
            # Nearly no call is the caller's: reading all of them as they lie takes a tenth of the time that going
            # through the index of times does, which the sign keeps from being used.
            order = "+started_at"
        select = f"SELECT started_at, call_id FROM {tables} WHERE {' AND '.join(conditions)}"  # noqa: S608 - ours
        found += database.execute(f"{select} ORDER BY {order} DESC LIMIT ?", (*values, limit)).fetchall()
    found.sort(reverse=True)
    record = "SELECT record FROM calls WHERE call_id = ?"
    return readable(row for _, call_id in found[: wanted.limit or None] for row in database.execute(record, (call_id,)))


def readable(rows: Iterable[tuple[str]]) -> list[CallSession]:
    """The calls of these records, without those that are damaged: one must not keep the others from being read."""
    sessions = []
    for (record,) in rows:
        try:
            sessions.append(CallSession.from_json(record))
        except StoreError as error:
            logger.error("%s", error)
    return sessions


_MERGE = "INSERT INTO spoken (spoken) VALUES ('optimize')"
"""Until its parts are merged, the index of words keeps those of what was removed."""


def _has_index(database: sqlite3.Connection) -> bool:
    return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'ended'").fetchone())


def _not_entered(database: sqlite3.Connection) -> Iterable[tuple[str]]:
    if not _has_index(database):
        query = "SELECT record FROM calls"
    elif database.execute("PRAGMA user_version").fetchone()[0] >= COMPLETE:
        query = "SELECT record FROM calls WHERE ended_at = 0"
    else:
        query = _NOT_ENTERED.replace("call_id, record", "record", 1)
    return database.execute(query)


def forget_before(database: sqlite3.Connection, when: float) -> None:
    """Take the calls out that began earlier. Raises sqlite3.Error."""
    database.execute("DELETE FROM spoken WHERE rowid IN (SELECT number FROM ended WHERE started_at < ?)", (when,))
    if database.execute("DELETE FROM ended WHERE started_at < ?", (when,)).rowcount:
        database.execute(_MERGE)


def remove(database: sqlite3.Connection, call_ids: Sequence[str]) -> None:
    """Remove calls so that none of their words is left in the store's files. Raises sqlite3.Error."""
    with database:
        if _has_index(database):
            forget(database, call_ids)
            database.execute(_MERGE)
        deliveries.forget(database, call_ids)
        database.executemany("DELETE FROM calls WHERE call_id = ?", [(one,) for one in call_ids])
    database.execute("VACUUM")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def same_caller(digits: str, caller: str, wanted: str) -> bool:
    """Whether that is the caller's whole number, be it with or without a country's or a trunk's prefix.

    :param digits: those of the caller's number.
    :param caller: number and name in small letters; a number may be a SIP user's name.
    """
    one, other = digits.lstrip("0"), _digits(wanted).lstrip("0")
    if not one or not other:
        return caller.startswith(f"{wanted.lower()} ")
    shorter, longer = sorted((one, other), key=len)
    return one == other or (len(shorter) >= _MIN_SUFFIX and longer.endswith(shorter))


def _is_caller(wanted: str, session: CallSession, *, whole: bool) -> bool:
    digits, caller = _caller_texts(session)
    if whole:
        return same_caller(digits, caller, wanted)
    return _digits(wanted) in digits if _digits(wanted) else wanted.lower() in caller


def _caller_texts(session: CallSession) -> tuple[str, str]:
    number, name = session.caller.get("number", ""), session.caller.get("name", "")
    return _digits(number), f"{number} {name}".lower()


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isdigit())


def _storable(text: str) -> str:
    """What an engine wrote may hold half a surrogate pair, which no database takes."""
    return text.encode("utf-8", "replace").decode()
