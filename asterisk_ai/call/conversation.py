"""What a call needs of the conversation that it owns, of whatever kind."""

from __future__ import annotations

from typing import Protocol

from asterisk_ai.dialog.caller_input import Entry
from asterisk_ai.dialog.events import CallerEvent
from asterisk_ai.dialog.phase import Phase


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
        """The caller's audio, and its level in dBov; :meth:`asterisk_ai.call.call.Call.voice` takes what is in it."""

    def step(self, event: CallerEvent) -> None:
        """Have the dialog core decide, and carry out what it wants."""

    @property
    def due(self) -> float | None:
        """When the dialog core wants to be told the time; None where it need not."""

    @property
    def entry(self) -> Entry:
        """What is waited for on the keys now, where nobody has asked for a number of digits."""

    def capture_closed(self) -> None:
        """What was captured before a gap in the capture must not be joined to what comes after it."""

    def release(self) -> None:
        """It is over and all its tasks are: let go of the call, see :meth:`asterisk_ai.call.call.Call.close`."""
