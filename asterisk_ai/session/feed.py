"""What happens in the calls now, for those who look on. Where nobody does, it costs a look at an empty tuple."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from asterisk_ai.session.model import CallSession

LAST_TURNS = 6
MAX_WAITING = 5_000
"""Changes that wait to be told; the oldest go and are counted, and then every call is told anew."""
LOOK_SECONDS = 0.1
"""What happens within it is told at once. Nobody is woken up by the media loop."""
BEAT_SECONDS = 1.0
_AT_ONCE, _PAUSE_SECONDS = 10, 0.002
"""After so many calls the interpreter is left to the media loop."""

Change = tuple[CallSession, str, str]
"""A call; what has changed besides its record (``phase``, ``hearing``, ``saying``, or nothing), and to what."""
Shown = dict[str, Any]
"""A call as it is now: see :func:`shown`."""


class LiveFeed:
    """Told of changes by the media loop; listened to by other threads."""

    def __init__(self) -> None:
        self.lost = 0
        """Changes that were not told, as whoever looked on was too slow."""
        self._listeners: tuple[deque[Change], ...] = ()

    @property
    def listened(self) -> bool:
        """Whether anybody looks on."""
        return bool(self._listeners)

    def tell(self, session: CallSession, what: str = "", value: str = "") -> None:
        """A call has changed. Never waits."""
        for waiting in self._listeners:
            if len(waiting) == waiting.maxlen:
                self.lost += 1
            waiting.append((session, what, value))

    def listen(
        self, live: Callable[[], list[tuple[CallSession, str]]], pause: Callable[[float], object] = time.sleep
    ) -> Iterator[Shown | None]:
        """Every call as it is now, then each as it is after a change; None now and then, where nothing happens.

        For a thread of its own, which closes it when nobody looks on any more.

        :param live: the calls that there are, each with its phase.
        :param pause: waits for so many seconds.
        """
        waiting: deque[Change] = deque(maxlen=MAX_WAITING)
        self._listeners = (*self._listeners, waiting)
        try:
            yield from self._changes(waiting, live, pause)
        finally:
            self._listeners = tuple(one for one in self._listeners if one is not waiting)

    def _changes(
        self,
        waiting: deque[Change],
        live: Callable[[], list[tuple[CallSession, str]]],
        pause: Callable[[float], object],
    ) -> Iterator[Shown | None]:
        now: dict[str, Shown] = {}
        lost, told_at, begins = self.lost, 0.0, True
        while True:
            if begins or self.lost != lost:
                lost, begins = self.lost, False
                waiting.clear()
                now.clear()
                changed = {session.call_id: session for session, _ in live()}
                for session, phase in live():
                    _note(now, session, "phase", phase)
                yield {"all": sorted(changed)}
            else:
                changed = {}
                for _ in range(len(waiting)):
                    session, what, value = waiting.popleft()
                    changed[session.call_id] = session
                    _note(now, session, what, value)
            for number, (call_id, session) in enumerate(changed.items(), 1):
                yield shown(session, now.get(call_id, {}))
                if session.ended:
                    now.pop(call_id, None)
                if not number % _AT_ONCE:
                    pause(_PAUSE_SECONDS)
            if changed:
                told_at = time.monotonic()
            elif time.monotonic() - told_at >= BEAT_SECONDS:
                told_at = time.monotonic()
                yield None
            pause(LOOK_SECONDS)


def _note(now: dict[str, Shown], session: CallSession, what: str, value: str) -> None:
    """What is known of a call beside its record. Words that are on their way are there until they are in the record."""
    state = now.setdefault(session.call_id, {})
    if what:
        state[what] = value
        if what == "phase" and value in ("listening", "interrupted"):
            state.pop("saying", None)
    elif session.history:
        last = session.history[-1]
        if last.role == "caller" or last.text:
            state.pop("hearing" if last.role == "caller" else "saying", None)


def shown(session: CallSession, state: Shown) -> Shown:
    """A call as who looks on is told of it; fit for JSON."""
    turns = session.history[-LAST_TURNS:]
    return {
        "id": session.call_id,
        "agent": session.agent,
        "caller": dict(session.caller),
        "started_at": session.started_at,
        "ended": session.ended,
        "outcome": session.outcome,
        "away": session.away,
        "connected": session.connected_at > 0 and not session.detached_at,
        "dialplan": session.registered,
        "turns": [
            {
                "role": turn.role,
                "text": turn.text,
                "understood": turn.understood,
                "interrupted": turn.interrupted,
                "dialled": turn.dialled,
                "answered": turn.timings.get("first_frame", 0.0),
            }
            for turn in turns
            if turn.text or turn.role == "caller"
        ],
        "phase": "",
        "hearing": "",
        "saying": "",
        **state,
    }
