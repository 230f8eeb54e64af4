"""``asterisk-ai call``: a simulated caller, so that an agent can be tried without a telephone or an Asterisk."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile

from asterisk_ai.cli.calls import turn_line
from asterisk_ai.config import Config, load, load_part
from asterisk_ai.dialog.dialplan import ACTIONS
from asterisk_ai.errors import StoreError
from asterisk_ai.session.backends.sqlite import SqliteReader
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import RATE, SERVER_LOST, Caller, Line, Result, simulate
from asterisk_ai.simulator.caller_speech import speech_in, speech_of
from asterisk_ai.simulator.local_server import local_server

DEMO = (
    ("say", "what are your opening hours"),
    ("say", "where are you located"),
    ("say", "connect me to the sales department"),
)
"""What the caller says to the packaged sample's agent where nothing else was asked for."""
DIGITS = "0123456789*#ABCD"
_POLL_SECONDS = 0.2


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "call",
        help="call the agent as a simulated caller",
        description="Plays Asterisk's part against a running server, over FastAGI and AudioSocket. The caller says "
        "each --say, --wav and --dtmf in the order given, each when the agent has finished speaking; without any it "
        "has the sample agent's demo conversation. Shows the transcript and the timings and writes a stereo recording "
        "(left: caller, right: agent).",
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    parser.add_argument("--serve", action="store_true", help="run a server of its own for the length of the call")
    parser.add_argument("--host", help="the server's host (default: fastagi.host of the configuration)")
    parser.add_argument("--port", type=int, help="the server's FastAGI port (default: fastagi.port)")
    parser.add_argument("--agent", default="", help="agent to ask for (default: the server's default_agent)")
    parser.add_argument("--number", default="5550100", help="the caller's number (default: %(default)s)")
    for option, metavar, text in (
        ("say", "TEXT", "speak TEXT with the espeak voice"),
        ("wav", "FILE", "play a sound file (any rate, first channel)"),
        ("dtmf", "DIGITS", "dial DIGITS"),
        ("interrupt", "TEXT", "speak TEXT one second after the agent has begun to speak"),
    ):
        parser.add_argument(f"--{option}", metavar=metavar, help=text, dest="lines", action=_Append, default=None)
    parser.add_argument(
        "--linger", type=float, default=4.0, metavar="S", help="silence after the last answer until the caller hangs up"
    )
    parser.add_argument(
        "--patience", type=float, default=12.0, metavar="S",
        help="silence after which the caller goes on without an answer (default: %(default)s)",
    )  # fmt: skip
    # Of espeak-ng's voices the one that moonshine understands best.
    parser.add_argument("--voice", default="en-us", help="espeak voice of the caller (default: %(default)s)")
    parser.add_argument(
        "--record", default="asterisk-ai-call.wav", metavar="FILE", help="recording (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object instead")
    parser.set_defaults(run=run)


