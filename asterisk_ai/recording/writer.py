"""Calls as sound files: the caller on the left, the agent as it was really played on the right.

While a call lasts, its samples are added to a raw file, by one thread for all calls: the media loop only puts
pieces of about a second into a queue. When the call has ended, the raw file becomes a FLAC, Ogg or WAV file. What
a killed server leaves is finished by the next one, and a caller who comes back goes on in the same file.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.recording.folder import RAW

logger = logging.getLogger(__name__)

Format = Literal["flac", "ogg", "wav"]
FLUSH_SECONDS = 1.0
"""So much of a call is handed to the disk at once, and so much stays in memory: what comes late may change it."""
GAP_SECONDS = 0.1
"""A side from which nothing came for longer than this had nothing to send: there is silence in the recording."""
MAX_WAITING = 2000
"""Pieces that a disk may be behind; what comes then is lost, counted, and silence in the recording."""
_SIDES = 2
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class _Piece:
    file: Path
    at: int  # of its first sample
    left: bytes
    right: bytes


@dataclass(frozen=True, slots=True)
class _Finish:
    call_id: str
    keep: bool


class RecordingWriter:
    """Writes all recordings of a server on a thread of its own; a disk that fails costs recordings, never calls.

    :param folder: where they are, one file a call, named by its id; made where it does not exist.
    """

    def __init__(self, folder: Path, file_format: Format = "flac") -> None:
        self.folder = folder
        self.format: Format = file_format
        self.lost_pieces = 0
        """Pieces of about a second that the disk did not take in time, or not at all."""
        self._queue: queue.SimpleQueue[_Piece | _Finish | None] = queue.SimpleQueue()
        self._problem = ""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, with what an earlier server has left unfinished. Never raises: see :meth:`problem`."""
        self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def problem(self) -> str:
        """Why recordings cannot be written, in plain words; empty while they can."""
        return self._problem

    def raw_file(self, call_id: str, rate: int) -> Path:
        """Where a call is recorded while it lasts."""
        return self.folder / f"{call_id}.{rate}{RAW}"

    def put(self, piece: _Piece) -> None:
        """Called on the loop: add to a file, or lose it."""
        if self._queue.qsize() >= MAX_WAITING:
            self.lost_pieces += 1
        else:
            self._queue.put(piece)

    def finish(self, call_id: str, *, keep: bool) -> None:
        """The call has ended: make a sound file of it, or, where it is not to be kept, none."""
        self._queue.put(_Finish(call_id, keep))

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                if isinstance(task, _Piece):
                    self._add(task)
                else:
                    self._finish(task)
            except (OSError, soundfile.SoundFileError) as error:
                self._failed(task, error)
            else:
                if isinstance(task, _Piece):
                    self._recovered()

    def _failed(self, task: _Piece | _Finish, error: Exception) -> None:
        self.lost_pieces += isinstance(task, _Piece)
        if not self._problem:
            logger.error("recordings cannot be written to %s: %s (calls go on without)", self.folder, error)
        self._problem = f"recordings cannot be written to {self.folder}: {error}"

    def _recovered(self) -> None:
        if self._problem:
            logger.info("recordings are written to %s again", self.folder)
        self._problem = ""

    def _add(self, piece: _Piece) -> None:
        # What callers said is nobody else's business.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        piece.file.touch(mode=0o640)
        with piece.file.open("r+b") as file:
            file.seek(piece.at * SAMPLE_BYTES * _SIDES)  # what is missing before it is silence
            file.write(interleaved(piece.left, piece.right))

    def _finish(self, task: _Finish) -> None:
        for raw in self.folder.glob(f"{task.call_id}.*{RAW}"):
            if task.keep:
                made = self.folder / f".{task.call_id}.{self.format}"
                try:
                    encode(raw, made, int(raw.name.split(".")[1]), self.format)
                    made.rename(self.folder / made.name[1:])
                finally:
                    made.unlink(missing_ok=True)
            raw.unlink()


