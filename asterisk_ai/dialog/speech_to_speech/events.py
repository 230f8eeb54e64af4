"""What a service of speech to speech tells, beside what every conversation knows (:mod:`asterisk_ai.dialog.events`).

What the caller does is told twice: by the service, and by our own voice detection (``VoiceOnset``, ``VoiceOffset``).
"""

from __future__ import annotations

from dataclasses import dataclass

from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.events import (
    Answer,
    DigitDialled,
    HungUp,
    PauseReply,
    ResumeReply,
    Speak,
    StopReply,
    Timer,
    VoiceOffset,
    VoiceOnset,
)


@dataclass(frozen=True, slots=True)
class ServiceOpened:
    """A service has the call. ``speaks``: it was told to say something first."""

    speaks: bool


@dataclass(frozen=True, slots=True)
class ServiceLost:
    """It has not any more."""


@dataclass(frozen=True, slots=True)
class CallerStarted:
    """The service hears the caller speak."""


@dataclass(frozen=True, slots=True)
class CallerStopped:
    """The service takes the caller to be done."""


@dataclass(frozen=True, slots=True)
class ResponseGrew:
    """The service makes an answer; ``seconds`` of speech wait to be played. ``audible``: some of it has come."""

    audible: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ResponseComplete:
    """All of the answer has come."""


@dataclass(frozen=True, slots=True)
class ResponsePlayed:
    """All that came was played, and nothing more is being made."""


@dataclass(frozen=True, slots=True)
class ActionAsked:
    """The model wants the call to go back to the dialplan, after what it says."""

    action: DialplanAction


@dataclass(frozen=True, slots=True)
class GiveUpService:
    """An action: the service keeps the caller waiting, so that the next one is tried."""


Event = (
    ServiceOpened
    | ServiceLost
    | CallerStarted
    | CallerStopped
    | ResponseGrew
    | ResponseComplete
    | ResponsePlayed
    | ActionAsked
    | VoiceOnset
    | VoiceOffset
    | DigitDialled
    | Timer
    | HungUp
)
Action = PauseReply | ResumeReply | StopReply | Speak | Answer | GiveUpService | DialplanAction
