"""The conversation coordinator: who speaks, who may, and what happens next. Pure: time is an argument.

``step`` takes one event and returns the next state with the actions to carry
out; ``deadlines.deadline`` says when to come back with a :class:`~.events.Timer` if
nothing else happens first; ``gates`` says what keeps the caller's audio from
being captured. Every transition there is stands in
:data:`~asterisk_ai.dialog.phase.TRANSITIONS`:

=========== ==================================================== ============================
phase       the agent ...                                        leaves by
=========== ==================================================== ============================
new         has not begun                                        Started
greeting    says its first words                                 as speaking
listening   waits for words or digits                            endpoint, digits, no input
thinking    has words coming or an answer being made             SpeakingStarted, barge-in
speaking    says something                                       ReplyEnded, barge-in
interrupted holds what it was saying: the caller may have begun  words, length, or silence
closing     says its last words, nothing interrupts them         ReplyEnded
ended       is done                                              --
=========== ==================================================== ============================
"""

from __future__ import annotations

from dataclasses import replace

from asterisk_ai.dialog.caller_input import limit_at
from asterisk_ai.dialog.dialplan import HANG_UP
from asterisk_ai.dialog.events import (
    DigitDialled,
    Event,
    HungUp,
    RecognitionFailed,
    ReplyEnded,
    ReplyFailed,
    SpeakFiller,
    SpeakingStarted,
    Started,
    StopReason,
    Timer,
    TurnLikelihood,
    VoiceOffset,
    VoiceOnset,
    WordsFinal,
    WordsPartial,
)
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import Phase, gated, may_follow
from asterisk_ai.dialog.staged.deadlines import deadline, filler_at, stuck_at, wants_filler
from asterisk_ai.dialog.staged.interruption import barge_in, interrupted_timer
from asterisk_ai.dialog.staged.listening import (
    digit,
    listening_timer,
    offset,
    onset,
    partial,
    recognition_failed,
    words,
)
from asterisk_ai.dialog.staged.reply import (
    answer,
    close,
    drop_all,
    end,
    listen,
    quiet,
    reply_ended,
    reply_failed,
    speak,
    speaking,
    trouble,
)
from asterisk_ai.dialog.staged.state import Step, TurnState


def initial(greeting: str = "", *, interruptible: bool = True, language: str = "en-US") -> TurnState:
    """The state before the first event."""
    return TurnState(greeting=greeting, greeting_interruptible=interruptible, language=language)


def gates(state: TurnState, params: TurnParams, now: float) -> frozenset[str]:
    """Tokens that keep the caller's audio from being captured; capture is on while there is none.

    Derived from the state, so that none can be added twice or be left behind.
    """
    tokens = set()
    if gated(state.phase, interruptible=state.reply.interruptible, barge_in=params.barge_in):
        tokens.add(f"reply-{state.reply.number}")
    if not params.barge_in and state.phase is Phase.LISTENING and now < state.spoken_until + params.guard_ms / 1000:
        tokens.add("guard")
    return frozenset(tokens)


def step(state: TurnState, event: Event, now: float, params: TurnParams) -> Step:
    """One event at ``now``. Events that are stale or mean nothing in this phase change nothing."""
    if state.phase is Phase.ENDED:
        return state, ()
    after, actions = _stepped(state, event, now, params)
    return (after, actions) if may_follow(state.phase, after.phase) else (state, ())


def _stepped(state: TurnState, event: Event, now: float, params: TurnParams) -> Step:  # noqa: C901 - a case an event
    match event:
        case Started():
            return _started(state, event, now, params)
        case VoiceOnset():
            return onset(state, event, params)
        case VoiceOffset():
            return offset(state, event, params)
        case DigitDialled():
            return digit(state, event, now, params)
        case WordsPartial():
            return partial(state, event, now, params)
        case TurnLikelihood():
            pausing = state.utterance.open and not state.voice.on and event.utterance == state.utterance.number
            current = pausing and event.paused_at == state.voice.end  # else it judges a pause that is over
            return (
                replace(state, utterance=replace(state.utterance, likelihood=event.probability)) if current else state
            ), ()
        case WordsFinal():
            return words(state, event, now, params)
        case RecognitionFailed():
            return recognition_failed(state, event, now, params)
        case SpeakingStarted():
            return speaking(state, event, now)
        case ReplyEnded():
            return reply_ended(state, event, now)
        case ReplyFailed():
            return reply_failed(state, event, now, params)
        case Timer():
            return _timer(state, event, now, params)
        case HungUp():
            return end(state, now)


def _started(state: TurnState, event: Started, now: float, params: TurnParams) -> Step:
    if state.phase is not Phase.NEW:
        return state, ()
    state = replace(state, started=now, since=now)
    if event.resumed:
        return _resumed(state, event, now, params)
    if not state.greeting:
        return listen(state, now)
    state, actions = speak(state, state.greeting, now, interruptible=state.greeting_interruptible)
    return replace(state, phase=Phase.GREETING), actions


def _resumed(state: TurnState, event: Started, now: float, params: TurnParams) -> Step:
    """The conversation goes on where it was: only what was not heard is said, only what was not answered is."""
    bridge = params.resume_prompt if event.cut else ""
    if event.owed is not None:
        state, actions = answer(state, event.owed, now)
        return state, ((SpeakFiller(state.reply.number, bridge),) if bridge else ()) + actions
    if text := " ".join(filter(None, (bridge, event.unheard.removeprefix(bridge).strip()))):
        return speak(state, text, now, interruptible=event.interruptible, then=event.then)
    return listen(state, now) if event.then is None else end(state, now, event.then)


def _timer(state: TurnState, event: Timer, now: float, params: TurnParams) -> Step:
    due = deadline(state, params)
    if due is None or now < due - 1e-6:
        return state, ()
    now = max(now, due)  # clocks round: a timer that fires a hair early means this deadline, not the one after it
    if state.phase is Phase.CLOSING:
        return end(state, now, HANG_UP)
    if now >= limit_at(state.started, params):
        return close(state, params.max_call_closing, now, HANG_UP)
    if state.phase is Phase.LISTENING:
        return listening_timer(state, now, params)
    if state.phase is Phase.INTERRUPTED:
        return interrupted_timer(state, event, now, params)
    if now >= stuck_at(state, params):
        dropped, state = drop_all(state, StopReason.TIMEOUT), quiet(state)
        state, actions = trouble(state, now, params)
        return state, dropped + actions
    if wants_filler(state, params) and now >= filler_at(state, params):
        return replace(state, reply=replace(state.reply, fillers=state.reply.fillers + 1)), (
            SpeakFiller(state.reply.number, params.filler_prompt),
        )
    return barge_in(state, event, now, params)
