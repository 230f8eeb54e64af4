"""One target's deliveries, on a thread of its own: what is due is tried, and again later where it failed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from asterisk_ai.errors import StoreError
from asterisk_ai.server.worker import WorkerPlace
from asterisk_ai.session.backends import deliveries
from asterisk_ai.session.backends.database import connect
from asterisk_ai.session.backends.deliveries import Delivery
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

PAUSES = (2.0, 10.0, 30.0, 120.0, 600.0, 1800.0)
"""Seconds from a failed try to the next one; the last one for all others."""
FAILED_PAUSE_SECONDS, FAILED_IN_A_ROW = 1.0, 3
"""And so long to the next try of another one, after so many that failed: who does not answer gets no flood."""
GIVE_UP_SECONDS = 72 * 3600.0
"""What could not be delivered for so long is given up."""
MAX_WAITING = 100_000
"""Of more than these the oldest are given up."""
STOP_SECONDS = 3.0
"""The end of the server waits so long for a try; what did not get through is for the next server."""
_LOOK_SECONDS = 15.0
_AT_ONCE = 20


class DeliveryFailed(Exception):
    """The text says why, without a word of the call's."""


Send = Callable[[Delivery, CallSession], None]
"""Delivers what there is to tell. Raises DeliveryFailed."""


class Courier:
    """Delivers to one target, one after the other. What it does is in the store, so that another may go on."""

    def __init__(
        self,
        path: Path,
        target: str,
        send: Send,
        metrics: Metrics,
        place: WorkerPlace,
        *,
        part: int = 0,
        parts: int = 1,
    ) -> None:
        """
        :param path: the store's file.
        :param part: which of the target's couriers this is, of so many.
        """
        self._part = {"part": part, "parts": parts}
        self._path = path
        self._target = target
        self._send = send
        self._metrics = metrics
        self._place = place
        self._unsettled: Delivery | None = None  # was tried, and the disk did not take how it went
        self._failed = 0  # in a row
        self._before: Sequence[Courier] = ()
        self._wake = threading.Event()
        self._stopping = False
        self._problem = ""
        for result in ("delivered", "failed", "given_up"):
            metrics.deliveries.labels(target, result)
        self._thread = threading.Thread(target=self._run, name=f"deliveries to {target}", daemon=True)

    def start(self, after: Sequence[Courier] = ()) -> None:
        """Begin once these have ended, so that nothing is delivered by two."""
        self._before = after
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def stop(self) -> None:
        """Try what is due for the last time, and end."""
        self._stopping = True
        self._wake.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end, for so long at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        for one in self._before:
            one.join()
        self._before = ()
        stopping = False
        while not stopping:
            self._wake.clear()
            stopping = self._stopping
            pause = self._look()
            if not stopping:
                self._wake.wait(pause)

    def _look(self) -> float:
        """Try what is due; returns the seconds until there is more to do."""
        try:
            with contextlib.closing(connect(self._path, writable=True)) as database:
                self._settle(database)
                self._give_up(database)
                pause = self._deliver_due(database)
        except (sqlite3.Error, StoreError) as error:
            if not self._problem:
                logger.error("%s: the store's deliveries cannot be read or kept: %s", self._target, error)
            self._problem = str(error)
            return PAUSES[0]
        self._problem = ""
        return pause

    def _deliver_due(self, database: sqlite3.Connection) -> float:
        """Until nothing is due, or several in a row have failed."""
        pause = self._measure(database)
        while some := self._due(database):
            for one, record in some:
                self._deliver(database, one, record)
                if self._failed >= FAILED_IN_A_ROW:
                    self._measure(database)
                    return FAILED_PAUSE_SECONDS
            pause = self._measure(database)
        return pause

    def _measure(self, database: sqlite3.Connection) -> float:
        """Tell the metrics what waits; returns the seconds until something is due."""
        count, oldest, next_at = deliveries.waiting(database, self._target, **self._ours)
        now = time.time()
        self._metrics.deliveries_waiting.labels(self._target).set(count)
        self._metrics.deliveries_oldest.labels(self._target).set(max(0.0, now - oldest) if count else 0.0)
        return min(max(next_at - now, 0.1), _LOOK_SECONDS) if count else _LOOK_SECONDS

    @property
    def _ours(self) -> dict[str, int]:
        return {"worker": self._place.index, "workers": self._place.workers}

    def _due(self, database: sqlite3.Connection) -> list[tuple[Delivery, str]]:
        now = time.time()
        latest = now + 2 * PAUSES[-1]
        return deliveries.due(
            database, self._target, now=now, latest=latest, limit=_AT_ONCE, **self._ours, **self._part
        )

    def _deliver(self, database: sqlite3.Connection, one: Delivery, record: str) -> None:
        problem = ""
        try:
            self._send(one, CallSession.from_json(record))
        except (DeliveryFailed, StoreError) as error:
            problem = str(error)
        now, tries = time.time(), one.tries + 1
        pause = PAUSES[min(tries, len(PAUSES)) - 1] * random.uniform(0.8, 1.2) if problem else 0.0  # noqa: S311
        state = deliveries.WAITING if problem else deliveries.DELIVERED
        self._tell(problem)
        self._unsettled = dataclasses.replace(one, due_at=now + pause, tries=tries, state=state, problem=problem)
        self._settle(database)

    def _settle(self, database: sqlite3.Connection) -> None:
        if self._unsettled is not None:
            deliveries.settle(database, self._unsettled)
            self._unsettled = None

    def _tell(self, problem: str) -> None:
        self._metrics.deliveries.labels(self._target, "failed" if problem else "delivered").inc()
        if problem and not self._failed:
            logger.warning("%s: not delivered, will be tried again: %s", self._target, problem)
        elif self._failed and not problem:
            logger.info("%s: delivered again", self._target)
        self._failed = self._failed + 1 if problem else 0

    def _give_up(self, database: sqlite3.Connection) -> None:
        before = time.time() - GIVE_UP_SECONDS
        waiting, oldest, _ = deliveries.waiting(database, self._target, **self._ours)
        if waiting <= MAX_WAITING and (not waiting or oldest >= before):
            return  # it would hold up who writes records
        count = deliveries.give_up(database, self._target, before=before, most=MAX_WAITING, **self._ours)
        if count:
            self._metrics.deliveries.labels(self._target, "given_up").inc(count)
            logger.error("%s: %d deliveries given up; asterisk-ai webhooks retry tries again", self._target, count)
