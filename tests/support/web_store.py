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


BARE_CALL = "8ba7b810-9dad-41d1-80b4-00c04fd430c8"


def bare() -> CallSession:
    """One of which nearly nothing is known, as its channel came without call/start."""
    began = time.time() - 900
    call = CallSession(BARE_CALL, "reception", started_at=began, registered=False, troubles=[{}, {"text": None}])
    call.ended_at, call.outcome = began + 1, Outcome.HANGUP
    return call


def fill(path: Path, records: list[CallSession]) -> None:
    backend = SqliteBackend(path)
    backend.start()
    for record in records:
        backend.write(record)
    backend.stop()


def configured(folder: Path, **settings: object) -> Path:
    """A configuration whose store has the calls."""
    fill(folder / "sessions.db", [*calls(), bare()])
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


def day() -> list[CallSession]:
    """A day of calls, for figures and pictures."""
    now = time.time()
    asked = [
        ("what are your opening hours", "We are open Monday to Thursday from 9 to 5.", Outcome.HANGUP),
        ("connect me to the sales department", "One moment, please.", Outcome.TRANSFER),
        ("where are you located", "You find us at 12 Main Street, next to the station.", Outcome.AGENT_HANGUP),
        ("i want to talk about my invoice", "", Outcome.FALLBACK),
        ("leave a message for accounting", "Please speak after the tone.", Outcome.VOICEMAIL),
    ]
    found = []
    for n in range(64):
        began = now - 700 - n * 1250 - 400 * (n % 3)
        words, answer, outcome = asked[n * n % len(asked)]
        first = 0.29 + 0.013 * (n % 17) + (0.5 if n % 23 == 0 else 0)
        timings = {"endpoint": 0.25, "words": first - 0.04, "first_audio": first - 0.015, "first_frame": first}
        call = CallSession(
            f"{n:08x}-5dad-41d1-80b4-00c04fd430c8",
            "reception" if n % 4 else "sales",
            caller={"number": f"+1555{n * 7919 % 10**7:07d}", "name": ("", "Alice", "Bob Ames", "")[n % 4]},
            started_at=began,
            connects=1,
            history=[
                TurnRecord("agent", "Hello, how can I help you?", began + 0.4),
                TurnRecord("caller", words, began + 3.1, understood=bool(answer)),
                TurnRecord("agent", answer or "Sorry, I did not understand that.", began + 5.2, timings=timings),
            ],
        )
        call.seconds = 9.5 + n % 31
        call.ended_at, call.outcome = began + call.seconds, outcome
        found.append(call)
    return found
