"""Models on the disk.

``<directory>/<id>/`` holds a model's files and their ``asterisk-ai-manifest.json``: size,
time and SHA-256 of each, and the digests that were asked for. The folder is
put there by one rename, so a model is there whole or not at all. What is
being fetched is in ``<directory>/.fetch-<id>/``, which nobody but the fetch
looks into.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from asterisk_ai.config import Config, ModelsConfig, find
from asterisk_ai.errors import ModelError
from asterisk_ai.models.registry import MANIFEST, Model

_VERSION = 1
_CHUNK = 1 << 20
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCK = ".lock"
_STAGING = ".fetch-"
_OLD = ".old-"
_SELECTION = "selection.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a model: bytes, nanoseconds since the epoch, SHA-256."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model consisted of when it was fetched.

    ``main`` is what :meth:`Store.path` gives: a file, or "" for the folder.
    ``digests`` are those of the registry, of the files as they were fetched.
    """

    id: str
    main: str
    digests: Mapping[str, str]
    files: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files)


@dataclass(frozen=True, slots=True)
class Selection:
    """What the last ``fetch`` without names chose, so that the next one does not decide anew on a busier machine."""

    tier: str
    languages: tuple[str, ...]
    models: tuple[str, ...]


def store_of(config: Config) -> Store:
    """The store that a configuration names. Its errors name the command with that very configuration."""
    own = config.models != ModelsConfig()
    options = f" --config {shlex.quote(config.source)}" if own and Path(config.source) != find() else ""
    return Store(config.models_path(), options)


