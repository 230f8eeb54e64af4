"""What ``dialplan/asterisk_ai.conf`` can be told to do: each action, its arguments, and what they may be.

The dialplan keeps only some characters of a value (``FILTER()``), as the value may come from what a caller dialled.
Whatever it would change would reach somebody else or nobody, so it is refused before: when the configuration is read,
and for what is only known in a call, when the dialplan asks for the action.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from asterisk_ai.errors import LocalProtocolError

#: AST_MAX_EXTENSION, which holds for contexts as well, less the NUL; files and queues are kept within it, too.
MAX_LENGTH = 79


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of an action.

    :param variable: the channel variable in which the dialplan gets it.
    :param characters: what the dialplan keeps of it, as FILTER() writes it.
    :param required: the action is none without it.
    """

    variable: str
    characters: str
    required: bool = True


_NAME = r"A-Za-z0-9_.\-"
#: Kind of action to its arguments. In the short form ``exten@context`` the second one follows the @.
ACTIONS: Mapping[str, Mapping[str, Argument]] = {
    "hangup": {},
    "fallback": {},
    "transfer": {
        "exten": Argument("AI_EXTEN", r"A-Za-z0-9_.*#+\-"),
        "context": Argument("AI_CONTEXT", _NAME),
        "priority": Argument("AI_PRIORITY", r"A-Za-z0-9_\-", required=False),
    },
    "queue": {"queue": Argument("AI_QUEUE", _NAME)},
    # VoiceMail() wants both in one variable
    "voicemail": {"mailbox": Argument("AI_MAILBOX", _NAME), "context": Argument("AI_MAILBOX", _NAME, required=False)},
    "play": {"file": Argument("AI_FILE", r"A-Za-z0-9_./\-")},
}
#: What AI_NEXT can be.
KINDS = frozenset((*ACTIONS, "talk"))


def problem(kind: str, name: str, value: str) -> str:
    """Why the dialplan cannot take a value as it is; empty where it can.

    :param kind: one of :data:`ACTIONS`.
    :param name: one of its arguments.
    :param value: the argument, or a part of it.
    """
    changed = sorted(set(re.sub(f"[{ACTIONS[kind][name].characters}]", "", value)))
    if changed:
        what = " or ".join("space" if char == " " else repr(char) for char in changed)
        hint = "; use the name by which Asterisk knows it" if " " in changed else ""
        return f"{value!r} cannot be a {kind}'s {name}: the dialplan takes no {what} in it{hint}"
    if len(value) > MAX_LENGTH:
        return f"{value[:20]!r}... is longer than the {MAX_LENGTH} characters that Asterisk takes"
    return ""


def channel_variables(kind: str, arguments: Mapping[str, str]) -> dict[str, str]:
    """What the dialplan reads beside AI_NEXT.

    :raises LocalProtocolError: for an argument that is missing, or that the dialplan would change.
    """
    found: dict[str, str] = {}
    for name, argument in ACTIONS.get(kind, {}).items():
        value = str(arguments.get(name, ""))
        why_not = problem(kind, name, value) if value or not argument.required else f"there is no {name}"
        if why_not:
            raise LocalProtocolError(why_not)
        if value or argument.variable not in found:
            found[argument.variable] = "@".join(filter(None, (found.get(argument.variable), value)))
    return found
