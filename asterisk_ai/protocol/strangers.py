"""Peers that have connected and not said yet what they want."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Strangers(Generic[P]):
    """Room for ``limit`` of them. One more, and the oldest of the source that has the most must go.

    So who connects and waits only displaces his own like, while a peer that says at once what it wants, as Asterisk
    does, is never among the oldest: it finds room however many others wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sources: dict[P, str] = {}
        self._by_source: dict[str, dict[P, None]] = {}  # the oldest first

    def add(self, peer: P, source: str) -> P | None:
        """A new one, from an address. Returns whom to turn away; it is not among them any more."""
        self._sources[peer] = source
        self._by_source.setdefault(source, {})[peer] = None
        if len(self._sources) <= self._limit:
            return None
        most = max(self._by_source, key=lambda source: len(self._by_source[source]))
        oldest = next(iter(self._by_source[most]))
        self.discard(oldest)
        return oldest

    def discard(self, peer: P) -> bool:
        """It is gone, or no stranger any more. Returns whether it was one."""
        source = self._sources.pop(peer, None)
        if source is None:
            return False
        peers = self._by_source[source]
        del peers[peer]
        if not peers:
            del self._by_source[source]
        return True

    def __len__(self) -> int:
        return len(self._sources)
