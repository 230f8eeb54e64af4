"""The agent's voice where a service makes it: its audio to the line, and what of it was heard."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.call.account import Account
from asterisk_ai.dialog.heard import SECONDS_PER_LETTER, Spoken, heard_text
from asterisk_ai.transport.media import MediaConnection

MAX_WAITING_SECONDS = 300.0
"""Speech that may wait to be played: services make it faster than it is played. What comes beyond is dropped."""


FIRST_PIECE_SECONDS = 1.0
"""Of an answer that is played as files. Each next one is twice as long: speech is made faster than it is played."""


@dataclass(slots=True)
class _Piece:
    """One message of the agent's: its words, and its audio so far in samples at the line's rate."""

    item: str
    text: str = ""
    samples: int = 0


@dataclass(frozen=True, slots=True)
class CutOff:
    """Where the agent was cut off: ``item`` is empty where none of its audio had come."""

    item: str = ""
    played_ms: int = 0


def _nobody() -> None: ...


class RealtimeSpeech:
    """Queues what comes, has it played, keeps account of it. :meth:`run` must run beside it."""

    def __init__(self, connection: MediaConnection, account: Account, *, played: Callable[[], None]) -> None:
        """``played`` is called when all of an answer was played."""
        self._connection = connection
        self._account = account
        self._played = played
        self._rate = connection.rate  # of what comes
        self._resampler = Resampler(connection.rate, connection.rate)
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._pieces: list[_Piece] = []
        self._base = connection.played
        self._made = True  # nothing more is coming for now
        self._in_piece, self._piece_seconds = 0, FIRST_PIECE_SECONDS

    def begin(self, rate: int) -> None:
        """A service has the call; its audio is at ``rate``."""
        self._rate = rate
        self._resampler = Resampler(rate, self._connection.rate)

    def release(self) -> None:
        """The call is over: nobody is told of anything any more."""
        self._played = _nobody

    # ---- in ---------------------------------------------------------------------

    def making(self) -> None:
        """More is to come: the answer has not ended when what came was played."""
        self._made = False

    def audio(self, item: str, pcm: bytes) -> None:
        """Queue audio; the first of it begins a turn of the agent's."""
        if not self._account.speaking:
            self._account.agent_begins()
        self._piece(item).samples += self._queue(self._resampler.push(pcm))

    def text(self, item: str, words: str) -> None:
        self._piece(item).text += words
        self._account.saying(self._piece(item).text)

    def made(self) -> None:
        """All of the answer has come."""
        tail = self._resampler.flush()
        self._resampler = Resampler(self._rate, self._connection.rate)
        if self._pieces:
            self._pieces[-1].samples += self._queue(tail)
        self._made = True
        self._wake.set()

    def _piece(self, item: str) -> _Piece:
        for piece in reversed(self._pieces):
            if piece.item == item:
                return piece
        self._pieces.append(_Piece(item))
        return self._pieces[-1]

    def _queue(self, pcm: bytes) -> int:
        if not pcm or self.seconds() >= MAX_WAITING_SECONDS:
            return 0
        self._waiting.append(pcm)
        self._wake.set()
        return len(pcm) // SAMPLE_BYTES

    # ---- out ----------------------------------------------------------------------

    async def run(self) -> None:
        """Play what comes, for the length of the call."""
        while True:
            self._wake.clear()
            while self._waiting:
                pcm = self._waiting.popleft()
                await self._connection.send(pcm)
                await self._cut(len(pcm) // SAMPLE_BYTES)
            if self._made and self._account.speaking:
                await self._connection.end_piece()
                self._in_piece, self._piece_seconds = 0, FIRST_PIECE_SECONDS
                await self._connection.drained()
                if self._finished():
                    self._end_turn(interrupted=False)
                    self._played()
            await self._wake.wait()

    async def _cut(self, samples: int) -> None:
        """Where audio is played as files: begin before all of the answer is there."""
        self._in_piece += samples
        if self._in_piece >= self._piece_seconds * self._connection.rate:
            self._in_piece, self._piece_seconds = 0, 2 * self._piece_seconds
            await self._connection.end_piece()

    def _finished(self) -> bool:
        """Whether all was played; not where it was stopped, or the call is gone before that."""
        made = self._made and not self._waiting and self._account.speaking
        return made and self._connection.played - self._base >= sum(piece.samples for piece in self._pieces)

    def seconds(self) -> float:
        """That wait to be played."""
        samples = sum(piece.samples for piece in self._pieces) - (self._connection.played - self._base)
        return max(0.0, samples / self._connection.rate)

    def stop(self) -> CutOff:
        """Silence, now. Says where the agent was cut off."""
        stopped = self._position()
        self._waiting.clear()
        self._end_turn(interrupted=True)
        self._connection.clear()
        self._resampler = Resampler(self._rate, self._connection.rate)
        self._made = True
        return stopped

    def _position(self) -> CutOff:
        played = self._connection.played - self._base
        for piece in self._pieces:
            if piece.samples and played < piece.samples:
                return CutOff(piece.item, max(0, played) * 1000 // self._connection.rate)
            played -= piece.samples
        if self._pieces and not self._made:  # all that came was played, and more of it was to come
            last = self._pieces[-1]
            return CutOff(last.item, last.samples * 1000 // self._connection.rate)
        return CutOff()

    def _heard(self) -> str:
        played = self._connection.played - self._base
        spoken = [Spoken(piece.text.strip(), self._length(piece)) for piece in self._pieces if piece.samples]
        return heard_text(spoken, played)

    def _length(self, piece: _Piece) -> int:
        """Words come ahead of their audio: what of a message has not come yet is guessed."""
        if self._made or piece is not self._pieces[-1]:
            return piece.samples
        return max(piece.samples, int(len(piece.text) * SECONDS_PER_LETTER * self._connection.rate))

    def _end_turn(self, *, interrupted: bool) -> None:
        heard = self._heard()
        self._pieces = []
        self._base = self._connection.played
        self._account.agent_ends(heard, interrupted=interrupted)
