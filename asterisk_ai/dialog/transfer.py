"""Why a transfer did not succeed, and what is said of it: to the caller who is back, and to the colleague before."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from enum import StrEnum
from importlib.resources import files

import yaml

from asterisk_ai.dialog.caller import name_of, number_of


class Why(StrEnum):
    """Why the caller is back."""

    BUSY = "busy"
    NO_ANSWER = "no_answer"
    DECLINED = "declined"
    UNREACHABLE = "unreachable"
    CANCELLED = "cancelled"
    """The caller pressed the star while it rang."""
    CLOSED = "closed"
    """Outside of the hours, nobody was rung."""


_BY_STATUS = {
    "BUSY": Why.BUSY,
    "NOANSWER": Why.NO_ANSWER,
    "ANSWER": Why.DECLINED,
    "CANCEL": Why.CANCELLED,
}


def why(status: str) -> Why:
    """What the dialplan's DIALSTATUS means here. One that answered and is not connected has declined."""
    return _BY_STATUS.get(status, Why.UNREACHABLE)


_DEVICE = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9_./@:+*#\-]{1,79}")
_EXTENSION = re.compile(r"[A-Za-z0-9_.*#+\-]{1,79}@[A-Za-z0-9_.\-]{1,79}")


def to_dial(destination: str) -> tuple[str, str] | None:
    """What ``Dial()`` takes for a destination, and the extension whose state tells of it; None for what is none.

    The state of a device (``PJSIP/200``) is its own, and there is no such extension.
    """
    if _DEVICE.fullmatch(destination):
        return destination, ""
    return (f"Local/{destination}/n", destination) if _EXTENSION.fullmatch(destination) else None


@functools.cache
def _words(language: str) -> Mapping[str, str]:
    """Of ``language``, as in ``en-US``; English where we have none."""
    known = yaml.safe_load((files(__package__) / "transfer.yaml").read_text("utf-8"))
    code = language.replace("_", "-").partition("-")[0].lower()
    return dict(known.get(code, known["en"]))


def regret(reason: str, label: str, language: str) -> str:
    """For a caller who is back: that ``label`` is busy, does not answer, ..."""
    words = _words(language)
    text = words[reason] if reason in tuple(Why) else words[Why.UNREACHABLE]
    return text.replace("{label}", label or words["label"])


def briefing(caller: Mapping[str, str], about: str, said: str, language: str, *, text: str = "") -> tuple[str, ...]:
    """What a colleague hears before the call is taken, in pieces of a sentence or two.

    :param about: what the call is about; empty: the caller's own words, ``said``, are told.
    :param text: the administrator's, with {caller.name}, {caller.number} and {about}; empty: our own.
    """
    words, name, number = _words(language), name_of(caller), " ".join(number_of(caller))
    if text:
        filled = {"caller.name": name, "caller.number": number, "about": about or said}
        for key, value in filled.items():
            text = text.replace(f"{{{key}}}", value)
        return " ".join(text.split()), words["keys"]
    who = words["who"].replace("{name}", name or number) if name or number else words["unknown"]
    matter = about or (words["said"].replace("{said}", said.rstrip(".!?")) if said else "")
    return tuple(filter(None, (who, matter, words["keys"])))
