"""One server a store: a second one would take the first one's calls for those of a server that was lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from pathlib import Path

from asterisk_ai.errors import StoreError

logger = logging.getLogger(__name__)

WAIT_SECONDS = 5.0
"""A server that is just ending has the lock for so long at most."""


class StoreInUse(StoreError):
    """Another server has the store."""


class StoreLock:
    """Held from the server's start to its end, whatever ends it, on a file beside the store.

    It is the file description that holds it, so that processes which inherit :attr:`descriptor`, or are given it to put
    there before :meth:`acquire`, hold it, too.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self.descriptor = -1

    def acquire(self, wait_seconds: float | None = None) -> None:
        """Take it, and wait for one that ends.

        :raises StoreInUse: it is another server's.
        :raises OSError: the file cannot be made.
        """
        if self.descriptor >= 0:
            self._sign()
            return
        self.descriptor = os.open(self._store.with_name(self._store.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o640)
        until = time.monotonic() + (WAIT_SECONDS if wait_seconds is None else wait_seconds)
        while not self._locked():
            if time.monotonic() >= until:
                holder = os.pread(self.descriptor, 20, 0).decode("ascii", "replace").strip() or "?"
                self.release()
                raise StoreInUse(
                    f"{self._store} is in use by another server (process {holder}, or what it has left behind): "
                    "stop that one, or give this one a store.path of its own"
                )
            time.sleep(0.05)
        self._sign()

    def _sign(self) -> None:
        with contextlib.suppress(OSError):  # the disk is full; the lock holds all the same
            os.truncate(self.descriptor, 0)
            os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):  # some network file systems have no locks
                logger.warning("%s cannot be locked: %s", self._store, error)
                return True
            return False
        return True

    def release(self) -> None:
        """Give it up; not where processes that inherited it still run."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1