def interleaved(left: bytes, right: bytes) -> bytes:
    """Two channels of equal length as one, sample by sample."""
    both = np.empty((len(left) // SAMPLE_BYTES, _SIDES), np.int16)
    both[:, 0] = np.frombuffer(left, np.int16)
    both[:, 1] = np.frombuffer(right, np.int16)
    return both.tobytes()


def encode(raw: Path, target: Path, rate: int, file_format: Format) -> None:
    """Make a sound file of a raw one. Raises OSError and soundfile.SoundFileError."""
    kind, subtype = {"flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "OPUS"), "wav": ("WAV", "PCM_16")}[file_format]
    target.touch(mode=0o640)
    with (
        raw.open("rb") as source,
        soundfile.SoundFile(target, "w", rate, _SIDES, format=kind, subtype=subtype) as file,
    ):
        while block := source.read(_BLOCK * SAMPLE_BYTES * _SIDES):
            whole = len(block) - len(block) % (SAMPLE_BYTES * _SIDES)  # a killed server may have written half a sample
            file.write(np.frombuffer(block[:whole], np.int16).reshape(-1, _SIDES))


@dataclass(slots=True)
class _Side:
    pcm: bytearray = field(default_factory=bytearray)
    """Not yet handed over."""
    last: int = 0
    """Sample at which something came last."""
    _silence: int = 0
    """Bytes of silence that were put in last, as far as they are still here, ..."""
    _until: int = 0
    """... and where in ``pcm`` they end."""

    def insert_silence(self, count: int) -> None:
        self.pcm.extend(bytes(count))
        self._silence, self._until = count, len(self.pcm)

    def remove_silence(self, count: int) -> None:
        count = min(count, self._silence)
        del self.pcm[self._until - count : self._until]
        self._silence -= count
        self._until -= count

    def take(self, count: int) -> bytes:
        taken = bytes(self.pcm[:count])
        del self.pcm[:count]
        self._until = max(0, self._until - count)
        self._silence = min(self._silence, self._until)
        return taken


class CallRecording:
    """What one connection of a call adds to its recording. Used on the loop only.

    Either side is placed by the clock: a line may carry nothing while its
    caller is silent, and the agent's silence is none of its audio.

    :param offset: seconds of the call that have passed when this connection begins.
    """

    def __init__(
        self, writer: RecordingWriter, call_id: str, rate: int, *, offset: float, clock: Callable[[], float]
    ) -> None:
        self._writer = writer
        self._file = writer.raw_file(call_id, rate)
        self._rate = rate
        self._clock = clock
        self._began = clock() - offset
        self._at = max(0, int(offset * rate))  # sample at which both sides begin that are not yet handed over
        self._left, self._right = _Side(), _Side()

    def heard(self, pcm: bytes) -> None:
        """The caller's audio, just now."""
        self._add(self._left, pcm)

    def played(self, pcm: bytes) -> None:
        """The agent's audio, which is sent just now."""
        self._add(self._right, pcm)

    def _add(self, side: _Side, pcm: bytes) -> None:
        position = self._position()
        behind = (position - self._at) * SAMPLE_BYTES - len(side.pcm) - len(pcm)
        if position - side.last > GAP_SECONDS * self._rate:  # it begins anew, here and not where it ended
            side.insert_silence(max(behind, 0))
        elif -behind >= len(pcm):  # no silence: what was late comes all at once
            side.remove_silence(-behind)
        side.pcm.extend(pcm)
        side.last = position
        if len(side.pcm) >= 2 * FLUSH_SECONDS * self._rate * SAMPLE_BYTES:
            self._flush(settled=int(FLUSH_SECONDS * self._rate))

    def _position(self) -> int:
        return round((self._clock() - self._began) * self._rate)

    def _flush(self, settled: int) -> None:
        """Hand over what neither side can add to any more: all that is older than ``settled`` samples."""
        samples = max(len(side.pcm) for side in (self._left, self._right)) // SAMPLE_BYTES
        count = max(min(samples, self._position() - self._at - settled), 0)
        if not count:
            return
        sides = []
        for side in (self._left, self._right):
            taken = side.take(count * SAMPLE_BYTES)
            sides.append(taken + bytes(count * SAMPLE_BYTES - len(taken)))
        self._writer.put(_Piece(self._file, self._at, *sides))
        self._at += count

    def close(self) -> None:
        """The connection has ended: hand the rest over."""
        self._flush(settled=-len(self._left.pcm) - len(self._right.pcm))
