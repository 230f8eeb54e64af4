"""Which users Asterisk and the server run as, and what those may read and write."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNIT = Path("/etc/systemd/system/asterisk-ai.service")


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def may(self, what: str, path: Path) -> bool | None:
        """Whether that user may; None where we cannot find out.

        :param what: any of ``r``, ``w`` and ``x``, for reading, writing, and entering or executing.
        """
        if self.uid == os.geteuid():
            mode = sum({"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[letter] for letter in what)
            return os.access(path, mode, effective_ids=True)
        if os.geteuid() != 0:
            return None
        # Asked as that user, so that folders above it and access control lists count, too
        words = " -a ".join(f'-{letter} "$1"' for letter in what)
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", f"test {words}", "sh", str(path)],
                user=self.uid, group=self.gid, extra_groups=os.getgrouplist(self.name, self.gid),
                capture_output=True, timeout=10, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return None
        return done.returncode == 0


def user(name: str) -> User | None:
    """The user of that name or number; None where there is none."""
    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        return None
    return User(found.pw_name, found.pw_uid, found.pw_gid)


def asterisk_user(etc: Path) -> User | None:
    """Whom Asterisk runs as: the process that runs, else what asterisk.conf says, else the usual name."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == "asterisk":
                return user(str(process.stat().st_uid))
        except OSError:
            continue  # it has ended meanwhile
    return _named(etc / "asterisk.conf", r"^\s*runuser\s*=>?\s*([\w.-]+)") or user("asterisk")


def server_user(unit: Path = UNIT, process: int = 0) -> User | None:
    """Whom the server runs as: the process that runs, else what the unit says; None where there is neither."""
    try:
        return user(str(Path(f"/proc/{process}").stat().st_uid)) if process else _named(unit, r"^User=([\w.-]+)")
    except OSError:
        return None


def _named(file: Path, pattern: str) -> User | None:
    try:
        found = re.search(pattern, file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return user(found[1]) if found else None


def share_state(folders: Sequence[Path], name: str = "asterisk") -> str:
    """Where root runs the server: let Asterisk's user into its folders, as it plays replies from there.

    :param folders: ours alone, from the outermost on; they are made where they are not there.
    :returns: what root has to know, empty where we are not root or there is no such user.
    """
    other = user(name)
    if os.geteuid() != 0 or other is None or other.uid == 0:
        return ""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid == 0:
            os.chown(folder, 0, other.gid)
            folder.chmod(0o750)
    return (
        f"the server runs as root, and its records are root's: where the systemd unit is to run it as {name} later on, "
        f"chown -R {name}: {folders[0]}"
    )


def listener(port: int) -> tuple[int, str, str]:
    """The process that listens on a TCP port: number, command line, and state as /proc has it (``T``: stopped).

    Number 0 where there is none, or it may not be seen by this user.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for folder in Path("/proc").glob("[0-9]*") if sockets else ():
        try:
            if any(os.readlink(link) in sockets for link in (folder / "fd").iterdir()):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                return int(folder.name), command, state
        except OSError:
            continue  # another user's, or gone
    return 0, "", ""


def _listening(port: int) -> set[str]:
    """The inodes of the sockets that listen there. Source: proc_net_tcp; 0A is TCP_LISTEN."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
