"""Numbers to words, by language: cardinals, ordinals, years, digits one by one, decimals."""

from __future__ import annotations

import re

from unicode_rbnf import FormatPurpose, RbnfEngine

from asterisk_ai.dialog.spoken.languages import ENGLISH, Language


class Numbers:
    """Of one language; as they are written where there are no words for it. Pure."""

    def __init__(self, lang: Language) -> None:
        self._lang = lang
        self._engine = RbnfEngine.for_language(lang.code) if lang.code else None

    @property
    def has_words(self) -> bool:
        return self._engine is not None

    def number(self, value: int | str, rules: str = "") -> str:
        """:param rules: the end of the name of the rule set, such as ``feminine``, where the language has it."""
        if self._engine is None:
            return str(value)
        spoken = self._engine.format_number(value)
        return next((text for name, text in spoken.text_by_ruleset.items() if rules and name.endswith(rules)),
                    spoken.text)  # fmt: skip

    def year(self, text: str) -> str:
        if self._engine is None or not text:
            return text
        return self._engine.format_number(int(text), purpose=FormatPurpose.YEAR).text

    def ordinal(self, value: int, ending: str = "") -> str:
        """:param ending: of the name of the rule set."""
        if self._engine is None:
            return str(value)
        spoken = self._engine.format_number(value, purpose=FormatPurpose.ORDINAL)
        return next((text for name, text in spoken.text_by_ruleset.items() if ending and name.endswith(ending)),
                    spoken.text_by_ruleset.get("spellout-ordinal", spoken.text))  # fmt: skip

    def digits(self, text: str) -> str:
        """One by one, a pause between groups."""
        groups = re.findall(r"\+?\d+", text)
        plus = self._lang.signs.get("+", "")
        said = (
            " ".join([plus] * ("+" in group) + [self.number(int(d)) for d in group if d != "+"]) for group in groups
        )
        return ", ".join(said).strip()

    def cardinal(self, digits: str) -> str:
        """Long ones, and those that begin with 0, are no amounts."""
        if len(digits) > 9 or (len(digits) > 1 and digits[0] == "0"):
            return self.digits(digits)
        return self.number(int(digits or 0))

    def decimal(self, text: str) -> str:
        """A number as the language writes it: its own sign parts thousands, or the other one."""
        point = "." if self._lang is ENGLISH else ","
        other = "," if point == "." else "."
        if re.fullmatch(rf"-?\d+(?:\{other}\d{{3}})+", text):
            text = text.replace(other, "")
        elif other in text and point not in text:
            point = other  # written as somewhere else
        text = re.sub(rf"[^\d{re.escape(point)}]", "", text)
        whole, _, fraction = text.partition(point)
        return self.number(f"{whole or 0}.{fraction}") if fraction else self.cardinal(whole)

    def plain(self, text: str) -> str:
        """A bare number: one of four digits that is no year and is not round is a code."""
        if len(text) == 4 and "1900" <= text <= "2099":
            return self.year(text)
        code = len(text) >= 7 or (len(text) == 4 and not text.endswith("00"))
        return self.digits(text) if code else self.cardinal(text)
