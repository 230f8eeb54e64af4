"""E-mail about calls that have ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parseaddr
from typing import Literal

from asterisk_ai.config.schema.after import NONE_NAMED
from asterisk_ai.config.schema.types import Names, Port, Seconds

PLACEHOLDERS = (
    "id", "agent", "number", "name", "dialled", "started", "seconds", "outcome", "summary", "slots", "transcript",
)  # fmt: skip
PLACEHOLDER = re.compile(r"\{([A-Za-z_.]+)\}")
EndedAs = Literal["hangup", "agent_hangup", "transfer", "queue", "voicemail", "fallback", "lost"]
_SUBJECT = "Call from {number} {name}: {outcome}"
_TEXT = """\
{summary}

From {number} {name} to {agent}, {started}, {seconds} s. Outcome: {outcome}
{slots}

{transcript}

Call {id}
"""


@dataclass(frozen=True, slots=True)
class MessageConfig:
    """One e-mail about a call that has ended, with a name of your choice; see :doc:`/after-the-call`."""

    to: Names = field(default=NONE_NAMED, metadata={"needed": "name who is to get it"})
    """Addresses."""
    agents: Names = NONE_NAMED
    """About these agents' calls only; empty: about all."""
    outcomes: tuple[EndedAs, ...] = ()
    """About calls that ended so, as in ``[voicemail, fallback]``; empty: however they ended."""
    subject: str = _SUBJECT
    """With placeholders, as the text has them."""
    text: str = _TEXT
    """The text, with ``{summary}``, ``{transcript}`` and others filled in."""

    def __post_init__(self) -> None:
        """:raises ValueError: an address is none, or a placeholder is not known."""
        for address in self.to:
            if not is_address(address):
                raise ValueError(f"to: {address!r} is no e-mail address")
        for key in ("subject", "text"):
            for name in PLACEHOLDER.findall(getattr(self, key)):
                if name not in PLACEHOLDERS:
                    known = "}, {".join(PLACEHOLDERS)
                    raise ValueError(f"{key}: nothing is known of {{{name}}}; there are {{{known}}}")


@dataclass(frozen=True, slots=True)
class MailConfig:
    """The server that e-mail is handed to. Not there: no e-mail."""

    server: str = "localhost"
    """Its name."""
    port: Port = 25
    """587 with ``security: starttls``, 465 with ``tls``, for most."""
    security: Literal["none", "starttls", "tls"] = "none"
    """How the connection is protected."""
    user: str = ""
    """The account to log in with; empty: no login."""
    password: str = field(default="", repr=False)
    """Its password, best as ``${NAME}`` from the environment."""
    sender: str = field(default="", metadata={"needed": "name the address that e-mail comes from"})
    """Who it is from: ``pbx@example.com``, or ``Reception <pbx@example.com>``."""
    timeout_seconds: Seconds = 20.0
    """The server has not answered for so long: it is tried again later."""
    messages: Mapping[str, MessageConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """:raises ValueError: the sender is no address, or a password would be sent for all to read."""
        if self.sender and not is_address(self.sender):
            raise ValueError(f"sender: {self.sender!r} is no e-mail address")
        if self.password and self.security == "none":
            raise ValueError("security: a password is not sent without: starttls or tls")


def is_address(text: str) -> bool:
    """Whether it is one address, with a name or without, and nothing else."""
    address = parseaddr(text)[1]
    local, _, host = address.rpartition("@")
    plain = text.isprintable() and not re.search(r"[\s,;]", address)
    return bool(plain and local and host and (text == address or text.endswith(f"<{address}>")))
