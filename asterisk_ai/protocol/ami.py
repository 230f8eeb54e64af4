"""Calling somebody over Asterisk's manager interface (AMI): what is sent for it, and what its events mean.

A message of AMI is lines of ``Name: value``, so a line break in a value would be another header, or another action.
``Originate`` divides its variables at commas, and a value may end up anywhere in a dialplan: numbers and values are
made of what means nothing to either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from asterisk_ai.errors import LocalProtocolError

CONTEXT = "asterisk-ai-out"
"""The dialplan's, which rings whoever is called: once for each id, however often it is asked."""
MACHINE = ("talk", "hangup", "message")
"""What may be done where a machine answers."""
MAX_VALUE = 200
_NO_VALUE = re.compile(r"[^\w @.+*#:-]+")
_NO_DEVICE = re.compile(r"[^A-Za-z0-9_./@:+*#-]+")
_NUMBER = re.compile(r"[0-9+*#]{1,40}")
_WRITTEN = re.compile(r"[ ()./\u00a0-]+")


class Outcome(StrEnum):
    """What came of calling somebody."""

    ANSWERED = "answered"
    """They talked with the agent."""
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    MACHINE = "machine"
    """An answering machine took the call."""
    FAILED = "failed"
    """The number, the trunk or the network does not take the call."""
    REFUSED = "refused"
    """They answered, and no agent was there for them."""
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """Nobody can tell: Asterisk or we were gone meanwhile."""


class Stage(StrEnum):
    """How far a call is."""

    DIALLING = "dialling"
    RINGING = "ringing"
    ANSWERED = "answered"
    TALKING = "talking"
    """With the agent."""
    ENDED = "ended"


STATUS = {
    "ANSWER": Outcome.ANSWERED,
    "BUSY": Outcome.BUSY,
    "NOANSWER": Outcome.NO_ANSWER,
    "CONGESTION": Outcome.FAILED,
    "CHANUNAVAIL": Outcome.FAILED,
    "CANCEL": Outcome.NO_ANSWER,  # it rang until our time was over
}
"""DIALSTATUS, and what it means for who wanted to call."""
REASONS = {"1": Outcome.NO_ANSWER, "3": Outcome.NO_ANSWER, "5": Outcome.BUSY}
"""Of OriginateResponse, where the dialplan told nothing. Source: control frames of frame.h."""


@dataclass(frozen=True, slots=True)
class Callee:
    """Somebody to be called.

    :param call: what the call is called, in Asterisk, too: letters and digits.
    :param number: as :func:`number_of` gives it.
    :param dial: what Asterisk dials, with ``{number}``.
    :param variables: of the channel, for the agent.
    :param seconds: for how long it rings.
    :param machine: what is done where a machine answers: ``talk``, ``hangup`` or ``message``.
    """

    call: str
    number: str
    agent: str
    dial: str
    variables: Mapping[str, str] = field(default_factory=dict)
    caller_id: str = ""
    seconds: int = 30
    machine: str = "talk"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is, and at the end what came of it.

    :param record: the id of the call's record, once the agent has it.
    :param result: ``AI_RESULT``: what came of the conversation.
    """

    stage: Stage = Stage.DIALLING
    outcome: Outcome = Outcome.UNKNOWN
    record: str = ""
    result: str = ""
    told: Outcome | None = None
    """What the dialplan said of the ringing."""
    failed: Outcome | None = None
    """What Asterisk itself said, where nobody answered. It may come before the dialplan's word, which is the better."""


def number_of(text: str) -> str:
    """A telephone number as it is dialled, of one as people write it.

    :raises LocalProtocolError: it is none.
    """
    number = _WRITTEN.sub("", text.strip())
    if not _NUMBER.fullmatch(number) or "+" in number[1:]:
        raise LocalProtocolError(f"{text[:60]!r} is no telephone number: digits, *, # and a + in front")
    return number


def value_of(text: object) -> str:
    """A value that means nothing to Asterisk: of other signs than letters, digits and ``@.+*#:-`` nothing is left."""
    return " ".join(_NO_VALUE.sub(" ", str(text)).split())[:MAX_VALUE]


