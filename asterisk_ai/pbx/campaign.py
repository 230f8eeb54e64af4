"""A campaign: many people are called, each in the hours of their own place, a few at a time, and nobody twice.

A call is claimed in the store before Asterisk is told of it, by a name that follows from whom it is for and from the
number of the try; the dialplan rings nobody twice for one name. So after a crash each claim is asked for in Asterisk:
it rings or talks still, it is over, or it was never begun and is begun now, by the same name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from asterisk_ai.errors import AsteriskAIError, ControlError
from asterisk_ai.pbx.ami import AmiRefused
from asterisk_ai.protocol.ami import Callee, Outcome, Progress
from asterisk_ai.providers.engines.rules.hours import Hours
from asterisk_ai.session.backends.campaigns import CALLING, Campaigns, Person

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often the stop button is looked at."""
ASK_SECONDS = 2.0
"""After a lost connection, before Asterisk is asked: an order may still be on its way."""
NEVER_AGAIN = "do_not_call"
"""The intent of an agent whose callee wants not to be called again."""
AGAIN: Mapping[Outcome, float] = {
    Outcome.BUSY: 600.0,
    Outcome.NO_ANSWER: 7200.0,
    Outcome.MACHINE: 86400.0,
    Outcome.REFUSED: 600.0,
    Outcome.CANCELLED: 0.0,
}
"""Seconds to the next try. All else is not tried again: least of all what nobody can tell."""


class Calls(Protocol):
    """What makes the calls: :class:`asterisk_ai.pbx.calling.Calling`."""

    async def call(self, callee: Callee) -> Progress: ...

    async def follow(self, name: str) -> Progress | None: ...

    async def outcome(self, name: str) -> Outcome | None: ...

    async def forget(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How people are called.

    :param week: when, in the time of their own place; as :attr:`Hours.week`.
    :param timezone: of those for whom none is given; empty: the machine's own.
    :param concurrency: so many at once.
    :param per_minute: so many are begun.
    :param tries: so often at most.
    :param again: seconds to the next try by outcome.
    """

    week: tuple[tuple[tuple[int, int], ...], ...]
    timezone: str = ""
    concurrency: int = 1
    per_minute: float = 30.0
    tries: int = 3
    again: Mapping[Outcome, float] = field(default_factory=lambda: AGAIN)

    def window(self, person: Person, now: datetime) -> datetime | None:
        """When they may be called next, from now on; None: never."""
        zone = person.timezone or self.timezone
        hours = Hours(self.week, zone=ZoneInfo(zone) if zone else None)
        return now if hours.open_until(now) is not None else hours.next_opening(now)


class Campaign:
    """One run of one campaign.

    :param make: a call of this name to somebody.
    :param told: of each end of a call, and of each call that an earlier run left.
    :param more: enters whoever is to be called besides, now and then; the run does not end by itself then.
    :param clock: Unix time.
    """

    def __init__(
        self, name: str, store: Campaigns, calls: Calls, terms: Terms, *, make: Callable[[Person, str], Callee],
        told: Callable[[Person, str], None], more: Callable[[], None] | None = None,
        clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
    ) -> None:  # fmt: skip
        self._name, self._store, self._calls, self._terms = name, store, calls, terms
        self._make, self._told, self._clock, self._more = make, told, clock, more
        self._changed = asyncio.Event()
        self._running = 0

    async def run(self) -> None:
        """Until all were called, or it is stopped: then those who are on the telephone may finish.

        :raises StoreError: what is done cannot be noted.
        :raises ControlError: Asterisk does not let us in any more.
        """
        try:
            await self._run()
        except* AsteriskAIError as group:
            raise group.exceptions[0] from None

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for person in self._store.people(self._name, CALLING):
                self._running += 1
                group.create_task(self._resume(person))
            while not self._store.is_stopped(self._name):
                self._changed.clear()
                if self._more is not None:
                    self._more()
                claimed = self._next() if self._running < self._terms.concurrency else None
                if claimed is not None:
                    self._running += 1
                    group.create_task(self._call(claimed))
                    await asyncio.sleep(60 / self._terms.per_minute)
                elif self._more is None and not self._running and self._store.next_due(self._name) is None:
                    break
                else:
                    await self._wait()

    def _next(self) -> Person | None:
        """Claimed."""
        while person := self._store.due(self._name, self._clock()):
            now = datetime.fromtimestamp(self._clock(), UTC)
            window = self._terms.window(person, now)
            if window is None or window > now:
                self._store.put_off(self._name, person.number, (window or now + timedelta(days=1)).timestamp())
            elif claimed := self._store.claim(self._name, person.number):
                return claimed
            elif self._store.is_stopped(self._name):
                return None
        return None

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()

    async def _call(self, person: Person) -> None:
        name = self._store.name_of_call(self._name, person)
        try:
            progress: Progress | None = await self._calls.call(self._make(person, name))
            if progress is not None and progress.outcome is Outcome.FAILED and progress.told is None:
                # Where the dialplan knows the name it has refused: the order had been carried out before.
                noted = await self._calls.outcome(name)
                progress = Progress(outcome=noted) if noted is not None else progress
        except AmiRefused:
            self._store.unclaim(self._name, person.number)
            raise
        except ControlError as error:
            logger.warning("calling %s: %s", person.number, error)
            progress = await self._asked(name)
        await self._over(person, name, progress)

    async def _resume(self, person: Person) -> None:
        """Called by a process that is gone, or about to be."""
        self._told(person, "was being called")
        name = self._store.name_of_call(self._name, person)
        await self._over(person, name, await self._asked(name))

    async def _asked(self, name: str) -> Progress | None:
        while True:
            await asyncio.sleep(ASK_SECONDS)
            try:
                return await self._calls.follow(name)
            except AmiRefused:
                raise
            except ControlError as error:
                logger.warning("%s", error)

    async def _over(self, person: Person, name: str, progress: Progress | None) -> None:
        if progress is None:
            self._store.unclaim(self._name, person.number)
            self._told(person, "was not called yet")
        else:
            outcome = progress.outcome
            if f"intent={NEVER_AGAIN}" in progress.result.split():
                self._store.forbid([person.number])
            pause = self._terms.again.get(outcome) if person.tries < self._terms.tries else None
            again = None if pause is None else self._clock() + pause
            self._store.settle(self._name, person.number, outcome, progress.record, again)
            self._told(person, outcome.value)
            await self._calls.forget(name)
        self._running -= 1
        self._changed.set()
