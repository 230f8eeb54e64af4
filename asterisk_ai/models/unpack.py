"""Archives to folders, trusting nothing that they say.

Everything is checked before the first byte is written, and counted while
writing, because an archive's table of contents may lie. Only files and
folders come out of it: no links, no devices, nothing outside of the target,
nothing twice, no modes, owners or times of its own.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from asterisk_ai.errors import ModelError
from asterisk_ai.models.registry import MANIFEST, Archive

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """Bounds against bombs: the largest published model unpacks to less than twice its archive's size."""

    entries: int = 20_000
    ratio: int = 20
    least_bytes: int = 64 << 20  # small archives of text may shrink by more than the ratio
    depth: int = 32
    header_bytes: int = 1 << 20

    def total(self, archive_bytes: int) -> int:
        """Bytes that an archive of that size may unpack to."""
        return max(self.least_bytes, self.ratio * archive_bytes)


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file of an archive: its checked path, its declared size, and how to read it."""

    parts: tuple[str, ...]
    size: int
    open: Callable[[], IO[bytes]]


class Room(Protocol):
    """Asks whether so many bytes may be written; raises ModelError where not."""

    def __call__(self, size: int, /) -> None: ...


def unpack(
    archive: Path, how: Archive, target: Path, room: Room, limits: UnpackLimits | None = None, *,
    stop: Callable[[], None] = lambda: None,
) -> dict[str, str]:  # fmt: skip
    """Unpack into the new folder ``target`` and check its layout; returns the SHA-256 of each file by path.

    :param room: called with the bytes that the archive says it needs, before anything is written.
    :param stop: called between chunks; what it raises ends the work.
    :raises ModelError: the archive is damaged, hostile, or holds something else than the registry says.
    :raises OSError: the disk.
    """
    limits = limits or UnpackLimits()
    budget = limits.total(archive.stat().st_size)
    hashes: dict[str, str] = {}
    with _complaints(archive):
        reader = _zip if how.format == "zip" else _tar
        with reader(archive, how, limits) as members:
            checked: Iterable[ArchiveMember] = members
            if isinstance(members, list):  # a zip's table of contents is known before
                _survey(members, budget, archive)
                room(sum(member.size for member in members))
            else:
                room(archive.stat().st_size)
            target.mkdir(mode=0o755)
            for member in checked:
                if len(hashes) >= limits.entries:
                    raise _refused(archive, f"it has more than {limits.entries} files")
                path = "/".join(member.parts)
                if path in hashes:
                    raise _refused(archive, f"it holds {path!r} twice")
                hashes[path], written = _extract(member, target, budget, archive, stop)
                budget -= written
    _check_layout(archive, how, hashes)
    return hashes


def _extract(
    member: ArchiveMember, target: Path, budget: int, archive: Path, stop: Callable[[], None]
) -> tuple[str, int]:  # fmt: skip
    place = target.joinpath(*member.parts)
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except (FileExistsError, NotADirectoryError):
        raise _refused(archive, f"{'/'.join(member.parts)!r} is both a file and a folder in it") from None
    digest, written = hashlib.sha256(), 0
    with os.fdopen(handle, "wb", buffering=0) as output, member.open() as source:
        while data := source.read(_CHUNK):
            stop()
            written += len(data)
            if written > budget or written > member.size:
                raise _refused(archive, "it unpacks to more than it may")
            digest.update(data)
            view = memoryview(data)
            while view:
                view = view[output.write(view) :]
        os.fsync(output.fileno())
    if written != member.size:
        raise _refused(archive, f"{'/'.join(member.parts)!r} is cut short")
    return digest.hexdigest(), written


def _survey(members: list[ArchiveMember], budget: int, archive: Path) -> None:
    total = sum(member.size for member in members)
    if total > budget:
        raise _refused(archive, f"it says that it unpacks to {total} bytes, {budget} are allowed")


def _check_layout(archive: Path, how: Archive, hashes: dict[str, str]) -> None:
    if not hashes:
        raise _refused(archive, "it is empty")
    if MANIFEST in hashes:
        raise _refused(archive, f"it holds a {MANIFEST} of its own")
    if how.layouts and not any(all(path in hashes for path in layout) for layout in how.layouts):
        wanted = " or ".join(" + ".join(layout) for layout in how.layouts)
        raise _refused(archive, f"it is no {how.layout} model: {wanted} not found in it")


def _inside(name: str, how: Archive, limits: UnpackLimits, archive: Path) -> tuple[str, ...]:
    """The path below the target. Empty for the top folder itself. Raises ModelError for what would leave it."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    bad = (
        name.startswith("/")
        or "\\" in name
        or ".." in parts
        or len(parts) > limits.depth
        or any(not part.isprintable() or len(os.fsencode(part)) > 255 for part in parts)
        or (len(name) > 1 and name[1] == ":")
    )
    if bad:
        raise _refused(archive, f"the path {name[:80]!r} is not allowed in it")
    if how.top_level and parts:
        top = tuple(how.top_level.split("/"))
        if parts[: len(top)] != top and parts != top[: len(parts)]:
            raise _refused(archive, f"{name[:80]!r} is not in the folder {how.top_level} that should hold everything")
        parts = parts[len(top) :]
    return parts


