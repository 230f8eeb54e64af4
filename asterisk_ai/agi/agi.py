"""``asterisk-ai-agi``: the way into the server for dialplans that prefer ``AGI()`` to ``AGI(agi://...)``.

In the dialplan::

    AGI(asterisk-ai-agi,start,reception)
    AGI(asterisk-ai-agi,next,${AI_CALL_ID},${AI_PLAYED},${AI_DIALLED})
    AGI(asterisk-ai-agi,end,${AI_CALL_ID})

sets what the FastAGI routes of the same names set. Where the server is not
there, ``start`` and ``next`` set AI_STATUS to UNAVAILABLE, and ``next`` sets
AI_NEXT to fallback. The program ends with 0 in every case: the caller's way
on is the dialplan's to choose, and AGISTATUS cannot say as much.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote

from asterisk_ai import config
from asterisk_ai.agi.asterisk import Asterisk
from asterisk_ai.agi.relay import MakeRelay, Relay, relay_call, tell_dialplan
from asterisk_ai.errors import CallHungUp, ConfigError, RemoteProtocolError

_UNAVAILABLE = {"AI_STATUS": "UNAVAILABLE"}


class UsageError(Exception):
    """The dialplan calls the program with the wrong arguments."""


class Parser(argparse.ArgumentParser):
    """Keeps off stdout, which is Asterisk's, and does not end the program."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, add_help=False, allow_abbrev=False)
        self.add_argument("-h", "--help", action="store_true", help="show this and end")
        self.add_argument("--config", metavar="FILE", help="the server's asterisk_ai.yaml, to learn its address")
        self.add_argument("--host", help="the server's address, instead of the configuration's fastagi.host")
        self.add_argument("--port", type=int, help="its port, instead of fastagi.port")

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


@dataclass(frozen=True, slots=True)
class Job:
    """What one run does: the route with its query, its arguments, and what the dialplan is told without a server."""

    script: str
    arguments: tuple[str, ...] = ()
    unavailable: Mapping[str, str] | None = None


def start(arguments: Sequence[str]) -> Job:
    if len(arguments) > 1:
        raise UsageError("start takes one agent's name at most")
    return Job(f"call/start{agent_query(*arguments)}", unavailable=_UNAVAILABLE)


def next_(arguments: Sequence[str]) -> Job:
    # What became of what it was told before: the sample dialplan's AI_PLAYED and AI_DIALLED
    return Job("call/next", one_call(arguments[:1]) + tuple(arguments[1:3]), _UNAVAILABLE | {"AI_NEXT": "fallback"})


def end(arguments: Sequence[str]) -> Job:
    return Job("call/end", one_call(arguments))


def agent_query(agent: str = "") -> str:
    return f"?agent={quote(agent, safe='')}" if agent else ""


def one_call(arguments: Sequence[str]) -> tuple[str, ...]:
    if len(arguments) != 1:
        raise UsageError("the call is missing: give ${AI_CALL_ID}")
    return tuple(arguments)


_ACTIONS: dict[str, Callable[[Sequence[str]], Job]] = {"start": start, "next": next_, "end": end}


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Returns its exit status."""
    parser = Parser("asterisk-ai-agi", "To be run by Asterisk: AGI(asterisk-ai-agi,start|next|end,...)")
    parser.add_argument("action", nargs="?", default="", help="start [AGENT], next CALL [PLAYED] or end CALL")
    parser.add_argument("arguments", nargs="*", help="the agent's name, or ${AI_CALL_ID}")

    def job(options: argparse.Namespace) -> Job:
        if options.action not in _ACTIONS:
            raise UsageError(f"no such action: {options.action!r} (start, next or end)")
        return _ACTIONS[options.action](options.arguments)

    return run(parser, job, sys.argv[1:] if argv is None else argv, Relay)


def run(parser: Parser, job: Callable[[argparse.Namespace], Job], argv: Sequence[str], make_relay: MakeRelay) -> int:
    """What the AGI programs have in common, from the command line to the exit status."""
    if sys.stdin is None or sys.stdin.isatty() or "--help" in argv or "-h" in argv:
        print(parser.format_help(), file=sys.stderr)
        return 0 if "--help" in argv or "-h" in argv else 2
    try:
        asterisk = Asterisk()
    except CallHungUp:
        return 0
    except RemoteProtocolError as error:
        print(f"{parser.prog}: this is not Asterisk on stdin: {error}", file=sys.stderr)
        return 2
    try:
        options = parser.parse_args(argv)
        todo = job(options)
        host, port = address(options)
    except UsageError as error:
        tell_dialplan(asterisk, f"{parser.prog}: {error}", {"AI_STATUS": "ERROR"})
        return 0
    relay_call(asterisk, (host, port), todo.script, todo.arguments, unavailable=todo.unavailable or {}, make=make_relay)
    return 0


def address(options: argparse.Namespace) -> tuple[str, int]:
    """Where the server listens: from the command line, else from the configuration."""
    host, port = options.host, options.port
    if host is None or port is None:
        try:
            fastagi = config.load_part(options.config, "fastagi").fastagi
        except ConfigError as error:
            # It may be that only the server's user can read it
            fastagi = config.FastAGIConfig()
            print(f"asterisk-ai: {error}; trying {fastagi.host}:{fastagi.port}", file=sys.stderr)
        host = fastagi.host if host is None else host
        port = fastagi.port if port is None else port
    return config.reachable(host), port
