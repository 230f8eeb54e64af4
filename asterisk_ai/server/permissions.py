"""Files that others may read or change, and must not: what was said, keys, and what decides what the server runs."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from asterisk_ai.config import Config
from asterisk_ai.config.paths import SYSTEM_FOLDER
from asterisk_ai.config.private import TOKEN_FILE

_KEYS = SYSTEM_FOLDER / "asterisk_ai.env"
_LITERAL = re.compile(r"^[^#\n]*\b(?:api_key|password|token|secret)\s*:\s*[\"']?[^\s\"'${}#][^\s]{7,}", re.MULTILINE)
"""A secret that stands in the file itself."""


def exposed(config: Config, keys: Path = _KEYS) -> Iterator[str]:
    """What is wrong, each with the command that mends it. Looked at once, at the start."""
    file = Path(config.source)
    if config.source and _mode(file) & stat.S_IWOTH:
        yield f"{file} may be changed by everybody, and with it what the server runs: chmod o-w {file}"
    if config.source and _mode(file) & stat.S_IROTH and _LITERAL.search(_text(file)):
        yield f"{file} holds a key and may be read by everybody: chmod o-r {file}, or ${{NAME}} in the key's place"
    private = [keys]
    if config.store.backend == "sqlite":
        store = config.store_path()
        private += [store, store.with_name(TOKEN_FILE)]
    for path in private:
        if _mode(path) & (stat.S_IROTH | stat.S_IWOTH):
            yield f"{path} may be read or changed by everybody: chmod o= {path}"
    folders = [config.store_path().parent] if config.store.backend == "sqlite" else []
    if any(agent.record for agent in config.agents.values()):
        folders.append(config.recordings_path())
    for folder in dict.fromkeys(folders):
        mode = _mode(folder)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield f"{folder} may be changed by everybody: chmod o-w {folder}"


def _mode(path: Path) -> int:
    """0 where it is not there."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
