"""What a call needs of the conversation that it owns, of whatever kind."""

from __future__ import annotations

from typing import Protocol

from asterisk_ai.dialog.phase import Phase
from asterisk_ai.vad.energy import Offset, Onset


class Conversation(Protocol):
    """One way to talk with the caller. A call has one at a time, and the next one where it fails.

    Made when audio begins. All but :meth:`run` is called by the call from
    outside of its tasks and must not wait; what is raised ends the call, with
    its caller in the fallback.
    """

    async def run(self) -> bool:
        """Talk until the connection is gone; True where it cannot go on and the next one has to."""

    @property
    def phase(self) -> Phase:
        """Where it is, for the metrics."""

    def heard(self, pcm: bytes, level: float, now: float) -> None:
        """The caller's audio, and its level in dBov."""

    def voice(self, voice: Onset | Offset) -> None:
        """The caller begins or ends to speak."""

    def digit(self, digit: str) -> None:
        """A dialled key: 0-9, A-D, * or #."""

    def time_passed(self) -> None:
        """What was to be done at the time that the call's timer was armed for is to be done now."""

    def capture_closed(self) -> None:
        """What was captured before a gap in the capture must not be joined to what comes after it."""

    def release(self) -> None:
        """It is over and all its tasks are: let go of the call, see :meth:`asterisk_ai.call.call.Call.close`."""
