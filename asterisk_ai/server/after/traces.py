"""A call as a trace of OpenTelemetry: made of its record and its engines' work when it has ended, on other threads.

The trace's id is the call's UUID, so that one is found by the other. Without ``tracing:`` nothing is loaded or kept.
"""

from __future__ import annotations

import importlib.util
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from asterisk_ai.config import Config
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.api.work import Watcher, Work
from asterisk_ai.session.model import CallSession

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

MAX_WORKS = 1000
"""Pieces of work that are kept of one call; what comes then is left out."""
MAX_WAITING = 500
"""Calls that wait to be made traces of; what ends then has none."""


CLOSE_SECONDS = 3.0


class Traces:
    """Used on the loop. ``exporter`` makes another one than the configuration's, for tests."""

    def __init__(self, config: Config, exporter: Callable[[], SpanExporter] | None = None) -> None:
        """:raises ConfigError: the libraries are not installed."""
        self._config = config.tracing
        self._exporter = exporter
        self._works: dict[str, list[Work]] = {}
        self._queue: queue.SimpleQueue[tuple[CallSession, list[Work]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if config.tracing is None:
            return
        for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
            try:
                found = importlib.util.find_spec(name)
            except ImportError:
                found = None
            if found is None:
                raise config.located(ConfigError("needs: pip install 'asterisk-ai[otel]'", path="tracing"))
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        """Load what is needed, and begin, on the other thread."""
        if self._thread is not None:
            self._thread.start()

    def _run(self) -> None:
        from asterisk_ai.server.after.spans import Tracing

        assert self._config is not None  # noqa: S101 - there would be no thread
        tracing = Tracing(self._config, self._exporter() if self._exporter else None)
        while (ended := self._queue.get()) is not None:
            tracing.call(*ended)
        tracing.close()

    def watch(self, session: CallSession) -> Watcher | None:
        """To be told of what is done for a call; None where nobody wants to know."""
        if self._thread is None:
            return None
        works = self._works.setdefault(session.call_id, [])

        def note(work: Work) -> None:
            if len(works) < MAX_WORKS:
                works.append(work)

        return note

    def ended(self, session: CallSession) -> None:
        """Make a trace of a call."""
        works = self._works.pop(session.call_id, [])
        if self._thread is not None and self._queue.qsize() < MAX_WAITING:
            self._queue.put((session, works))

    def close(self) -> None:
        """Send what waits; a collector that does not take it is not waited for."""
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(CLOSE_SECONDS)
