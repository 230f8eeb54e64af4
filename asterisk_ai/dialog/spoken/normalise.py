"""Written text to words that every voice reads right: numbers, times, dates, prices, codes, addresses, signs.

Voices differ in what they make of ``9:00-17:00`` or ``$5.50``; of words they all make the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from asterisk_ai.dialog.spoken.languages import ENGLISH, Language
from asterisk_ai.dialog.spoken.numbers import Numbers
from asterisk_ai.dialog.spoken.times import Times

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
        numbers = self._numbers = Numbers(lang)
        times = Times(lang, region, numbers)
        named = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _patterns(lang).items())
        self._pattern = re.compile(named)
        signs = lang.signs
        self._readers: dict[str, Callable[[re.Match[str]], str]] = {
            "email": lambda found: self._address(found[0]),
            "url": lambda found: self._address(re.sub(r"^(?:https?://)?(?:www\.)?", "", found[0])),
            "abbreviation": self._abbreviation,
            "iso": times.iso,
            "dotted": times.dotted,
            "slashed": times.slashed,
            "dayspan": times.dayspan,
            "span": times.span,
            "clock": times.clock,
            "hour": times.clock,
            "monthday": times.named,
            "daymonth": times.named,
            "money": self._money,
            "thousands": lambda found: numbers.decimal(found[0]),
            "phone": lambda found: numbers.digits(found[0]),
            "code": self._code,
            "percent": lambda found: f"{numbers.decimal(found[0].rstrip('% '))} {signs['%']}",
            "degrees": self._degrees,
            "ordinal": self._ordinal,
            "sharp": lambda found: " ".join(
                [found[0][0], *([signs["sharp"]] if "#" in found[0] else [signs["+"], signs["+"]])]
            ),
            "item": lambda found: f"{numbers.number(int(found[0][:-1]))},",
            "times": lambda _: f" {signs['times']} ",
            "range": self._range,
            "mixed": self._mixed,
            "decimal": lambda found: numbers.decimal(found[0]),
            "hash": self._hash,
            "integer": lambda found: numbers.plain(found[0]),
            "either": lambda _: f" {signs.get('or', '')} ",
            "sign": lambda found: f" {signs.get(found[0], '')} ",
            "blank": lambda _: " ",
        }

    def chunks(self, text: str) -> list[tuple[str, str]]:
        """What is written and what is said for it, in order; joined, the first of them are ``text``."""
        out: list[tuple[str, str]] = []
        at = 0
        for found in self._pattern.finditer(text):
            if not found[0]:
                continue
            out += [(text[at : found.start()],) * 2] if found.start() > at else []
            kind = found.lastgroup or ""
            said = self._readers[kind](found) if self._numbers.has_words or kind in _WITHOUT_WORDS else found[0]
            out.append((found[0], said))
            at = found.end()
        return out + ([(text[at:],) * 2] if at < len(text) else [])

    def _money(self, found: re.Match[str]) -> str:
        unit = re.search(rf"{_CURRENCY}|Euro", found[0])
        amount = re.search(_AMOUNT, found[0])
        if unit is None or amount is None or unit[0] not in self._lang.money:
            return found[0]
        cents = re.search(r"[.,](\d{1,2})$", amount[0])
        whole = re.sub(r"\D", "", amount[0][: cents.start()] if cents else amount[0])
        part = int(cents[1].ljust(2, "0")) if cents else 0
        one, many = self._lang.money[unit[0]]
        money = f"{self._numbers.number(int(whole))} {one if int(whole) == 1 else many}"
        if not part:
            return money
        cent = "pence" if "pound" in one else "cent" if part == 1 else "cents"
        return self._lang.cents.format(money=money, cents=self._numbers.number(part), cent=cent)

    def _range(self, found: re.Match[str]) -> str:
        first, last = re.split(r"\s?[-–]\s?", found[0])
        return f"{self._numbers.cardinal(first)} {self._lang.signs['to']} {self._numbers.cardinal(last)}"

    def _code(self, found: re.Match[str]) -> str:
        words, digits = re.split(r"#?(?=\d+$)", found[0], maxsplit=1)
        said = self._pattern.match(words)  # "ext." is an abbreviation, too
        if said and said.lastgroup == "abbreviation":
            words = self._abbreviation(said) + words[said.end() :]
        return words + self._numbers.digits(digits)

    def _mixed(self, found: re.Match[str]) -> str:
        article = "A." if self._lang is ENGLISH else "A"  # else it is one
        spelled = (self._numbers.number(int(sign)) if sign.isdecimal() else sign for sign in found[0] if sign != "-")
        return " ".join(article if letter == "A" else letter for letter in spelled)

    def _address(self, text: str) -> str:
        signs = self._lang.signs
        out = []
        for part in re.findall(r"\d|[^\W\d_]+|.", text):
            unsaid = part if part.isalnum() else ""
            out.append(self._numbers.number(int(part)) if part.isdecimal() else signs.get(part, unsaid))
        return " ".join(filter(None, out))

    def _degrees(self, found: re.Match[str]) -> str:
        unit = {"C": " Celsius", "F": " Fahrenheit"}.get(found[0][-1], "")
        minus = f"{self._lang.signs['minus']} " if found[0][0] == "-" else ""
        return f"{minus}{self._numbers.cardinal(re.sub(r'[^0-9]', '', found[0]))} {self._lang.signs['°']}{unit}"

    def _ordinal(self, found: re.Match[str]) -> str:
        feminine = found[0].endswith(("ª", "ère"))
        gender = "feminine" if feminine else "masculine" if self._lang is not ENGLISH else ""
        return self._numbers.ordinal(int(re.sub(r"\D.*", "", found[0])), f"ordinal-{gender}" if gender else "")

    def _hash(self, found: re.Match[str]) -> str:
        digits = found[0][1:]
        read = self._numbers.digits if len(digits) > 3 else self._numbers.cardinal
        return f"{self._lang.signs['number']} {read(digits)}"

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
