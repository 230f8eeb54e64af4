"""What a call and its connection are to each other, whatever the transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from asterisk_ai.audio.ambience import Ambience


class MediaHandler(Protocol):
    """What a connection needs of the call it belongs to.

    All methods are called on the loop; they must not block and must not raise.
    """

    rate: int
    """The call's sample rate in Hz; 0: take the one of the caller's first audio."""

    def on_begin(self, rate: int) -> None:
        """Audio flows from now on, at ``rate`` Hz both ways."""

    def on_audio(self, pcm: bytes) -> None:
        """The caller's audio, normally 20 ms of it.

        A line may carry none while the caller is silent, muted or on hold: that it does not come says nothing.
        """

    def on_digit(self, digit: str) -> None:
        """A dialled key: 0-9, A-D, * or #."""

    def on_closed(self, reason: str) -> None:
        """The connection is gone, for good. Called once, whatever ended it."""


class MediaConnection(Protocol):
    """What a call needs of the connection to its caller."""

    rate: int
    """Sample rate of the agent's audio in Hz."""
    tap: Callable[[bytes], None] | None
    """Told each frame of the agent's speech when it is streamed, for a recording; must be quick and must not raise."""
    streaming: bool
    """Whether audio is played as it comes; else when all of a reply, or of a piece of it, is there."""

    @property
    def whole(self) -> bool:
        """Whether nothing of a reply is heard before all of it is made."""

    @property
    def underruns(self) -> int:
        """How often playing had to wait for audio in the middle of a piece."""

    async def send(self, pcm: bytes) -> None:
        """Queue ``pcm`` (whole samples at :attr:`rate`) to be played; waits while much is queued.

        Cancelling leaves what was queued in place; returns at once when the connection is gone.
        """

    async def end_piece(self) -> None:
        """What was sent since the last call of this is a whole: where audio is played as files, it becomes one.

        On a line it says that what comes next need not come at once: silence from here on is no underrun.

        :raises ProviderUnavailable: where the file cannot be written.
        """

    def fall_back(self, reason: str) -> bool:
        """Something is wrong with streaming: have what comes played as a file. False where that is not done.

        :param reason: a word for it: ``engine``, ``underruns``, ``transport``.
        """

    async def kept(self, key: str) -> bytes | None:
        """The audio that :meth:`keep` was given under ``key``; None where there is none, and on a line."""

    async def keep(self, key: str, pcm: bytes) -> None:
        """Keep a prompt's audio for those who are told the same; nothing on a line."""

    async def drained(self) -> None:
        """Wait until everything queued has been played, or the connection is gone."""

    def clear(self) -> None:
        """Drop all that is queued and stop playing, now. A pause is over."""

    def pause(self) -> None:
        """Stop playing, now, and keep what is queued: :meth:`drained` waits until it was played after all."""

    def resume(self) -> None:
        """Go on where playing was paused."""

    def on_first_frame(self, call: Callable[[], None]) -> None:
        """Call once, when the next queued audio begins to be played; :meth:`clear` forgets it."""

    @property
    def played(self) -> int:
        """Samples of queued audio that were played since the beginning."""

    def hang_up(self) -> None:
        """Give the call back to the dialplan."""


class Line(MediaConnection, Protocol):
    """What audio is streamed over."""

    def hear_behind(self, ambience: Ambience) -> None:
        """From now on this is behind all that is sent, and in its pauses."""

    def on_end(self, call: Callable[[bytes, bool], None]) -> None:
        """Call once, when no more can be sent: with what was queued, and whether more of that piece was to come."""
