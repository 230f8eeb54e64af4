"""The exceptions of asterisk_ai, by whose mistake it was.

A :class:`LocalProtocolError` is ours, a :class:`RemoteProtocolError` the
peer's, a :class:`ProviderError` the engine's or vendor's, a
:class:`ConfigError` the administrator's.
"""

from __future__ import annotations

from enum import StrEnum


class AsteriskAIError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(AsteriskAIError):
    """The configuration cannot be used.

    :param message: what is wrong and how to mend it.
    :param path: the key's path, e.g. ``agents.reception.turn.endpoint_ms``.
    :param line: 1-based line in the file, 0 where there is none.
    :param file: the file's name as the user gave it, empty where there is none.
    """

    def __init__(self, message: str, *, path: str = "", line: int = 0, file: str = "") -> None:
        where = f"{file}:{line}" if file and line else file
        super().__init__(": ".join(part for part in (where, path, message) if part))
        self.message, self.path, self.line, self.file = message, path, line, file


class ProtocolError(AsteriskAIError):
    """Something that a wire protocol forbids."""


class LocalProtocolError(ProtocolError):
    """We were about to send what the protocol forbids; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids."""


class AudioFormatError(AsteriskAIError):
    """Audio, in a file or as a file, of a kind that cannot be used: not 16-bit mono, most of all."""


class CallHungUp(AsteriskAIError):
    """The channel is gone; commands to it cannot succeed any more."""


class Refusal(StrEnum):
    """Why a call or a connection is not taken; the word for AI_STATUS and for the metrics."""

    FULL = "FULL"
    DRAINING = "DRAINING"
    UNKNOWN_AGENT = "UNKNOWN_AGENT"
    ERROR = "ERROR"
    """What was asked for cannot be."""
    DUPLICATE = "DUPLICATE"
    UNKNOWN = "UNKNOWN"
    """Nobody has announced the call."""
    BUSY = "BUSY"
    """The call has a connection already."""
    SOURCE = "SOURCE"
    """Its address is none of those that may connect."""
    RATE = "RATE"
    """Its address connects too often."""
    TIMEOUT = "TIMEOUT"
    PROTOCOL = "PROTOCOL"
    FORMAT = "FORMAT"
    """The audio is coded in a way that we do not read."""


class CallRefused(AsteriskAIError):
    """A call is not taken."""

    def __init__(self, reason: Refusal, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class ControlError(AsteriskAIError):
    """Asterisk's own interface (ARI) cannot be reached, or refused what we asked for."""


class StoreError(AsteriskAIError):
    """The session store cannot read or write (disk full, damaged file, ...)."""


class ModelError(AsteriskAIError):
    """A model file is missing or damaged; the message names the command that mends it."""


class ProviderError(AsteriskAIError):
    """An engine or a vendor failed.

    :param provider: its name in the catalog.
    :param incident: what many calls suffer from at once, such as the death of a process that they share: failures of
        the same one count as one.
    """

    def __init__(self, provider: str, message: str, *, incident: object = None) -> None:
        super().__init__(f"{provider}: {message}")
        self.provider, self.incident = provider, incident


class ProviderUnavailable(ProviderError):
    """Worth a retry or a fallback: time-out, overload, lost worker, no network."""


class RateLimited(ProviderUnavailable):
    """The service was asked too often, and will answer again in a while."""


class QuotaExceeded(ProviderUnavailable):
    """What was paid for is used up: somebody has to see to it."""


class ProviderRejected(ProviderError):
    """Not worth a retry: wrong key, wrong parameters, unsupported language."""
