"""What the dialplan can be told to do, and the channel variables that each kind of it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_VARIABLES = {
    "transfer": {"context": "AI_CONTEXT", "exten": "AI_EXTEN", "priority": "AI_PRIORITY"},
    "queue": {"queue": "AI_QUEUE"},
    "voicemail": {"mailbox": "AI_MAILBOX"},
    "play": {"file": "AI_FILE"},
}
"""Kind of action: argument to channel variable."""
KINDS = frozenset((*_VARIABLES, "talk", "hangup", "fallback"))


def channel_variables(kind: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """What the dialplan reads beside AI_NEXT."""
    return {variable: _value(kind, argument, arguments) for argument, variable in _VARIABLES.get(kind, {}).items()}


def _value(kind: str, argument: str, arguments: Mapping[str, Any]) -> str:
    """VoiceMail() wants BOX@CONTEXT in one."""
    value, context = str(arguments.get(argument, "")), str(arguments.get("context", ""))
    return f"{value}@{context}" if kind == "voicemail" and context else value
