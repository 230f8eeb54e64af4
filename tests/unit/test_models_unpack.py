"""Archives: both layouts of Vosk come out; hostile and damaged ones put nothing anywhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from models_server import V1, V2, content, zipped

from asterisk_ai.errors import ModelError
from asterisk_ai.models.registry import Archive
from asterisk_ai.models.unpack import UnpackLimits, unpack

LAYOUTS = (tuple(V2), ("final.mdl", "mfcc.conf"))
SMALL = UnpackLimits(entries=20, ratio=4, least_bytes=100_000)


def how(form: str = "zip", top: str = "m") -> Archive:
    return Archive(form, top, "vosk", LAYOUTS)


def no_limit(size: int) -> None:
    """The disk is large."""


def tar_of(
    files: dict[str, bytes], form: str, change: Callable[[tarfile.TarInfo], None] = lambda info: None
) -> bytes:  # fmt: skip
    packed = io.BytesIO()
    mode = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[form]
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            change(info)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return packed.getvalue()


def try_unpacking(folder: Path, data: bytes, form: str = "zip", top: str = "m") -> dict[str, str]:
    inside = folder / "inside"
    inside.mkdir(exist_ok=True)
    (inside / "a").write_bytes(data)
    before = sorted(str(path) for path in folder.rglob("*"))
    try:
        return unpack(inside / "a", how(form, top), inside / "out", no_limit, SMALL)
    finally:
        outside = [path for path in sorted(map(str, folder.rglob("*"))) if "/inside/out" not in path]
        assert outside == before, "something was written outside of the target"
        for path in (inside / "out").rglob("*"):
            assert path.is_dir() or (path.is_file() and not path.is_symlink())
            assert path.stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize("files", [V1, V2])
@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("top", ["m", ""])
def test_both_layouts(tmp_path: Path, form: str, files: dict[str, bytes], top: str) -> None:
    named = {f"{top}/{name}" if top else name: data for name, data in files.items()}
    data = zipped(files, top) if form == "zip" else tar_of({f"./{name}": data for name, data in named.items()}, form)
    hashes = try_unpacking(tmp_path, data, form, top)
    assert hashes == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    for name, good in files.items():
        assert (tmp_path / "inside" / "out" / name).read_bytes() == good


def odd_zip(name: str, data: bytes = b"x", mode: int = 0) -> bytes:
    packed = io.BytesIO(zipped(V1))
    with zipfile.ZipFile(packed, "a") as archive:
        info = zipfile.ZipInfo("placeholder")
        info.external_attr = mode << 16
        info.filename = name
        archive.writestr(info, data)
    return packed.getvalue()


ESCAPES = [
    "../x", "m/../../x", "/x", "m/../x", "m\\..\\..\\x", "..", "C:/x", "m/a\nb", "x", "other/x", "m/" + "a/" * 40 + "b",
]  # fmt: skip


@pytest.mark.parametrize("name", [*ESCAPES, "m/" + "n" * 300])
def test_zip_that_wants_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="the archive a was refused: "):
        try_unpacking(tmp_path, odd_zip(name))
    assert not (tmp_path / "inside" / "out").exists()  # a zip is refused before anything is written


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
@pytest.mark.parametrize("name", ESCAPES)
def test_tar_that_wants_out(tmp_path: Path, name: str, form: str) -> None:
    with pytest.raises(ModelError, match="the archive a was refused: "):
        try_unpacking(tmp_path, tar_of({**{f"m/{path}": data for path, data in V1.items()}, name: b"x"}, form), form)


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO, stat.S_IFSOCK])
def test_zip_with_links_and_devices(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ModelError, match="is a link or a device"):
        try_unpacking(tmp_path, odd_zip("m/evil", b"/etc/passwd", mode))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_tar_with_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    def evil(info: tarfile.TarInfo) -> None:
        if info.name == "m/evil":
            info.type, info.linkname, info.size = kind, "/etc", 0

    with pytest.raises(ModelError, match="is a link or a device"):
        try_unpacking(tmp_path, tar_of({"m/evil": b"", "m/evil/passwd": b"x"}, "tar", evil), "tar")


def test_modes_of_an_archive_are_not_taken_over(tmp_path: Path) -> None:
    data = odd_zip("m/tool", b"#!/bin/sh", stat.S_IFREG | 0o6777)
    try_unpacking(tmp_path, data)
    assert (tmp_path / "inside" / "out" / "tool").stat().st_mode & 0o7777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("second", ["m/final.mdl", "m//final.mdl", "m/./final.mdl"])
def test_the_same_file_twice(tmp_path: Path, second: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if second == "m/final.mdl" else _nothing():
        data = odd_zip(second)
    with pytest.raises(ModelError, match="twice"):
        try_unpacking(tmp_path, data)
    twice = tar_of({"m/final.mdl": b"x"}, "tar")[:1024] + tar_of({second: b"y"}, "tar")
    shutil.rmtree(tmp_path / "inside")
    with pytest.raises(ModelError, match="twice"):
        try_unpacking(tmp_path, twice, "tar")


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("name", ["m/final.mdl/x", "m"])
def test_a_file_where_a_folder_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"both a file and a folder|where a folder must be"):
        try_unpacking(tmp_path, odd_zip(name))


# -- bombs


def test_zip_bomb_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it says that it unpacks to 5"):
        try_unpacking(tmp_path, zipped({**V1, "bomb": bytes(5_000_000)}))
    assert not (tmp_path / "inside" / "out").exists()


def test_zip_bomb_that_lies(tmp_path: Path) -> None:
    honest = bytearray(zipped({"final.mdl": bytes(5_000_000), "mfcc.conf": b""}))
    lie = (1000).to_bytes(4, "little")
    for at in (honest.find(b"PK\x03\x04") + 22, honest.find(b"PK\x01\x02") + 24):
        assert int.from_bytes(honest[at : at + 4], "little") == 5_000_000
        honest[at : at + 4] = lie
    with pytest.raises(ModelError, match="refused"):
        try_unpacking(tmp_path, bytes(honest))
    written = sum(path.stat().st_size for path in (tmp_path / "inside" / "out").rglob("*") if path.is_file())
    assert written <= 1000


@pytest.mark.parametrize("form", ["tar.gz", "tar.bz2", "tar.xz"])
def test_tar_bomb(tmp_path: Path, form: str) -> None:
    with pytest.raises(ModelError, match="more than it may"):
        try_unpacking(tmp_path, tar_of({"m/final.mdl": bytes(5_000_000)}, form), form)


def test_tar_bomb_between_the_files(tmp_path: Path) -> None:
    """A file that is skipped is read, too, where the archive is compressed."""

    def folder(info: tarfile.TarInfo) -> None:
        if info.name == "m/dir":
            info.type = tarfile.DIRTYPE

    data = gzip.compress(tar_of({"m/dir": b"", "m/final.mdl": b"x"}, "tar", folder) + bytes(5_000_000))
    with pytest.raises(ModelError, match="more than it may"):
        try_unpacking(tmp_path, data, "tar.gz")


def test_tar_header_that_eats_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("m/x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    data = gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(100_000))
    # Python 3.14 refuses it in other words.
    told = "was refused" if sys.version_info >= (3, 14) else "asks for too much memory"
    with pytest.raises(ModelError, match=told):
        try_unpacking(tmp_path, data, "tar.gz")


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_too_many_files(tmp_path: Path, form: str) -> None:
    many = {f"{number}": b"" for number in range(30)}
    data = zipped(many) if form == "zip" else tar_of({f"m/{name}": b"" for name in many}, "tar")
    with pytest.raises(ModelError, match="more than 20 files"):
        try_unpacking(tmp_path, data, form)


# -- damage


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_damaged_at_any_place(tmp_path: Path, form: str) -> None:
    """Right content or ModelError, whichever byte is another."""
    files = {"m/final.mdl": content(700), "m/mfcc.conf": b"x" * 400}
    short = {name.removeprefix("m/"): data for name, data in files.items()}
    whole = zipped(short) if form == "zip" else tar_of(files, form)
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        folder = tmp_path / str(at)
        folder.mkdir()
        try:
            try_unpacking(folder, bytes(damaged), form)
        except ModelError:
            continue  # an archive's own digest was checked before; what counts here is that nothing else is raised


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_cut_short_at_any_place(tmp_path: Path, form: str) -> None:
    files = {f"m/{name}": data for name, data in V1.items()}
    whole = zipped(V1) if form == "zip" else tar_of(files, form)
    for share in range(20):
        folder = tmp_path / str(share)
        folder.mkdir()
        data = whole[: len(whole) * share // 20]
        try:
            hashes = try_unpacking(folder, data, form)
        except ModelError:
            continue
        assert form == "tar"  # half of its end is padding only
        assert len(hashes) == len(V1)


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", content(2000)])
def test_something_else(tmp_path: Path, form: str, data: bytes) -> None:
    with pytest.raises(ModelError, match="refused"):
        try_unpacking(tmp_path, data, form)


def test_encrypted(tmp_path: Path) -> None:
    data = bytearray(zipped(V1))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + offset] |= 1
    with pytest.raises(ModelError, match="encrypted"):
        try_unpacking(tmp_path, bytes(data))


@pytest.mark.parametrize(
    "files",
    [{}, {"am/final.mdl": b"x"}, {"README": b"x"}, {"final.mdl": b"x"}, {**V1, "asterisk-ai-manifest.json": b"{}"}],
)
def test_wrong_layout(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(ModelError, match=r"is no vosk model: am/final\.mdl \+ conf|it is empty|of its own"):
        try_unpacking(tmp_path, zipped(files))


def test_no_room(tmp_path: Path) -> None:
    def full(size: int) -> None:
        assert size == sum(map(len, V1.values()))
        raise ModelError("no room")

    (tmp_path / "a").write_bytes(zipped(V1))
    with pytest.raises(ModelError, match="no room"):
        unpack(tmp_path / "a", how(), tmp_path / "out", full)
    assert not (tmp_path / "out").exists()