def checked(headers: Mapping[str, str | list[str]]) -> Mapping[str, str | list[str]]:
    """An action that is one.

    :raises LocalProtocolError: a name or a value would begin another header.
    """
    for name, value in headers.items():
        for part in (name, *([value] if isinstance(value, str) else value)):
            if re.search(r"[\r\n\0]", part):
                raise LocalProtocolError(f"a line break in {name[:40]!r}: it would be another header")
    return headers


def originate(callee: Callee) -> Mapping[str, str | list[str]]:
    """The action that has somebody called.

    :raises LocalProtocolError: as :func:`checked`, or a variable has a name that is none.
    """
    for name in callee.variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise LocalProtocolError(f"{name[:40]!r} is no name of a channel variable")
    number = number_of(callee.number)
    variables = {
        **{name: value_of(value) for name, value in callee.variables.items()},
        "AI_AGENT": value_of(callee.agent),
        "AI_OUT_NUMBER": number,
        "AI_OUT_DIAL": _NO_DEVICE.sub("", callee.dial.replace("{number}", number)),
        "AI_OUT_RING": str(callee.seconds),
        "AI_OUT_MACHINE": callee.machine if callee.machine in MACHINE else MACHINE[0],
    }
    return checked(
        {
            "Action": "Originate",
            "ActionID": callee.call,
            "ChannelId": callee.call,
            "OtherChannelId": ringing(callee.call),
            "Channel": f"Local/{callee.call}@{CONTEXT}/n",
            "Context": "asterisk-ai",
            "Exten": "s",
            "Priority": "1",
            "Async": "true",
            "CallerID": number_of(callee.caller_id) if callee.caller_id else "",
            "Timeout": str(1000 * (callee.seconds + 5)),  # the dialplan ends it earlier
            "Variable": [f"{name}={value}" for name, value in variables.items()],
        }
    )  # fmt: skip


def ringing(call: str) -> str:
    """The id of the half of the call's channel that rings the callee."""
    return f"{call}-r"


def of_call(event: Mapping[str, str]) -> str:
    """The call that an event may be about."""
    found = event.get("ActionID", "") if event.get("Event") == "OriginateResponse" else event.get("Uniqueid", "")
    return found.removesuffix("-r")


def advanced(before: Progress, event: Mapping[str, str]) -> Progress:
    """How far the call is after an event about it."""
    if before.stage is Stage.ENDED:
        return before
    match event.get("Event"):
        case "DialState" if event.get("DialStatus") == "RINGING" and before.stage is Stage.DIALLING:
            return replace(before, stage=Stage.RINGING)
        case "OriginateResponse" if event.get("Response") == "Success":
            # What the channel does first may be told of before.
            return replace(before, stage=Stage.TALKING if before.stage is Stage.TALKING else Stage.ANSWERED)
        case "OriginateResponse":
            now = replace(before, failed=REASONS.get(event.get("Reason", ""), Outcome.FAILED))
            return given_up(now) if now.told else now
        case "VarSet":
            return _variable(before, event.get("Variable", ""), event.get("Value", ""))
        case "Hangup" if event.get("Uniqueid", "").endswith("-r"):
            return given_up(before) if before.failed else before
        case "Hangup" if before.stage in (Stage.ANSWERED, Stage.TALKING):
            return replace(before, stage=Stage.ENDED, outcome=_talked(before))
    return before


def given_up(before: Progress) -> Progress:
    """Nobody answered, and no better word of why has come."""
    if before.stage is Stage.ENDED:
        return before
    return replace(before, stage=Stage.ENDED, outcome=before.told or before.failed or Outcome.FAILED)


def _variable(before: Progress, name: str, value: str) -> Progress:
    match name:
        case "AI_OUT_STATUS" if value in STATUS:
            now = replace(before, told=STATUS[value])
            return given_up(now) if now.failed else now
        case "AI_CALL_ID" if value:
            return replace(before, record=value)
        case "AI_STATUS" if value == "OK":
            return replace(before, stage=Stage.TALKING)
        case "AI_RESULT" if value:
            return replace(before, result=value)
    return before


def _talked(before: Progress) -> Outcome:
    if "answered_by=machine" in before.result.split():
        return Outcome.MACHINE
    refused = before.stage is not Stage.TALKING or "outcome=fallback" in before.result.split()
    return Outcome.REFUSED if refused else Outcome.ANSWERED
