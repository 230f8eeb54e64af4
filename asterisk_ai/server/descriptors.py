"""Open files: how many a full server needs, how many it may have, and how many it has.

A server without any refuses callers without a line, as it cannot even accept their connections.
"""

from __future__ import annotations

import logging
import os
import resource

from asterisk_ai.config import Config

logger = logging.getLogger(__name__)

EACH_CALL = 4
"""Its audio, the dialplan's question about it, and what its engines are asked over."""
BESIDES = 150
"""Listeners, the store, engines' worker processes, probes."""
RESERVE = 32
"""So few are left: no new calls, so that those there are go on."""
_CURE = "raise LimitNOFILE= in the service's unit (or ulimit -n), or lower server.max_calls"


def needed(config: Config) -> int:
    """With ``server.max_calls`` calls, and all the strangers that are let in."""
    strangers = config.audiosocket.max_connections + 2 * config.fastagi.max_connections
    strangers += config.websocket.max_connections if config.websocket is not None else 0
    return config.server.max_calls * EACH_CALL + strangers + BESIDES


def shortage(config: Config) -> str:
    """Why the limit of this process is too low for the configuration; empty where it is not."""
    limit, wanted = _limit(), needed(config)
    if limit >= wanted:
        return ""
    return (
        f"server.max_calls {config.server.max_calls} may need {wanted:,} open files, and this process may have "
        f"{limit:,}: {_CURE}"
    )


class Descriptors:
    """Looked at now and then."""

    def __init__(self) -> None:
        self.limit = _limit()
        self.open = 0
        self.exhausted = 0
        """How often there were none left."""

    def look(self) -> None:
        was_short, self.open = bool(self.problem()), _open()
        if self.open >= self.limit:
            self.exhausted += 1
        if self.problem() and not was_short:
            logger.error("%s", self.problem())

    def problem(self) -> str:
        """Why no more calls should come; empty where they may."""
        if self.open + RESERVE <= self.limit:
            return ""
        return f"{self.open:,} of {self.limit:,} files that this process may open are open: {_CURE}"


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _open() -> int:
    """The open files of this process; all there may be where there are too many to look."""
    try:
        # Linux tells their number as the folder's size from 6.2 on.
        return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return 0  # no Linux
    except OSError:
        return _limit()
