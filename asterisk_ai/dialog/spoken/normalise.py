"""Written text to words that every voice reads right: numbers, times, dates, prices, codes, addresses, signs.

Voices differ in what they make of ``9:00-17:00`` or ``$5.50``; of words they all make the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from unicode_rbnf import FormatPurpose, RbnfEngine

from asterisk_ai.dialog.spoken.languages import ENGLISH, Language

_DOMAIN = r"(?:[\w-]+\.)+(?:com|org|net|edu|gov|info|biz|shop|app|dev|cloud|io|ai|eu|co\.uk|[a-z]{2})\b"
_CLOCK = r"[0-2]?\d:[0-5]\d(?!\d)"
_HALF = r"\s?(?:[ap]m\b|[AP]M\b|[ap]\.m\.|[AP]\.M\.)"
_AMOUNT = r"\d+(?:[.,'\u00a0\u202f]\d{3})*(?:[.,]\d{1,2})?(?![\d])"
_CURRENCY = r"(?:R\$|[€$£¥₹]|EUR|USD|GBP|CHF)"


def _patterns(lang: Language) -> dict[str, str]:
    """What is looked for, in the order in which it is tried at one place."""
    month = "|".join(name for full in lang.months for name in dict.fromkeys((full, full[:3] + r"\.")))
    day = "|".join(rf"{name[:3]}|{name}" if lang is ENGLISH else f"{name[:2]}|{name}" for name in lang.days)
    found = {
        "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
        "url": rf"(?:https?://[^\s<>()\"]*[\w/]|www\.[^\s<>()\"]*[\w/]|\b{_DOMAIN}(?:/[\w/-]*\w)?)",
        "abbreviation": "|".join(rf"(?<!\w){pattern}" for pattern in lang.abbreviations),
        "iso": r"(?<![\d-])\d{4}-[01]\d-[0-3]\d(?![\d-])",
        "dotted": r"(?<![\d.])[0-3]?\d\.[01]?\d\.(?:\d{4})?(?![\d.])" if lang.code in ("de",) else "",
        "slashed": r"(?<![\d/])[0-3]?\d[/][0-3]?\d/\d{4}(?![\d/])",
        "dayspan": rf"\b(?:{day})\s?[-–]\s?(?:{day})(?!\w)" if day else "",
        "span": rf"(?<![\d:]){_CLOCK}{_HALF}?\s?[-–]\s?{_CLOCK}{_HALF}?(?:\s?(?:Uhr|uur|h)\b)?",
        "clock": rf"(?<![\d:]){_CLOCK}(?:{_HALF}|\s?(?:Uhr|uur|h)\b)?",
        "hour": rf"\b[0-2]?\d{_HALF}" if lang is ENGLISH else r"(?<!\d)[0-2]?\dh(?:[0-5]\d)?\b" if lang.code in (
            "fr", "pt", "es") else "",
        "monthday": rf"\b(?:{month})\s\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s\d{{4}}(?![\d-]))?(?!\d)"
        if lang is ENGLISH else "",
        "daymonth": rf"(?<!\d)[0-3]?\d\.?\s(?:de\s)?(?:{month})(?:(?:\sde)?\s\d{{4}})?(?!\w)" if month else "",
        "money": rf"{_CURRENCY}\s?{_AMOUNT}|\b{_AMOUNT}\s?(?:{_CURRENCY}|Euro\b)",
        "thousands": r"(?<![\w.,])-?\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*(?:(?!\1)[.,]\d+)?(?![\w%]|[.,-]\d)",
        "phone": r"(?<![\w.,])(?=\+|(?:[ .()/-]{0,2}\d){7})(?:\+\d|\(?\d)\d*"
        r"(?:\)?[ .()/-]{1,2}\d+){1,6}(?![\w%]|[.,]\d)",
        "code": rf"\b(?:{lang.codes})\b(?:\s(?:number|no\.|is|nummer|ist|es|est|è|é))*[:\s]\s?#?\d{{3,}}\b"
        if lang.codes else "",
        "percent": r"\d+(?:[.,]\d+)?\s?%",
        "degrees": r"-?\d+\s?°\s?[CF]?\b",
        "ordinal": r"\b\d{1,4}(?:st|nd|rd|th)\b" if lang is ENGLISH else r"\b\d{1,3}(?:er|ère|e|º|ª)(?!\w)"
        if lang.code in ("fr", "es", "it", "pt") else "",
        "sharp": r"\b[A-G]#|\bC\+\+|\bF#",
        "item": r"^\d{1,3}\.(?=\s)",
        "times": r"(?<=\d)\s?[*×]\s?(?=\d)|(?<=\d)x(?=\d)",
        "range": r"(?<![\w-])\d{1,4}\s?[-–]\s?\d{1,4}(?![\w-])",
        "mixed": r"\b(?=[A-Z\d-]*\d)(?=[A-Z\d-]*[A-Z])[A-Z\d]+(?:-[A-Z\d]+)*\b",
        "decimal": r"(?<![\d.,])\d+[.,]\d+(?![\d]|[.,]\d)",
        "hash": r"#\d+\b",
        "integer": r"\d+",
        "either": r"(?<=[^\W\d])/(?=[^\W\d])",
        "sign": r"[*#@&+=<>~%°]",
        "blank": r"[\\|^{}\[\]_`]+",
    }  # fmt: skip
    return {name: pattern for name, pattern in found.items() if pattern}


class Normaliser:
    """For one language. Pure; made once and shared."""

    def __init__(self, lang: Language, region: str = "") -> None:
        self._lang = lang
        self._month_first = lang is ENGLISH and region in ("", "us", "ca")
        self._engine = RbnfEngine.for_language(lang.code) if lang.code else None
        named = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _patterns(lang).items())
        self._pattern = re.compile(named)

    def chunks(self, text: str) -> list[tuple[str, str]]:
        """What is written and what is said for it, in order; joined, the first of them are ``text``."""
        out: list[tuple[str, str]] = []
        at = 0
        for found in self._pattern.finditer(text):
            if not found[0]:
                continue
            out += [(text[at : found.start()],) * 2] if found.start() > at else []
            read: Callable[[re.Match[str]], str] = getattr(self, f"_{found.lastgroup}")
            said = read(found) if self._engine or found.lastgroup in _WITHOUT_WORDS else found[0]
            out.append((found[0], said))
            at = found.end()
        return out + ([(text[at:],) * 2] if at < len(text) else [])

    # ---- numbers ---------------------------------------------------------------------

    def _number(self, value: int, rules: str = "") -> str:
        if self._engine is None:
            return str(value)
        spoken = self._engine.format_number(value)
        return next((text for name, text in spoken.text_by_ruleset.items() if rules and name.endswith(rules)),
                    spoken.text)  # fmt: skip

    def _year(self, text: str) -> str:
        if self._engine is None or not text:
            return text
        return self._engine.format_number(int(text), purpose=FormatPurpose.YEAR).text

    def _ordinal_of(self, value: int, ending: str = "") -> str:
        if self._engine is None:
            return str(value)
        spoken = self._engine.format_number(value, purpose=FormatPurpose.ORDINAL)
        return next((text for name, text in spoken.text_by_ruleset.items() if ending and name.endswith(ending)),
                    spoken.text_by_ruleset.get("spellout-ordinal", spoken.text))  # fmt: skip

    def _digits(self, text: str) -> str:
        """One by one, a pause between groups."""
        groups = re.findall(r"\+?\d+", text)
        plus = self._lang.signs.get("+", "")
        said = (
            " ".join([plus] * ("+" in group) + [self._number(int(d)) for d in group if d != "+"]) for group in groups
        )
        return ", ".join(said).strip()

    def _decimal_of(self, text: str) -> str:
        """A number as the language writes it: its own sign parts thousands, or the other one."""
        point = "." if self._lang is ENGLISH else ","
        other = "," if point == "." else "."
        if re.fullmatch(rf"-?\d+(?:\{other}\d{{3}})+", text):
            text = text.replace(other, "")
        elif other in text and point not in text:
            point = other  # written as somewhere else
        text = re.sub(rf"[^\d{re.escape(point)}]", "", text)
        whole, _, fraction = text.partition(point)
        if not fraction:
            return self._cardinal(whole)
        digits = " ".join(self._number(int(digit)) for digit in fraction)
        return f"{self._number(int(whole or 0))} {self._lang.signs.get('point', '')} {digits}"

    def _cardinal(self, digits: str) -> str:
        if len(digits) > 9 or (len(digits) > 1 and digits[0] == "0"):
            return self._digits(digits)
        return self._number(int(digits or 0))

    def _integer(self, found: re.Match[str]) -> str:
        """A bare number of four digits that is no year and is not round is a code."""
        text = found[0]
        if len(text) == 4 and "1900" <= text <= "2099":
            return self._year(text)
        code = len(text) >= 7 or (len(text) == 4 and not text.endswith("00"))
        return self._digits(text) if code else self._cardinal(text)

    # ---- times and dates ---------------------------------------------------------------

    def _clock(self, found: re.Match[str]) -> str:
        return self._time(found[0], half=False)

    _hour = _clock

    def _time(self, text: str, *, half: bool) -> str:
        """:param half: tell the half of the day, because it cannot be guessed."""
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        hour, minute = numbers[0], numbers[1] if len(numbers) > 1 else 0
        if self._lang is ENGLISH:
            return self._english_time(hour, minute, re.search(r"[ap](?=\.?m)", text.lower()), half=half)
        feminine = "feminine" if self._lang.code in ("es", "pt") else ""
        said = self._lang.first_hour if hour == 1 and self._lang.first_hour else self._number(hour, feminine)
        form = self._lang.hour[1 if minute else 0]
        spoken = form.format(h=said, m=self._number(minute))
        return spoken.replace("horas", "hora").replace("heures", "heure") if hour == 1 else spoken

    def _english_time(self, hour: int, minute: int, written: re.Match[str] | None, *, half: bool) -> str:
        ending = f" {written[0]}.m." if written else ""
        if not written and (half or hour > 12 or hour == 0):
            ending = " p.m." if hour >= 12 else " a.m."
        hours = self._number(hour if written and hour else hour % 12 or 12)
        if not minute:
            return hours + ending if ending else f"{hours} o'clock"
        oh = "oh " if minute < 10 else ""
        return f"{hours} {oh}{self._number(minute)}{ending}"

    def _span(self, found: re.Match[str]) -> str:
        first, last = re.split(r"\s?[-–]\s?", found[0], maxsplit=1)
        half = self._lang is ENGLISH and any(int(part.split(":")[0]) > 12 for part in (first, last))
        to = self._lang.signs.get("to", "")
        return f"{self._time(first, half=half)} {to} {self._time(last, half=half)}"

    def _date(self, day: int, month: int, year: str, before: str = "") -> str:
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return self._digits(f"{day} {month} {year}")
        rule = self._lang.ordinal_days
        inflected = "n" if re.search(r"(?i)\b(?:am|vom|zum|den|dem|bis|ab)\s$", before) else ""
        spoken = self._number(day)
        if rule == "all" or (rule == "first" and day == 1):
            spoken = self._ordinal_of(day, f"-{inflected}" if inflected else "masculine" if rule == "first" else "")
        form = self._lang.date if year else re.sub(r"(?: de)? \{year\}", "", self._lang.date)
        return form.format(day=spoken, month=self._lang.months[month - 1], year=self._year(year)).strip()

    def _iso(self, found: re.Match[str]) -> str:
        year, month, day = found[0].split("-")
        return self._date(int(day), int(month), year, found.string[: found.start()])

    def _dotted(self, found: re.Match[str]) -> str:
        day, month, year = found[0].split(".")
        return self._date(int(day), int(month), year, found.string[: found.start()])

    def _slashed(self, found: re.Match[str]) -> str:
        day, month, year = found[0].split("/")
        if self._month_first or int(month) > 12:
            day, month = month, day
        return self._date(int(day), int(month), year)

    def _named(self, text: str, before: str = "") -> str:
        month = next(n for n, name in enumerate(self._lang.months, 1) if name[:3].lower() in re.split(
            r"[^\w]+", re.sub(rf"({name[:3]})\w*", r"\1", text, flags=re.IGNORECASE).lower()))  # fmt: skip
        numbers = re.findall(r"\d+", text)
        return self._date(int(numbers[0]), month, numbers[1] if len(numbers) > 1 else "", before)

    def _monthday(self, found: re.Match[str]) -> str:
        return self._named(found[0])

    def _daymonth(self, found: re.Match[str]) -> str:
        return self._named(found[0], found.string[: found.start()])

    def _dayspan(self, found: re.Match[str]) -> str:
        size = 3 if self._lang is ENGLISH else 2
        names = {name[:size]: name for name in self._lang.days}
        first, last = (names[part.strip()[:size]] for part in re.split("[-–]", found[0]))
        return f"{first} {self._lang.signs.get('to', '')} {last}"

    # ---- money, codes, addresses ---------------------------------------------------------

    def _money(self, found: re.Match[str]) -> str:
        unit = re.search(rf"{_CURRENCY}|Euro", found[0])
        amount = re.search(_AMOUNT, found[0])
        if unit is None or amount is None or unit[0] not in self._lang.money:
            return found[0]
        cents = re.search(r"[.,](\d{1,2})$", amount[0])
        whole = re.sub(r"\D", "", amount[0][: cents.start()] if cents else amount[0])
        part = int(cents[1].ljust(2, "0")) if cents else 0
        one, many = self._lang.money[unit[0]]
        money = f"{self._number(int(whole))} {one if int(whole) == 1 else many}"
        if not part:
            return money
        cent = "cent" if part == 1 else "cents"
        return self._lang.cents.format(money=money, cents=self._number(part), cent="pence" if "pound" in one else cent)

    def _phone(self, found: re.Match[str]) -> str:
        return self._digits(found[0])

    def _range(self, found: re.Match[str]) -> str:
        first, last = re.split(r"\s?[-–]\s?", found[0])
        return f"{self._cardinal(first)} {self._lang.signs['to']} {self._cardinal(last)}"

    def _code(self, found: re.Match[str]) -> str:
        words, digits = re.split(r"#?(?=\d+$)", found[0], maxsplit=1)
        said = self._pattern.match(words)  # "ext." is an abbreviation, too
        if said and said.lastgroup == "abbreviation":
            words = self._abbreviation(said) + words[said.end() :]
        return words + self._digits(digits)

    def _mixed(self, found: re.Match[str]) -> str:
        article = "A." if self._lang is ENGLISH else "A"  # else it is one
        spelled = (self._number(int(letter)) if letter.isdecimal() else letter for letter in found[0] if letter != "-")
        return " ".join(article if letter == "A" else letter for letter in spelled)

    def _email(self, found: re.Match[str]) -> str:
        return self._address(found[0])

    def _url(self, found: re.Match[str]) -> str:
        return self._address(re.sub(r"^(?:https?://)?(?:www\.)?", "", found[0]))

    def _address(self, text: str) -> str:
        signs = self._lang.signs
        out = []
        for part in re.findall(r"\d|[^\W\d_]+|.", text):
            said = self._number(int(part)) if part.isdecimal() else signs.get(part, "" if not part.isalnum() else part)
            out.append(said)
        return " ".join(filter(None, out))

    # ---- signs and words --------------------------------------------------------------------

    def _percent(self, found: re.Match[str]) -> str:
        return f"{self._decimal_of(found[0].rstrip('% '))} {self._lang.signs['%']}"

    def _degrees(self, found: re.Match[str]) -> str:
        unit = {"C": " Celsius", "F": " Fahrenheit"}.get(found[0][-1], "")
        minus = f"{self._lang.signs['minus']} " if found[0][0] == "-" else ""
        return f"{minus}{self._cardinal(re.sub(r'[^0-9]', '', found[0]))} {self._lang.signs['°']}{unit}"

    def _ordinal(self, found: re.Match[str]) -> str:
        feminine = found[0].endswith(("ª", "ère"))
        gender = "feminine" if feminine else "masculine" if self._lang is not ENGLISH else ""
        return self._ordinal_of(int(re.sub(r"\D.*", "", found[0])), f"ordinal-{gender}" if gender else "")

    def _decimal(self, found: re.Match[str]) -> str:
        return self._decimal_of(found[0])

    _thousands = _decimal

    def _item(self, found: re.Match[str]) -> str:
        return f"{self._number(int(found[0][:-1]))},"

    def _sharp(self, found: re.Match[str]) -> str:
        signs = self._lang.signs
        return f"{found[0][0]} {signs['sharp'] if '#' in found[0] else signs['+'] + ' ' + signs['+']}"

    def _hash(self, found: re.Match[str]) -> str:
        return f"{self._lang.signs['number']} {self._integer_text(found[0][1:])}"

    def _integer_text(self, digits: str) -> str:
        return self._digits(digits) if len(digits) > 3 else self._cardinal(digits)

    def _times(self, found: re.Match[str]) -> str:
        return f" {self._lang.signs['times']} "

    def _either(self, found: re.Match[str]) -> str:
        return f" {self._lang.signs.get('or', '')} "

    def _sign(self, found: re.Match[str]) -> str:
        return f" {self._lang.signs.get(found[0], '')} "

    def _blank(self, found: re.Match[str]) -> str:
        return " "

    def _abbreviation(self, found: re.Match[str]) -> str:
        for pattern, said in self._lang.abbreviations.items():
            one = re.compile(pattern).match(found.string, found.start())
            if one and one.end() == found.end():
                return said
        return found[0]


_WITHOUT_WORDS = frozenset({"sign", "blank"})
"""What is read in a language that we have no words for."""


@functools.lru_cache(maxsize=16)
def normaliser(tag: str) -> Normaliser:
    """The one for a language tag such as ``de-DE``."""
    from asterisk_ai.dialog.spoken.languages import language

    parts = tag.replace("_", "-").lower().split("-")
    return Normaliser(language(tag), parts[1] if len(parts) > 1 else "")
