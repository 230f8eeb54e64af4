"""Campaigns in SQLite, beside the store: whom to call, who is being called, and what came of it.

That somebody is called is written, and on the disk, before they are. What was written and never settled is a call of a
process that was lost: Asterisk has to be asked of it, by the name that it has there, before anything is repeated.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asterisk_ai.errors import StoreError
from asterisk_ai.session.backends.database import connect, remedy

_SCHEMA = """
CREATE TABLE IF NOT EXISTS campaigns (
    name TEXT PRIMARY KEY, token TEXT NOT NULL, stopped INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS callees (
    campaign TEXT NOT NULL, number TEXT NOT NULL, row INTEGER NOT NULL, timezone TEXT NOT NULL, variables TEXT NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL, due_at REAL NOT NULL, outcome TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (campaign, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS callees_due ON callees (campaign, state, due_at, row);
CREATE TABLE IF NOT EXISTS promises (call_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS do_not_call (number TEXT PRIMARY KEY) WITHOUT ROWID;
"""
WAITING, CALLING, DONE, FORBIDDEN = "waiting", "calling", "done", "do not call"
_COLUMNS = "number, row, timezone, variables, state, tries, due_at, outcome, record"
_ENTER = "INSERT OR IGNORE INTO callees VALUES (?, ?, ?, ?, ?, 'waiting', 0, 0, '', '')"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to be called, once however often the file names them.

    :param row: the line of the file.
    :param tries: how often they were called, or are being called.
    :param due_at: not before this Unix time.
    :param outcome: of the last try; empty before the first.
    :param record: of the last try that the agent had.
    """

    number: str
    row: int = 0
    timezone: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    state: str = WAITING
    tries: int = 0
    due_at: float = 0.0
    outcome: str = ""
    record: str = ""


def plain_number(number: str) -> str:
    """The same for ``+1555`` and ``001555``: what a list of numbers not to be called is compared by."""
    return number.removeprefix("+") if number.startswith("+") else number.removeprefix("00")


def _person(number: str, row: int, timezone: str, variables: str, *state: Any) -> Person:
    return Person(number, row, timezone, json.loads(variables), *state)


class Campaigns:
    """All of them, in one file. For one thread. Every method raises StoreError where the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            path.touch(mode=0o640)
            self._database = connect(path, writable=True)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")  # a claim that is lost would be a second call
            self._database.executescript(_SCHEMA)
            self._database.create_function("plain_number", 1, plain_number, deterministic=True)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}; {remedy(error)}") from error

    def close(self) -> None:
        self._database.close()

    def enter(self, campaign: str, people: Iterable[Person]) -> int:
        """Those who are not in it yet; how many these were. The campaign is not stopped any more."""
        rows = [(campaign, one.number, one.row, one.timezone, json.dumps(dict(one.variables))) for one in people]
        with self._writing():
            self._database.execute(
                "INSERT INTO campaigns (name, token) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET stopped = 0",
                (campaign, uuid.uuid4().hex),
            )
            return self._database.executemany(
                _ENTER,
                rows,
            ).rowcount

    def promise(self, campaign: str, call_id: str, person: Person) -> bool:
        """A call of this id has promised to call somebody back; False where that is known already.

        Who is waiting for an earlier promise is called at the new time.
        """
        values = (campaign, person.number, person.row, person.timezone, json.dumps(dict(person.variables)))
        with self._writing():
            new = self._database.execute("INSERT OR IGNORE INTO promises VALUES (?)", (call_id,)).rowcount
            if new:
                self._database.execute(
                    "INSERT INTO callees VALUES (?, ?, ?, ?, ?, 'waiting', 0, ?, '', '') ON CONFLICT (campaign, number)"
                    " DO UPDATE SET row = excluded.row, state = 'waiting', tries = 0, due_at = excluded.due_at,"
                    " variables = excluded.variables WHERE state != 'calling'",
                    (*values, person.due_at),
                )
        return bool(new)

    def name_of_call(self, campaign: str, person: Person) -> str:
        """What this try is called in Asterisk: the same whoever asks, so that it cannot be carried out twice."""
        [(token,)] = self._rows("SELECT token FROM campaigns WHERE name = ?", campaign)
        return uuid.uuid5(uuid.UUID(token), f"{person.number} {person.row} {person.tries}").hex

    def people(self, campaign: str, state: str = "") -> list[Person]:
        """In the order in which they are due."""
        where = "campaign = ?" + (" AND state = ?" if state else "")
        found = self._rows(
            f"SELECT {_COLUMNS} FROM callees WHERE {where} ORDER BY due_at, row",  # noqa: S608 - ours
            *((campaign, state) if state else (campaign,)),
        )
        return [_person(*row) for row in found]

    def due(self, campaign: str, now: float) -> Person | None:
        """Who is to be called next."""
        found = self._rows(
            f"SELECT {_COLUMNS} FROM callees WHERE campaign = ? AND state = 'waiting' AND due_at <= ?"  # noqa: S608
            " ORDER BY due_at, row LIMIT 1",
            campaign,
            now,
        )
        return _person(*found[0]) if found else None

    def next_due(self, campaign: str) -> float | None:
        """When the next one is due; None where nobody is waiting."""
        [(due_at,)] = self._rows("SELECT min(due_at) FROM callees WHERE campaign = ? AND state = 'waiting'", campaign)
        return None if due_at is None else float(due_at)

    def claim(self, campaign: str, number: str) -> Person | None:
        """They are called now; None where they must not be, or somebody else does. On the disk when it returns."""
        with self._writing():
            self._database.execute(
                "UPDATE callees SET state = 'do not call' WHERE campaign = ? AND number = ? AND state = 'waiting'"
                " AND plain_number(number) IN (SELECT number FROM do_not_call)",
                (campaign, number),
            )
            taken = self._database.execute(
                "UPDATE callees SET state = 'calling', tries = tries + 1 WHERE campaign = ? AND number = ?"
                " AND state = 'waiting' AND (SELECT stopped FROM campaigns WHERE name = campaign) = 0",
                (campaign, number),
            ).rowcount
        return next((one for one in self.people(campaign, CALLING) if one.number == number), None) if taken else None

    def put_off(self, campaign: str, number: str, due_at: float) -> None:
        """Not now: their window is closed."""
        self._set(campaign, number, WAITING, "due_at = ?", due_at)

    def unclaim(self, campaign: str, number: str) -> None:
        """They were not called after all."""
        self._set(campaign, number, CALLING, "state = 'waiting', tries = tries - 1")

    def settle(self, campaign: str, number: str, outcome: str, record: str, again_at: float | None) -> None:
        """What came of the call, and whether they are called again."""
        state = DONE if again_at is None else WAITING
        change = "state = ?, outcome = ?, record = ?, due_at = ?"
        self._set(campaign, number, CALLING, change, state, outcome, record, again_at or 0.0)

    def _set(self, campaign: str, number: str, state: str, change: str, *values: object) -> None:
        with self._writing():
            self._database.execute(
                f"UPDATE callees SET {change} WHERE campaign = ? AND number = ? AND state = ?",  # noqa: S608 - ours
                (*values, campaign, number, state),
            )

    def stop(self, campaign: str) -> bool:
        """Nobody is called any more; False where there is no such campaign."""
        with self._writing():
            return self._database.execute("UPDATE campaigns SET stopped = 1 WHERE name = ?", (campaign,)).rowcount > 0

    def is_stopped(self, campaign: str) -> bool:
        return self._rows("SELECT stopped FROM campaigns WHERE name = ?", campaign) == [(1,)]

    def forbid(self, numbers: Iterable[str]) -> None:
        """These are never called."""
        with self._writing():
            self._database.executemany(
                "INSERT OR IGNORE INTO do_not_call VALUES (?)", [(plain_number(one),) for one in numbers]
            )

    def forbidden(self) -> frozenset[str]:
        """As :func:`plain_number` writes them."""
        return frozenset(number for (number,) in self._rows("SELECT number FROM do_not_call"))

    def figures(self, campaign: str) -> dict[tuple[str, str], int]:
        """How many there are, by state and outcome."""
        counted = self._rows(
            "SELECT state, outcome, count(*) FROM callees WHERE campaign = ? GROUP BY state, outcome", campaign
        )
        return {(state, outcome): count for state, outcome, count in counted}

    def names(self) -> list[str]:
        return [name for (name,) in self._rows("SELECT name FROM campaigns ORDER BY name")]

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._database:
                yield
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error
