"""The folder of recordings: which file is whose, and how long it is kept."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

RAW = ".raw"
"""Ends the name of a recording that is being made, after the call's id and the sample rate."""
_ENDINGS = (".flac", ".ogg", ".wav")
_UNFINISHED = re.compile(r"([0-9a-f-]+)\.(\d+)" + re.escape(RAW))
GIB = 1 << 30


def find(folder: Path, call_id: str) -> Path | None:
    """The recording of a call that has ended."""
    return next((file for ending in _ENDINGS if (file := folder / f"{call_id}{ending}").is_file()), None)


def unfinished(folder: Path) -> list[str]:
    """Calls that are being recorded, or whose server was lost."""
    return sorted({named[1] for file in folder.glob(f"*{RAW}") if (named := _UNFINISHED.fullmatch(file.name))})


def remove(folder: Path, call_ids: Iterable[str]) -> int:
    """Remove recordings; returns how many there were. Raises OSError."""
    count = 0
    for call_id in call_ids:
        for file in [folder / f"{call_id}{ending}" for ending in _ENDINGS] + list(folder.glob(f"{call_id}.*{RAW}")):
            if file.is_file():
                file.unlink()
                count += 1
    return count


def tidy(folder: Path, *, keep_days: float, max_gib: float) -> int:
    """Remove recordings that are older than they may be kept, then the oldest while there is more than may be.

    :returns: how many were removed. Calls that last are left alone. Raises OSError.
    """
    files = []
    for file in folder.iterdir() if folder.is_dir() else ():
        if file.suffix in _ENDINGS and not file.name.startswith("."):
            state = file.stat()
            files.append((state.st_mtime, state.st_size, file))
    files.sort()
    oldest, total, removed = time.time() - keep_days * 86400, sum(size for _, size, _ in files), 0
    for at, size, file in files:
        if (keep_days and at < oldest) or (max_gib and total > max_gib * GIB):
            file.unlink(missing_ok=True)
            total -= size
            removed += 1
    return removed
