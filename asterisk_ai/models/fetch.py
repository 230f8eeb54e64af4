"""Models: fetched side by side, put together, and put into the store whole."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from asterisk_ai.errors import ModelError
from asterisk_ai.models.registry import File, Model, urls
from asterisk_ai.models.sources import Source
from asterisk_ai.models.store import Store
from asterisk_ai.models.transfer import PART, FetchStopped, Policy, ProgressListener, Transfer
from asterisk_ai.models.unpack import unpack

_MADE = "model"


@dataclass(frozen=True, slots=True)
class Settings:
    """``parallel`` files at a time; ``reserve_bytes`` stay free on the disk."""

    mirror: str = ""
    parallel: int = 4
    reserve_bytes: int = 256 << 20
    policy: Policy = field(default_factory=Policy)


@dataclass(slots=True)
class FetchResult:
    """Ids by what became of them; ``failed`` with the reason."""

    present: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Work:
    """A model on its way: the files that still lack, and the SHA-256 of those that are there."""

    model: Model
    lacking: int
    hashes: dict[str, str] = field(default_factory=dict)


class Fetcher:
    """Fetches models into ``store`` and tells ``listener`` about it."""

    def __init__(
        self, store: Store, source: Source, listener: ProgressListener, settings: Settings | None = None
    ) -> None:
        self._store, self._source, self._listener = store, source, listener
        self._settings = settings or Settings()
        self._stop = threading.Event()
        self._guard = threading.Lock()

    def fetch(self, models: Sequence[Model], waiting: Callable[[str], None] | None = None) -> FetchResult:
        """Fetch those that are not there and well. What fails leaves the others alone.

        :param waiting: called where another fetch is under way, with its process id; we wait for it.
        :raises ModelError: nothing could be begun: the disk is too small, or the directory not writable.
        """
        with self._store.lock(waiting):
            outcome = FetchResult()
            lacking = []
            for model in models:
                if self._store.problem(model.id, model):
                    lacking.append(model)
                else:
                    outcome.present.append(model.id)
                    self._store.freshen(model.id)
                    self._store.sweep(model.id)
            if lacking:
                self._check_room(self.room_needed(lacking))
                self._fetch(lacking, outcome)
            return outcome

    def room_needed(self, models: Sequence[Model]) -> int:
        """Bytes on the disk: what is still to come, and once more the size of an archive for what is in it."""
        needed = 0
        for model in models:
            for file in model.files:
                here = self._target(model, file)
                done = sum(path.stat().st_size for path in (here, here.with_name(here.name + PART)) if path.exists())
                needed += max(0, file.size - done) + (file.size if model.archive else 0)
        return needed

    def _fetch(self, models: Sequence[Model], outcome: FetchResult) -> None:
        executor = ThreadPoolExecutor(self._settings.parallel, thread_name_prefix="fetch")
        try:
            futures: list[Future[None]] = []
            for model in models:
                work = _Work(model, len(model.files))
                futures += [executor.submit(self._job, work, file, outcome) for file in model.files]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:  # Ctrl-C comes here: what has come so far stays for the next run
            self._stop.set()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown()

    def _job(self, work: _Work, file: File, outcome: FetchResult) -> None:
        """One file; the last one of a model finishes it."""
        model = work.model
        try:
            sha256 = self._transfer(model, file)
            with self._guard:
                work.hashes[file.path] = sha256
                work.lacking -= 1
                complete = work.lacking == 0
            if complete:
                self._finish(model, work.hashes)
                with self._guard:
                    outcome.fetched.append(model.id)
        except (ModelError, OSError) as error:
            why = str(error) if isinstance(error, ModelError) else self._disk_problem(error)
            with self._guard:
                known = outcome.failed.get(model.id)
                outcome.failed[model.id] = why if known in (None, why) else f"{known}; {why}"
                self._store.tidy(model.id)
            self._listener.finished(_label(model, file), "failed")

    def _transfer(self, model: Model, file: File) -> str:
        target = self._target(model, file)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        transfer = Transfer(
            self._source, file, urls(model, file, self._settings.mirror), target,
            label=_label(model, file), listener=self._listener, policy=self._settings.policy, stop=self._stop,
        )  # fmt: skip
        return transfer.run()

    def _target(self, model: Model, file: File) -> Path:
        """Archives stand beside the folder that becomes the model, other files in it."""
        staging = self._store.staging(model.id)
        return staging / file.path if model.archive else staging / _MADE / file.path

    def _finish(self, model: Model, hashes: dict[str, str]) -> None:
        """Unpack, and make it a model of the store."""
        made = self._store.staging(model.id) / _MADE
        if model.archive:
            if made.exists():  # of a run that was killed while unpacking
                shutil.rmtree(made)
            archive = self._target(model, model.files[0])
            self._listener.finished(_label(model, model.files[0]), "unpacking")
            try:
                hashes = unpack(archive, model.archive, made, self._check_room, stop=self._check_stop)
            except (ModelError, OSError):
                shutil.rmtree(made, ignore_errors=True)  # a full disk is to be given back what was taken
                raise
        if self._stop.is_set():
            raise FetchStopped
        self._store.install(model.id, made, model.main, model.digests, hashes)
        self._listener.finished(model.id, "there")

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise FetchStopped

    def _check_room(self, size: int) -> None:
        free = shutil.disk_usage(self._store.directory).free
        reserve = self._settings.reserve_bytes
        if size + reserve > free:
            raise ModelError(
                f"not enough room in {self._store.directory}: {size / 1e6:.1f} MB are needed and "
                f"{reserve / 1e6:.0f} MB must stay free for the PBX, but {free / 1e6:.1f} MB are free in all; "
                "models.directory can name another disk"
            )

    def _disk_problem(self, error: OSError) -> str:
        where = self._store.directory
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of {where} became full; what had come was deleted again"
        if error.errno == errno.EFBIG:
            return f"files in {where} may not become so large (ulimit -f, or the file system's limit)"
        return f"cannot write to {where}: {error.strerror or error}"


def _label(model: Model, file: File) -> str:
    """How progress calls it: a PBX administrator knows models, not files; of several files, the file."""
    return model.id if len(model.files) == 1 else file.path
