"""``asterisk-ai calls``: the records of past and present calls."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from asterisk_ai.config import load_part
from asterisk_ai.errors import ConfigError
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.session.model import CallSession, TurnRecord
from asterisk_ai.telemetry.printable import printable, printable_json


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "calls",
        help="list call records, or show one",
        description="List the newest call records (who, when, agent, outcome), or show one with what "
        "was said and heard.",
    )
    parser.add_argument("call_id", nargs="?", help="show this call")
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many to list (default: 20)")
    parser.add_argument("--json", action="store_true", help="whole records as JSON, one a line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    config = load_part(arguments.config, "store")  # records are read also while the agents are being edited
    if config.store.backend != "sqlite":
        raise ConfigError(f"store.backend is {config.store.backend}: records end with the server", path="store.backend")
    reader = SqliteReader(config.store_path())
    try:
        if arguments.call_id:
            found = reader.find(arguments.call_id)
            sessions = [found] if found else []
        else:
            sessions = reader.recent(arguments.limit)
    finally:
        reader.close()
    if arguments.call_id and not sessions:
        print(f"no call {arguments.call_id} in {config.store_path()}")
        return 1
    for session in sessions:
        if arguments.json:
            print(printable_json(json.loads(session.to_json())))
        elif arguments.call_id:
            print_call(session)
        else:
            print(summary(session))
    return 0


def summary(session: CallSession) -> str:
    """One line: when, how long, who, agent, outcome, id."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.started_at))
    length = f"{session.lasted:6.1f} s" if session.ended else " (now)  "
    number = session.caller.get("number", "unknown")
    outcome = session.outcome or "in progress"
    return printable(f"{when} {length}  {number:16} {session.agent:16} {outcome:12} {session.call_id}")


def print_call(session: CallSession) -> None:
    """A record for people."""
    print(summary(session))
    for record in session.history:
        print(turn_line(record))
    for trouble in session.troubles:
        when = time.strftime("%H:%M:%S", time.localtime(trouble.get("at", 0)))
        print(printable(f"    {when} {trouble.get('text', trouble)}"))


def turn_line(record: TurnRecord) -> str:
    """One turn: who, what was heard, and how long the answer took."""
    marks = []
    if record.interrupted:
        marks.append("interrupted")
    if record.dialled:
        marks.append("dialled")
    if not record.understood:
        marks.append("not understood")
    marks += [f"{name} {seconds * 1000:.0f} ms" for name, seconds in record.timings.items()]
    note = f"   ({', '.join(marks)})" if marks else ""
    return printable(f"{record.role:>7}: {record.text}{note}")