class _Append(argparse.Action):
    """Keeps --say, --wav and --dtmf in the order of the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        kind, value = (option_string or "").lstrip("-"), str(values)
        if kind == "dtmf" and set(value) - set(DIGITS):
            parser.error(f"--dtmf {value}: a telephone dials {DIGITS}")
        if kind == "wav" and not Path(value).is_file():
            parser.error(f"--wav {value}: there is no such file")
        lines = list(getattr(namespace, self.dest) or [])
        lines.append((kind, value))
        setattr(namespace, self.dest, lines)


def run(arguments: argparse.Namespace) -> int:
    sections = ("fastagi", "http", "store", "audiosocket", "server")
    config = load(arguments.config) if arguments.serve else load_part(arguments.config, *sections)
    with contextlib.ExitStack() as stack:
        if arguments.serve:
            config = stack.enter_context(local_server(config)).config
        lines = asyncio.run(_lines(arguments.lines or DEMO, arguments.voice))
        live = stack.enter_context(_transcript(config, quiet=arguments.json))
        caller = Caller(lines, linger=arguments.linger, patience=arguments.patience, tell=live.caller_says)
        try:
            result = asyncio.run(_call(caller, live, config, arguments))
        except OSError as error:
            print(f"asterisk-ai: the server is gone: {error}", file=sys.stderr)
            return 1
        session = live.finish()
    recorded = _record(result, arguments.record)
    if arguments.json:
        print(json.dumps(_summary(result, session, arguments.record if recorded else "")))
    else:
        _report(result, session, config, arguments.record if recorded else "")
    ended_well = result.status == "OK" and result.next != SERVER_LOST
    return 0 if recorded and ended_well and all(r.seconds is not None for r in result.responses) else 1


async def _call(caller: Caller, live: _Live, config: Config, arguments: argparse.Namespace) -> Result:
    async with asyncio.TaskGroup() as group:
        showing = group.create_task(live.show())
        result = await simulate(
            caller,
            host=arguments.host or config.fastagi.host,
            fastagi_port=arguments.port or config.fastagi.port,
            agent=arguments.agent,
            number=arguments.number,
            on_registered=live.registered,
        )
        showing.cancel()
    return result


# ---- what the caller says ------------------------------------------------------


async def _lines(asked: Sequence[tuple[str, str]], voice: str) -> list[Line]:
    return [await _line(kind, value, voice) for kind, value in asked]


async def _line(kind: str, value: str, voice: str) -> Line:
    match kind:
        case "dtmf":
            return Line(f"dials {value}", digits=value)
        case "wav":
            return Line(value, pcm=speech_in(value))
        case _:
            return Line(value, pcm=await speech_of(value, voice), barge_in=1.0 if kind == "interrupt" else None)


# ---- what is shown --------------------------------------------------------------------


class _Live:
    """Follows the call's record in the server's store and prints each turn once it is complete."""

    def __init__(self, reader: SqliteReader | None, *, quiet: bool) -> None:
        self._reader = reader
        self._quiet = quiet
        self._call_id = ""
        self._shown = 0

    def registered(self, call_id: str) -> None:
        self._call_id = call_id
        self._print(f"call {call_id}")

    def caller_says(self, label: str) -> None:
        self._print(f"  [the caller: {label}]")

    async def show(self) -> None:
        while True:
            self._show(self._find(), complete=False)
            await asyncio.sleep(_POLL_SECONDS)

    def finish(self) -> CallSession | None:
        """The record at the end, its last turns printed."""
        until = time.monotonic() + 2.0
        session = self._find()
        while session is not None and not session.ended and time.monotonic() < until:
            time.sleep(0.05)
            session = self._find()
        self._show(session, complete=True)
        return session

    def _find(self) -> CallSession | None:
        try:
            return self._reader.find(self._call_id) if self._reader is not None and self._call_id else None
        except StoreError:
            return None  # locked for a moment; the next look will do

    def _show(self, session: CallSession | None, *, complete: bool) -> None:
        history = session.history if session is not None else []
        while self._shown < len(history):
            record = history[self._shown]
            if record.role == "agent" and not record.text and not complete:
                return  # still being said
            self._print(turn_line(record))
            self._shown += 1

    def _print(self, text: str) -> None:
        if not self._quiet:
            print(text, flush=True)


@contextlib.contextmanager
def _transcript(config: Config, *, quiet: bool) -> Iterator[_Live]:
    """The server's own record of the call, where it is kept on this machine."""
    reader = None
    if config.store.backend == "sqlite":
        try:
            reader = SqliteReader(config.store_path())
        except StoreError as error:
            if not quiet:
                print(f"(no transcript: {error})")
    elif not quiet:
        print("(no transcript: the server keeps its calls in memory)")
    try:
        yield _Live(reader, quiet=quiet)
    finally:
        if reader is not None:
            reader.close()


def _record(result: Result, path: str) -> bool:
    """Write the recording; what keeps it from being written is told and harms nothing else."""
    try:
        if result.caller:
            soundfile.write(path, result.stereo(), RATE, subtype="PCM_16")
    except (soundfile.LibsndfileError, OSError) as error:
        print(f"asterisk-ai: no recording: {path} cannot be written: {error}", file=sys.stderr)
        return False
    return True


def _summary(result: Result, session: CallSession | None, recording: str) -> dict[str, Any]:
    return {
        "call_id": result.call_id,
        "status": result.status,
        "next": result.next,
        "responses": [{"line": r.label, "seconds": r.seconds} for r in result.responses],
        "variables": {name: value for name, value in result.variables.items() if name.startswith("AI_")},
        "recording": recording if result.caller else "",
        "record": json.loads(session.to_json()) if session is not None else None,
    }


_STATUS_HELP = {
    "UNREACHABLE": "no server answers at {where}: start one with asterisk-ai serve, or use --serve",
    "FULL": "the server has as many calls as server.max_calls allows",
    "DRAINING": "the server is about to stop",
    "UNKNOWN_AGENT": "the server's configuration has no such agent",
}


def _report(result: Result, session: CallSession | None, config: Config, recording: str) -> None:
    if result.status != "OK":
        where = f"{config.fastagi.host}:{config.fastagi.port}"
        print(f"the call was not taken: {_STATUS_HELP.get(result.status, result.status).format(where=where)}")
        return
    print()
    print("from the caller's last sound to the agent's first:")
    for response in result.responses:
        answer = "no answer" if response.seconds is None else f"{response.seconds * 1000:5.0f} ms"
        print(f"  {answer:>9}  {response.label}")
    details = {name: value for name, value in result.variables.items() if name in _ACTION_VARIABLES and value}
    print(f"then: {result.next} {' '.join(f'{name}={value}' for name, value in details.items())}".rstrip())
    if session is not None:
        print(f"outcome: {session.outcome or 'open'}, {len(session.history)} turns")
    if recording:
        print(f"recording: {recording} ({len(result.caller) / 2 / RATE:.1f} s, left: caller, right: agent)")


_ACTION_VARIABLES = {argument.variable for arguments in ACTIONS.values() for argument in arguments.values()}
