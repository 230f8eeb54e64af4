"""Who is logged in, and how often a password may be wrong."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from asterisk_ai.server.web.users import User

MAX_SESSIONS = 1000
"""For one more the one that was used longest ago is over."""
MAX_FAILURES, FAILURE_SECONDS = 5, 300.0
MAX_ADDRESSES = 10_000


class By(StrEnum):
    """How somebody has logged in."""

    PASSWORD = "password"  # noqa: S105 - a word
    LINK = "link"
    """The one that the command has printed."""
    PROXY = "proxy"


@dataclass(slots=True)
class Session:
    """One browser's. ``form_key`` is in every form of its pages: what comes without it was not sent by them."""

    user: User
    by: By
    form_key: str
    stamp: str
    """Of the user's password as it was."""
    used_at: float


class Sessions:
    """In memory: a restart of the page logs everybody out. Cookies' values are kept as hashes only.

    :param seconds: how long one may do nothing.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def begin(self, user: User, by: By, stamp: str = "") -> str:
        """The value for the cookie."""
        value = secrets.token_urlsafe(32)
        self._sessions[_digest(value)] = Session(user, by, secrets.token_urlsafe(32), stamp, self._clock())
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return value

    def find(self, value: str) -> Session | None:
        session = self._sessions.get(_digest(value))
        if session is None:
            return None
        now = self._clock()
        if now - session.used_at > self._seconds:
            self.end(value)
            return None
        session.used_at = now
        self._sessions.move_to_end(_digest(value))
        return session

    def end(self, value: str) -> None:
        self._sessions.pop(_digest(value), None)


class Attempts:
    """Wrong passwords by address: after some the address has to wait. An IPv6 network of /64 is one address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait_seconds(self, address: str) -> float:
        """How long it has to wait; 0 where it need not."""
        recent = self._recent(address)
        return recent[0] + FAILURE_SECONDS - self._clock() if len(recent) >= MAX_FAILURES else 0.0

    def failed(self, address: str) -> None:
        name = _network(address)
        self._failures[name] = [*self._recent(address), self._clock()][-MAX_FAILURES:]
        self._failures.move_to_end(name)
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def succeeded(self, address: str) -> None:
        self._failures.pop(_network(address), None)

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - FAILURE_SECONDS
        return [at for at in self._failures.get(_network(address), ()) if at > since]


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if found.version == 6 else address
