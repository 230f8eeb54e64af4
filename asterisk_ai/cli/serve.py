"""``asterisk-ai serve``: the server, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from asterisk_ai.config import load, service_manager
from asterisk_ai.config.paths import SYSTEM_STATE
from asterisk_ai.pbx.access import share_state
from asterisk_ai.server.server import Server
from asterisk_ai.server.supervisor import Supervisor
from asterisk_ai.server.worker import ALONE, WorkerPlace
from asterisk_ai.telemetry import logs

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "serve",
        help="run the server in the foreground",
        description="Run the server in the foreground, as systemd likes it: READY notification, SIGTERM (or Ctrl-C) "
        "lets calls finish within server.drain_seconds and a second one ends at once, SIGHUP reads the configuration "
        "again for new calls.",
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml to use")
    parser.add_argument(
        "--worker", type=_place, default=ALONE, metavar="I/N", help=argparse.SUPPRESS
    )  # the supervisor's
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    log = config.log
    handler = logs.configure_service(level=log.level, style=log.format, transcripts=log.transcripts)

    prepare_process()
    place: WorkerPlace = arguments.worker
    spool = config.spool_path()
    if place is ALONE and spool.parent == SYSTEM_STATE and (note := share_state((SYSTEM_STATE, spool))):
        logger.warning("%s", note)

    async def serve() -> None:
        if place is ALONE and config.server.workers > 1:
            await Supervisor(config, service_manager(), log=handler, end_within=end_within).run()
            return
        manager = service_manager() if place is ALONE else None
        server = Server(config, manager, place=place, log=handler, end_within=end_within)
        if place is not ALONE:
            _end_with_supervisor(server)
        await server.run(lambda _: settle_memory())

    async def serve_then_ignore_signals() -> None:
        try:
            await serve()
        finally:
            _ignore_signals()

    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve_then_ignore_signals())
    finally:
        end_within(END_SECONDS)
        written = handler.finish()
    if not written:
        os._exit(0)  # Python would wait for the thread that writes to a standard error that nobody reads
    return 0


def _place(text: str) -> WorkerPlace:
    index, _, workers = text.partition("/")
    return WorkerPlace(int(index), int(workers))


END_SECONDS = 10.0
"""For what comes after the server's end: its log, and the interpreter's own end."""


def end_within(seconds: float) -> None:
    """End this process in so many seconds, whatever any of its threads waits for then; replaces an earlier limit."""
    # Not to standard error: that nobody reads it may be what is waited for.
    faulthandler.dump_traceback_later(seconds, exit=True, file=open(os.devnull, "w"))  # noqa: SIM115


def _ignore_signals() -> None:
    """The server has ended: a further SIGTERM that met the interpreter's own end would make a failure of it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


def _end_with_supervisor(server: Server) -> None:
    """A worker ends with its supervisor, whatever ended that."""

    def orphaned() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            server.stop(at_once=True)  # the next server needs our ports and our calls

    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), orphaned)


def prepare_process() -> None:
    """A thousand calls are a thousand descriptors; many a login allows 1,024 unless asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle_memory() -> None:
    """What is there when the server is ready stays: the collector, which stops all calls' audio, need not look at it.

    And it looks seldom: frames leave no cycles behind, calls a few.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 5)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed: half the cost of a frame."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
