"""A call as others are told of it: the one schema of webhooks, and of whatever else leaves the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from asterisk_ai.session.model import CallSession, Recorded, TurnRecord

STARTED, ENDED = "call.started", "call.ended"


def event(name: str, session: CallSession) -> dict[str, Any]:
    """One event: its name, when it happened, and the call as it is now."""
    at = session.ended_at if name == ENDED else session.started_at
    return {"type": name, "timestamp": utc(at), "data": report(session)}


def report(session: CallSession) -> dict[str, Any]:
    """A call. Times are UTC in ISO 8601, and empty for what has not happened."""
    return {
        "id": session.call_id,
        "agent": session.agent,
        "caller": dict(session.caller),
        "started_at": utc(session.started_at),
        "ended_at": utc(session.ended_at),
        "seconds": round(session.lasted, 1),
        "outcome": session.outcome.value,
        "action": session.pending.as_record() if session.pending else None,
        "slots": slots(session),
        "recorded": session.recorded is Recorded.YES,
        "transcript": [_turn(record) for record in session.history],
        "troubles": [str(trouble.get("text", "")) for trouble in session.troubles],
    }


def slots(session: CallSession) -> dict[str, Any]:
    """What the caller has told that was asked for, by the slots' names."""
    found = session.memory.get("slots")
    return dict(found) if isinstance(found, Mapping) else {}


def utc(at: float) -> str:
    """A Unix time in ISO 8601; empty for 0."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""


def _turn(record: TurnRecord) -> dict[str, Any]:
    return {
        "role": record.role,
        "text": record.text,
        "at": utc(record.at),
        "understood": record.understood,
        "dialled": record.dialled,
        "interrupted": record.interrupted,
    }
