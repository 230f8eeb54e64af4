"""What a caller dials, and what is said to one who gives no input: the same in every kind of conversation."""

from __future__ import annotations

from dataclasses import dataclass

from asterisk_ai.dialog.events import DigitDialled
from asterisk_ai.dialog.params import TurnParams


@dataclass(frozen=True, slots=True)
class Entry:
    """What is waited for on the keys now; see :class:`~asterisk_ai.dialog.events.DigitDialled`.

    ``secret``: meanwhile nothing of the caller is heard, recorded, logged or kept.
    """

    wanted: int = 0
    restarts: bool = False
    pause_seconds: float = 0.0
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one entry. An entry ends with its wanted number of digits, with ``#``, or with a pause."""

    digits: str = ""
    at: float = 0.0
    """When the last key was dialled."""
    wanted: int = 0
    """How many digits end it at once; 0 where their number is open."""
    pause_seconds: float = 0.0
    """The pause that ends it; 0: the agent's own."""

    def __bool__(self) -> bool:
        return bool(self.digits)

    def pressed(self, event: DigitDialled, now: float, params: TurnParams) -> Keys | None:
        """With one more key. None where it means nothing: the ``#`` behind an entry that its length has ended."""
        if event.digit == "*" and event.restarts:
            return Keys("", now, event.wanted, event.pause_seconds)
        if event.digit != "#":
            return Keys(self.digits + event.digit, now, event.wanted, event.pause_seconds)
        if self.digits:
            return Keys(self.digits, now, len(self.digits))
        if self.wanted and now - self.at <= params.digit_timeout_ms / 1000:
            return None
        return Keys("#", now, 1)

    @property
    def complete(self) -> bool:
        """Whether nothing more is waited for."""
        return bool(self.wanted) and len(self.digits) >= self.wanted

    def after_answer(self) -> Keys:
        """The entry has been answered."""
        return Keys("", self.at, self.wanted if self.complete else 0)

    def since(self, now: float) -> Keys:
        """Typed ahead, and looked at only now: the pause that ends the entry begins anew."""
        return Keys(self.digits, now, self.wanted, self.pause_seconds) if self.digits else self


def input_due(keys: Keys, silent_since: float, params: TurnParams) -> float:
    """When a pause ends what is being dialled; without that, when a silent caller is asked for something."""
    pause = keys.pause_seconds or params.digit_timeout_ms / 1000
    return keys.at + pause if keys else silent_since + params.no_input_seconds


def no_input_question(asked: int, params: TurnParams) -> str | None:
    """What a silent caller is asked after having been asked ``asked`` times; None where it is time to close."""
    return params.no_input_prompts[asked] if asked < len(params.no_input_prompts) else None


def limit_at(started: float, params: TurnParams) -> float:
    """When a call that began at ``started`` has lasted for as long as it may, and is closed."""
    return started + params.max_call_seconds
