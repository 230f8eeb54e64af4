"""``asterisk-ai serve``: the server, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
from collections.abc import Callable
from typing import Any

from asterisk_ai.config import load, service_manager
from asterisk_ai.server import Server
from asterisk_ai.telemetry import logs


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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    logs.configure(level=config.log.level, style=config.log.format, transcripts=config.log.transcripts)

    prepare_process()

    async def serve() -> None:
        await Server(config, service_manager()).run(lambda _: settle_memory())

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve())
    return 0


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
    gc.set_threshold(20_000, 20, 50)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed: half the cost of a frame."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