class Store:
    """The models of one directory.

    :param options: what has to be added to ``asterisk-ai models ...`` for it to mean this directory.
    """

    def __init__(self, directory: Path, options: str = "") -> None:
        self.directory = directory
        self._options = options

    # -- reading

    def path(self, name: str) -> Path:
        """The file that an engine opens for the model ``name``, or its folder where it has many.

        Cheap: sizes and times are compared with the manifest, and content is read only where a time differs.

        :raises ModelError: missing or damaged; the message is the command that mends it.
        """
        manifest = self._sound(name)
        return self.folder(name) / manifest.main

    def files(self, name: str) -> dict[str, Path]:
        """All files of a model by their path in it. Raises as :meth:`path`."""
        return {entry.path: self.folder(name) / entry.path for entry in self._sound(name).files}

    def ids(self) -> list[str]:
        """Models that are there, damaged ones too."""
        try:
            names = sorted(os.listdir(self.directory))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise ModelError(f"cannot look into {self.directory}: {error.strerror}") from error
        return [name for name in names if _ID.fullmatch(name) and (self.directory / name).is_dir()]

    def problem(self, name: str, model: Model | None = None, *, deep: bool = False) -> str:
        """What is wrong with a model, "" where nothing is.

        :param model: what the registry says of it now, to notice that another version is meant.
        :param deep: read every byte again.
        """
        try:
            manifest = self.manifest(name)
        except ModelError as error:
            return str(error)
        if model is not None and dict(manifest.digests) != model.digests:
            return "the registry names another version of it"
        for entry in manifest.files:
            found = _compare(self.folder(name) / entry.path, entry, deep=deep)
            if found:
                return f"{entry.path} {found}"
        return ""

    def missing(self, name: str) -> bool:
        """Whether there is nothing at all of it."""
        return not self.folder(name).is_dir()

    def manifest(self, name: str) -> Manifest:
        """Raises ModelError, in few words, where there is none or it cannot be understood."""
        try:
            text = (self.folder(name) / MANIFEST).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise ModelError("its folder is not there" if self.missing(name) else "it has no manifest") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"its manifest cannot be read ({error})") from None
        try:
            return _manifest(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ModelError("its manifest is damaged") from None

    def folder(self, name: str) -> Path:
        """Where the model is or would be. Raises ModelError for what cannot be an id."""
        if not _ID.fullmatch(name):
            raise ModelError(f"{name!r} is no model's id (asterisk-ai models list shows them)")
        return self.directory / name

    def command(self, name: str) -> str:
        """What to run for the model to be there and well."""
        return f"asterisk-ai models fetch {name}{self._options}"

    def selection(self) -> Selection | None:
        """What was chosen for this machine; None where nothing was, or where it cannot be read."""
        try:
            found = json.loads((self.directory / _SELECTION).read_text(encoding="utf-8"))
            return Selection(str(found["tier"]), tuple(map(str, found["languages"])), tuple(map(str, found["models"])))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _sound(self, name: str) -> Manifest:
        problem = self.problem(name)
        if problem:
            state = "is not there" if self.missing(name) else f"is damaged: {problem}"
            raise ModelError(f"the model {name} {state} (in {self.directory}); run: {self.command(name)}")
        return self.manifest(name)

    # -- writing; all of it under the lock

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[str], None] | None = None, seconds: float = 3600.0) -> Iterator[None]:
        """Keep others from changing the store. A killed holder's lock is free at once.

        :param waiting: called once, with the holder's process id, where we have to wait.
        :raises ModelError: the directory cannot be written, or the other one takes longer than ``seconds``.
        """
        try:
            _make(self.directory)
            handle = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ModelError(f"cannot write to {self.directory}: {error.strerror} (run this as its owner, "
                             "or set models.directory in asterisk_ai.yaml)") from error  # fmt: skip
        try:
            self._acquire(handle, waiting, seconds)
            os.truncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)

    def _acquire(self, handle: int, waiting: Callable[[str], None] | None, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        told = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = os.pread(handle, 20, 0).decode("ascii", "replace") or "?"
            if time.monotonic() >= deadline:
                raise ModelError(f"another fetch (process {holder}) has been at work for too long") from None
            if waiting is not None and not told:
                told = True
                waiting(holder)
            time.sleep(0.1)

    def staging(self, name: str) -> Path:
        """Where ``name`` is put together; in the same file system as its folder."""
        return self.folder(name).with_name(f"{_STAGING}{name}")

    def install(self, name: str, made: Path, main: str, digests: Mapping[str, str], hashes: Mapping[str, str]) -> None:
        """Write the manifest of the folder ``made``, and rename it to be the model.

        :param hashes: SHA-256 of every file in ``made``, by path.
        """
        files = []
        for path, sha256 in sorted(hashes.items()):
            (made / path).chmod(0o644)
            status = (made / path).stat()
            files.append(Entry(path, status.st_size, status.st_mtime_ns, sha256))
        for folder in [made, *(one for one in made.rglob("*") if one.is_dir())]:
            folder.chmod(0o755)
        _write(made / MANIFEST, _text(Manifest(name, main, digests, tuple(files))))
        target, old = self.folder(name), self.directory / f"{_OLD}{name}"
        _remove(old)
        if target.exists():
            target.rename(old)
        made.rename(target)
        _sync(self.directory)
        _remove(old)
        _remove(self.staging(name))

    def freshen(self, name: str) -> None:
        """Write down the times of files that were found well, so that they need not be read again."""
        manifest = self.manifest(name)
        files = tuple(
            replace(entry, mtime_ns=(self.folder(name) / entry.path).stat().st_mtime_ns) for entry in manifest.files
        )
        if files != manifest.files:
            _write(self.folder(name) / MANIFEST, _text(replace(manifest, files=files)))

    def remove(self, name: str) -> int:
        """Delete a model and what is left of fetching it; returns the bytes that became free."""
        aside = self.directory / f"{_OLD}{name}"
        if self.folder(name).exists():  # gone at once: nobody may meet half of it
            _remove(aside)
            self.folder(name).rename(aside)
        freed = self.held(name)
        for folder in (aside, self.staging(name)):
            _remove(folder)
        return freed

    def held(self, name: str) -> int:
        """Bytes on the disk of a model and of what is left of fetching it."""
        folders = (self.folder(name), self.directory / f"{_OLD}{name}", self.staging(name))
        files = (one for folder in folders for one in folder.rglob("*"))
        return sum(one.stat().st_size for one in files if one.is_file() and not one.is_symlink())

    def settle(self, names: Iterable[str]) -> None:
        """For models that were found well: :meth:`freshen` and :meth:`sweep`, where we may and nobody else is at it."""
        if os.access(self.directory, os.W_OK):
            with contextlib.suppress(ModelError), self.lock(seconds=0):
                for name in names:
                    self.freshen(name)
                    self.sweep(name)

    def sweep(self, name: str) -> None:
        """Delete what a run that was killed at its very end has left beside a model that is well."""
        _remove(self.staging(name))
        _remove(self.directory / f"{_OLD}{name}")

    def tidy(self, name: str) -> None:
        """Delete the folders of a fetch that has brought nothing."""
        staging = self.staging(name)
        with contextlib.suppress(OSError):  # not empty
            for folder in sorted((one for one in staging.rglob("*") if one.is_dir()), reverse=True):
                folder.rmdir()
            staging.rmdir()

    def leftovers(self) -> list[str]:
        """Models of which a part has been fetched."""
        if not self.directory.is_dir():
            return []
        return sorted(
            one.name.removeprefix(_STAGING) for one in self.directory.iterdir() if one.name.startswith(_STAGING)
        )

    def select(self, selection: Selection) -> None:
        """Remember what was chosen for this machine."""
        if self.selection() != selection:
            _write(self.directory / _SELECTION, json.dumps(asdict(selection), indent=1) + "\n")


def sha256_of(path: Path) -> str:
    """Hex digest of a file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _compare(path: Path, entry: Entry, *, deep: bool) -> str:
    try:
        status = path.lstat()
        if not path.is_file() or path.is_symlink():
            return "is not a file"
        if status.st_size != entry.size:
            return f"has {status.st_size} bytes and not {entry.size}"
        if (deep or status.st_mtime_ns != entry.mtime_ns) and sha256_of(path) != entry.sha256:
            return "has other content than was fetched"
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def _manifest(found: Any) -> Manifest:
    """Raises ValueError, TypeError or KeyError for anything but a manifest of ours."""
    if found["schema"] != _VERSION:
        raise ValueError
    files = tuple(
        Entry(str(one["path"]), int(one["size"]), int(one["mtime_ns"]), str(one["sha256"])) for one in found["files"]
    )
    for path in [str(found["main"]), *(entry.path for entry in files)]:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError
    if not files:
        raise ValueError
    digests = {str(path): str(digest) for path, digest in found["digests"].items()}
    return Manifest(str(found["id"]), str(found["main"]), digests, files)


def _text(manifest: Manifest) -> str:
    return json.dumps({"schema": _VERSION, **asdict(manifest)}, indent=1) + "\n"


def _write(path: Path, text: str) -> None:
    """Whole or not at all, on the disk when it returns."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.chmod(0o644)
    draft.replace(path)
    _sync(path.parent)


def _make(folder: Path) -> None:
    """Readable by the user that serves calls, whatever the umask of the one who fetches."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def _sync(folder: Path) -> None:
    """A rename is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