def _refused(archive: Path, why: str) -> ModelError:
    return ModelError(f"the archive {archive.name} was refused: {why}")


@contextmanager
def _complaints(archive: Path) -> Iterator[None]:
    """What the libraries raise for damaged archives, in our words."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise _refused(archive, f"it is damaged ({error})") from error
    except (NotImplementedError, RuntimeError, UnicodeDecodeError, ValueError) as error:
        raise _refused(archive, f"it cannot be read ({error})") from error
    except OSError as error:
        if error.errno is None:  # bz2 says "Invalid data stream" so
            raise _refused(archive, f"it is damaged ({error})") from error
        raise


# -- zip


@contextmanager
def _zip(archive: Path, how: Archive, limits: UnpackLimits) -> Iterator[list[ArchiveMember]]:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        if len(infos) > limits.entries:
            raise _refused(archive, f"it has more than {limits.entries} files")
        members, seen = [], set()
        for info in infos:
            parts = _inside(info.orig_filename, how, limits, archive)
            _check_kind(info, archive)
            if info.is_dir():
                continue
            if not parts or parts in seen:
                raise _refused(archive, f"it holds {info.filename[:80]!r} twice, or as a file where a folder must be")
            seen.add(parts)
            members.append(ArchiveMember(parts, info.file_size, _opener(opened, info)))
        yield members


def _opener(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: opened.open(info)


def _check_kind(info: zipfile.ZipInfo, archive: Path) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, f"{info.filename[:80]!r} in it is a link or a device")
    if info.flag_bits & 0x1:
        raise _refused(archive, "it is encrypted")


# -- tar


@contextmanager
def _tar(archive: Path, how: Archive, limits: UnpackLimits) -> Iterator[Iterator[ArchiveMember]]:
    with archive.open("rb") as raw, _decompressed(raw, how.format) as stream:
        bounded = _Bounded(stream, limits.total(archive.stat().st_size) + limits.header_bytes, limits, archive)
        with tarfile.open(fileobj=bounded, mode="r:") as opened:
            yield _tar_members(opened, bounded, how, limits, archive)


def _tar_members(
    opened: tarfile.TarFile, bounded: _Bounded, how: Archive, limits: UnpackLimits, archive: Path
) -> Iterator[ArchiveMember]:
    count = 0
    while (info := opened.next()) is not None:
        opened.members.clear()  # type: ignore[attr-defined]  # it would keep every header
        count += 1
        if count > limits.entries:
            raise _refused(archive, f"it has more than {limits.entries} files")
        parts = _inside(info.name, how, limits, archive)
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            raise _refused(archive, f"{info.name[:80]!r} in it is a link or a device")
        if not parts:
            raise _refused(archive, f"{info.name[:80]!r} in it is a file where a folder must be")
        yield ArchiveMember(parts, info.size, _tar_opener(opened, info))
    if not bounded.ends_well():  # tarfile takes a cut between two files for the end
        raise _refused(archive, "it is cut short")


def _tar_opener(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def open_member() -> IO[bytes]:
        found = opened.extractfile(info)
        if found is None:
            raise tarfile.ReadError("not a file")
        return found

    return open_member


def _decompressed(raw: IO[bytes], form: str) -> IO[bytes]:
    if form == "tar.gz":
        return gzip.open(raw)  # type: ignore[return-value]
    if form == "tar.bz2":
        return bz2.open(raw)
    if form == "tar.xz":
        return lzma.open(raw)
    return raw


class _Bounded(io.RawIOBase):
    """A stream that refuses to be read past a bound, or in pieces that a hostile header asks for.

    It seeks backwards only where the stream beneath is a plain file: tarfile
    steps back a byte or so between members, which a buffer of the last bytes answers.
    """

    def __init__(self, stream: IO[bytes], bound: int, limits: UnpackLimits, archive: Path) -> None:
        super().__init__()
        self._stream, self._bound, self._limits, self._archive = stream, bound, limits, archive
        self._at = 0  # of the stream beneath
        self._back = b""  # what was read last
        self._behind = 0  # how far before _at the next read begins

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at - self._behind

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > self._limits.header_bytes:
            raise _refused(self._archive, "a header in it asks for too much memory")
        head = self._back[len(self._back) - self._behind :][:size] if self._behind else b""
        self._behind -= len(head)
        data = self._stream.read(size - len(head)) if size > len(head) else b""
        self._at += len(data)
        if self._at > self._bound:
            raise _refused(self._archive, "it unpacks to more than it may")
        self._back = (self._back + data)[-2048:]
        return head + data

    def ends_well(self) -> bool:
        """Read the rest, with what a compressed stream checks at its end; True where the end is a tar's: zeros."""
        while self.read(_CHUNK):
            pass
        return self._back.endswith(bytes(tarfile.BLOCKSIZE))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < 0:
            raise tarfile.ReadError("seeks where it may not")
        if offset < self.tell():
            if self._at - offset > len(self._back):
                raise tarfile.ReadError("seeks back too far")
            self._behind = self._at - offset
        while self.tell() < offset:
            if not self.read(min(_CHUNK, offset - self.tell())):
                break
        return self.tell()
