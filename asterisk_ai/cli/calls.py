"""``asterisk-ai calls``: the records of past and present calls."""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from asterisk_ai.cli import webhooks
from asterisk_ai.config import Config, load_part
from asterisk_ai.errors import AsteriskAIError, ConfigError
from asterisk_ai.recording import folder
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.deliveries import Delivery
from asterisk_ai.session.backends.sqlite import SqliteReader, remove_calls
from asterisk_ai.session.model import CallSession, Outcome, Recorded, TurnRecord
from asterisk_ai.session.telling import told_marks, told_steps
from asterisk_ai.telemetry.printable import printable, printable_json

_EPILOG = """\
what to do:
  list                      one line a call, the newest first (also without any word)
  show ID...                what was heard, said and done in a call, and how long each step of an answer took
  play ID                   hear its recording: caller left, agent right (--output FILE.wav: write it instead)
  purge                     remove calls for good: name them by --caller, --before or ids

A TIME is a date (2026-11-28), a date with a time of day ("2026-11-28 14:30"), a time of today (14:30), today,
yesterday, or how long ago (90m, 12h, 7d). The beginning of an ID is enough.

  asterisk-ai calls --since today --outcome fallback
  asterisk-ai calls --caller 5551234 --text "opening hours"
  asterisk-ai calls show 6ba7b810
  asterisk-ai calls show 6ba7b810 --picture call.svg
  asterisk-ai calls --since 7d --csv > calls.csv
  asterisk-ai calls purge --caller +15551234567
"""
_DO = ("list", "show", "play", "purge")
_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "calls",
        help="find call records, show one, remove some",
        description="Find call records (who, when, agent, outcome, what was said), show one, or remove some.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "words", nargs="*", metavar="list | show | play | purge | ID", help="what to do, and with which calls"
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    which = parser.add_argument_group("which calls")
    which.add_argument("--since", type=moment, default=0.0, metavar="TIME", help="those that began then or later")
    which.add_argument("--until", type=moment, default=0.0, metavar="TIME", help="those that began earlier")
    which.add_argument("--before", dest="until", type=moment, metavar="TIME", help="the same")
    which.add_argument("--agent", default="", metavar="NAME")
    which.add_argument("--outcome", default="", choices=[word for word in Outcome if word], metavar="WORD",
                       help=", ".join(word for word in Outcome if word))  # fmt: skip
    which.add_argument("--caller", default="", metavar="NUMBER", help="part of the number or name; to purge: all of it")
    which.add_argument("--text", default="", metavar="WORDS", help="words that were all said, or their beginnings")
    which.add_argument("--limit", type=int, default=None, metavar="N", help="the newest so many (list: 20; 0: all)")
    how = parser.add_argument_group("how they are told").add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="whole records as JSON, one a line")
    how.add_argument("--csv", action="store_true", help="a table with what was said")
    parser.add_argument(
        "--picture", metavar="FILE", help="show: draw the call into an SVG (or PNG) file, with its sound"
    )
    parser.add_argument("--output", metavar="FILE", help="play: write a WAV file instead")
    parser.add_argument("--yes", action="store_true", help="purge: do not ask")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    config = load_part(
        arguments.config, "store", "recordings"
    )  # records are read also while the agents are being edited
    if config.store.backend != "sqlite":
        raise ConfigError(f"store.backend is {config.store.backend}: records end with the server", path="store.backend")
    words: list[str] = list(arguments.words)
    do = words.pop(0) if words and words[0] in _DO else "show" if words else "list"
    purging = do == "purge"
    wanted = CallFilter(
        arguments.since, arguments.until, arguments.agent, arguments.outcome, arguments.caller,
        whole_number=purging, text=arguments.text, ids=tuple(words), limit=_limit(arguments, do),
    )  # fmt: skip
    if (do in ("show", "play") and not words) or (purging and wanted == CallFilter(whole_number=True)):
        print(f"asterisk-ai: calls {do}: say which (see asterisk-ai calls --help)", file=sys.stderr)
        return 2
    reader = SqliteReader(config.store_path())
    told: list[Delivery] = []
    try:
        sessions = reader.search(wanted)
        if do == "show" and sessions:
            told = reader.deliveries(call_ids=[one.call_id for one in sessions], every=True)
    finally:
        reader.close()
    if words and not sessions:
        print(f"no call {printable(' '.join(words))} in {config.store_path()}")
        return 1
    if purging:
        return _purge(config, sessions, ask=not arguments.yes)
    if do == "play":
        return _play(config, sessions[0], arguments.output)
    _tell(sessions, arguments, whole=do == "show")
    if arguments.picture:
        _draw(config, sessions[0], Path(arguments.picture))
    if do == "show" and not (arguments.json or arguments.csv):
        _tell_recordings(config, sessions)
        for one in told:
            print(f"    {webhooks.line(one)}")
    return 0


def _tell_recordings(config: Config, sessions: Sequence[CallSession]) -> None:
    for session in sessions:
        if session.recorded is Recorded.DECLINED:
            print("    the caller declined to be recorded")
        elif file := folder.find(config.recordings_path(), session.call_id):
            print(f"    recording: {file}   (asterisk-ai calls play {session.call_id[:8]})")


