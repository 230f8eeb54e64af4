"""Turn-taking where a service hears, decides and speaks by itself: what is left to us. Pure, as :mod:`.turn` is.

The service says when the caller begins and ends; we stop the playout, see to it that somebody always says something,
collect digits, and take the call back to the dialplan. The phases are those of :mod:`.turn`, and mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from asterisk_ai.dialog.caller_input import Keys
from asterisk_ai.dialog.dialplan import HANG_UP, ActionKind, DialplanAction
from asterisk_ai.dialog.events import DigitDialled, HungUp, Timer, VoiceOffset, VoiceOnset
from asterisk_ai.dialog.staged.state import Phase, TurnParams, may_follow

HOLD_SECONDS = 0.8
"""How long speech is held for a sound that the service does not take for the caller's voice."""
_RECHECK = 0.02
_ACTION_SECONDS = 1.5
"""How long an action waits for the words that may come with it."""
_AUDIBLE = (Phase.GREETING, Phase.SPEAKING, Phase.CLOSING)


@dataclass(frozen=True, slots=True)
class Opened:
    """A service has the call. ``speaks``: it was told to say something first."""

    speaks: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """It has not any more."""


@dataclass(frozen=True, slots=True)
class Hears:
    """The service hears the caller speak."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The service takes the caller to be done."""


@dataclass(frozen=True, slots=True)
class Answering:
    """The service makes an answer; ``seconds`` of speech wait to be played. ``audible``: some of it has come."""

    audible: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """All of the answer has come."""


@dataclass(frozen=True, slots=True)
class Played:
    """All that came was played, and nothing more is being made."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The model wants the call to go back to the dialplan, after what it says."""

    leave: DialplanAction


Event = (
    Opened
    | Lost
    | Hears
    | Heard
    | Answering
    | Answered
    | Played
    | Wanted
    | VoiceOnset
    | VoiceOffset
    | DigitDialled
    | Timer
    | HungUp
)


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop playing, and keep what waits."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """It was nothing: play the rest. ``outcome`` for the metrics."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Throw away what waits, and tell the service what was heard. ``outcome``: barge_in, digit, turn or timeout."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Have the service say this."""

    text: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Have the service answer what was dialled."""

    digits: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The service keeps the caller waiting."""


Action = Hold | GoOn | Interrupt | Prompt | Tell | GiveUp | DialplanAction


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
    """Where a conversation is. Made by :func:`initial`, changed by :func:`step` only."""

    phase: Phase = Phase.NEW
    since: float = 0.0
    started: float = 0.0
    due: float | None = None
    """When the service must have done something; None while it need not."""
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
    """As :func:`.turn.gates`: tokens that keep the caller from being heard."""
    gated = state.phase in _AUDIBLE and not (params.turn.barge_in and state.interruptible)
    return frozenset(("reply",)) if gated else frozenset()


def deadline(state: RealtimeState, params: RealtimeParams) -> float | None:
    """When a Timer is due."""
    if state.phase in (Phase.NEW, Phase.ENDED):
        return None
    due = [] if state.phase is Phase.CLOSING else [state.started + params.turn.max_call_seconds]
    due += [at for at in (state.due, state.check) if at is not None]
    if state.phase is Phase.LISTENING and not state.hearing and not state.voice:
        if state.keys:
            due.append(state.keys.due(params.turn.digit_timeout_ms))
        elif state.due is None:
            due.append(max(state.since, state.voice_end) + params.turn.no_input_seconds)
    return min(due, default=None)


def step(state: RealtimeState, event: Event, now: float, params: RealtimeParams) -> Step:
    """One event at ``now``. Events that mean nothing in this phase change nothing."""
    if state.phase is Phase.ENDED:
        return state, ()
    after, actions = _stepped(state, event, now, params)
    return (after, actions) if may_follow(state.phase, after.phase) else (state, ())


def _stepped(  # noqa: C901 - a case an event
    state: RealtimeState, event: Event, now: float, params: RealtimeParams
) -> Step:
    match event:
        case Opened():
            return _opened(state, event, now, params)
        case Lost():
            return _lost(state, now)
        case Hears():
            return _hears(state, now, params)
        case Heard():
            return replace(_awaiting(state, now, params), hearing=False, no_inputs=0), ()
        case Answering():
            return _answering(state, event, now, params)
        case Answered():
            return _answered(state, now, params)
        case Played():
            return _played(state, now, params)
        case Wanted():
            return _wanted(state, event, now)
        case VoiceOnset():
            return _onset(state, event, params)
        case VoiceOffset():
            return _offset(state, event, now, params)
        case DigitDialled():
            return _digit(state, event, now, params)
        case Timer():
            return _timer(state, event, now, params)
        case HungUp():
            return replace(state, phase=Phase.ENDED, since=now), (Interrupt("end"),)


def _awaiting(state: RealtimeState, now: float, params: RealtimeParams) -> RealtimeState:
    """It is the service's turn."""
    phase = state.phase if state.phase in _AUDIBLE else Phase.THINKING
    return replace(state, phase=phase, since=now, due=now + params.seconds)


