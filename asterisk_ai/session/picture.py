"""A call as one picture: who was heard when, what was said, and what each answer waited for. As SVG."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from asterisk_ai.session.model import STEPS, CallSession, TurnRecord
from asterisk_ai.telemetry.printable import printable

_PIXELS_A_SECOND, _MAX_WIDTH, _MIN_WIDTH = 40.0, 16_000, 760
_LEFT, _RIGHT, _TOP = 70, 30, 56
_WAVE = 34  # half the height of a waveform
_CALLER, _TEXTS, _AGENT = _TOP + 44, _TOP + 166, _TOP + 272  # middles of the three bands
_HEIGHT = _TOP + 372
_LINE, _MAX_LINES = 13, 5
_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 9px; fill: #57606a }
.title { font-size: 13px; font-weight: bold } .axis, .grid { stroke: #d0d7de } .wave { fill: #0969da }
.agent { fill: #1a7f37 } .bar-endpoint { fill: #d4a72c } .bar-words { fill: #bf8700 } .bar-first_token { fill: #8250df }
.bar-first_audio { fill: #1a7f37 } .bar-first_frame { fill: #0969da } .mark { stroke: #cf222e; stroke-width: 1.5 }
.bad { fill: #cf222e } .back { fill: #ffffff } .box { fill: #f6f8fa; stroke: #d0d7de }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .small { fill: #9198a1 } .back { fill: #0d1117 }
.box { fill: #161b22; stroke: #3d444d } .axis, .grid { stroke: #3d444d }
.wave { fill: #4493f8 } .agent { fill: #3fb950 } .bad { fill: #ff8b82 } .mark { stroke: #ff8b82 } }
"""


@dataclass(frozen=True, slots=True)
class Sound:
    """A call's recording: shape (samples, 2), caller left, agent right; it begins with the call."""

    samples: npt.NDArray[np.int16]
    rate: int


def call_picture(session: CallSession, sound: Sound | None = None) -> str:
    """The call as an SVG document; without a recording it has no waveforms."""
    return _Picture(session, sound).document()


