"""Who may log in to the page, and what each may see and do."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from asterisk_ai.config.private import write_private
from asterisk_ai.errors import StoreError

FILE_NAME = "web-users.json"
MIN_PASSWORD = 8
MAX_PASSWORD = 1000


class Right(StrEnum):
    """What a page needs of its user."""

    SEE = "see"
    """Who calls whom, when, and how it ended."""
    WORDS = "words"
    """What was said: transcripts, recordings, pictures."""
    ACT = "act"
    """Hang up, transfer, give to another agent."""
    SETTINGS = "settings"
    """The configuration."""


RIGHTS = {
    "viewer": frozenset((Right.SEE,)),
    "operator": frozenset((Right.SEE, Right.WORDS, Right.ACT)),
    "admin": frozenset(Right),
}
"""By role. A viewer may be granted :attr:`Right.WORDS` besides."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who has logged in."""

    name: str
    role: str
    transcripts: bool = False
    """Whether a viewer sees what was said."""

    def may(self, right: Right) -> bool:
        return right in RIGHTS.get(self.role, frozenset()) or (right is Right.WORDS and self.transcripts)


class Users:
    """A file beside the store, that its owner alone may read: names, roles, and passwords' hashes (argon2id).

    :param path: the file; it need not exist.
    :param hasher: makes and checks the hashes; it takes time and memory, on purpose.
    """

    def __init__(self, path: Path, hasher: PasswordHasher | None = None) -> None:
        self.path = path
        self._hasher = hasher or PasswordHasher()
        self._of_nobody = self._hasher.hash(secrets.token_hex())
        self._read_at: tuple[int, int] | None = None
        self._users: dict[str, dict[str, Any]] = {}

    def all(self) -> dict[str, dict[str, Any]]:
        """Each user's ``role``, ``transcripts`` and ``hash``, by name. Raises StoreError."""
        try:
            state = self.path.stat()
        except FileNotFoundError:
            self._users, self._read_at = {}, None
            return {}
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from error
        if self._read_at != (state.st_mtime_ns, state.st_ino):
            try:
                users = json.loads(self.path.read_text("utf-8"))
                for name, one in users.items():
                    if one["role"] not in RIGHTS or not one["hash"]:
                        raise ValueError(f"{name} is neither {', nor '.join(RIGHTS)}")
                self._users = {name: dict(one) for name, one in users.items()}
            except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
                remedy = "remove it and set the passwords again"
                raise StoreError(f"{self.path} cannot be read ({error}): {remedy}") from error
            self._read_at = state.st_mtime_ns, state.st_ino
        return self._users

    def get(self, name: str) -> User | None:
        found = self.all().get(name)
        return User(name, found["role"], bool(found.get("transcripts"))) if found else None

    def stamp(self, name: str) -> str:
        """Changes when the user's password does: a session from before is over then."""
        return str(self.all().get(name, {}).get("hash", ""))

    def check(self, name: str, password: str) -> User | None:
        """The user of that password, None where it is wrong. Takes as long for a name that there is not."""
        found = self.all().get(name)
        try:
            self._hasher.verify(found["hash"] if found else self._of_nobody, password[:MAX_PASSWORD])
        except (VerificationError, InvalidHashError):
            return None
        return self.get(name)

    def set(self, user: User, password: str) -> None:
        """Add a user, or change one. Raises StoreError."""
        users = {**self.all()}
        users[user.name] = {
            "role": user.role, "transcripts": user.transcripts, "hash": self._hasher.hash(password),
        }  # fmt: skip
        self._write(users)

    def remove(self, name: str) -> bool:
        """Whether there was such a user. Raises StoreError."""
        users = {**self.all()}
        found = users.pop(name, None) is not None
        if found:
            self._write(users)
        return found

    def _write(self, users: dict[str, dict[str, Any]]) -> None:
        try:
            write_private(self.path, json.dumps(users, indent=1))
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}") from error
