"""What a conversation has the dialplan do: the actions of ``dialplan/asterisk_ai.conf`` and their arguments.

The dialplan keeps only some characters of a value (``FILTER()``), as the value may come from what a caller dialled.
Whatever it would change would reach somebody else or nobody, so it is refused before: when the configuration is read,
and for what is only known in a call, when the dialplan asks for the action.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from asterisk_ai.dialog.secret import SecretDigits, without_secrets
from asterisk_ai.errors import LocalProtocolError

#: AST_MAX_EXTENSION, which holds for contexts as well, less the NUL; files and queues are kept within it, too.
MAX_LENGTH = 79
#: What stops a reply of the agent's that the dialplan plays; ControlPlayback() knows no others.
REPLY_KEYS = "0123456789*#"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an action.

    :param variable: the channel variable in which the dialplan gets it.
    :param characters: what the dialplan keeps of it, as FILTER() writes it.
    :param required: the action is none without it.
    :param spoken: it is said to somebody, and the dialplan is not given it: any text will do.
    """

    variable: str
    characters: str
    required: bool = True
    spoken: bool = False


class ActionKind(StrEnum):
    """What AI_NEXT can be."""

    HANGUP = "hangup"
    FALLBACK = "fallback"
    TRANSFER = "transfer"
    QUEUE = "queue"
    VOICEMAIL = "voicemail"
    PLAY = "play"
    CONNECT = "connect"
    """Ring one of the agent's ``transfers``; the dialplan comes back where nobody takes the call."""
    TALK = "talk"
    """Come back with the caller's audio: for the dialplan alone, no conversation asks for it."""


_NAME = r"A-Za-z0-9_.\-"
ACTIONS: Mapping[ActionKind, Mapping[str, Argument]] = {
    ActionKind.HANGUP: {},
    ActionKind.FALLBACK: {},
    ActionKind.TRANSFER: {
        "exten": Argument("AI_EXTEN", r"A-Za-z0-9_.*#+\-"),
        "context": Argument("AI_CONTEXT", _NAME),
        "priority": Argument("AI_PRIORITY", r"A-Za-z0-9_\-", required=False),
    },
    ActionKind.QUEUE: {"queue": Argument("AI_QUEUE", _NAME)},
    # VoiceMail() wants both in one variable
    ActionKind.VOICEMAIL: {
        "mailbox": Argument("AI_MAILBOX", _NAME),
        "context": Argument("AI_MAILBOX", _NAME, required=False),
    },
    ActionKind.PLAY: {"file": Argument("AI_FILE", r"A-Za-z0-9_./\-")},
    ActionKind.CONNECT: {
        "to": Argument("AI_TARGET", _NAME),
        "about": Argument("", "", required=False, spoken=True),
    },
}
"""What a conversation may ask for, with its arguments. In the short form ``exten@context`` the second one follows
the @."""


@dataclass(frozen=True, slots=True)
class DialplanAction:
    """Give the call back to the dialplan, which is to do this.

    :param kind: an :class:`ActionKind`, or its word.
    :param arguments: by the names that :data:`ACTIONS` has for the kind. In an agent's rules they are templates.
    :raises ValueError: there is no such kind.
    """

    kind: ActionKind
    arguments: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ActionKind(self.kind))

    def as_record(self) -> dict[str, Any]:
        """For the session's record, without what is secret."""
        return {"kind": self.kind.value, "arguments": without_secrets(self.arguments)}

    @property
    def secret(self) -> bool:
        """Whether nobody may read what it does: it cannot be kept."""
        return any(isinstance(value, SecretDigits) for value in self.arguments.values())

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DialplanAction:
        """What :meth:`as_record` made, in this version or another.

        :raises ValueError: this version has no such kind.
        """
        return cls(ActionKind(record["kind"]), record["arguments"])

    def variables(self) -> dict[str, str]:
        """The channel variables that the dialplan reads beside AI_NEXT.

        :raises LocalProtocolError: for an argument that is missing, or that the dialplan would change.
        """
        found: dict[str, str] = {}
        for name, argument in ACTIONS.get(self.kind, {}).items():
            if argument.spoken:
                continue
            value = str(self.arguments.get(name, ""))
            why_not = problem(self.kind, name, value) if value or not argument.required else f"there is no {name}"
            if why_not:
                raise LocalProtocolError(why_not)
            if value or argument.variable not in found:
                found[argument.variable] = "@".join(filter(None, (found.get(argument.variable), value)))
        return {**found, "AI_KEYS": ""} if self.kind is ActionKind.PLAY else found


HANG_UP = DialplanAction(ActionKind.HANGUP)
FALL_BACK = DialplanAction(ActionKind.FALLBACK)


def reply_variables(file: str, offset_ms: int) -> dict[str, str]:
    """What the dialplan reads beside AI_NEXT=play where it plays a reply of the agent's, which keys can stop.

    :param file: without its extension.
    :raises LocalProtocolError: the file's name is none that the dialplan takes.
    """
    if not re.fullmatch(f"[{ACTIONS[ActionKind.PLAY]['file'].characters}]{{1,255}}", file):
        raise LocalProtocolError(f"{file!r} cannot be played: the dialplan takes letters, digits and _./- in a path")
    return {"AI_FILE": file, "AI_KEYS": REPLY_KEYS, "AI_OFFSET": str(offset_ms)}


def problem(kind: ActionKind, name: str, value: str) -> str:
    """Why the dialplan cannot take a value as it is; empty where it can.

    :param kind: one of :data:`ACTIONS`.
    :param name: one of its arguments.
    :param value: the argument, or a part of it.
    """
    if ACTIONS[kind][name].spoken:
        return ""
    changed = sorted(set(re.sub(f"[{ACTIONS[kind][name].characters}]", "", value)))
    if changed:
        what = " or ".join("space" if char == " " else repr(char) for char in changed)
        hint = "; use the name by which Asterisk knows it" if " " in changed else ""
        return f"{value!r} cannot be a {kind}'s {name}: the dialplan takes no {what} in it{hint}"
    if len(value) > MAX_LENGTH:
        return f"{value[:20]!r}... is longer than the {MAX_LENGTH} characters that Asterisk takes"
    return ""
