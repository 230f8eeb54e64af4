"""What engines of every kind have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether an engine can serve a call now; ``reason`` says in plain words why not."""

    ready: bool
    reason: str = ""


class Engine(Protocol):
    """Whatever its kind, an engine is started once and serves many calls. Who has nothing to load inherits this."""

    async def start(self) -> None:
        """Load models, start workers, connect; returns when ready. Raises ProviderError where that cannot be."""

    async def stop(self) -> None:
        """Free everything; open streams fail with ProviderUnavailable."""

    def readiness(self) -> Readiness:
        """Whether a call can be served now. Cheap: asked for every call."""
        return Readiness(True)


class ServedEngine:
    """An engine whose life is that of what serves it, a remote service or a pool of processes."""

    def __init__(self, server: Engine) -> None:
        self._server = server

    async def start(self) -> None:
        """Raises ProviderError where it cannot be; a remote service that is not there is tried again instead."""
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def readiness(self) -> Readiness:
        return self._server.readiness()


@runtime_checkable
class Counting(Protocol):
    """An engine that counts what it loses. Not every one does."""

    def counters(self) -> Mapping[str, int]:
        """By kind (requests refused, audio dropped, ...), how much since it was made; for the metrics."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation as it was heard: role is ``caller`` or ``agent``."""

    role: str
    text: str
