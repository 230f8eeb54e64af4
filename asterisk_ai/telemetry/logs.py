"""Logging set up for a service: one line an event, the call's id in each, never what callers said unless asked for.

configure_service(level="info", style="text")
with call_scope("5e0d..."):           # in the call's task: each line logged below carries the id
    log.info("turn", extra={"transcript": "sales please"})   # shown only with transcripts=True
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO

from asterisk_ai.telemetry.log_queue import LogQueue
from asterisk_ai.telemetry.printable import printable

ROOT = "asterisk_ai"
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


class CallIdFilter(logging.Filter):
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


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")


class TextFormatter(logging.Formatter):
    """``2026-05-01 12:00:00.123 INFO asterisk_ai.call [id] message key=value``; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        call = f" [{call_id}]" if (call_id := getattr(record, "call_id", "")) else ""
        extras = "".join(f" {name}={value!r}" for name, value in _extras(record).items())
        text = printable(record.getMessage())
        line = f"{when}.{int(record.msecs):03d} {record.levelname} {record.name}{call} {text}{extras}"
        return "\n".join([line, *map(printable, _traceback(self, record).splitlines())])


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
        if trace := _traceback(self, record):
            entry["traceback"] = trace
        return json.dumps(entry, default=str)


def configure_service(
    *, level: str = "info", style: str = "text", transcripts: bool = False, stream: IO[str] | None = None
) -> LogQueue:
    """Send the package's log to ``stream`` (standard error): ``style`` text or json. A second call replaces the first.

    Other packages' warnings go the same way. Nobody who logs waits for who reads it, and floods are summed up.
    """
    handler = LogQueue(_writer(style, stream))
    handler.addFilter(CallIdFilter(transcripts=transcripts))
    handler.set_name(ROOT)
    root, ours = logging.getLogger(), logging.getLogger(ROOT)
    for old in [item for item in root.handlers if item.get_name() == ROOT]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    ours.setLevel(level.upper())
    return handler


def _writer(style: str, stream: IO[str] | None) -> logging.Handler:
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    return handler
