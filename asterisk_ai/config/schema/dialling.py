"""How we reach Asterisk to have somebody called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from asterisk_ai.config.schema.types import Pattern, Port, Range

_DEVICE = r"[A-Za-z0-9_./@:+*#\-]*"


@dataclass(frozen=True, slots=True)
class AmiConfig:
    """Asterisk's manager interface (AMI), by which we call people. Not there: we call nobody."""

    host: str = "127.0.0.1"
    """Where Asterisk is; ``enabled=yes`` in manager.conf."""
    port: Port = 5038
    """Its port."""
    user: str = "asterisk-ai"
    """A section of manager.conf, with ``read = call,dialplan`` and ``write = originate,call,reporting,system``."""
    secret: str = field(default="", repr=False)
    """The user's ``secret``, best as ``${NAME}`` from the environment."""
    dial: Annotated[str, Pattern(rf"[A-Za-z]+/{_DEVICE}\{{number\}}{_DEVICE}")] = "Local/{number}@from-internal"
    """What is dialled for a number: ``PJSIP/{number}@TRUNK``, or the way of your own telephones."""
    caller_id: Annotated[str, Pattern(r"[0-9+*#]*")] = ""
    """The number that people see who are called; empty: as the trunk says."""
    seconds: Annotated[int, Range(5, 120)] = 30
    """For how long it rings."""
