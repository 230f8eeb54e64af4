"""Lines that nobody who logs waits for, and of which a flood is summed up."""

from __future__ import annotations

import copy
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener

MAX_WAITING = 10_000
"""Lines that are kept for somebody who takes none."""
CLOSE_SECONDS = 2.0
FLOOD_LINES = 20
"""Lines a minute that one place in the code may write about no call in particular."""
FLOOD_SECONDS = 60.0
_FORMATTER = logging.Formatter()


class LogQueue(QueueHandler):
    """Has another handler write on a thread of its own.

    A terminal that is stopped, or a journal on a disk that stands still, would stop everybody's audio. What
    does not fit in :data:`MAX_WAITING` lines is lost, and the log says how much that was.
    """

    def __init__(self, handler: logging.Handler) -> None:
        # Not Queue, whose locks are Python's: the media loop is among those who log.
        self._waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        super().__init__(self._waiting)
        self.flood = FloodFilter()
        self.lost = 0
        self._untold = 0
        self._listener = QueueListener(self._waiting, handler)
        self._listener.start()
        self._stopping: threading.Thread | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Besides the filters: whether it is the one too many of its kind."""
        return bool(super().filter(record)) and self.flood.filter(record)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """What the message refers to may be another's in a moment, and a traceback would keep a call alive."""
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text, record.exc_info = _FORMATTER.formatException(record.exc_info), None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= MAX_WAITING:
            self.lost += 1
            self._untold += 1
            return
        if self._untold:
            text = f"{self._untold} lines of this log are lost: nobody took them"
            self._waiting.put(logging.makeLogRecord({"name": __name__, "levelname": "WARNING", "msg": text}))
            self._untold = 0
        self._waiting.put(record)

    def sum_up(self) -> None:
        """To be called now and then: write what floods of the last minute were."""
        for record in self.flood.summaries():
            self.emit(record)

    def finish(self) -> bool:
        """Write what waits; False where nobody takes it, and whoever waits for this process must not wait for that."""
        for record in self.flood.summaries(at_once=True):
            self.emit(record)
        if self._stopping is None:  # the listener cannot be stopped twice
            self._stopping = threading.Thread(target=self._listener.stop, name="log-end", daemon=True)
            self._stopping.start()
        self._stopping.join(CLOSE_SECONDS)
        return not self._stopping.is_alive()

    def close(self) -> None:
        self.finish()
        super().close()


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    more: int = 0
    last: logging.LogRecord | None = None


class FloodFilter:
    """Lets :data:`FLOOD_LINES` a minute through of what one place in the code says; lines of a call go through all.

    There are as many windows as places that log.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.suppressed = 0
        """Lines since the start."""
        self._clock = clock
        self._windows: dict[tuple[str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "call_id", "") or record.levelno <= logging.DEBUG:
            return True
        window = self._windows.setdefault((record.pathname, record.lineno), _Window(self._clock()))
        window.lines += 1
        if window.lines <= FLOOD_LINES:
            return True
        window.more += 1
        window.last = record
        self.suppressed += 1
        return False

    def summaries(self, *, at_once: bool = False) -> list[logging.LogRecord]:
        """A line for each place that has said too much, when its minute is over (or ``at_once``)."""
        found, now = [], self._clock()
        for place, window in tuple(self._windows.items()):
            if at_once or now - window.began >= FLOOD_SECONDS:
                del self._windows[place]
                if window.last is not None:
                    record = copy.copy(window.last)
                    record.msg, record.args = f"{record.getMessage()} ({window.more:,} more in the last minute)", None
                    found.append(record)
        return found
