"""Logging set up for a service: one line an event, the call's id in each, never what callers said unless asked for.

configure(level="info", style="text")
with call_scope("5e0d..."):           # in the call's task: each line logged below carries the id
    log.info("turn", extra={"transcript": "sales please"})   # shown only with transcripts=True
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO

ROOT = "asterisk_ai"
MAX_WAITING = 10_000
"""Lines that are kept for somebody who takes none."""
CLOSE_SECONDS = 2.0
_FIELD = "transcript"
_call_id: ContextVar[str] = ContextVar("asterisk_ai_call_id", default="")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "call_id", _FIELD, "taskName"}


@contextmanager
def call_scope(call_id: str) -> Iterator[None]:
    """Lines logged inside, and in tasks and threads begun inside with its context, carry ``call_id``."""
    token = _call_id.set(call_id)
    try:
        yield
    finally:
        _call_id.reset(token)


class CallFilter(logging.Filter):
    """Puts the call's id on each record, and takes the caller's words off it unless they are wanted."""

    def __init__(self, *, transcripts: bool) -> None:
        super().__init__()
        self.transcripts = transcripts

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "call_id", ""):
            record.call_id = _call_id.get()
        if not self.transcripts and _FIELD in vars(record):
            del vars(record)[_FIELD]
        return True


def _extras(record: logging.LogRecord) -> dict[str, object]:
    """What the caller of ``log.info`` gave as ``extra``."""
    extras = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if _FIELD in vars(record):
        extras[_FIELD] = vars(record)[_FIELD]
    return extras


class TextFormatter(logging.Formatter):
    """``2026-05-01 12:00:00.123 INFO asterisk_ai.call [id] message key=value``; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        call = f" [{call_id}]" if (call_id := getattr(record, "call_id", "")) else ""
        extras = "".join(f" {name}={value!r}" for name, value in _extras(record).items())
        text = _one_line(record.getMessage())
        line = f"{when}.{int(record.msecs):03d} {record.levelname} {record.name}{call} {text}{extras}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, call_id, message, extras, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if call_id := getattr(record, "call_id", ""):
            entry["call_id"] = call_id
        entry.update((name, value) for name, value in _extras(record).items() if name not in entry)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class Aside(logging.Handler):
    """Has another handler write on a thread of its own.

    A terminal that is stopped, or a journal on a disk that stands still, would stop everybody's audio. What
    does not fit in MAX_WAITING lines is lost, and the log says how much that was.
    """

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler
        # Not Queue, whose locks are Python's: the media loop is among those who log.
        self._waiting: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._waiting.qsize() >= MAX_WAITING:
            self._lost += 1
            return
        if self._lost:
            text = f"{self._lost} lines of this log are lost: nobody took them"
            self._waiting.put(logging.makeLogRecord({"name": __name__, "levelname": "WARNING", "msg": text}))
            self._lost = 0
        record.msg, record.args = record.getMessage(), None  # what they refer to may be another's in a moment
        self._waiting.put(record)

    def close(self) -> None:
        """Write what waits, and leave it where nobody takes it."""
        self._waiting.put(None)
        self._thread.join(CLOSE_SECONDS)
        super().close()

    def _write(self) -> None:
        while (record := self._waiting.get()) is not None:
            self._handler.handle(record)


def configure(
    *,
    level: str = "info",
    style: str = "text",
    transcripts: bool = False,
    stream: IO[str] | None = None,
    aside: bool = False,
) -> logging.Handler:
    """Send the package's log to ``stream`` (standard error): ``style`` text or json. A second call replaces the first.

    Other packages' warnings go the same way. ``aside``: nobody who logs waits for it (:class:`Aside`). Returns the
    handler, for tests.
    """
    handler: logging.Handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    if aside:
        handler = Aside(handler)
    handler.addFilter(CallFilter(transcripts=transcripts))
    handler.set_name(ROOT)
    root, ours = logging.getLogger(), logging.getLogger(ROOT)
    for old in [item for item in root.handlers if item.get_name() == ROOT]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    ours.setLevel(level.upper())
    return handler


def _one_line(text: str) -> str:
    """A peer's bytes in a message must not begin a line of their own in the log."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
