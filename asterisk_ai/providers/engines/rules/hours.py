"""Opening hours: are we open now, until when, and when next."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from asterisk_ai.providers.engines.rules.basics import Basics

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_DATE = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")


@dataclass(frozen=True, slots=True)
class Hours:
    """``week`` has, for Monday to Sunday, spans in minutes from midnight; an end past 1440 is the next day's.

    ``closed`` are dates (MM-DD for every year, YYYY-MM-DD for one) on which no span begins, ``holidays`` others.
    """

    week: tuple[tuple[tuple[int, int], ...], ...]
    closed: frozenset[str] = frozenset()
    zone: tzinfo | None = None
    holidays: Container[date] = ()

    def spans(self, day: date) -> list[tuple[datetime, datetime]]:
        """When we open and close on a day, in order."""
        if day.isoformat() in self.closed or day.isoformat()[5:] in self.closed or day in self.holidays:
            return []
        midnight = datetime.combine(day, time())
        return [
            (self._at(midnight + timedelta(minutes=a)), self._at(midnight + timedelta(minutes=b)))
            for a, b in self.week[day.weekday()]
        ]

    def open_until(self, now: datetime) -> datetime | None:
        """When we close next; None where we are closed. ``now`` has a time zone."""
        today = now.astimezone(self.zone).date()
        until = None
        for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
            for begin, end in self.spans(day):
                if begin <= (until or now) < end:  # a span that joins the one before prolongs it
                    until = end
        return until

    def next_opening(self, now: datetime) -> datetime | None:
        """When we open next, within a fortnight."""
        today = now.astimezone(self.zone).date()
        for ahead in range(15):
            for begin, _ in self.spans(today + timedelta(days=ahead)):
                if begin > now:
                    return begin
        return None

    def fields(self, now: datetime, said: Basics) -> dict[str, str]:
        """What ``{hours.until}``, ``{hours.next}`` and ``{hours.today}`` say."""
        english = said.code == "en"
        local = now.astimezone(self.zone)
        until, following = self.open_until(now), self.next_opening(now)
        spans = [f"{clock_text(a, english)} {said.until} {clock_text(b, english)}" for a, b in self.spans(local.date())]
        opening = ""
        if following:
            days = (following.date() - local.date()).days
            near = {0: said.today, 1: said.tomorrow}.get(days, said.on_days[following.weekday()])
            opening = f"{near} {said.at} {clock_text(following, english)}"
        return {
            "until": clock_text(until, english) if until else "",
            "next": opening,
            "today": f" {said.conjunction} ".join(spans) or said.closed,
        }

    def _at(self, local: datetime) -> datetime:
        return local.replace(tzinfo=self.zone) if self.zone else local.astimezone()


def clock_text(when: datetime, english: bool) -> str:
    """The time of day as it is said."""
    if not english:
        return f"{when.hour}:{when.minute:02d}"
    if when.minute == 0 and when.hour in (0, 12):
        return "noon" if when.hour else "midnight"
    minutes = f":{when.minute:02d}" if when.minute else ""
    return f"{when.hour % 12 or 12}{minutes} {'AM' if when.hour < 12 else 'PM'}"


def parse_zone(name: str) -> tzinfo | None:
    """The time zone of that name, None (the machine's own) for "". Raises ValueError."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; write it like Europe/Berlin") from None


def parse_days(key: str) -> list[int]:
    """``mon``, ``mon-fri`` or ``sat,sun`` to numbers of weekdays. Raises ValueError."""
    days: list[int] = []
    for part in key.lower().replace(" ", "").split(","):
        first, _, last = part.partition("-")
        ends = [DAYS.index(name[:3]) if name[:3] in DAYS else -1 for name in (first, last or first)]
        if min(ends) < 0:
            raise ValueError(f"{part!r} is no weekday; write mon, tue, wed, thu, fri, sat, sun or mon-fri")
        length = (ends[1] - ends[0]) % 7
        days += [(ends[0] + n) % 7 for n in range(length + 1)]
    return days


def parse_span(text: str) -> tuple[int, int]:
    """``9:00-17:00`` to minutes; an end before the beginning is the next day's. Raises ValueError."""
    match = _SPAN.fullmatch(text.strip())
    numbers = [int(group) for group in match.groups()] if match else []
    if not numbers or numbers[0] > 23 or numbers[2] > 24 or numbers[1] > 59 or numbers[3] > 59:
        raise ValueError(f"{text!r} must be written like 9:00-17:00")
    begin, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if end > 1440:
        raise ValueError(f"{text!r} must be written like 9:00-17:00")
    return begin, end if end > begin else end + 1440


def parse_date(text: str) -> str:
    """``12-25`` or ``2026-12-25``, checked. Raises ValueError."""
    match = _DATE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} must be a date like 2026-12-25, or 12-25 for every year")
    date(int(match[1] or 2024), int(match[2]), int(match[3]))
    return text.strip()


def parse_holidays(place: str) -> Container[date]:
    """The public holidays of ``DE``, or of ``DE-BY``: a country and a part of it by ISO 3166. Raises ValueError."""
    try:
        import holidays
    except ImportError as error:
        raise ValueError(f"{error} (mend it with: pip install 'asterisk-ai[holidays]')") from None
    country, _, part = place.strip().upper().partition("-")
    try:
        found: Container[date] = holidays.country_holidays(country, subdiv=part or None)
    except NotImplementedError as error:
        raise ValueError(f"{error}: write a country, as DE, or a part of one, as DE-BY") from None
    return found


def parse_week(open_: Mapping[str, list[str]]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """A table of days to spans; a later line for a day takes the place of an earlier one. Raises ValueError."""
    week: list[tuple[tuple[int, int], ...]] = [()] * 7
    for key, spans in open_.items():
        for day in parse_days(key):
            week[day] = tuple(sorted(parse_span(span) for span in spans))
    return tuple(week)
