"""Values out of spoken words: digits, spelled names, e-mail addresses, dates and times. Pure.

The words of each language are data (``words.py``); what is not known gives nothing, never a guess.
"""

from __future__ import annotations

from asterisk_ai.dialog.values.numbers import digits, in_digits, runs, tokens
from asterisk_ai.dialog.values.spelled import email, spelled
from asterisk_ai.dialog.values.when import date, time

__all__ = ["date", "digits", "email", "in_digits", "runs", "spelled", "time", "tokens"]
