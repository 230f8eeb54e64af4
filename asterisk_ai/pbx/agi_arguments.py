"""What stands in the requests and replies of AGI, as the dialplan and Asterisk write it."""

from __future__ import annotations

import uuid

from asterisk_ai.protocol.agi.reader import AgiRequest


def key_of(code: str) -> str:
    """The key of a code as AGI tells it; empty where there was none."""
    return chr(int(code)) if code.isdecimal() and 0 < int(code) < 128 else ""


def played(request: AgiRequest) -> tuple[str, int, str]:
    """What AI_PLAYED says: CPLAYBACKSTATUS, CPLAYBACKOFFSET, and CPLAYBACKSTOPKEY where a key has stopped it."""
    status, _, rest = argument(request, 1).partition("-")
    milliseconds, _, key = rest.partition("-")
    return status, int(milliseconds) if milliseconds.isdecimal() else 0, key if status == "USERSTOPPED" else ""


def argument(request: AgiRequest, number: int) -> str:
    """One of those behind the script; empty where there are fewer."""
    return request.arguments[number] if len(request.arguments) > number else ""


def call_of(request: AgiRequest) -> str:
    """The UUID that the request is about; empty where it has none."""
    try:
        return str(uuid.UUID(request.arguments[0]))
    except (IndexError, ValueError):
        return ""
