"""Opening hours, asked for freely: "are you open on Friday", "until when today", "at Christmas"."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from asterisk_ai.dialog import values
from asterisk_ai.providers.engines.rules.hours import Hours, clock_text
from asterisk_ai.providers.engines.rules.small_talk import Language


class AskedHours:
    """Of one agent. ``clock`` gives the time with its zone."""

    def __init__(self, hours: Hours, language: Language, tag: str, clock: Callable[[], dt.datetime]) -> None:
        self._hours, self._language, self._clock = hours, language, clock
        self._code = tag.partition("-")[0].lower()

    def on_a_day(self, text: str) -> str:
        """The answer where the caller asks for a day; empty where none is named."""
        days = self._days(text)
        return " ".join(self._day(day) for day in days)

    def now(self) -> str:
        said = self._hours.fields(self._clock(), english=self._code == "en")
        answers = self._language.answers
        if said["until"]:
            return answers["open_now"].replace("{until}", said["until"])
        return answers["closed_now"].replace("{next}", said["next"]) if said["next"] else answers["closed"]

    def _days(self, text: str) -> list[dt.date]:
        today = self._clock().astimezone(self._hours.zone).date()
        said = re.sub(rf"\b({'|'.join(self._language.weekdays)})s\b", r"\1", text.lower())
        if re.search(rf"\b(?:{self._language.weekend})\b", said):
            saturday = today + dt.timedelta(days=(5 - today.weekday()) % 7)
            return [saturday, saturday + dt.timedelta(days=1)]
        for name, month_day in self._language.holidays.items():
            if re.search(rf"\b(?:{name})\b", said):
                month, day = map(int, month_day.split("-"))
                this_year = dt.date(today.year, month, day)
                return [this_year if this_year >= today else this_year.replace(year=today.year + 1)]
        day_meant = values.date(said, today, self._code)
        return [day_meant] if day_meant else []

    def _day(self, day: dt.date) -> str:
        today = self._clock().astimezone(self._hours.zone).date()
        name = self._language.weekdays[day.weekday()].capitalize() if (day - today).days < 7 else day.isoformat()
        near = {0: self._language.today, 1: self._language.tomorrow}.get((day - today).days, "")
        spans = [
            f"{clock_text(begin, self._code == 'en')} {self._language.until} {clock_text(end, self._code == 'en')}"
            for begin, end in self._hours.spans(day)
        ]
        answers = self._language.answers
        form = answers["open_on"].replace("{spans}", self._language.listed(spans)) if spans else answers["closed_on"]
        return form.replace("{day}", near or f"{self._language.on} {name}")
