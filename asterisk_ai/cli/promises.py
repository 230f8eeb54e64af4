"""Call backs that agents have promised: from the records of calls to those who are to be called, and when."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

from asterisk_ai.config import Config
from asterisk_ai.dialog import values
from asterisk_ai.errors import LocalProtocolError
from asterisk_ai.protocol.ami import number_of
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.campaigns import Campaigns, Person
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.report import intents, slots

INTENT = "call_back"
"""What the intent is called that promises it, and the slot with the time; the slot ``number`` has another number."""
LOOK_SECONDS = 5.0
BACK_SECONDS = 86400.0
"""Calls that began earlier than that before now are not looked at any more."""
SOON_SECONDS = 300.0
"""Where no time was agreed."""
MORNING = time_of_day(9)
"""Where a day was agreed without a time."""


class Promises:
    """Looks for them now and then. What was found once is noted in the store.

    :param timezone: of the times that are agreed; empty: the machine's own.
    """

    def __init__(
        self, config: Config, store: Campaigns, timezone: str, clock: Callable[[], float] = time.time
    ) -> None:  # fmt: skip
        self._config, self._store, self._clock = config, store, clock
        self._zone = ZoneInfo(timezone) if timezone else None
        self._looked_at = 0.0

    def look(self) -> None:
        """:raises StoreError: records cannot be read, or promises not be noted."""
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        reader = SqliteReader(self._config.store_path())
        try:
            sessions = reader.search(CallFilter(now - BACK_SECONDS))
        finally:
            reader.close()
        for session in reversed(sessions):  # the newest comes first, and counts
            if session.ended and INTENT in intents(session) and (person := self._person(session)) is not None:
                self._store.promise("call-backs", session.call_id, person)

    def _person(self, session: CallSession) -> Person | None:
        told = slots(session)
        try:
            number = number_of(str(told.get("number") or session.caller.get("number", "")))
        except LocalProtocolError:
            return None
        agent = self._config.agents.get(session.agent)
        language = agent.language if agent is not None else "en-US"
        at = datetime.fromtimestamp(session.ended_at, self._zone or UTC)
        at = at if self._zone else at.astimezone()
        due = agreed(str(told.get(INTENT, "")), at, language)
        return Person(number, int(session.started_at), due_at=due.timestamp())


def agreed(text: str, now: datetime, language: str) -> datetime:
    """When somebody is to be called who says so now: "tomorrow at nine", "on Friday", "at half past two"."""
    code = language.partition("-")[0].lower()
    day, clock = values.date(text, now.date(), code), values.time(text, code)
    if day is None and clock is None:
        return now + timedelta(seconds=SOON_SECONDS)
    found = _at(day or now.date(), clock or MORNING, now)
    if found <= now and day is None:
        return _at(now.date() + timedelta(days=1), clock or MORNING, now)
    return max(found, now)


def _at(day: date, clock: time_of_day, now: datetime) -> datetime:
    return datetime.combine(day, clock, now.tzinfo)
