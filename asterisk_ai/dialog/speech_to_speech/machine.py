"""Turn-taking where a service hears, decides and speaks by itself: what is left to us. Pure, as the other machine is.

The service says when the caller begins and ends; we stop the playout, see to it that somebody always says something,
collect digits, and take the call back to the dialplan.
"""

from __future__ import annotations

from dataclasses import replace

from asterisk_ai.dialog.caller_input import limit_at, no_input_question
from asterisk_ai.dialog.dialplan import HANG_UP, ActionKind, DialplanAction
from asterisk_ai.dialog.events import (
    Answer,
    DigitDialled,
    HungUp,
    PauseReply,
    ResumeReason,
    ResumeReply,
    Speak,
    StopReason,
    StopReply,
    Timer,
    VoiceOffset,
    VoiceOnset,
)
from asterisk_ai.dialog.phase import AUDIBLE, Phase, may_follow
from asterisk_ai.dialog.speech_to_speech.events import (
    Action,
    ActionAsked,
    CallerStarted,
    CallerStopped,
    Event,
    GiveUpService,
    ResponseComplete,
    ResponseGrew,
    ResponsePlayed,
    ServiceLost,
    ServiceOpened,
)
from asterisk_ai.dialog.speech_to_speech.state import RealtimeParams, RealtimeState, Step, deadline, gates

HOLD_SECONDS = 0.8
"""How long speech is held for a sound that the service does not take for the caller's voice."""
_RECHECK = 0.02
_ACTION_SECONDS = 1.5
"""How long an action waits for the words that may come with it."""


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
        case ServiceOpened():
            return _service_opened(state, event, now, params)
        case ServiceLost():
            return _service_lost(state, now)
        case CallerStarted():
            return _caller_started(state, now, params)
        case CallerStopped():
            return replace(_awaiting(state, now, params), hearing=False, no_inputs=0), ()
        case ResponseGrew():
            return _response_grew(state, event, now, params)
        case ResponseComplete():
            return _response_complete(state, now, params)
        case ResponsePlayed():
            return _response_played(state, now, params)
        case ActionAsked():
            return _action_asked(state, event, now)
        case VoiceOnset():
            return _onset(state, event, params)
        case VoiceOffset():
            return _offset(state, event, now, params)
        case DigitDialled():
            return _digit(state, event, now, params)
        case Timer():
            return _timer(state, event, now, params)
        case HungUp():
            return replace(state, phase=Phase.ENDED, since=now), (StopReply(state.reply, StopReason.END),)


def _awaiting(state: RealtimeState, now: float, params: RealtimeParams) -> RealtimeState:
    """It is the service's turn."""
    phase = state.phase if state.phase in AUDIBLE else Phase.THINKING
    return replace(state, phase=phase, since=now, due=now + params.seconds, reply=state.reply + 1)


def _service_opened(state: RealtimeState, event: ServiceOpened, now: float, params: RealtimeParams) -> Step:
    if event.speaks:
        return _awaiting(state, now, params), ()
    return _listen(state, now, params)


def _service_lost(state: RealtimeState, now: float) -> Step:
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


