"""Files and folders, and what else the process's environment says: it is read here and nowhere else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import asterisk_ai
from asterisk_ai.errors import ConfigError

FILE_NAME = "asterisk_ai.yaml"
VARIABLE = "ASTERISK_AI_CONFIG"
SYSTEM_FOLDER = Path("/etc/asterisk")
SYSTEM_STATE = Path("/var/lib/asterisk-ai")


@dataclass(frozen=True, slots=True)
class ServiceManager:
    """What systemd told the process: ``notify_socket`` empty and ``watchdog_seconds`` 0 where it did not start it."""

    notify_socket: str = ""
    watchdog_seconds: float = 0.0


def service_manager() -> ServiceManager:
    """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Source: sd_notify(3), sd_watchdog_enabled(3)."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    seconds = int(microseconds) / 1e6 if microseconds.isdigit() and ours else 0.0
    return ServiceManager(os.environ.get("NOTIFY_SOCKET", ""), seconds)


def share_path(name: str) -> Path:
    """The folder of data files ``name`` (dialplan, etc-asterisk, models), in a wheel or in a checkout."""
    package = Path(asterisk_ai.__file__).resolve().parent
    installed, checkout = package / "share" / name, package.parent / name
    for folder in (installed, checkout):
        if folder.is_dir():
            return folder
    raise ConfigError(
        f"the package's folder {name!r} is missing (looked in {installed} and {checkout}): install it again"
    )


def find(path: str | None = None) -> Path:
    """The configuration file to use; the packaged sample where there is no other.

    A file that was named, by ``path`` or the variable, is returned even where
    it does not exist, so that reading it says so.
    """
    named = path or os.environ.get(VARIABLE, "")
    if named:
        return Path(named).expanduser()
    # "sudo -u asterisk" in root's home: a folder that we may not enter holds nothing that is meant for us
    places = [SYSTEM_FOLDER / FILE_NAME]
    if os.access(".", os.X_OK, effective_ids=True):
        places.insert(0, Path(FILE_NAME))
    for candidate in places:
        if _exists(candidate):
            return candidate
    return share_path("etc-asterisk") / FILE_NAME


def _exists(path: Path) -> bool:
    """True also where we may not look: passing over an unreadable configuration would hide it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def state_directory() -> Path:
    """Where calls are kept: systemd's StateDirectory, /var/lib/asterisk-ai where we may write, else the user's."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    nearest = SYSTEM_STATE if os.path.exists(SYSTEM_STATE) else SYSTEM_STATE.parent
    if os.access(nearest, os.W_OK | os.X_OK):
        return SYSTEM_STATE
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()) / "asterisk-ai"


def models_directory() -> Path:
    """Where models are kept: /var/lib/asterisk-ai/models where it is there or can be made, else the user's.

    It need not be writable: root fetches, and the user that serves calls reads.
    """
    shared = SYSTEM_STATE / "models"
    # os.path: another user's folder that we may not look into is none for us, and no error
    return shared if os.path.isdir(shared) else state_directory() / "models"


def beside(source: str, path: str) -> Path:
    """``path`` as a file meant by the configuration ``source``: ~ is the home, relative is to the file's folder."""
    meant = Path(path).expanduser()
    return meant if meant.is_absolute() else Path(source).resolve().parent / meant


def sounds_directory(etc: Path = SYSTEM_FOLDER) -> Path:
    """Asterisk's folder of sounds, as its asterisk.conf says, else where it usually is."""
    try:
        text = (etc / "asterisk.conf").read_text("utf-8", "replace")
    except OSError:
        text = ""
    named = re.search(r"^\s*astdatadir\s*=>?\s*(\S+)", text, re.MULTILINE)
    usual = [Path("/usr/share/asterisk/sounds"), Path("/var/lib/asterisk/sounds")]
    folders = [Path(named[1]) / "sounds"] if named else usual
    return next((folder for folder in folders if folder.is_dir()), folders[-1])
