"""What the machine of :mod:`~asterisk_ai.dialog.speech_to_speech.machine` knows, and when it wants to be woken."""

from __future__ import annotations

from dataclasses import dataclass, field

from asterisk_ai.dialog.caller_input import Keys, input_due, limit_at
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import Phase, gated
from asterisk_ai.dialog.speech_to_speech.events import Action


@dataclass(frozen=True, slots=True)
class RealtimeParams:
    """How a conversation is to go.

    :param seconds: that the service may keep the caller waiting.
    :param closing: said where the model just hangs up.
    """

    turn: TurnParams = field(default_factory=TurnParams)
    seconds: float = 4.0
    closing: str = ""


@dataclass(frozen=True, slots=True)
class RealtimeState:
    """Where a conversation is. Made by :func:`initial`, changed by the machine's ``step`` only."""

    phase: Phase = Phase.NEW
    since: float = 0.0
    started: float = 0.0
    due: float | None = None
    """When the service must have done something; None while it need not."""
    reply: int = 0
    """Number of the newest reply that the agent was to make."""
    interruptible: bool = True
    sounding: bool = False
    """Something of an answer is playing or waits to be played."""
    hearing: bool = False
    """The service hears the caller."""
    voice: bool = False
    """We hear the caller."""
    voice_at: float = 0.0
    voice_end: float = 0.0
    check: float | None = None
    """When to see whether a sound is an interruption."""
    leave: DialplanAction | None = None
    keys: Keys = field(default_factory=Keys)
    no_inputs: int = 0


Step = tuple[RealtimeState, tuple[Action, ...]]


def initial(now: float, *, interruptible: bool = True) -> RealtimeState:
    """A call that begins now; ``interruptible``: whether its first words are."""
    return RealtimeState(Phase.GREETING, since=now, started=now, interruptible=interruptible)


def gates(state: RealtimeState, params: RealtimeParams) -> frozenset[str]:
    """Tokens that keep the caller's audio from being captured."""
    closed = gated(state.phase, interruptible=state.interruptible, barge_in=params.turn.barge_in)
    return frozenset(("reply",)) if closed else frozenset()


def deadline(state: RealtimeState, params: RealtimeParams) -> float | None:
    """When a Timer is due."""
    if state.phase in (Phase.NEW, Phase.ENDED):
        return None
    due = [] if state.phase is Phase.CLOSING else [limit_at(state.started, params.turn)]
    due += [at for at in (state.due, state.check) if at is not None]
    silent = state.phase is Phase.LISTENING and not state.hearing and not state.voice
    if silent and (state.keys or state.due is None):
        due.append(input_due(state.keys, max(state.since, state.voice_end), params.turn))
    return min(due, default=None)
