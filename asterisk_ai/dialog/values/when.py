"""Dates and times as they are spoken, read against the day on which they are said."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from asterisk_ai.dialog.values.numbers import runs, tokens
from asterisk_ai.dialog.values.words import Words, of

_CLOCK = re.compile(r"\b([01]?\d|2[0-3])[:.]([0-5]\d)\b")
_ORDINAL = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b")
_HALF = re.compile(r"\b(half past|half|quarter past|quarter after|quarter to|quarter of) (\S+)")
_OFFSET = re.compile(r"\b(\S+) (?:minutes )?(past|to) (\S+)")
_MINUTES = {"half past": 30, "half": 30, "quarter past": 15, "quarter after": 15, "quarter to": -15, "quarter of": -15}


def date(text: str, today: dt.date, language: str = "en") -> dt.date | None:
    """The day that is meant; a weekday or a day without a year is today or the next one. None where there is none."""
    known = of(language)
    if known is None:
        return None
    said = f" {' '.join(tokens(_ORDINAL.sub(_spoken_ordinal(known), text)))} "
    for name, days in sorted(known.days.items(), key=lambda pair: -len(pair[0])):
        if f" {name} " in said:
            return today + dt.timedelta(days=days)
    if later := re.search(r" in (\S+) (day|week)s? ", said):
        count = 1 if later[1] in ("a", "one") else _number(later[1], language)
        return today + dt.timedelta(days=count * (7 if later[2] == "week" else 1)) if count else None
    day = _of_month(said, today, known, language)
    if day is not None:
        return day
    for name, weekday in known.weekdays.items():
        if f" {name} " in said:
            days = (weekday - today.weekday()) % 7
            ahead = f" next {name} " in said or f" {name} week " in said
            return today + dt.timedelta(days=days or (7 if ahead else 0))
    return None


def _spoken_ordinal(known: Words) -> Callable[[re.Match[str]], str]:
    names = {number: name for name, number in known.ordinals.items()}
    return lambda found: names.get(int(found[1]), found[1])


def _of_month(said: str, today: dt.date, known: Words, language: str) -> dt.date | None:
    month = next((number for name, number in known.months.items() if f" {name} " in said), 0)
    if not month:
        return None
    day = 0
    for name, number in sorted(known.ordinals.items(), key=lambda pair: -len(pair[0])):
        if not day and f" {name} " in said:
            day, said = number, said.replace(f" {name} ", " | ", 1)
    numbers = [run.digits for run in runs(said.split(), language)]
    day = day or next((int(one) for one in numbers if 1 <= int(one) <= 31), 0)
    year = next((int(one) for one in numbers if len(one) == 4), 0)
    try:
        found = dt.date(year or today.year, month, day)
        return found if year or found >= today else found.replace(year=today.year + 1)
    except ValueError:
        return None


def time(text: str, language: str = "en") -> dt.time | None:
    """The time of day. Without morning or afternoon an hour from 1 to 6 is one of the afternoon: offices are open."""
    known = of(language)
    if known is None:
        return None
    clock = _CLOCK.search(text)
    said = " ".join(tokens(text.lower().replace("a.m.", "am").replace("p.m.", "pm").replace("o'clock", "oclock")))
    for name, minutes in known.clock.items():
        if re.search(rf"\b{name}\b", said):
            return dt.time(minutes // 60, minutes % 60)
    if clock:
        return _at(int(clock[1]), int(clock[2]), said, exact=int(clock[1]) > 12 or clock[1].startswith("0"))
    if half := _HALF.search(said):
        hour = _number(half[2], language)
        return _at(hour, _MINUTES[half[1]], said) if hour else None
    if offset := _OFFSET.search(said):
        minutes, hour = _number(offset[1], language), _number(offset[3], language)
        if minutes and hour:
            return _at(hour, minutes if offset[2] == "past" else -minutes, said)
    return _hours(said, language)


def _hours(said: str, language: str) -> dt.time | None:
    """An hour, and perhaps its minutes: nine thirty, five pm, 17 hours."""
    words = said.split()
    for run in runs(words, language):
        value, count = run.digits, run.end - run.start
        if len(value) in (3, 4) and count > 1:
            hour, minute = int(value[:-2]), int(value[-2:])
        elif len(value) <= 2:
            hour, minute = int(value), 0
        else:
            continue
        if hour < 24 and minute < 60:
            return _at(hour, minute, said, exact=hour > 12)
    return None


def _at(hour: int, minutes: int, said: str, *, exact: bool = False) -> dt.time | None:
    if hour > 23:
        return None
    afternoon = re.search(r"\b(pm|p m|afternoon|evening|tonight)\b", said)
    morning = re.search(r"\b(am|a m|morning)\b", said)
    if not exact and hour <= 12:
        hour %= 12
        if afternoon or (not morning and (hour < 7)):
            hour += 12
    total = (hour * 60 + minutes) % 1440
    return dt.time(total // 60, total % 60)


def _number(word: str, language: str) -> int:
    found = runs([word], language)
    return int(found[0].digits) if found else 0
