"""Whom an agent can have rung for its callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from asterisk_ai.config.schema.types import Names, Pattern, Range
from asterisk_ai.dialog.transfer import to_dial

MAX_DESTINATIONS = 8
"""Ten rounds in a row that end at once are too many for the dialplan."""


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """Somebody who is rung for a caller, who comes back to the agent where nobody takes the call."""

    to: Names = field(default_factory=Names, metadata={"needed": "whom to ring? e.g. PJSIP/200 or 200@from-internal"})
    """Whom to ring, in this order: devices as Asterisk knows them (``PJSIP/200``), or ``200@from-internal``."""
    label: str = ""
    """What they are called, as in ``the sales team``; empty: "my colleague", in the agent's language."""
    seconds: Annotated[int, Range(5, 120)] = 20
    """For how long each of them is rung."""
    music: Annotated[str, Pattern(r"[A-Za-z0-9_.\-]*")] = ""
    """The class of music that the caller hears meanwhile; empty: ringing."""
    attended: bool = True
    """Whoever answers is told who calls and about what, and takes the call with 1 or declines with 2. False: the two
    are connected at once."""
    briefing: str = ""
    """What is told instead, with ``{caller.name}``, ``{caller.number}`` and ``{about}`` filled in."""
    hours: Mapping[str, Any] = field(default_factory=dict)
    """When they are rung, as ``hours`` of the rules; empty: always."""
    otherwise: str = ""
    """The intent of the rules that is offered to a caller who is back, such as leaving a message."""
    offer: str = ""
    """The question by which that is offered, as in ``Would you like to leave a message?``."""

    def __post_init__(self) -> None:
        if len(self.to) > MAX_DESTINATIONS:
            raise ValueError(f"to: more than {MAX_DESTINATIONS} destinations")
        for one in self.to:
            if to_dial(one) is None:
                raise ValueError(f"to: {one!r} is none: expected a device, e.g. PJSIP/200, or 200@from-internal")
