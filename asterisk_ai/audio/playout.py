"""The one buffer between what an agent says and the line."""

from __future__ import annotations

from collections import deque


class PlayoutBuffer:
    """PCM waiting to be played, taken frame by frame.

    Bytes in, frames of exactly ``frame`` bytes out; a last short frame is
    padded with silence. Not bounded by itself: the producer waits while
    :attr:`queued` is above its high-water mark.
    """

    __slots__ = ("_head", "_pieces", "frame", "played", "queued", "silence")

    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.silence = bytes(frame)
        self.queued = 0
        """Bytes waiting."""
        self.played = 0
        """Bytes taken since the buffer was made, padding not counted."""
        self._pieces: deque[bytes] = deque()
        self._head = 0

    def push(self, pcm: bytes) -> None:
        """Append ``pcm``, whole samples."""
        if pcm:
            self._pieces.append(pcm)
            self.queued += len(pcm)

    def take(self) -> bytes | None:
        """The next frame, or None when nothing is waiting."""
        if not self.queued:
            return None
        want = self.frame
        piece, head = self._pieces[0], self._head
        end = head + want
        if end < len(piece):  # the common case: one slice
            self._head = end
            self.queued -= want
            self.played += want
            return piece[head:end]
        return self._take_across(want)

    def _take_across(self, want: int) -> bytes:
        parts: list[bytes] = []
        while want and self._pieces:
            piece = self._pieces[0]
            part = piece[self._head : self._head + want]
            parts.append(part)
            want -= len(part)
            self._head += len(part)
            if self._head == len(piece):
                self._pieces.popleft()
                self._head = 0
        taken = self.frame - want
        self.queued -= taken
        self.played += taken
        return b"".join(parts) + self.silence[:want]

    def clear(self) -> int:
        """Drop everything that waits; returns how many bytes that was."""
        dropped, self.queued = self.queued, 0
        self._pieces.clear()
        self._head = 0
        return dropped
