"""Sessions that leave nothing behind when the server ends."""

from __future__ import annotations

from asterisk_ai.session.lock import StoreLock
from asterisk_ai.session.model import CallSession


class MemoryBackend:
    """Keeps the last ``keep`` ended calls until the process ends."""

    def __init__(self, keep: int = 1000) -> None:
        self.lock: StoreLock | None = None
        self.lost = 0
        self._records: dict[str, CallSession] = {}
        self._keep = keep

    def start(self) -> list[CallSession]:
        return []

    def write(self, session: CallSession) -> None:
        if session.ended:
            self._records[session.call_id] = session
            if len(self._records) > self._keep:
                del self._records[next(iter(self._records))]

    def find(self, call_id: str) -> CallSession | None:
        return self._records.get(call_id)

    def recent(self, limit: int) -> list[CallSession]:
        return list(self._records.values())[: -limit - 1 : -1]

    def shared(self) -> str:
        return ""

    def problem(self) -> str:
        return ""

    def stop(self) -> None:
        self._records.clear()
