"""One file: fetched, resumed, checked, and only then given its name."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asterisk_ai.errors import ModelError
from asterisk_ai.models.registry import File
from asterisk_ai.models.sources import Opened, Setback, Source, SourceRefusal

CHUNK = 1 << 18
PART = ".part"


@dataclass(frozen=True, slots=True)
class Policy:
    """When to try again and when to give up.

    A try that brought at least ``progress_share`` of the file, or
    ``progress_bytes``, does not count: a bad line gets there, and a server
    that always breaks off at once is given up. An ``unreachable`` host gets
    fewer tries, so that a PBX without internet is told so at once. Slower
    than ``slow_bytes_per_second`` for ``slow_seconds`` is a stall.
    """

    attempts: int = 5
    attempts_unreachable: int = 2
    backoff_seconds: float = 1.0
    backoff_most_seconds: float = 30.0
    retry_after_most_seconds: float = 120.0
    progress_share: float = 1 / 16
    progress_bytes: int = 4 << 20
    slow_bytes_per_second: float = 1024.0
    slow_seconds: float = 30.0

    def delay(self, attempt: int, after: float | None) -> float:
        """Seconds until the next try: what the server asked for, else exponential, scattered."""
        if after is not None:
            return after
        most = min(self.backoff_most_seconds, self.backoff_seconds * 2.0 ** (attempt - 1))
        return most * random.uniform(0.5, 1.0)  # noqa: S311  # so that many hosts do not come back at once


class ProgressListener(Protocol):
    """Is told how a transfer goes, from its thread."""

    def started(self, label: str, size: int, done: int) -> None: ...

    def moved(self, label: str, done: int) -> None: ...

    def setback(self, label: str, why: str, seconds: float) -> None: ...

    def finished(self, label: str, what: str) -> None: ...


class FetchStopped(Exception):
    """The fetch was ended from outside. What has come stays for the next one."""


class Digests:
    """SHA-256 always, because the manifest wants it; MD5 where the registry knows nothing better."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if file.weak else None
        self.size = 0

    def update(self, data: bytes) -> None:
        self._sha256.update(data)
        if self._md5 is not None:
            self._md5.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def problem(self) -> str:
        """What is wrong with the whole content, "" where nothing is."""
        found = f"md5:{self._md5.hexdigest()}" if self._md5 is not None else f"sha256:{self.sha256}"
        if self.size != self._file.size:
            return f"it has {self.size} bytes, the registry says {self._file.size}"
        return "" if found == self._file.digest else f"its digest is {found}, the registry says {self._file.digest}"


