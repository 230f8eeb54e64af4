"""``asterisk-ai upgrade``: the installed code takes over from the running server, and no call is cut."""

from __future__ import annotations

import argparse
import signal
import time
from typing import Any

from asterisk_ai.cli import running
from asterisk_ai.config import load
from asterisk_ai.errors import AsteriskAIError

SECONDS = 200.0


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "upgrade",
        help="have the code that is installed now take over from the running server, without a cut",
        description="After pip install --upgrade: the running server starts a new one, which takes all new calls on "
        "the same ports as soon as its engines are loaded. Calls that are being talked stay in the old process until "
        "they end, server.handover_seconds at the longest. If the new one does not start, the old one goes on.",
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml to use")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    before = running.health(config)
    if before is None:
        raise AsteriskAIError("no server answers on http.host and http.port: there is nothing to take over from")
    if config.store.backend != "sqlite":
        raise AsteriskAIError(
            "store.backend is memory: only a server that keeps its calls on the disk can hand them over"
        )
    pid = int(before.get("pid", 0))
    running.send(pid, signal.SIGUSR2)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(running.POLL_SECONDS)
        now = running.health(config)
        if now is not None and now.get("pid") != pid:
            print(f"asterisk-ai {now.get('version')} has taken over (process {now.get('pid')})")
            return 0
        if now is not None and now.get("upgrade_problem"):
            raise AsteriskAIError(f"the running server goes on: {now['upgrade_problem']}")
    raise AsteriskAIError(f"no other server has taken over within {SECONDS:g} s; its log says why")