def _caller_started(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.phase is Phase.CLOSING or gates(state, params):
        return state, ()
    silent = state.phase in (Phase.LISTENING, Phase.THINKING)
    reason = StopReason.TURN if silent else StopReason.BARGE_IN
    # The service is to notice the caller's end, too: our own ears say when that was.
    due = None if state.voice else now + params.seconds
    was = state.phase
    state = replace(state, phase=Phase.LISTENING, since=now, hearing=True, due=due, check=None, leave=None)
    state = replace(state, interruptible=True, sounding=False, no_inputs=0)
    return state, () if was is Phase.LISTENING else (StopReply(state.reply, reason),)


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
    keys = state.keys.pressed(event, now, params.turn)
    if keys is None or state.phase is Phase.CLOSING:
        return state, ()
    state = replace(state, keys=keys)
    if gates(state, params):
        return state, ()  # typed ahead
    stopped: tuple[Action, ...] = ()
    if state.phase is not Phase.LISTENING:
        stopped = (StopReply(state.reply, StopReason.DIGIT),)
        state = replace(state, phase=Phase.LISTENING, since=now, due=None, check=None, leave=None)
        state = replace(state, interruptible=True, sounding=False)
    if not keys.complete:
        return state, stopped
    state, actions = _dialled(state, now, params)
    return state, stopped + actions


def _dialled(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    digits = state.keys.digits
    state = replace(state, keys=state.keys.after_answer(), no_inputs=0, hearing=False)
    state = _awaiting(state, now, params)
    return state, (Answer(state.reply, digits, dialled=True),)


# ---- the service ------------------------------------------------------------------


def _response_grew(state: RealtimeState, event: ResponseGrew, now: float, params: RealtimeParams) -> Step:
    state = replace(state, due=now + event.seconds + params.seconds, hearing=False)
    if event.audible:
        state = replace(state, sounding=True)
        if state.phase in (Phase.THINKING, Phase.LISTENING):
            return replace(state, phase=Phase.SPEAKING, since=now, interruptible=True), ()
    elif state.phase is Phase.LISTENING:
        return replace(state, phase=Phase.THINKING, since=now), ()
    return state, ()


def _response_complete(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.sounding or state.phase in (Phase.LISTENING, Phase.INTERRUPTED):
        # The last words may take as long as they were to; then the call ends whether or not they were played.
        waits = state.phase is Phase.CLOSING or not state.sounding
        return replace(state, due=state.due if waits else None), ()
    if state.phase is Phase.CLOSING:  # it came to nothing
        return replace(state, phase=Phase.ENDED, since=now), (state.leave or HANG_UP,)
    if state.leave is not None:
        return _leave(state, state.leave, now, params)
    return _listen(state, now, params)


def _response_played(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.phase not in AUDIBLE:
        return state, ()
    if state.leave is not None:
        return replace(state, phase=Phase.ENDED, since=now), (state.leave,)
    return _listen(state, now, params)


def _action_asked(state: RealtimeState, event: ActionAsked, now: float) -> Step:
    if state.leave is not None or state.hearing:
        return state, ()  # one action a call; the caller has begun to speak, so it is not wanted any more
    phase = Phase.THINKING if state.phase is Phase.LISTENING else state.phase
    return replace(state, phase=phase, leave=event.action, due=now + _ACTION_SECONDS), ()


def _leave(state: RealtimeState, leave: DialplanAction, now: float, params: RealtimeParams) -> Step:
    """Without a word of the agent's about it."""
    if leave.kind is ActionKind.HANGUP and params.closing:
        return _close(state, params.closing, now, params)
    return replace(state, phase=Phase.ENDED, since=now), (leave,)


def _close(state: RealtimeState, text: str, now: float, params: RealtimeParams) -> Step:
    """Say the last words, and hang up."""
    stopped: tuple[Action, ...] = (
        (StopReply(state.reply, StopReason.TIMEOUT),) if state.phase is not Phase.LISTENING else ()
    )
    if not text:
        return replace(state, phase=Phase.ENDED, since=now), (*stopped, HANG_UP)
    state = replace(state, phase=Phase.CLOSING, since=now, leave=HANG_UP, interruptible=False, check=None)
    state = replace(state, sounding=False, due=now + params.seconds, reply=state.reply + 1)
    return state, (*stopped, Speak(state.reply, text, interruptible=False, then=HANG_UP))


# ---- time -------------------------------------------------------------------------


def _timer(state: RealtimeState, event: Timer, now: float, params: RealtimeParams) -> Step:
    due = deadline(state, params)
    if due is None or now < due - 1e-6:
        return state, ()
    now = max(now, due)
    turn = params.turn
    if state.phase is not Phase.CLOSING and now >= limit_at(state.started, turn):
        return _close(state, turn.max_call_closing, now, params)
    if state.due is not None and now >= state.due:
        return _overdue(state, now, params)
    if state.check is not None and now >= state.check:
        return _checked(state, event, now, params)
    if state.keys:
        return _dialled(state, now, params)
    question = no_input_question(state.no_inputs, turn)
    if question is None:
        return _close(state, turn.no_input_closing, now, params)
    state = _awaiting(replace(state, no_inputs=state.no_inputs + 1), now, params)
    return state, (Speak(state.reply, question),)


def _overdue(state: RealtimeState, now: float, params: RealtimeParams) -> Step:
    if state.leave is not None:
        if state.phase is Phase.THINKING:
            return _leave(state, state.leave, now, params)
        if state.phase is Phase.CLOSING:
            return replace(state, phase=Phase.ENDED, since=now), (state.leave,)
        return replace(state, due=None), ()  # it waits for what is being played
    return replace(state, due=None), (GiveUpService(),)


def _checked(state: RealtimeState, event: Timer, now: float, params: RealtimeParams) -> Step:
    """A sound while the agent speaks: hold for a long one, and go on where the service takes it for none."""
    if state.phase is Phase.INTERRUPTED:
        return replace(state, phase=Phase.SPEAKING, since=now, check=None), (
            ResumeReply(state.reply, ResumeReason.NOISE),
        )
    voiced_ms = (event.voiced_until - state.voice_at) * 1000 + 1e-3
    if voiced_ms < params.turn.barge_in_ms:
        return replace(state, check=now + _RECHECK), ()
    return replace(state, phase=Phase.INTERRUPTED, since=now, check=now + HOLD_SECONDS), (PauseReply(state.reply),)
