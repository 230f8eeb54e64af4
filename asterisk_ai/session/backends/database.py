"""The store's SQLite file: connecting to it, and what its failures mean."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from asterisk_ai.errors import StoreError


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """A connection to a store that is there. Raises StoreError."""
    try:
        uri = f"{path.resolve().as_uri()}?mode={'rw' if writable else 'ro'}"
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        database.execute("PRAGMA busy_timeout=2000")
        database.execute("PRAGMA secure_delete=ON")  # what is removed is written over
        return database
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def identity(path: Path) -> tuple[int, int] | None:
    """Which file the path names now; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


_FULL_OR_FAILING = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS))
_FULL_OR_BUSY = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))


def may_pass(error: BaseException) -> bool:
    """Whether it is the disk's trouble (full, failing, held by another process) and not a mistake in the settings."""
    if isinstance(error, sqlite3.Error):
        return (error.sqlite_errorcode & 0xFF) in _FULL_OR_BUSY if hasattr(error, "sqlite_errorcode") else False
    return isinstance(error, OSError) and error.errno in _FULL_OR_FAILING


def remedy(error: BaseException) -> str:
    """What to do about the others."""
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return "it is damaged or no store of calls: move it away, and the server makes a new one"
    return "set store.path to a file that this user may write"
