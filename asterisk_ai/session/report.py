"""A call as others are told of it: the one schema of webhooks, and of whatever else leaves the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from asterisk_ai.dialog.secret import without_secrets
from asterisk_ai.session.model import CallSession, Outcome, Recorded, TurnRecord

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
        "summary": session.summary or summary(session),
        "intents": intents(session),
        "slots": slots(session),
        "recorded": session.recorded is Recorded.YES,
        "transcript": [_turn(record) for record in session.history],
        "usage": {engine: dict(told) for engine, told in session.usage.items()},
        "troubles": [str(trouble.get("text", "")) for trouble in session.troubles],
    }


def slots(session: CallSession) -> dict[str, Any]:
    """What the caller has told that was asked for, by the slots' names."""
    found = session.memory.get("slots")
    return dict(without_secrets(found)) if isinstance(found, Mapping) else {}


def intents(session: CallSession) -> list[str]:
    """What was done for the caller, by the intents' names, in its order."""
    found = session.memory.get("done")
    return [str(name) for name in found] if isinstance(found, list) else []


def summary(session: CallSession) -> str:
    """What the call was about, told from its record alone: wishes, what was told, how it ended."""
    wished = [_readable(name) for name in intents(session)]
    told = [f"{_readable(name)} {value}" for name, value in slots(session).items()]
    asked = [record for record in session.history if record.role == "caller"]
    unclear = sum(not record.understood for record in asked)
    parts = []
    if wished:
        parts.append(f"Dealt with: {', '.join(dict.fromkeys(wished))}.")
    elif words := next((record.text for record in asked if record.understood and not record.dialled), ""):
        parts.append(f'Asked: "{words[:_MAX_QUOTED]}".')
    if told:
        parts.append(f"Told: {', '.join(told)}.")
    if unclear:
        parts.append(f"{unclear} of {len(asked)} turns of the caller were not understood.")
    if not asked:
        parts.append("The caller said nothing.")
    ending = _ENDINGS.get(session.outcome, "")
    where = "@".join(map(str, without_secrets(session.pending.arguments).values())) if session.pending else ""
    return " ".join([*parts, f"{ending}{f' ({where})' if where else ''}." if ending else ""]).strip()


_MAX_QUOTED = 200
_ENDINGS: Mapping[Outcome, str] = {
    Outcome.HANGUP: "The caller hung up",
    Outcome.AGENT_HANGUP: "The agent ended the call",
    Outcome.TRANSFER: "Transferred",
    Outcome.QUEUE: "Sent to a queue",
    Outcome.VOICEMAIL: "Sent to voicemail",
    Outcome.FALLBACK: "Went to the fallback",
    Outcome.LOST: "The connection was lost",
}


def _readable(name: str) -> str:
    return name.replace("_", " ")


def transcript(session: CallSession) -> str:
    """What was heard, a line a turn."""
    return "\n".join(
        f"{record.role}: {record.text if record.understood else f'{record.text} (not understood)'.lstrip()}"
        for record in session.history
    )


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
