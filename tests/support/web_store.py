"""A store with calls in it, for the page."""

from __future__ import annotations

import time
from pathlib import Path

import yaml

from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord

HOSTILE = "<script>alert(1)</script><b onmouseover=alert(2)>\x1b[31m \u202etxt"
CALL = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
HOSTILE_CALL = "7ba7b810-9dad-41d1-80b4-00c04fd430c8"
AGENTS = {
    "reception": {
        "greeting": "Hello.",
        "rules": {"intents": {"hours": {"say": "your opening hours\nwhen are you open\n", "answer": "Nine to five."}}},
    }
}


def calls() -> list[CallSession]:
    """One that went well, one whose caller sends what might do harm."""
    now = time.time() - 600
    good = CallSession(
        CALL,
        "reception",
        caller={"number": "+15551234567", "name": "Alice", "channel": "PJSIP/alice-1", "dialled": "100"},
        started_at=now,
        history=[
            TurnRecord("agent", "Hello, how can I help you?", now + 1),
            TurnRecord("caller", "what are your opening hours", now + 4),
            TurnRecord(
                "agent", "We are open from nine to five.", now + 6,
                timings={"endpoint": 0.25, "words": 0.262, "first_audio": 0.265, "first_frame": 0.28},
            ),
            TurnRecord("caller", "do you sell elephants", now + 9, understood=False),
            TurnRecord("agent", "Sorry?", now + 11, interrupted=True),
        ],
    )  # fmt: skip
    bad = CallSession(
        HOSTILE_CALL,
        HOSTILE,
        caller={"number": HOSTILE, "name": HOSTILE, "channel": HOSTILE, "dialled": HOSTILE},
        started_at=now - 60,
        history=[TurnRecord("caller", HOSTILE, now - 55, understood=False), TurnRecord(HOSTILE, HOSTILE, now - 50)],
        troubles=[{"at": now - 52, "text": HOSTILE}],
    )
    for call, outcome, lasted in ((good, Outcome.HANGUP, 14.0), (bad, Outcome.FALLBACK, 20.0)):
        call.connects, call.seconds, call.ended_at, call.outcome = 1, lasted, call.started_at + lasted, outcome
    return [good, bad]


def fill(path: Path, records: list[CallSession]) -> None:
    backend = SqliteBackend(path)
    backend.start()
    for record in records:
        backend.write(record)
    backend.stop()


def configured(folder: Path, **settings: object) -> Path:
    """A configuration whose store has the calls."""
    fill(folder / "sessions.db", calls())
    file = folder / "asterisk_ai.yaml"
    written = {
        "store": {"path": str(folder / "sessions.db")},
        "http": {"port": 1},  # nobody is there
        "default_agent": "reception",
        "agents": AGENTS,
        **settings,
    }
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    return file
