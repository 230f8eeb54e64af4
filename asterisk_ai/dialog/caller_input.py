"""What a caller dials, and what is said to one who gives no input: the same in every kind of conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asterisk_ai.dialog.events import DigitDialled


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one entry. An entry ends with its wanted number of digits, with ``#``, or with a pause."""

    digits: str = ""
    at: float = 0.0
    """When the last key was dialled."""
    wanted: int = 0
    """How many digits end it at once; 0 where their number is open."""

    def __bool__(self) -> bool:
        return bool(self.digits)

    def pressed(self, event: DigitDialled, now: float, *, timeout_ms: float) -> Keys | None:
        """With one more key. None where it means nothing: the ``#`` behind an entry that its length has ended."""
        if event.digit != "#":
            return Keys(self.digits + event.digit, now, event.wanted)
        if self.digits:
            return Keys(self.digits, now, len(self.digits))
        if self.wanted and now - self.at <= timeout_ms / 1000:
            return None
        return Keys("#", now, 1)

    @property
    def complete(self) -> bool:
        """Whether nothing more is waited for."""
        return bool(self.wanted) and len(self.digits) >= self.wanted

    def taken(self) -> Keys:
        """The entry has been answered."""
        return Keys("", self.at, self.wanted if self.complete else 0)

    def since(self, now: float) -> Keys:
        """Typed ahead, and looked at only now: the pause that ends the entry begins anew."""
        return Keys(self.digits, now, self.wanted) if self.digits else self

    def due(self, timeout_ms: float) -> float:
        """When a pause ends the entry."""
        return self.at + timeout_ms / 1000


def no_input_question(asked: int, prompts: Sequence[str]) -> str | None:
    """What a silent caller is asked after having been asked ``asked`` times; None where it is time to close."""
    return prompts[asked] if asked < len(prompts) else None
