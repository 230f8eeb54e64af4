"""Times of the day and dates to words, by language."""

from __future__ import annotations

import re

from asterisk_ai.dialog.spoken.languages import ENGLISH, Language
from asterisk_ai.dialog.spoken.numbers import Numbers


class Times:
    """Of one language. Pure; each method takes what was found in the text."""

    def __init__(self, lang: Language, region: str, numbers: Numbers) -> None:
        self._lang, self._numbers = lang, numbers
        self._month_first = lang is ENGLISH and region in ("", "us", "ca")

    def clock(self, found: re.Match[str]) -> str:
        return self._time(found[0], half=False)

    def _time(self, text: str, *, half: bool) -> str:
        """:param half: tell the half of the day, because it cannot be guessed."""
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        hour, minute = numbers[0], numbers[1] if len(numbers) > 1 else 0
        if self._lang is ENGLISH:
            return self._english_time(hour, minute, re.search(r"[ap](?=\.?m)", text.lower()), half=half)
        feminine = "feminine" if self._lang.code in ("es", "pt") else ""
        said = self._lang.first_hour if hour == 1 and self._lang.first_hour else self._numbers.number(hour, feminine)
        form = self._lang.hour[1 if minute else 0]
        spoken = form.format(h=said, m=self._numbers.number(minute))
        return spoken.replace("horas", "hora").replace("heures", "heure") if hour == 1 else spoken

    def _english_time(self, hour: int, minute: int, written: re.Match[str] | None, *, half: bool) -> str:
        ending = f" {written[0]}.m." if written else ""
        if not written and (half or hour > 12 or hour == 0):
            ending = " p.m." if hour >= 12 else " a.m."
        hours = self._numbers.number(hour if written and hour else hour % 12 or 12)
        if not minute:
            return hours + ending if ending else f"{hours} o'clock"
        oh = "oh " if minute < 10 else ""
        return f"{hours} {oh}{self._numbers.number(minute)}{ending}"

    def span(self, found: re.Match[str]) -> str:
        first, last = re.split(r"\s?[-–]\s?", found[0], maxsplit=1)
        half = self._lang is ENGLISH and any(int(part.split(":")[0]) > 12 for part in (first, last))
        to = self._lang.signs.get("to", "")
        return f"{self._time(first, half=half)} {to} {self._time(last, half=half)}"

    def _date(self, day: int, month: int, year: str, before: str = "") -> str:
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return self._numbers.digits(f"{day} {month} {year}")
        rule = self._lang.ordinal_days
        inflected = "n" if re.search(r"(?i)\b(?:am|vom|zum|den|dem|bis|ab)\s$", before) else ""
        spoken = self._numbers.number(day)
        if rule == "all" or (rule == "first" and day == 1):
            gender = "masculine" if rule == "first" else ""
            spoken = self._numbers.ordinal(day, f"-{inflected}" if inflected else gender)
        form = self._lang.date if year else re.sub(r"(?: de)? \{year\}", "", self._lang.date)
        return form.format(day=spoken, month=self._lang.months[month - 1], year=self._numbers.year(year)).strip()

    def iso(self, found: re.Match[str]) -> str:
        year, month, day = found[0].split("-")
        return self._date(int(day), int(month), year, found.string[: found.start()])

    def dotted(self, found: re.Match[str]) -> str:
        day, month, year = found[0].split(".")
        return self._date(int(day), int(month), year, found.string[: found.start()])

    def slashed(self, found: re.Match[str]) -> str:
        day, month, year = found[0].split("/")
        if self._month_first or int(month) > 12:
            day, month = month, day
        return self._date(int(day), int(month), year)

    def _named(self, text: str, before: str = "") -> str:
        month = next(n for n, name in enumerate(self._lang.months, 1) if name[:3].lower() in re.split(
            r"[^\w]+", re.sub(rf"({name[:3]})\w*", r"\1", text, flags=re.IGNORECASE).lower()))  # fmt: skip
        numbers = re.findall(r"\d+", text)
        return self._date(int(numbers[0]), month, numbers[1] if len(numbers) > 1 else "", before)

    def named(self, found: re.Match[str]) -> str:
        """With the month's name."""
        words = re.split(r"[^\w]+", found[0].lower())
        names = enumerate((name.lower() for name in self._lang.months), 1)
        month = next(number for number, name in names if any(word.startswith(name[:3]) for word in words))
        numbers = re.findall(r"\d+", found[0])
        year = numbers[1] if len(numbers) > 1 else ""
        before = found.string[: found.start()] if self._lang is not ENGLISH else ""
        return self._date(int(numbers[0]), month, year, before)

    def dayspan(self, found: re.Match[str]) -> str:
        size = 3 if self._lang is ENGLISH else 2
        names = {name[:size]: name for name in self._lang.days}
        first, last = (names[part.strip()[:size]] for part in re.split("[-–]", found[0]))
        return f"{first} {self._lang.signs.get('to', '')} {last}"