class Transfer:
    """Brings ``file`` to ``target``.

    The bytes go to ``<target>.part``, which may be cut off at any of them: the
    next run hashes what is there and asks for the rest. ``target`` itself
    appears by a rename, when size and digest are right.
    """

    def __init__(
        self, source: Source, file: File, urls: Sequence[str], target: Path, *,
        label: str, listener: ProgressListener, policy: Policy, stop: threading.Event,
    ) -> None:  # fmt: skip
        self._source, self._file, self._urls = source, file, urls
        self._target, self._part = target, target.with_name(target.name + PART)
        self._label, self._listener, self._policy, self._stop = label, listener, policy, stop

    def run(self) -> str:
        """Fetch; returns the SHA-256.

        :raises ModelError: it cannot be had; each URL with its reason.
        :raises FetchStopped: ``stop`` was set.
        :raises OSError: the disk. A full one has the part deleted: what is left of a PBX's disk is needed by its calls.
        """
        if self._target.exists():  # from a run that ended before the model was whole
            self._target.replace(self._part)
        reasons = []
        try:
            for url in self._urls:
                try:
                    return self._from(url)
                except SourceRefusal as refusal:
                    reasons.append(str(refusal))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self._part.unlink(missing_ok=True)
            raise
        if self._size() == 0:
            self._part.unlink(missing_ok=True)
        raise ModelError(f"{self._file.path}: {'; '.join(dict.fromkeys(reasons))}")

    def _from(self, url: str) -> str:
        attempt = 0
        while True:
            before = self._size()
            try:
                return self._attempt(url)
            except Setback as setback:
                gained = self._size() - before
                attempt = 1 if self._is_progress(gained) else attempt + 1
                most = self._policy.attempts_unreachable if setback.unreachable else self._policy.attempts
                if attempt >= most:
                    times = f" (tried {attempt} times)" if attempt > 1 else ""
                    raise SourceRefusal(f"{setback}{times}") from setback
                if setback.after is not None and setback.after > self._policy.retry_after_most_seconds:
                    raise SourceRefusal(f"{setback}, and asks us to come back in {setback.after:.0f} s") from setback
                delay = self._policy.delay(attempt, setback.after)
                self._listener.setback(self._label, str(setback), delay)
                if self._stop.wait(delay):
                    raise FetchStopped from setback

    def _is_progress(self, gained: int) -> bool:
        return gained >= min(self._policy.progress_bytes, max(1, self._file.size * self._policy.progress_share))

    def _size(self) -> int:
        try:
            return self._part.stat().st_size
        except FileNotFoundError:
            return 0

    def _attempt(self, url: str) -> str:
        """One connection. Raises Setback and SourceRefusal."""
        digests = Digests(self._file)
        handle = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            if os.fstat(handle).st_size > self._file.size:
                os.ftruncate(handle, 0)
            self._hash(handle, digests)
            resumed = digests.size
            self._listener.started(self._label, self._file.size, resumed)
            if resumed < self._file.size:
                digests, resumed = self._receive(url, handle, digests)
            problem = digests.problem()
            if problem:
                os.ftruncate(handle, 0)
                if resumed:
                    raise Setback(f"what was there of it does not fit to the rest ({problem})", after=0.0)
                raise SourceRefusal(f"{url} is not what the registry describes: {problem}")
            os.fsync(handle)
        finally:
            os.close(handle)
        self._part.replace(self._target)
        self._listener.finished(self._label, "checked")
        return digests.sha256

    def _hash(self, handle: int, digests: Digests) -> None:
        """Take up what an earlier run has left."""
        while data := os.read(handle, CHUNK):
            self._check_stop()
            digests.update(data)

    def _receive(self, url: str, handle: int, digests: Digests) -> tuple[Digests, int]:
        """Append the rest, or all of it where the server cannot continue; also says where it began."""
        try:
            opened = self._source.open(url, digests.size)
        except Setback as setback:
            if setback.anew:
                os.ftruncate(handle, 0)
            raise
        try:
            if opened.total is not None and opened.total != self._file.size:
                raise SourceRefusal(
                    f"{url} is not what the registry describes: it has {opened.total} bytes, "
                    f"the registry says {self._file.size}"
                )
            if opened.start != digests.size:  # it cannot continue: all of it once more
                os.ftruncate(handle, 0)
                os.lseek(handle, 0, os.SEEK_SET)
                digests = Digests(self._file)
            self._copy(opened, url, handle, digests)
        finally:
            opened.body.close()
        return digests, opened.start

    def _copy(self, opened: Opened, url: str, handle: int, digests: Digests) -> None:
        pace = _Pace(self._policy)
        while digests.size <= self._file.size:
            data = opened.body.read(CHUNK)
            if not data:
                break
            self._check_stop()
            _write(handle, data)
            digests.update(data)
            self._listener.moved(self._label, digests.size)
            if pace.stalled(len(data)):
                raise Setback(f"less than {self._policy.slow_bytes_per_second:g} bytes a second come from {url}")
        if digests.size < self._file.size:
            raise Setback(f"the connection ended {self._file.size - digests.size} bytes too early")

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise FetchStopped


class _Pace:
    """Whether a transfer crawls."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy, self._clock = policy, clock
        self._since, self._bytes = clock(), 0

    def stalled(self, size: int) -> bool:
        """Count ``size`` bytes; True where the last window was too slow."""
        self._bytes += size
        elapsed = self._clock() - self._since
        if elapsed < self._policy.slow_seconds:
            return False
        slow = self._bytes < self._policy.slow_bytes_per_second * elapsed
        self._since, self._bytes = self._clock(), 0
        return slow


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