def _opened(state: RealtimeState, event: Opened, now: float, params: RealtimeParams) -> Step:
    if event.speaks:
        return _awaiting(state, now, params), ()
    return _listen(state, now, params)


def _lost(state: RealtimeState, now: float) -> Step:
    """What it was asked to do it has told us, and that is done; only what it was saying is gone."""
    if state.leave is not None:
        return replace(state, phase=Phase.ENDED, since=now), (state.leave,)
    phase = Phase.GREETING if state.phase is Phase.GREETING else Phase.THINKING
    return replace(state, phase=phase, since=now, due=None, check=None, hearing=False, sounding=False), ()


def _listen(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    state = replace(state, phase=Phase.LISTENING, since=now, due=None, check=None, interruptible=True, sounding=False)
    if state.keys and state.keys.complete:
        return _dialled(state, now, params)
    return replace(state, keys=state.keys.since(now)), ()


# ---- the caller -----------------------------------------------------------------


def _hears(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.phase is Phase.CLOSING or gates(state, params):
        return state, ()
    outcome = "turn" if state.phase in (Phase.LISTENING, Phase.THINKING) else "barge_in"
    # The service is to notice the caller's end, too: our own ears say when that was.
    due = None if state.voice else now + params.seconds
    was = state.phase
    state = replace(state, phase=Phase.LISTENING, since=now, hearing=True, due=due, check=None, leave=None)
    state = replace(state, interruptible=True, sounding=False, no_inputs=0)
    return state, () if was is Phase.LISTENING else (Interrupt(outcome),)


def _onset(state: RealtimeState, event: VoiceOnset, params: RealtimeParams) -> Step:
    state = replace(state, voice=True, voice_at=event.at)
    if state.hearing:
        return replace(state, due=None), ()
    if state.phase in (Phase.GREETING, Phase.SPEAKING) and not gates(state, params):
        return replace(state, check=event.at + params.turn.barge_in_ms / 1000), ()
    return state, ()


def _offset(state: RealtimeState, event: VoiceOffset, now: float, params: RealtimeParams) -> Step:
    state = replace(state, voice=False, voice_end=event.at)
    if state.hearing:
        return replace(state, due=now + params.seconds), ()
    return (state if state.phase is Phase.INTERRUPTED else replace(state, check=None)), ()


def _digit(state: RealtimeState, event: DigitDialled, now: float, params: RealtimeParams) -> Step:
    keys = state.keys.pressed(event, now, timeout_ms=params.turn.digit_timeout_ms)
    if keys is None or state.phase is Phase.CLOSING:
        return state, ()
    state = replace(state, keys=keys)
    if gates(state, params):
        return state, ()  # typed ahead
    stopped: tuple[Action, ...] = ()
    if state.phase is not Phase.LISTENING:
        stopped = (Interrupt("digit"),)
        state = replace(state, phase=Phase.LISTENING, since=now, due=None, check=None, leave=None)
        state = replace(state, interruptible=True, sounding=False)
    if not keys.complete:
        return state, stopped
    state, actions = _dialled(state, now, params)
    return state, stopped + actions


def _dialled(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    digits = state.keys.digits
    state = replace(state, keys=state.keys.taken(), no_inputs=0, hearing=False)
    return _awaiting(state, now, params), (Tell(digits),)


# ---- the service ------------------------------------------------------------------


def _answering(state: RealtimeState, event: Answering, now: float, params: RealtimeParams) -> Step:
    state = replace(state, due=now + event.seconds + params.seconds, hearing=False)
    if event.audible:
        state = replace(state, sounding=True)
        if state.phase in (Phase.THINKING, Phase.LISTENING):
            return replace(state, phase=Phase.SPEAKING, since=now, interruptible=True), ()
    elif state.phase is Phase.LISTENING:
        return replace(state, phase=Phase.THINKING, since=now), ()
    return state, ()


def _answered(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.sounding or state.phase in (Phase.LISTENING, Phase.INTERRUPTED):
        # The last words may take as long as they were to; then the call ends whether or not they were played.
        waits = state.phase is Phase.CLOSING or not state.sounding
        return replace(state, due=state.due if waits else None), ()
    if state.phase is Phase.CLOSING:  # it came to nothing
        return replace(state, phase=Phase.ENDED, since=now), (state.leave or HANG_UP,)
    if state.leave is not None:
        return _leave(state, state.leave, now, params)
    return _listen(state, now, params)


def _played(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.phase not in _AUDIBLE:
        return state, ()
    if state.leave is not None:
        return replace(state, phase=Phase.ENDED, since=now), (state.leave,)
    return _listen(state, now, params)


def _wanted(state: RealtimeState, event: Wanted, now: float) -> Step:
    if state.leave is not None or state.hearing:
        return state, ()  # one action a call; the caller has begun to speak, so it is not wanted any more
    phase = Phase.THINKING if state.phase is Phase.LISTENING else state.phase
    return replace(state, phase=phase, leave=event.leave, due=now + _ACTION_SECONDS), ()


def _leave(state: RealtimeState, leave: DialplanAction, now: float, params: RealtimeParams) -> Step:
    """Without a word of the agent's about it."""
    if leave.kind is ActionKind.HANGUP and params.closing:
        return _close(state, params.closing, now, params)
    return replace(state, phase=Phase.ENDED, since=now), (leave,)


def _close(state: RealtimeState, text: str, now: float, params: RealtimeParams) -> Step:
    """Say the last words, and hang up."""
    stopped: tuple[Action, ...] = (Interrupt("timeout"),) if state.phase is not Phase.LISTENING else ()
    if not text:
        return replace(state, phase=Phase.ENDED, since=now), (*stopped, HANG_UP)
    state = replace(state, phase=Phase.CLOSING, since=now, leave=HANG_UP, interruptible=False, check=None)
    state = replace(state, sounding=False)
    return replace(state, due=now + params.seconds), (*stopped, Prompt(text))


# ---- time -------------------------------------------------------------------------


def _timer(state: RealtimeState, event: Timer, now: float, params: RealtimeParams) -> Step:
    due = deadline(state, params)
    if due is None or now < due - 1e-6:
        return state, ()
    now = max(now, due)
    turn = params.turn
    if state.phase is not Phase.CLOSING and now >= state.started + turn.max_call_seconds:
        return _close(state, turn.max_call_closing, now, params)
    if state.due is not None and now >= state.due:
        return _overdue(state, now, params)
    if state.check is not None and now >= state.check:
        return _checked(state, event, now, params)
    if state.keys:
        return _dialled(state, now, params)
    if state.no_inputs >= len(turn.no_input_prompts):
        return _close(state, turn.no_input_closing, now, params)
    state = replace(state, no_inputs=state.no_inputs + 1)
    return _awaiting(state, now, params), (Prompt(turn.no_input_prompts[state.no_inputs - 1]),)


def _overdue(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.leave is not None:
        if state.phase is Phase.THINKING:
            return _leave(state, state.leave, now, params)
        if state.phase is Phase.CLOSING:
            return replace(state, phase=Phase.ENDED, since=now), (state.leave,)
        return replace(state, due=None), ()  # it waits for what is being played
    return replace(state, due=None), (GiveUp(),)


def _checked(state: RealtimeState, event: Timer, now: float, params: RealtimeParams) -> Step:
    """A sound while the agent speaks: hold for a long one, and go on where the service takes it for none."""
    if state.phase is Phase.INTERRUPTED:
        return replace(state, phase=Phase.SPEAKING, since=now, check=None), (GoOn("noise"),)
    voiced_ms = (event.voiced_until - state.voice_at) * 1000 + 1e-3
    if voiced_ms < params.turn.barge_in_ms:
        return replace(state, check=now + _RECHECK), ()
    return replace(state, phase=Phase.INTERRUPTED, since=now, check=now + HOLD_SECONDS), (Hold(),)
