"""Where sessions are kept: one module for each ``store.backend``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from asterisk_ai.config import Config
from asterisk_ai.errors import ConfigError
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
    taken: Callable[[str], None] | None = None,
) -> Backend:
    """The backend that the configuration names; :meth:`Backend.start` opens it.

    :param shared: for one of several processes of a server that has opened it, too.
    :param wanted: who is to be told of a call as it is now, where the backend is on a disk.
    :param entered: called, on another thread, when that was entered.
    :param taken: told, on another thread, of a call that another host has taken over; None where calls that last are
        not to be shared with other hosts, whatever the configuration says.
    :raises ConfigError: they are, and what that needs is not installed.
    """
    own = _own(config, shared=shared, wanted=wanted, entered=entered)
    if taken is None or not config.store.shared:
        return own
    try:
        from asterisk_ai.session.backends.shared import SharedBackend
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'asterisk-ai[redis]'", path="store.shared") from error
    try:
        return SharedBackend(own, config.store.shared, taken)
    except ValueError as error:
        raise ConfigError(str(error), path="store.shared") from None


def _own(
    config: Config,
    *,
    shared: bool,
    wanted: Callable[[CallSession], Sequence[Delivery]],
    entered: Callable[[], None],
) -> Backend:
    match config.store.backend:
        case "memory":
            return MemoryBackend()
        case "sqlite":
            return SqliteBackend(
                config.store_path(), keep_days=config.store.keep_days, shared=shared, wanted=wanted, entered=entered
            )