class _Picture:
    def __init__(self, session: CallSession, sound: Sound | None) -> None:
        self._session = session
        self._sound = sound
        turns = [record.at - session.started_at + 1 for record in session.history]
        recorded = len(sound.samples) / sound.rate if sound else 0.0
        self._seconds = max(1.0, session.lasted, recorded, *turns)
        room = min(max(self._seconds * _PIXELS_A_SECOND, _MIN_WIDTH), _MAX_WIDTH)
        self._scale = room / self._seconds
        self._width = int(room) + _LEFT + _RIGHT

    def document(self) -> str:
        parts = [*self._head(), *self._axis(), *self._waves(), *self._turns(), *self._troubles(), "</svg>"]
        return "\n".join(parts) + "\n"

    def _x(self, seconds: float) -> float:
        return _LEFT + min(max(seconds, 0.0), self._seconds) * self._scale

    def _head(self) -> Iterator[str]:
        one = self._session
        size = f'width="{self._width}" height="{_HEIGHT}" viewBox="0 0 {self._width} {_HEIGHT}"'
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.started_at))
        caller = " ".join(text for text in (one.caller.get("number", ""), one.caller.get("name", "")) if text)
        title = f"{when}   {caller or 'unknown caller'}   agent {one.agent}   {one.outcome or 'in progress'}"
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        yield f"<title>{_text(title)}</title><style>{_STYLE}</style>"
        yield f'<rect class="back" width="{self._width}" height="{_HEIGHT}"/>'
        yield f'<text class="title" x="12" y="22">{_text(title)}</text>'
        x = 12.0
        yield f'<text class="small" x="{x}" y="40">from the caller\'s last sound:</text>'
        x += 145
        for name, label in STEPS.items():
            yield f'<rect class="bar-{name}" x="{x:.0f}" y="32" width="10" height="9"/>'
            yield f'<text class="small" x="{x + 13:.0f}" y="40">{label}</text>'
            x += 24 + 5.2 * len(label)

    def _axis(self) -> Iterator[str]:
        step = next(one for one in (1, 2, 5, 10, 30, 60, 300, 600, 3600) if one * self._scale >= 40 or one == 3600)
        bottom = _AGENT + _WAVE + 12
        for at in range(0, int(self._seconds) + 1, step):
            x = self._x(at)
            yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke-width="0.5"/>'
            label = f"{at // 60}:{at % 60:02d}" if self._seconds >= 60 else f"{at} s"
            yield f'<text class="small" x="{x + 2:.1f}" y="{bottom + 10}">{label}</text>'
        for label, middle in (("caller", _CALLER), ("agent", _AGENT)):
            yield f'<text x="12" y="{middle + 4}">{label}</text>'
            yield f'<line class="axis" x1="{_LEFT}" y1="{middle}" x2="{self._width - _RIGHT}" y2="{middle}"/>'

    def _waves(self) -> Iterator[str]:
        if self._sound is None:
            yield f'<text class="small" x="{_LEFT}" y="{_HEIGHT - 8}">There is no recording of this call.</text>'
            return
        for side, middle, style in ((0, _CALLER, "wave"), (1, _AGENT, "wave agent")):
            yield f'<path class="{style}" d="{self._wave(self._sound.samples[:, side], self._sound.rate, middle)}"/>'

    def _wave(self, samples: npt.NDArray[np.int16], rate: int, middle: int) -> str:
        """The loudest sample above and below the axis for each pixel, as one closed shape."""
        each = max(1, int(rate / self._scale))
        whole = samples[: len(samples) // each * each].reshape(-1, each)
        if not len(whole):
            return ""
        high = middle - whole.max(axis=1).clip(min=0) / 32768 * _WAVE
        low = middle - whole.min(axis=1).clip(max=0) / 32768 * _WAVE
        xs = _LEFT + np.arange(len(whole)) * each / rate * self._scale
        there = [f"{x:.1f} {y:.1f}" for x, y in zip(xs, high, strict=True)]
        back = [f"{x:.1f} {y:.1f}" for x, y in zip(xs[::-1], low[::-1], strict=True)]
        return f"M{' L'.join(there + back)}Z"

    def _turns(self) -> Iterator[str]:
        history, began = self._session.history, self._session.started_at
        ends = [*(record.at - began for record in history[1:]), self._seconds]
        for record, end in zip(history, ends, strict=False):
            at = record.at - began
            yield from self._turn(record, at, max(110.0, (end - at) * self._scale - 6))
            if "first_audio" in record.timings:
                yield from self._waiting(record.timings, at - record.timings["first_audio"])

    def _turn(self, record: TurnRecord, at: float, room: float) -> Iterator[str]:
        caller = record.role != "agent"
        room = min(room, self._width - 8 - self._x(at))
        lines = _lines(record, room)
        top = _TEXTS - 52 if caller else _TEXTS + 6
        x, (upper, lower) = self._x(at), (_CALLER, top) if caller else (top, _AGENT)
        told = printable(f"{record.role}: {record.text}")
        yield f"<g><title>{_text(told)}</title>"
        yield f'<line class="axis" x1="{x:.1f}" y1="{upper}" x2="{x:.1f}" y2="{lower}"/>'
        height = len(lines) * _LINE + 6
        yield f'<rect class="box" x="{x:.1f}" y="{top - 12}" width="{room:.1f}" height="{height}" rx="3"/>'
        style = "" if record.understood else ' class="bad"'
        for number, line in enumerate(lines):
            yield f'<text{style} x="{x + 4:.1f}" y="{top + number * _LINE}">{_text(line)}</text>'
        yield "</g>"
        if record.interrupted:
            yield f'<text class="bad" x="{x + 4:.1f}" y="{_AGENT - _WAVE - 2}">interrupted</text>'

    def _waiting(self, timings: dict[str, float], stopped: float) -> Iterator[str]:
        """What the caller waited for, as one bar of its steps."""
        before, y = 0.0, _CALLER + _WAVE + 2
        for name in STEPS:
            if name in timings and timings[name] >= before:
                x, width = self._x(stopped + before), (timings[name] - before) * self._scale
                told = f"{STEPS[name]}: {(timings[name] - before) * 1000:.0f} ms"
                yield (
                    f'<rect class="bar-{name}" x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="7">'
                    f"<title>{told}</title></rect>"
                )
                before = timings[name]
        yield f'<text class="small" x="{self._x(stopped + before) + 3:.1f}" y="{y + 7}">{before * 1000:.0f} ms</text>'

    def _troubles(self) -> Iterator[str]:
        for number, trouble in enumerate(self._session.troubles):
            x = self._x(float(trouble.get("at", 0)) - self._session.started_at)
            text = printable(str(trouble.get("text", trouble)))
            y = _AGENT + _WAVE + 34 + number % 2 * 12
            yield f'<line class="mark" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{y - 8}"/>'
            yield f'<text class="bad" x="{x:.1f}" y="{y}"><title>{_text(text)}</title>{_text(text[:80])}</text>'


def _lines(record: TurnRecord, room: float) -> Sequence[str]:
    text = f"[{record.text}]" if record.dialled else record.text
    if not record.understood:
        text = f"{text or '(no words)'} (not understood)"
    lines = textwrap.wrap(printable(text), max(10, int(room / 6.2))) or [""]
    return lines if len(lines) <= _MAX_LINES else [*lines[: _MAX_LINES - 1], f"{lines[_MAX_LINES - 1][:-1]}…"]


def _text(text: str) -> str:
    return escape(printable(text))
