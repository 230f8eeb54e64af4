"""The files that Asterisk and systemd read: what the package has, what is installed, and putting it in place.

An installed file begins with a stamp: the version that wrote it and the
SHA-256 of the rest. So an older file that nobody touched is told from one that
the administrator changed, and only the former is replaced without a word.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asterisk_ai import __version__
from asterisk_ai.config import share_path
from asterisk_ai.pbx.access import user

INCLUDE = "asterisk_ai.conf"
PROGRAMS = ("asterisk-ai-agi", "asterisk-ai-eagi")
_INCLUDE_LINE = re.compile(r'^\s*#(?:try)?include\s+"?(?:\S*/)?asterisk_ai\.conf"?\s*(?:;.*)?$', re.MULTILINE)
_STAMP = re.compile(r"^[;#] installed by asterisk-ai (\S+), sha256 of the rest: ([0-9a-f]{64})\n")


class State(enum.Enum):
    """An installed file compared with the packaged one."""

    MISSING = "missing"
    CURRENT = "up to date"
    OLDER = "older than the packaged one, unchanged since it was installed"
    CHANGED = "changed by hand"


@dataclass(frozen=True, slots=True)
class Packaged:
    """One file of the package: its folder and name there, and its text as it is to be installed."""

    folder: str
    name: str

    @property
    def text(self) -> str:
        text = (share_path(self.folder) / self.name).read_text(encoding="utf-8")
        if self.name.endswith(".service"):
            text = text.replace("/usr/local/bin/asterisk-ai serve", f"{own_command()} serve")
        return text


FILES = {
    "plain": Packaged("dialplan", INCLUDE),
    "freepbx": Packaged("dialplan", "extensions_custom.conf"),
    "modules": Packaged("etc-asterisk", "modules.conf"),
    "systemd": Packaged("etc-asterisk", "asterisk-ai.service"),
    "config": Packaged("etc-asterisk", "asterisk_ai.yaml"),
    "alerts": Packaged("etc-asterisk", "prometheus-alerts.yml"),
    "dashboard": Packaged("etc-asterisk", "grafana-dashboard.json"),
    "fail2ban-filter": Packaged("etc-asterisk", "fail2ban-filter.conf"),
    "fail2ban-jail": Packaged("etc-asterisk", "fail2ban-jail.conf"),
    "logrotate": Packaged("etc-asterisk", "logrotate.conf"),
}


class Installer:
    """Writes files and says what it does.

    :param say: takes a line for the administrator.
    :ivar undecided: the changed files that were left alone.
    """

    def __init__(self, say: Callable[[str], None], *, dry_run: bool = False, force: bool = False) -> None:
        self._say, self.dry_run, self.force = say, dry_run, force
        self.undecided: list[Path] = []

    def place(self, packaged: Packaged, target: Path) -> None:
        """Bring ``target`` up to date unless somebody has changed it."""
        state, text = compare(packaged, target), packaged.text
        new = stamp(text)
        if state is State.CURRENT:
            self._say(f"{target}: {state.value}")
        elif state is State.CHANGED and not self.force:
            self.undecided.append(target)
            self._say(f"{target}: {state.value}, left alone. The packaged file differs so:")
            self._say(difference(target, text).rstrip())
            self.write(target.with_name(target.name + ".new"), new, like=target)
            self._say("take over what you want from it, or run this again with --force")
        else:
            if state is State.CHANGED:
                self._back_up(target)
            self.write(target, new)

    def place_settings(self, packaged: Packaged, target: Path) -> None:
        """A file that is the administrator's from the first day on: written once, never again."""
        if target.exists():
            self._say(f"{target}: yours, left alone")
        else:
            self.write(target, packaged.text, mode=0o640, group="asterisk")

    def include(self, main: Path) -> None:
        """Add the #include line at the end of ``main``, once."""
        text = read(main)
        if includes(text):
            self._say(f"{main}: includes {INCLUDE} already")
            return
        if text:
            self._back_up(main)
        gap = "" if not text or text.endswith("\n") else "\n"
        self.write(main, f"{text}{gap}\n#include {INCLUDE}\n")

    def link(self, target: Path, program: Path) -> None:
        """Make ``target`` a link to one of our programs."""
        if target.is_symlink() and target.readlink() == program:
            self._say(f"{target}: links to {program} already")
            return
        if target.exists() and not target.is_symlink() and not self.force:
            self.undecided.append(target)
            self._say(f"{target}: something else is there, left alone; --force replaces it")
            return
        self._say(f"{'would link' if self.dry_run else 'linked'} {target} to {program}")
        if not self.dry_run:
            target.unlink(missing_ok=True)
            target.symlink_to(program)

    def _back_up(self, target: Path) -> None:
        backup = target.with_name(f"{target.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}")
        self._say(f"{'would keep' if self.dry_run else 'kept'} the old {target.name} as {backup}")
        if not self.dry_run:
            shutil.copy2(target, backup)

    def write(self, target: Path, text: str, *, like: Path | None = None, mode: int = 0o644, group: str = "") -> None:
        """Whole or not at all, owned as the file it replaces or as its folder. A symbolic link stays one.

        :param group: who may read a new file besides, where there is such a user.
        """
        self._say(f"{'would write' if self.dry_run else 'wrote'} {target}")
        if self.dry_run:
            return
        target = target.resolve()  # FreePBX's extensions.conf, for one, is a link into its modules
        model = next((path for path in (like, target) if path is not None and path.exists()), None)
        owner = (model or target.parent).stat()
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(owner.st_mode & 0o777 if model else mode)
        if os.geteuid() == 0:
            reader = user(group) if group and not model else None
            os.chown(draft, owner.st_uid, reader.gid if reader else owner.st_gid)
        draft.replace(target)


