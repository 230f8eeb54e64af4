"""The folder of sound files that Asterisk plays: replies, which live for seconds, and prompts, which are kept."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from asterisk_ai.errors import ProviderUnavailable

SUFFIXES = {8000: "wav", 16_000: "wav16"}
"""The rates of files that Asterisk plays, and how it knows them. Source: formats/format_wav.c."""
_HEADER_BYTES = 44


class Spool:
    """WAV files of 16-bit mono PCM. It reads and writes a disk: not for the event loop.

    A prompt is kept under a key that tells what it was made of: the same words by the same voice are made once. What is
    older than ``max_age`` seconds goes, and where there is no room the oldest prompts do.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 200_000_000, max_age: float = 86_400.0) -> None:
        self.folder = folder
        self._prompts = folder / "prompts"
        self._max_bytes = max_bytes
        self._max_age = max_age

    def reply(self, name: str, rate: int) -> Path:
        """The file of a reply, which whoever plays it removes."""
        return self.folder / f"{name}.{SUFFIXES[rate]}"

    def write(self, path: Path, pcm: bytes, rate: int) -> None:
        """:raises ProviderUnavailable: the disk, or what we may use of it, is full, or the folder is not ours."""
        try:
            self.make_room(_HEADER_BYTES + len(pcm))
            # World-readable: Asterisk may run as another user.
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            soundfile.write(path, np.frombuffer(pcm, "<i2"), rate, format="WAV", subtype="PCM_16")
        except (OSError, soundfile.LibsndfileError) as error:
            with contextlib.suppress(OSError):
                path.unlink()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ProviderUnavailable("playback", f"{path}: {reason}") from error

    def keep(self, key: str, pcm: bytes, rate: int) -> None:
        """Keep a prompt. Raises as :meth:`write`."""
        path = self._prompts / f"{key}.wav"
        draft = path.with_suffix(f".{secrets.token_hex(8)}")  # others may be reading it, or writing the same
        self.write(draft, pcm, rate)
        with contextlib.suppress(FileNotFoundError):  # so old, by a date that was set, that it made room
            draft.replace(path)

    def find(self, key: str, rate: int) -> bytes | None:
        """A kept prompt's audio; None where it is not there."""
        try:
            samples, found = soundfile.read(self._prompts / f"{key}.wav", dtype="int16")
        except (OSError, soundfile.LibsndfileError):
            return None
        return samples.tobytes() if found == rate and samples.ndim == 1 else None

    def make_room(self, wanted: int = 0) -> None:
        """Remove what is too old, and the oldest prompts where there is no room.

        :raises ProviderUnavailable: there is none for ``wanted`` bytes all the same.
        """
        files = sorted(self._files())
        total, oldest = sum(size for _, size, _ in files), time.time() - self._max_age
        for modified, size, path in files:
            full = total + wanted > self._max_bytes and path.parent == self._prompts
            if modified < oldest or full:
                path.unlink(missing_ok=True)
                total -= size
        if total + wanted > self._max_bytes:
            raise ProviderUnavailable("playback", f"{self.folder} is full (playback.spool_mb)")

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in (*self.folder.glob("*.wav*"), *self._prompts.glob("*")):
            try:
                known = path.stat()
            except OSError:
                continue  # it was played meanwhile
            yield known.st_mtime, known.st_size, path
