"""Engines that fail a call, for its record."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from asterisk_ai.providers.chain import Trouble, TroubleKind
from asterisk_ai.session.model import CallSession

MAX_TROUBLES = 100
"""Failures that are kept in the record of a call; the oldest go."""


class Troubles:
    """Listens for the call's troubles while it lasts: libraries keep the contexts that they were called in longer."""

    def __init__(self, session: CallSession) -> None:
        self._session: CallSession | None = session
        self._passed_over: set[tuple[str, str]] = set()  # engines whose not being ready is in the record

    def close(self) -> None:
        """The call is over."""
        self._session = None

    def note(self, trouble: dict[str, Any]) -> None:
        """Something that failed, for the record."""
        if self._session is not None:
            self._session.troubles.append({"at": round(time.time(), 3), **trouble})
            del self._session.troubles[:-MAX_TROUBLES]

    def __call__(self, trouble: Trouble) -> None:
        """An engine failed this call: it belongs to the record, one that is not ready once."""
        if self._session is None:
            return
        if trouble.kind is TroubleKind.UNREADY:
            engine = (trouble.stage, trouble.engine)
            if engine in self._passed_over:
                return
            self._passed_over.add(engine)
        elif trouble.stage == "realtime":
            self._session.service_failed = True
        self.note({"text": str(trouble), **asdict(trouble)})
