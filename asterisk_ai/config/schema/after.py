"""What happens when a call has ended: who is told of it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from asterisk_ai.config.schema.types import Names, Seconds

NONE_NAMED = Names()
"""All of them are meant."""
SECRET_PREFIX = "whsec_"  # noqa: S105 - by which a secret in base64 is known
_MIN_SECRET = 16

Event = Literal["call.started", "call.ended"]


def url_problem(url: str) -> str:
    """Why nothing can be sent there; empty where it can."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "{" in parts.netloc:
        return "must begin with https:// (or http://) and name a host"
    return "a password does not belong into it: set headers" if "@" in parts.netloc else ""


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """A server of yours that is told of calls by HTTP, with a name of your choice; see :doc:`/after-the-call`."""

    url: str = field(default="", metadata={"needed": "name the address that is to be told of calls"})
    """Where the events are posted."""
    secret: str = field(default="", repr=False, metadata={"needed": "what is sent is signed: give a secret"})
    """What they are signed with, best as ``${NAME}`` from the environment: 16 characters and more, or ``whsec_`` and
    base64."""
    events: tuple[Event, ...] = ("call.ended",)
    """Which events: ``call.ended``, ``call.started``."""
    agents: Names = NONE_NAMED
    """Of these agents' calls only; empty: of all."""
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Sent with them, as ``Authorization``; keys best as ``${NAME}`` from the environment."""
    timeout_seconds: Seconds = 10.0
    """Nothing was heard from the server for so long: it is tried again later."""

    def __post_init__(self) -> None:
        """:raises ValueError: nothing can be sent there, or the secret is none."""
        if self.url and (problem := url_problem(self.url)):
            raise ValueError(f"url: {problem}")
        if self.secret and not self.key():
            raise ValueError(f"secret: must have {_MIN_SECRET} characters, or be {SECRET_PREFIX} and base64")

    def key(self) -> bytes:
        """The key of the signature; empty where the secret is none."""
        if not self.secret.startswith(SECRET_PREFIX):
            return self.secret.encode() if len(self.secret) >= _MIN_SECRET else b""
        try:
            return base64.b64decode(self.secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            return b""
