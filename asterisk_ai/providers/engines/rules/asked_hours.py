"""Opening hours, asked for freely: "are you open on Friday", "until when today", "at Christmas"."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from asterisk_ai.dialog import values
from asterisk_ai.providers.engines.rules.basics import basics
from asterisk_ai.providers.engines.rules.hours import Hours, clock_text
from asterisk_ai.providers.engines.rules.small_talk import Language


class AskedHours:
    """Of one agent. ``clock`` gives the time with its zone."""

    def __init__(self, hours: Hours, language: Language, tag: str, clock: Callable[[], dt.datetime]) -> None:
        self._hours, self._language, self._clock = hours, language, clock
        self._code = tag.partition("-")[0].lower()
        self._basics = basics(tag)

    def answer(self, text: str, *, otherwise_now: bool) -> str:
        """Of the day that is asked for, or of when it opens again; empty where neither is.

        :param otherwise_now: then the answer is about now.
        """
        return self.on_a_day(text) or self.again(text) or (self.now() if otherwise_now else "")

    def on_a_day(self, text: str) -> str:
        """The answer where the caller asks for a day; empty where none is named."""
        return " ".join(self._day(day, text) for day in self._days(text))

    def again(self, text: str) -> str:
        """The answer to "when do you open again"; empty where that is not asked."""
        if not re.search(rf"\b(?:{self._language.asks_again})\b", text.lower()):
            return ""
        said = self._hours.fields(self._clock(), self._basics)
        return self._language.answers["next"].replace("{next}", said["next"]) if said["next"] else ""

    def now(self) -> str:
        said = self._hours.fields(self._clock(), self._basics)
        answers = self._language.answers
        if said["until"]:
            return answers["open_now"].replace("{until}", said["until"])
        return answers["closed_now"].replace("{next}", said["next"]) if said["next"] else answers["closed"]

    def _days(self, text: str) -> list[dt.date]:
        today = self._today()
        said = re.sub(rf"\b({'|'.join(self._language.weekdays)})s\b", r"\1", text.lower())
        if re.search(rf"\b(?:{self._language.weekend})\b", said):
            saturday = today + dt.timedelta(days=(5 - today.weekday()) % 7)
            return [saturday, saturday + dt.timedelta(days=1)]
        for name, month_day in self._language.holidays.items():
            if re.search(rf"\b(?:{name})\b", said):
                month, day = map(int, month_day.split("-"))
                this_year = dt.date(today.year, month, day)
                return [this_year if this_year >= today else this_year.replace(year=today.year + 1)]
        day_meant = values.date(said, today, self._code) or self._named(said, today)
        if (
            day_meant == today
            and self._is_over(today)
            and re.search(rf"\b(?:{'|'.join(self._language.weekdays)})\b", said)
        ):
            return [today + dt.timedelta(days=7)]
        return [day_meant] if day_meant else []

    def _named(self, said: str, today: dt.date) -> dt.date | None:
        """A weekday, today or tomorrow, in languages whose dates are not read otherwise."""
        for number, name in enumerate(self._language.weekdays):
            if re.search(rf"\b{name.partition('-')[0]}\b", said):
                return today + dt.timedelta(days=(number - today.weekday()) % 7)
        if re.search(rf"(?<!guten )(?<!la )\b{self._language.tomorrow.lower()}\b", said):
            return today + dt.timedelta(days=1)
        return today if re.search(rf"\b{self._language.today.lower()}\b", said) else None

    def _is_over(self, day: dt.date) -> bool:
        spans = self._hours.spans(day)
        return bool(spans) and spans[-1][1] <= self._clock()

    def _day(self, day: dt.date, text: str) -> str:
        answers, spans = self._language.answers, self._hours.spans(day)
        if not spans:
            return self._filled("closed_on", day)
        asked = text.lower()
        now, last = self._clock(), spans[-1][1]
        if last <= now:
            following = self._hours.fields(now, self._basics)["next"]
            return answers["closed_now"].replace("{next}", following) if following else answers["closed"]
        if re.search(rf"\b(?:{self._language.asks_until})\b", asked):
            return self._filled("open_until", day, end=self._clock_text(last))
        if re.search(rf"\b(?:{self._language.asks_from})\b", asked) and spans[0][0] > now:
            return self._filled("open_from", day, begin=self._clock_text(spans[0][0]))
        said = [f"{self._clock_text(a)} {self._language.until} {self._clock_text(b)}" for a, b in spans]
        answer = self._filled("open_on", day, spans=self._language.listed(said))
        time = values.time(text, self._code) if self._language.asks_whether.match(asked) else None
        if time is None:
            return answer
        moment = dt.datetime.combine(day, time, spans[0][0].tzinfo)
        inside = any(begin <= moment < end for begin, end in spans)
        return f"{answers['yes_to_that' if inside else 'no_to_that']} {answer}"

    def _filled(self, form: str, day: dt.date, **values_said: str) -> str:
        filled = self._language.answers[form].replace("{day}", self._name(day))
        for name, value in values_said.items():
            filled = filled.replace(f"{{{name}}}", value)
        return filled

    def _name(self, day: dt.date) -> str:
        """As one says it: today, on Friday, on Saturday, December 5th."""
        today, language = self._today(), self._language
        near = {0: language.today, 1: language.tomorrow}.get((day - today).days, "")
        if near:
            return near
        weekday = self._basics.on_days[day.weekday()]
        weekday = weekday[:1].upper() + weekday[1:]
        if (day - today).days < 7:
            return weekday
        month = language.months[day.month - 1]
        said = language.date.replace("{day}", self._day_of_month(day.day)).replace("{month}", month)
        return said.replace("{weekday}", weekday)

    def _day_of_month(self, number: int) -> str:
        if self._code != "en":
            return str(number)
        ending = "th" if 10 < number < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
        return f"{number}{ending}"

    def _clock_text(self, when: dt.datetime) -> str:
        return clock_text(when, self._code == "en")

    def _today(self) -> dt.date:
        return self._clock().astimezone(self._hours.zone).date()