def stamp(text: str) -> str:
    """``text`` with the line that proves later on that nobody has changed it."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    mark = "#" if text.startswith("#") else ";"
    return f"{mark} installed by asterisk-ai {__version__}, sha256 of the rest: {digest}\n{text}"


def compare(packaged: Packaged, target: Path) -> State:
    """The state of an installed file. Raises OSError where it cannot be read."""
    if not target.exists():
        return State.MISSING
    text = read(target)
    found = _STAMP.match(text)
    body = text[found.end() :] if found else text
    if body == packaged.text:
        return State.CURRENT
    if found and hashlib.sha256(body.encode()).hexdigest() == found[2]:
        return State.OLDER
    return State.CHANGED


def difference(target: Path, packaged: str) -> str:
    """A unified diff from the installed file to the packaged one."""
    installed = _STAMP.sub("", read(target))
    lines = difflib.unified_diff(
        installed.splitlines(keepends=True), packaged.splitlines(keepends=True), str(target), "packaged"
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def own_command() -> str:
    """How systemd is to call this very installation."""
    beside = own_program("asterisk-ai")
    return str(beside) if beside.exists() else f"{sys.executable} -m asterisk_ai"


def read(path: Path) -> str:
    """Its text, empty where it is not there."""
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""


def has_content(path: Path) -> bool:
    """Whether there is more in the file than comments."""
    return any(line.strip() and not line.lstrip().startswith(";") for line in read(path).splitlines())


def includes(text: str) -> bool:
    """Whether a dialplan file includes ours."""
    return _INCLUDE_LINE.search(text) is not None


def is_freepbx(etc: Path) -> bool:
    """Whether FreePBX writes the files in there: extensions.conf is its own then."""
    marks = (etc / "extensions_additional.conf", etc / "extensions_override_freepbx.conf", etc.parent / "freepbx.conf")
    return any(mark.exists() for mark in marks)


def main_file(etc: Path) -> Path:
    """The dialplan file that is the administrator's."""
    return etc / ("extensions_custom.conf" if is_freepbx(etc) else "extensions.conf")


def agi_folder(etc: Path) -> Path | None:
    """Where Asterisk looks for the programs that AGI() names; None where that is not known."""
    found = re.search(r"^\s*astagidir\s*=>?\s*(\S+)", read(etc / "asterisk.conf"), re.MULTILINE)
    usual = (Path("/usr/share/asterisk/agi-bin"), Path("/var/lib/asterisk/agi-bin"))
    folders = (Path(found[1]),) if found else usual
    return next((folder for folder in folders if folder.is_dir()), None)


def own_program(name: str) -> Path:
    """The program of this very installation."""
    return Path(sys.executable).with_name(name)
