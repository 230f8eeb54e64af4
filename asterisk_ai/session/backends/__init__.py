"""Where sessions are kept: one module for each ``store.backend``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asterisk_ai.config import Config
from asterisk_ai.session.backends.deliveries import Delivery
from asterisk_ai.session.backends.memory import MemoryBackend
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import Backend


def open_backend(
    config: Config,
    *,
    shared: bool = False,
    wanted: Callable[[CallSession], Sequence[Delivery]] = lambda session: (),
    entered: Callable[[], None] = lambda: None,
) -> Backend:
    """The backend that the configuration names; :meth:`Backend.start` opens it.

    :param shared: for one of several processes of a server that has opened it, too.
    :param wanted: who is to be told of a call as it is now, where the backend is on a disk.
    :param entered: called, on another thread, when that was entered.
    """
    match config.store.backend:
        case "memory":
            return MemoryBackend()
        case "sqlite":
            return SqliteBackend(
                config.store_path(), keep_days=config.store.keep_days, shared=shared, wanted=wanted, entered=entered
            )
