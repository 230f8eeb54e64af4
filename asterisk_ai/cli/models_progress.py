"""How a fetch shows itself: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from typing import TextIO

_REDRAW_SECONDS = 0.1
_LOG_SECONDS = 15.0


@dataclass(slots=True)
class _Bar:
    size: int
    done: int
    first: int  # what was there already: it does not count for the speed
    since: float
    logged: float


def size_text(size: float) -> str:
    """``41 MB``: three digits are enough."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= one:
            return f"{size / one:.3g} {unit}" if size < 1000 * one else f"{size / one:.0f} {unit}"
    return f"{size:.0f} bytes"


class Lines:
    """For a log: a line when a file begins, goes on, suffers a setback and ends. Used from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._guard = threading.RLock()
        self._bars: dict[str, _Bar] = {}

    def started(self, label: str, size: int, done: int) -> None:
        with self._guard:
            now = time.monotonic()
            self._bars[label] = _Bar(size, done, done, now, now)
            resumed = f", {size_text(done)} of it are here already" if done else ""
            self.say(f"{label}: fetching {size_text(size)}{resumed}")

    def moved(self, label: str, done: int) -> None:
        with self._guard:
            bar, now = self._bars[label], time.monotonic()
            bar.done = done
            if now - bar.logged >= _LOG_SECONDS:
                bar.logged = now
                self.say(f"{label}: {_percent(bar)} {_speed(bar, now)}")

    def setback(self, label: str, why: str, seconds: float) -> None:
        again = f"again in {seconds:.1f} s" if seconds >= 0.1 else "again at once"
        self.say(f"{label}: {why}; {again}")

    def finished(self, label: str, what: str) -> None:
        with self._guard:
            self._bars.pop(label, None)
            self.say(f"{label}: {what}")

    def say(self, text: str) -> None:
        with self._guard:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing more comes."""


class Bars(Lines):
    """For a terminal: a bar for each file under way, redrawn in place, with speed and time left."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._drawn = 0
        self._last = 0.0

    def started(self, label: str, size: int, done: int) -> None:
        with self._guard:
            now = time.monotonic()
            self._bars[label] = _Bar(size, done, done, now, now)
            self._draw()

    def moved(self, label: str, done: int) -> None:
        with self._guard:
            self._bars[label].done = done
            if time.monotonic() - self._last >= _REDRAW_SECONDS:
                self._draw()

    def finished(self, label: str, what: str) -> None:
        with self._guard:
            self._bars.pop(label, None)
            if what != "checked":  # that is soon followed by what became of the model
                self.say(f"{label}: {what}")
            self._draw()

    def say(self, text: str) -> None:
        with self._guard:
            self._clear()
            print(text, file=self.stream)
            self._draw()

    def close(self) -> None:
        with self._guard:
            self._clear()
            self.stream.flush()

    def _clear(self) -> None:
        if self._drawn:
            self.stream.write(f"\x1b[{self._drawn}F\x1b[J")  # up, and clear to the end
        self._drawn = 0

    def _draw(self) -> None:
        self._clear()
        self._last = time.monotonic()
        columns = shutil.get_terminal_size().columns
        for label, bar in self._bars.items():
            self.stream.write(_line(label, bar, self._last, columns) + "\n")
        self._drawn = len(self._bars)
        self.stream.flush()


def _line(label: str, bar: _Bar, now: float, columns: int) -> str:
    tail = f" {_percent(bar):>4} of {size_text(bar.size):>7} {_speed(bar, now)}"
    name = label[:34]
    room = max(0, min(40, columns - 36 - len(tail) - 3))
    filled = room * bar.done // max(1, bar.size)
    return f"{name:34} {'#' * filled}{'.' * (room - filled)}{tail}"[: columns - 1]


def _percent(bar: _Bar) -> str:
    return f"{100 * bar.done // max(1, bar.size)} %"


def _speed(bar: _Bar, now: float) -> str:
    elapsed = now - bar.since
    if elapsed < 0.5 or bar.done <= bar.first:
        return ""
    rate = (bar.done - bar.first) / elapsed
    left = round((bar.size - bar.done) / rate)
    return f"{size_text(rate)}/s, {left // 60}:{left % 60:02} left"
