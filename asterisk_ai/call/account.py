"""What is kept of a conversation: its turns as they were heard, their timings, its interruptions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from asterisk_ai.dialog.events import ResumeReason, StopReason
from asterisk_ai.session.model import CallSession, TurnRecord
from asterisk_ai.session.store import SessionStore
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.media import MediaConnection

logger = logging.getLogger(__name__)

LATE_SECONDS = 0.7
"""From the end of a turn to its words: with the silence before it and the voice after it, a second and more."""


class Account:
    """Kept by every kind of conversation; written to the store at each turn's boundary.

    A turn's timings are seconds from the caller's last sound, by name:
    see :data:`asterisk_ai.telemetry.metrics.TURN_PARTS`.
    """

    def __init__(
        self,
        session: CallSession,
        store: SessionStore,
        metrics: Metrics,
        connection: MediaConnection,
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._store = store
        self._metrics = metrics
        self._connection = connection
        self._clock = clock
        self._timings: dict[str, float] = {}
        self._turn_ended_at = 0.0
        self._held_at = 0.0
        self._told_late = False
        self._agent: TurnRecord | None = None  # of what is being said

    # ---- timings ------------------------------------------------------------------

    def turn_ended(self, at: float) -> None:
        """The endpoint is decided: the caller's last sound was ``at``, and a turn's timings begin there."""
        self._turn_ended_at = at
        self._timings = {}
        self.note("endpoint")

    def note(self, part: str) -> None:
        """A part of the turn is over now."""
        self._timings[part] = self._since_turn_end()

    def words_known(self) -> None:
        """The recogniser has said its last word on the turn. Told of once a call, where callers wait for it."""
        self.note("words")
        late = self._timings["words"] - self._timings.get("endpoint", 0.0)
        if late > LATE_SECONDS and not self._told_late:
            self._told_late = True
            logger.warning(
                "words came %.1f s after the end of a turn: the recogniser is too slow, or the machine has too much "
                "else to do. Lower server.max_calls, or name another one in stt; ai_agent_turn_part_seconds has all",
                late,
            )

    def answers_nobody(self) -> None:
        """What is said next is no answer: it has no timings."""
        self._timings = {}

    def _since_turn_end(self) -> float:
        return round(self._clock() - self._turn_ended_at, 4)

    def _first_frame(self, timings: dict[str, float]) -> None:
        """The answer's first frame is on the wire: the turn is over, in the caller's ear."""
        timings["first_frame"] = self._since_turn_end()
        self._metrics.observe_turn(timings)

    # ---- the caller's turns ---------------------------------------------------------

    def caller_said(self, record: TurnRecord, *, after: int | None = None) -> None:
        """A turn of the caller's: its words, or that there were none to be understood.

        :param after: number of the turns before it; None for all. What else there is was the beginning of this one,
            and of what was said to that.
        """
        if after is not None:
            del self._session.history[after:]
        self.keep(record)
        how = "dialled" if record.dialled else "understood" if record.understood else "not understood"
        logger.info("caller %s", how, extra={"transcript": record.text})

    def keep(self, record: TurnRecord) -> None:
        """Have a turn in the history, once, as it is now."""
        if not any(turn is record for turn in self._session.history):
            self._session.history.append(record)
        self._store.save(self._session)

    # ---- the agent's ---------------------------------------------------------------------

    @property
    def speaking(self) -> bool:
        """Whether a turn of the agent's has begun and has not been told how it ended."""
        return self._agent is not None

    def hearing(self, words: str) -> None:
        """The recogniser's view of a turn that has not ended, for those who look on."""
        self._store.feed.tell(self._session, "hearing", words)

    def saying(self, words: str) -> None:
        """What the agent is about to say, for those who look on."""
        self._store.feed.tell(self._session, "saying", words)

    def agent_begins(self, source: str = "") -> None:
        """The first audio of what the agent says is there, and about to be queued; ``source`` tells where it stands."""
        self._session.handed_over = False
        self._agent = TurnRecord("agent", "", time.time(), source=source)
        self._session.history.append(self._agent)
        if self._timings:  # it answers the caller: the time that it took is the turn's
            self.note("first_audio")
            self._agent.timings = self._timings
            self._connection.on_first_frame(partial(self._first_frame, self._timings))
            self._timings = {}
        logger.info("playback started")

    def agent_goes_on(self, heard: str, unheard: str) -> None:
        """A piece of what the agent says is over: a call whose server is lost goes on with ``unheard``."""
        if self._agent is not None and self._session.unheard != unheard:
            self._agent.text, self._session.unheard = heard, unheard
            self._store.save(self._session)

    def agent_ends(self, heard: str, *, interrupted: bool, lost: bool = False) -> None:
        """A turn boundary: of what the agent said ``heard`` was heard. Nothing where it had not begun.

        :param lost: the audio has ended; where the caller comes back, what was not heard is said then.
        """
        record, self._agent = self._agent, None
        if not lost:
            self._session.heard_all()
        if record is None:
            return
        record.text, record.interrupted = heard, interrupted
        if not heard:
            self._session.history.remove(record)
        self._store.save(self._session)
        timings = "".join(f" {name}={seconds * 1000:.0f}ms" for name, seconds in record.timings.items())
        logger.info("playback %s%s", "interrupted" if interrupted else "finished", timings, extra={"transcript": heard})

    # ---- interruptions ------------------------------------------------------------------

    def held(self) -> None:
        """What is said is held: the caller makes sound."""
        self._held_at = self._clock()
        logger.info("holding what is said: the caller makes sound")

    def resumed(self, reason: ResumeReason) -> None:
        """It was no interruption."""
        self._metrics.barge_in.labels(reason).inc()
        logger.info("no interruption: %s; on after %.0f ms", reason, (self._clock() - self._held_at) * 1000)

    def stopped(self, reason: StopReason) -> None:
        """What was said was stopped."""
        if reason in (StopReason.BARGE_IN, StopReason.DIGIT):
            self._metrics.barge_in.labels(reason).inc()
            logger.info("the agent was interrupted: %s", reason)

    # ---- the end ------------------------------------------------------------------------

    def tell_underruns(self) -> None:
        """Gaps that there were in what the caller heard."""
        if count := self._connection.underruns:
            self._metrics.underruns.inc(count)
            logger.warning(
                "%d gaps in the agent's speech: its voice was made more slowly than it is played. Give the engine "
                "more CPU, or set downstream_mode: auto for the agent",
                count,
            )
