"""What this machine has for engines: what the kernel lets us use, not what is built in.

Everything is read below one root folder, so that machines can be imitated by
files. Of cgroups (v1 and v2, nested, in a container or not) the tightest
limit on the way up counts. Sources: proc(5), cgroups(7), the kernel's
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED = 1 << 60  # v1 says "no limit" with a number near 2^63
_NVIDIA = re.compile(r"nvidia\d+")
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


@dataclass(frozen=True, slots=True)
class Machine:
    """What engines can use. Bytes; ``cores`` may be a fraction where a quota says so.

    ``limits`` say in words what makes it less than the machine has.
    """

    cores: float
    memory_bytes: int
    disk_bytes: int
    architecture: str
    instructions: frozenset[str]
    gpus: tuple[str, ...]
    limits: tuple[str, ...]
    host_cores: int
    host_memory_bytes: int


@dataclass(frozen=True, slots=True)
class _Group:
    """One level of a cgroup hierarchy, as a folder of files. ``name`` is what an administrator knows it by."""

    folder: Path
    name: str


def detect(
    directory: Path, root: Path = Path("/"), architecture: str = "", disk_free: Callable[[Path], int] | None = None
) -> Machine:
    """Look at the machine below ``root``.

    :param directory: where models are to be kept; its disk counts.
    """
    known = _Files(root)
    host_cores, flags = known.cpuinfo()
    allowed = known.allowed_cores() or host_cores
    total, available = known.memory()
    limits = []
    cores = float(allowed)
    if allowed < host_cores:
        limits.append(f"{allowed} of {host_cores} cores may be used (CPU affinity)")
    for quota, name in known.cpu_quotas():
        if quota < cores:
            cores = quota
            limits.append(f"{quota:g} cores by the quota of the cgroup {name}")
    for free, most, name in known.memory_limits():
        if most < total:
            limits.append(f"{_gb(most)} of memory by the limit of the cgroup {name}, {_gb(free)} of it left")
        available = min(available, free)
    return Machine(
        cores=cores,
        memory_bytes=available,
        disk_bytes=(disk_free or _disk_free)(directory),
        architecture=architecture or platform.machine(),
        instructions=flags,
        gpus=known.gpus(),
        limits=tuple(limits),
        host_cores=host_cores,
        host_memory_bytes=total,
    )


class _Files:
    """The kernel's files below ``root``. What is missing or odd limits nothing."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def cpuinfo(self) -> tuple[int, frozenset[str]]:
        """Cores, and the instruction sets of the first one (``flags`` on x86, ``Features`` on ARM)."""
        text = self._read("proc/cpuinfo")
        found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
        cores = len(re.findall(r"^processor\s*:", text, re.MULTILINE))
        return cores or os.cpu_count() or 1, frozenset(found[1].split() if found else ())

    def allowed_cores(self) -> int:
        """Affinity, which cpusets narrow as well. 0 where it is not told."""
        found = re.search(r"^Cpus_allowed_list:\s*(\S+)$", self._read("proc/self/status"), re.MULTILINE)
        if found is None:
            return 0
        count = 0
        for part in found[1].split(","):
            first, _, last = part.partition("-")
            if first.isdigit() and (last or first).isdigit():
                count += int(last or first) - int(first) + 1
        return count

    def memory(self) -> tuple[int, int]:
        """Total and available bytes."""
        found = {
            name: int(kilobytes) * 1024
            for name, kilobytes in re.findall(r"^(\w+):\s+(\d+) kB$", self._read("proc/meminfo"), re.MULTILINE)
        }
        total = found.get("MemTotal", 0)
        return total, found.get("MemAvailable", found.get("MemFree", total))

    def cpu_quotas(self) -> Iterator[tuple[float, str]]:
        """Cores that each level of our cgroup allows."""
        for group in self._groups(""):
            quota, _, period = self._at(group, "cpu.max").partition(" ")
            if quota.isdigit() and period.isdigit() and int(period):
                yield int(quota) / int(period), group.name
        for group in self._groups("cpu"):
            quota, period = self._at(group, "cpu.cfs_quota_us"), self._at(group, "cpu.cfs_period_us")
            if quota.isdigit() and int(quota) and period.isdigit() and int(period):  # -1 is no limit
                yield int(quota) / int(period), group.name

    def memory_limits(self) -> Iterator[tuple[int, int, str]]:
        """Bytes that are left, and the limit, of each level that has one. Cached files count as free: they can go."""
        for names, controller, cache in (
            (("memory.max", "memory.current"), "", "inactive_file"),
            (("memory.limit_in_bytes", "memory.usage_in_bytes"), "memory", "total_inactive_file"),
        ):
            for group in self._groups(controller):
                limit, used = (self._at(group, name) for name in names)
                if not limit.isdigit() or int(limit) >= _UNLIMITED:
                    continue
                found = re.search(rf"^{cache} (\d+)$", self._at(group, "memory.stat"), re.MULTILINE)
                taken = max(0, (int(used) if used.isdigit() else 0) - (int(found[1]) if found else 0))
                yield max(0, int(limit) - taken), int(limit), group.name

    def gpus(self) -> tuple[str, ...]:
        """Vendors of GPUs that can be opened here: NVIDIA's devices, else /sys's cards that have a render node."""
        devices = [name for name in self._list("dev") if _NVIDIA.fullmatch(name)]
        if devices:
            return tuple("NVIDIA" for _ in devices)
        found = []
        for name in self._list("sys/class/drm"):
            if name.startswith("renderD"):
                vendor = self._read(f"sys/class/drm/{name}/device/vendor").strip()
                if vendor in ("0x10de", "0x1002"):  # graphics within the processor share its memory: no gain
                    found.append(_VENDORS[vendor])
        return tuple(found)

    # -- cgroups

    def _groups(self, controller: str) -> Iterator[_Group]:
        """Our cgroup of ``controller`` ("" for v2) and those above it, as far up as we may look."""
        path = self._own_path(controller)
        if path is None:
            return
        for mount_root, mount_point in self._mounts(controller):
            inside = PurePosixPath(path)
            if inside.is_relative_to(mount_root):  # a container sees its own group as the top
                inside = "/" / inside.relative_to(mount_root)
            elif mount_root != "/":
                inside = PurePosixPath("/")
            for level in (inside, *inside.parents):
                folder = self._root / mount_point.lstrip("/") / str(level).lstrip("/")
                if folder.is_dir():
                    yield _Group(folder, str(level))
            return

    def _own_path(self, controller: str) -> str | None:
        for line in self._read("proc/self/cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controller in controllers.split(",") and ".." not in path.split("/"):
                return path
        return None

    def _mounts(self, controller: str) -> Iterator[tuple[str, str]]:
        """(root, mount point) of the hierarchy. Source: proc_pid_mountinfo(5)."""
        for line in self._read("proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            fields, kind = before.split(), after.split()
            if len(fields) < 5 or len(kind) < 3:
                continue
            if kind[0] == ("cgroup" if controller else "cgroup2") and (
                not controller or controller in kind[2].split(",")
            ):
                yield fields[3], fields[4]

    def _at(self, group: _Group, name: str) -> str:
        return _text(group.folder / name).strip()

    def _read(self, path: str) -> str:
        return _text(self._root / path)

    def _list(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self._root / path))
        except OSError:
            return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _disk_free(directory: Path) -> int:
    """Of the disk that ``directory`` is or will be on."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
