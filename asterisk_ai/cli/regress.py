"""``asterisk-ai regress``: real calls through a real Asterisk over every transport, and a report about them."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator.installation import Installation, installed, unpacked
from asterisk_ai.simulator.regression.report import answered, markdown, result
from asterisk_ai.simulator.regression.run import regression
from asterisk_ai.simulator.regression.transfers import table, transfers
from asterisk_ai.simulator.regression.transports import NAMES, TRANSPORTS
from asterisk_ai.simulator.regression.trial import Verdict

_DESCRIPTION = """\
Makes real calls through a real Asterisk to an agent of its own, over every way that audio can go, and judges them:
is what the caller says understood, dialled keys included, is every answer heard, does the transfer arrive, are the
expected lines in the log, is /health back to 0 calls within 5 s of a hang-up, is nothing left behind in Asterisk.

To be run after an upgrade of Asterisk or of asterisk-ai. Telephones feel nothing of it: an Asterisk of its own runs for
the time, the same program with a configuration below /tmp and on free ports of 127.0.0.1, and a server of its own.
It takes about a minute a way.
"""
_EPILOG = """\
exit status: 0 where everything that could be tried passed, 1 where something failed or nothing could be tried.
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "regress",
        help="calls through a real Asterisk over every transport, with a report",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--asterisk", metavar="PROGRAM", default="",
        help="Asterisk's program, or a folder with a system that has one (default: the installed one, else the one "
        "that scripts/get_asterisk.sh unpacked)",
    )  # fmt: skip
    parser.add_argument(
        "--transport", action="append", choices=NAMES, metavar="NAME",
        help=f"only this one of {', '.join(NAMES)}; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="folder for report.md, recordings and logs (default: asterisk-ai-regression-DATE-TIME, here)",
    )  # fmt: skip
    parser.add_argument("--light", action="store_true", help="with a plain voice (espeak), which a busy machine bears")
    parser.add_argument(
        "--calls", type=int, default=0, metavar="N",
        help="N further short calls over each, several at a time, whose callers hang up at once or in mid-speech: is "
        "nothing left of them? (a second each, or more)",
    )  # fmt: skip
    parser.add_argument(
        "--transfers", type=int, default=0, metavar="N",
        help="instead: N transfers of all kinds, with simulated people at both ends: taken, declined, busy, nobody "
        "there, hung up at either end, called off, the server killed in the briefing",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    now = datetime.now().astimezone()
    installation = _installation(arguments.asterisk)
    version = installation.version()
    folder: Path = arguments.output or Path(f"asterisk-ai-regression-{now:%Y-%m-%d-%H%M%S}")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{version} ({installation.program[-1]})", flush=True)
    if arguments.transfers:
        return _transfers(installation, arguments.transfers, folder)
    wanted = [each for each in TRANSPORTS if not arguments.transport or each.name in arguments.transport]
    verdicts: list[Verdict] = []
    try:
        for verdict in regression(
            installation, wanted, folder, light=arguments.light, calls=arguments.calls, tell=_tell
        ):
            verdicts.append(verdict)
            _show(verdict)
    finally:
        report = folder / "report.md"
        engines = "moonshine, rules, espeak" if arguments.light else "those that agents have by default"
        report.write_text(markdown(verdicts, asterisk=version, engines=engines, at=now), "utf-8")
        print(f"\nreport: {report}")
    tried = [verdict for verdict in verdicts if not verdict.skipped]
    if not tried:
        print("nothing could be tried", file=sys.stderr)
    return 0 if tried and all(verdict.ok for verdict in tried) else 1


def _transfers(installation: Installation, number: int, folder: Path) -> int:
    found = transfers(installation, number, folder, _tell)
    report = folder / "report.md"
    report.write_text(f"# {number} transfers\n\n{installation.version()}\n\n{table(found)}", "utf-8")
    print(f"{table(found)}\nreport: {report}")
    return 1 if any(one.problem for one in found) else 0


def _installation(named: str) -> Installation:
    """The Asterisk that is asked for, or there. Raises AsteriskAIError where there is none."""
    cache = Path(os.environ.get("ASTERISK_AI_CACHE", "/var/cache/asterisk-ai"))
    if named:
        found = unpacked(Path(named)) if Path(named).is_dir() else installed(named)
        if found is None:
            raise AsteriskAIError(f"{named} is no Asterisk that can be run")
        return found
    found = installed() or unpacked(cache / "asterisk")
    if found is None:
        raise AsteriskAIError(
            "there is no Asterisk on this machine. Install it, name its program with --asterisk, or have a copy "
            "unpacked for tests (Debian, as root): scripts/get_asterisk.sh"
        )
    return found


def _tell(text: str) -> None:
    print(f"  ... {text}", flush=True)


def _show(verdict: Verdict) -> None:
    print(
        f"{result(verdict):10}  {verdict.transport.title}: {verdict.skipped or 'voice to voice ' + answered(verdict)}"
    )
    for check in verdict.checks:
        if not check.ok:
            print(f"            FAILED: {check.text}: {check.evidence}")
    sys.stdout.flush()
