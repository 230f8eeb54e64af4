"""Turns of tests that run in several processes: many at once, or one that needs the whole machine alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = "ASTERISK_AI_TESTS_LOCKS"
"""The environment variable that tells the processes of a run where its locks are."""


def begin() -> None:
    """In the process that starts the others, before it does."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="asterisk-ai-tests-")


def end() -> None:
    """There, after they have ended."""
    shutil.rmtree(os.environ.pop(FOLDER))


@contextlib.contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Wait for one. Whoever waits to be alone keeps the gate, so that nobody else begins meanwhile."""
    locks = Path(os.environ[FOLDER])
    with (locks / "gate").open("w") as gate, (locks / "machine").open("w") as machine:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield  # both locks end with their files
