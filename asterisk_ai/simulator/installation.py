"""Which Asterisk there is on this machine to run a private copy of: the installed one, or an unpacked one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asterisk_ai.errors import AsteriskAIError

_ETC = Path("/etc/asterisk/asterisk.conf")
_MODULES = ("usr/lib/*/asterisk/modules", "usr/lib/asterisk/modules", "usr/lib64/asterisk/modules",
            "usr/local/lib/asterisk/modules")  # fmt: skip
_DATA = ("usr/share/asterisk", "var/lib/asterisk", "usr/local/share/asterisk", "usr/local/var/lib/asterisk")
_VOICES = ("en_US_f_Allison", "en", "en_US", "en_GB")
"""Folders below ``sounds``: the recordings' own first, as ``en`` may be a link that leads out of an unpacked tree."""


@dataclass(frozen=True, slots=True)
class Installation:
    """An Asterisk's program and what belongs to it."""

    program: tuple[str, ...]
    """The words that run it."""
    modules: Path
    data: Path
    """Its documentation and sounds (``astdatadir``)."""
    sounds: Path | None
    """English prompts; None where there are none."""

    def has(self, module: str) -> bool:
        """Whether it could load ``module`` (without ``.so``)."""
        return (self.modules / f"{module}.so").exists()

    def version(self) -> str:
        """Such as ``Asterisk 22.10.1``.

        :raises AsteriskAIError: it does not run.
        """
        try:
            done = subprocess.run(
                [*self.program, "-V"], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AsteriskAIError(f"{self.program[-1]} does not run: {error}") from error
        if done.returncode or not done.stdout.startswith("Asterisk"):
            raise AsteriskAIError(f"{self.program[-1]} does not run: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    def release(self) -> tuple[int, int]:
        """Major and minor, such as (22, 10); zeros where it does not tell (a build from source control). As version."""
        found = re.match(r"Asterisk (?:certified/)?(\d+)\.(\d+)", self.version())
        return (int(found[1]), int(found[2])) if found else (0, 0)


def installed(program: str = "") -> Installation | None:
    """The machine's own Asterisk, or the one whose program is named; None where there is none.

    :raises AsteriskAIError: its modules are in none of the usual places.
    """
    found = program or shutil.which("asterisk", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not found or not os.access(found, os.X_OK):
        return None
    configured = _directories(_ETC)
    modules = _first([configured.get("astmoddir", ""), *_below(Path("/"), _MODULES)])
    data = _first([configured.get("astdatadir", ""), *_below(Path("/"), _DATA)])
    if modules is None or data is None:
        raise AsteriskAIError(f"the modules and data of {found} are not found: astmoddir and astdatadir in {_ETC}?")
    return Installation((found,), modules, data, _voice(data))


def unpacked(tree: Path) -> Installation | None:
    """An Asterisk in a folder that holds a whole system's files, for another release of it maybe; None if not there.

    It is run with that system's own libraries, where it lies: nothing of it is installed, and no root is needed.
    """
    program, loader = tree / "usr/sbin/asterisk", _first([*_below(tree, ("lib64/ld-linux-*", "usr/lib/ld-linux-*"))])
    modules = _first([*_below(tree, _MODULES)])
    if not program.exists() or loader is None or modules is None:
        return None
    libraries = f"{modules.parents[1]}:{tree / 'usr/lib'}"
    data = tree / "usr/share/asterisk"
    return Installation((str(loader), "--library-path", libraries, str(program)), modules, data, _voice(data))


def _below(root: Path, patterns: Iterable[str]) -> Iterable[Path]:
    return (path for pattern in patterns for path in sorted(root.glob(pattern)))


def _first(folders: Sequence[str | Path]) -> Path | None:
    return next((Path(folder) for folder in folders if folder and Path(folder).exists()), None)


def _voice(data: Path) -> Path | None:
    return _first([data / "sounds" / name for name in _VOICES])


def _directories(file: Path) -> dict[str, str]:
    """Where asterisk.conf says that things are."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return {}
    return dict(re.findall(r"^\s*(ast\w+)\s*=>?\s*(\S+)", text, re.MULTILINE))