def _draw(config: Config, session: CallSession, target: Path) -> None:
    """Both voices, what was heard and said, and what each answer waited for. Raises AsteriskAIError and OSError."""
    import soundfile  # with numpy: the other commands do without

    from asterisk_ai.session.picture import Sound, call_picture

    file = folder.find(config.recordings_path(), session.call_id)
    svg = call_picture(session, Sound(*soundfile.read(file, dtype="int16", always_2d=True)) if file else None)
    if target.suffix.lower() == ".png":
        try:
            import cairosvg
        except (ImportError, OSError) as error:
            raise AsteriskAIError(f"a PNG needs cairosvg (pip install cairosvg): {error}; or name FILE.svg") from error
        target.write_bytes(cairosvg.svg2png(svg.encode(), background_color="white"))
    else:
        target.write_text(svg, "utf-8")
    print(f"written: {target}")


def _play(config: Config, session: CallSession, output: str | None) -> int:
    """By the first player that this machine has, or into a WAV file that every player takes."""
    file = folder.find(config.recordings_path(), session.call_id)
    if file is None:
        why = {
            Recorded.DECLINED: "its caller declined to be recorded",
            Recorded.YES: "it is being made, or was removed",
        }
        agent = printable(session.agent)
        print(f"no recording of {session.call_id}: {why.get(session.recorded, f'agents.{agent}.record is not true')}")
        return 1
    import soundfile  # with numpy: the other commands do without

    player = next((found for name in ("play", "aplay", "ffplay") if (found := shutil.which(name))), "")
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(output or Path(scratch) / "call.wav")
        samples, rate = soundfile.read(file, dtype="int16")
        soundfile.write(target, samples, rate)
        if output:
            print(f"written: {output}")
        elif player:
            return subprocess.run([player, str(target)], check=False).returncode
        else:
            print(f"there is no player here (play, aplay, ffplay); --output FILE.wav writes {file} as WAV")
            return 1
    return 0


def _limit(arguments: argparse.Namespace, do: str) -> int:
    if arguments.limit is not None:
        return max(0, int(arguments.limit))
    return 20 if do == "list" and not arguments.csv else 0


def _tell(sessions: Sequence[CallSession], arguments: argparse.Namespace, *, whole: bool) -> None:
    if arguments.csv:
        write_csv(sessions)
        return
    for session in sessions:
        if arguments.json:
            print(printable_json(json.loads(session.to_json())))
        elif whole:
            print_call(session)
        else:
            print(summary(session))


def _purge(config: Config, sessions: Sequence[CallSession], *, ask: bool) -> int:
    ended = [one for one in sessions if one.ended]
    for session in sessions:
        print(summary(session) + ("" if session.ended else "   still runs: stays"))
    if not ended:
        print("no call is to be removed")
        return 0
    if ask and input(f"Remove these {len(ended)} calls, and all that was said in them? [y/N] ").lower() not in (
        "y",
        "yes",
    ):
        print("nothing was removed")
        return 1
    call_ids = [one.call_id for one in ended]
    recordings = folder.remove(config.recordings_path(), call_ids)
    remove_calls(config.store_path(), call_ids)
    print(f"{len(ended)} calls and all that was said in them are removed from {config.store_path()}")
    if recordings:
        print(f"{recordings} recordings are removed from {config.recordings_path()}")
    return 0


def moment(text: str) -> float:
    """A time as administrators write it, as Unix time. Raises ValueError."""
    now = datetime.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text in ("today", "yesterday"):
        return (midnight - timedelta(days=text == "yesterday")).timestamp()
    if ago := _AGO.fullmatch(text):
        return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text):
        text = f"{midnight:%Y-%m-%d} {text.zfill(5)}"
    return datetime.fromisoformat(text).timestamp()


def summary(session: CallSession) -> str:
    """One line: when, how long, who, agent, outcome, id."""
    length = f"{session.lasted:6.1f} s" if session.ended else " (now)  "
    number = session.caller.get("number", "unknown")
    outcome = session.outcome or "in progress"
    return printable(
        f"{_date(session.started_at)} {length}  {number:16} {session.agent:16} {outcome:12} {session.call_id}"
    )


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def print_call(session: CallSession) -> None:
    """A record for people."""
    print(summary(session))
    if session.summary:
        print(printable(f"    {session.summary}"))
    for record in session.history:
        print(turn_line(record))
    for engine, told in session.usage.items():
        units = ", ".join(f"{_number(value)} {unit.replace('_', ' ')}" for unit, value in told.items())
        print(printable(f"    {engine}: {units}"))
    for trouble in session.troubles:
        when = time.strftime("%H:%M:%S", time.localtime(trouble.get("at", 0)))
        print(printable(f"    {when} {trouble.get('text', trouble)}"))


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def turn_line(record: TurnRecord) -> str:
    """One turn: who, what was heard, and how long each step of the answer took."""
    marks = told_marks(record) + ([told_steps(record.timings)] if record.timings else [])
    note = f"   ({', '.join(marks)})" if marks else ""
    return printable(f"{record.role:>7}: {record.text}{note}")


def write_csv(sessions: Sequence[CallSession]) -> None:
    """A table for a spreadsheet, in which no cell is a formula."""
    table = csv.writer(sys.stdout)
    table.writerow(("started", "seconds", "number", "name", "agent", "outcome", "id", "said"))
    for one in sessions:
        caller = one.caller.get("number", ""), one.caller.get("name", "")
        said = " | ".join(f"{record.role}: {record.text}" for record in one.history)
        row = (_date(one.started_at), f"{one.lasted:.1f}", *caller, one.agent, one.outcome, one.call_id, said)
        table.writerow([_cell(printable(value)) for value in row])


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
