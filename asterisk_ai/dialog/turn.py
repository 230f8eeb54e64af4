"""Turn-taking: who speaks, who may, and what happens next. Pure: time is an argument.

``step`` takes one event and returns the next state with the actions to carry
out; ``deadline`` says when to come back with a :class:`~.events.Timer` if
nothing else happens first. The table of phases:

========= ==================================================== ====================
phase     the agent ...                                        leaves by
========= ==================================================== ====================
new       has not begun                                        Started
speaking  says something (greeting, reply, prompt)             ReplyEnded, barge-in
listening waits for words or digits                            endpoint, digits, no input
thinking  has words coming or an answer being made             SpeakingStarted, barge-in
closing   says its last words, nothing interrupts them         ReplyEnded
ended     is done                                              --
========= ==================================================== ====================
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from asterisk_ai.dialog.events import (
    Action,
    Answer,
    CloseUtterance,
    DigitDialled,
    DropUtterance,
    Event,
    HungUp,
    Leave,
    OpenUtterance,
    RecognitionFailed,
    ReplyEnded,
    ReplyFailed,
    Speak,
    SpeakingStarted,
    Started,
    StopReply,
    Timer,
    VoiceOffset,
    VoiceOnset,
    WordsFinal,
)


class Phase(StrEnum):
    """See the table above."""

    NEW = "new"
    SPEAKING = "speaking"
    LISTENING = "listening"
    THINKING = "thinking"
    CLOSING = "closing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class TurnParams:
    """How one agent takes turns. The ``turn:`` mapping of an agent in asterisk_ai.yaml."""

    endpoint_ms: float = 600.0
    """Silence after the caller's last sound that ends an utterance."""
    barge_in: bool = True
    """False: half duplex, the caller is not listened to while the agent speaks."""
    barge_in_ms: float = 240.0
    """Voiced sound that stops the agent; less is taken for a cough or a click."""
    min_utterance_ms: float = 120.0
    """Refused speech shorter than this is taken for a noise and not answered."""
    max_utterance_seconds: float = 20.0
    """A caller who talks longer is answered in the middle."""
    no_input_seconds: float = 7.0
    """Silence until the caller is asked whether they are still there."""
    no_input_prompts: tuple[str, ...] = ("Are you still there?", "I did not hear anything. How can I help you?")
    """Said in turn; after the last one has gone unanswered the agent closes."""
    no_input_closing: str = "I cannot hear you, so I will end this call. Goodbye."
    digit_timeout_ms: float = 2500.0
    """Pause that ends dialled digits where their number is open (# ends them at once)."""
    answer_seconds: float = 15.0
    """How long words or an answer may take before the agent says that it has a problem."""
    trouble_prompt: str = "I am sorry, I have a technical problem. Please say that again."
    max_troubles: int = 2
    """This many troubles in a row and the caller goes to the dialplan's fallback."""
    resume_prompt: str = "Sorry, we were cut off. Please go on."
    max_call_seconds: float = 3600.0
    max_call_closing: str = "I have to end this call now. Goodbye."


@dataclass(frozen=True, slots=True)
class TurnState:
    """Where a conversation is. Made by :func:`initial`, changed by :func:`step` only."""

    phase: Phase = Phase.NEW
    since: float = 0.0
    """When this phase began."""
    started: float = 0.0
    greeting: str = ""
    greeting_interruptible: bool = True
    reply: int = 0
    """Number of the newest reply."""
    reply_live: bool = False
    audible_at: float | None = None
    """When the newest part of the newest reply began to be played; None before its first."""
    interruptible: bool = True
    """Whether what is being said now may be interrupted."""
    utterance: int = 0
    """Number of the newest utterance."""
    utterance_open: bool = False
    utterance_at: float = 0.0
    awaited: int = 0
    """Number of the closed utterance whose words have not come yet, 0 for none."""
    awaited_ms: float = 0.0
    """How long it lasted."""
    voice: bool = False
    voice_at: float = 0.0
    voice_end: float = 0.0
    barge_check: float = 0.0
    digits: str = ""
    digits_at: float = 0.0
    digits_wanted: int = 0
    no_inputs: int = 0
    answering: bool = False
    """The newest reply answers the caller; it is not a fixed prompt."""
    troubles: int = 0


Step = tuple[TurnState, tuple[Action, ...]]

_RECHECK = 0.04  # two frames: how often a doubtful interruption is looked at again
_PART_SECONDS = 120.0  # nobody says a sentence for longer: the engine that makes the next one is stuck
_AGENT_BUSY = (Phase.SPEAKING, Phase.THINKING)


def initial(greeting: str = "", *, interruptible: bool = True) -> TurnState:
    """The state before the first event."""
    return TurnState(greeting=greeting, greeting_interruptible=interruptible)


def deadline(state: TurnState, params: TurnParams) -> float | None:
    """When a :class:`~.events.Timer` is due; None once the conversation has ended or has not begun."""
    if state.phase in (Phase.NEW, Phase.ENDED):
        return None
    if state.phase is Phase.CLOSING:
        return _stuck_at(state, params)
    due = [state.started + params.max_call_seconds]
    if state.phase in _AGENT_BUSY:
        due.append(_stuck_at(state, params))
    if state.phase in _AGENT_BUSY and state.utterance_open:
        due.append(state.barge_check)
    if state.phase is Phase.LISTENING:
        due.append(_listening_deadline(state, params))
    return min(due)


def _stuck_at(state: TurnState, params: TurnParams) -> float:
    """When words, an answer or a part of one have taken too long."""
    if state.phase is Phase.THINKING or state.audible_at is None:
        return state.since + params.answer_seconds
    return state.audible_at + _PART_SECONDS


def _listening_deadline(state: TurnState, params: TurnParams) -> float:
    if state.utterance_open:
        cap = state.utterance_at + params.max_utterance_seconds
        return cap if state.voice else min(cap, state.voice_end + params.endpoint_ms / 1000)
    if state.digits:
        return state.digits_at + params.digit_timeout_ms / 1000
    return state.since + params.no_input_seconds


def step(state: TurnState, event: Event, now: float, params: TurnParams) -> Step:  # noqa: C901 - a case an event
    """One event at ``now``. Events that are stale or mean nothing in this phase change nothing."""
    if state.phase is Phase.ENDED:
        return state, ()
    match event:
        case Started():
            return _started(state, event, now, params)
        case VoiceOnset():
            return _onset(state, event, params)
        case VoiceOffset():
            return _offset(state, event, params)
        case DigitDialled():
            return _digit(state, event, now)
        case WordsFinal():
            return _words(state, event, now, params)
        case RecognitionFailed():
            return _recognition_failed(state, event, now, params)
        case SpeakingStarted():
            return _speaking(state, event, now)
        case ReplyEnded():
            return _reply_ended(state, event, now)
        case ReplyFailed():
            return _reply_failed(state, event, now, params)
        case Timer():
            return _timer(state, event, now, params)
        case HungUp():
            return _end(state, now)


# ---- beginning and end ----------------------------------------------------


def _started(state: TurnState, event: Started, now: float, params: TurnParams) -> Step:
    if state.phase is not Phase.NEW:
        return state, ()
    state = replace(state, started=now, since=now)
    text, interruptible = state.greeting, state.greeting_interruptible
    if event.resumed:
        text, interruptible = "" if event.expected else params.resume_prompt, True
    return _speak(state, text, now, interruptible=interruptible) if text else _listen(state, now)


def _end(state: TurnState, now: float, leave: Leave | None = None) -> Step:
    actions = _drop_all(state, "end") + ((leave,) if leave else ())
    return replace(_quiet(state), phase=Phase.ENDED, since=now), actions


def _close(state: TurnState, text: str, now: float, leave: Leave) -> Step:
    """Say the last words and leave."""
    dropped, state = _drop_all(state, "timeout"), _quiet(state)
    if not text:
        state, actions = _end(state, now, leave)
        return state, dropped + actions
    state, spoken = _speak(state, text, now, interruptible=False, then=leave)
    return replace(state, phase=Phase.CLOSING), dropped + spoken


def _drop_all(state: TurnState, outcome: str) -> tuple[Action, ...]:
    actions: tuple[Action, ...] = ()
    if state.awaited:
        actions += (DropUtterance(state.awaited),)
    if state.utterance_open:
        actions += (DropUtterance(state.utterance),)
    if state.reply_live:
        actions += (StopReply(state.reply, outcome),)
    return actions


def _quiet(state: TurnState) -> TurnState:
    """The state after :func:`_drop_all`'s actions."""
    return replace(state, utterance_open=False, awaited=0, reply_live=False)


# ---- the caller speaks ------------------------------------------------------


def _onset(state: TurnState, event: VoiceOnset, params: TurnParams) -> Step:
    state = replace(state, voice=True, voice_at=event.at)
    if state.phase is Phase.LISTENING:
        # Speech goes on after a short pause: the same utterance.
        return (state, ()) if state.utterance_open else _open(state, event.at, params)
    if state.phase in _AGENT_BUSY and params.barge_in and not state.utterance_open:
        return _open(state, event.at, params)
    return replace(state, barge_check=event.at + params.barge_in_ms / 1000), ()


def _open(state: TurnState, at: float, params: TurnParams) -> Step:
    state = replace(
        state,
        utterance=state.utterance + 1,
        utterance_open=True,
        utterance_at=at,
        barge_check=at + params.barge_in_ms / 1000,
    )
    return state, (OpenUtterance(state.utterance),)


def _offset(state: TurnState, event: VoiceOffset, params: TurnParams) -> Step:
    state = replace(state, voice=False, voice_end=event.at)
    if state.utterance_open and state.phase in _AGENT_BUSY:
        # Too short to be an interruption, else the timer would have fired while it lasted.
        return replace(state, utterance_open=False), (DropUtterance(state.utterance),)
    return state, ()


def _words(state: TurnState, event: WordsFinal, now: float, params: TurnParams) -> Step:
    if not state.awaited or event.utterance != state.awaited:
        return state, ()
    state = replace(state, awaited=0)
    # Beside dialled digits, refused speech is the tone of the keys that leaked into the audio.
    if not event.accepted and (state.awaited_ms < params.min_utterance_ms or state.digits):
        return _listen(state, now)
    return _answer(state, now, text=event.text, understood=event.accepted)


def _answer(state: TurnState, now: float, *, text: str, understood: bool = True, dialled: bool = False) -> Step:
    state = replace(
        state,
        phase=Phase.THINKING,
        since=now,
        reply=state.reply + 1,
        reply_live=True,
        audible_at=None,
        answering=True,
        interruptible=True,
        no_inputs=0,
        digits="",
    )
    return state, (Answer(state.reply, text, understood, dialled),)


# ---- digits -----------------------------------------------------------------


def _digit(state: TurnState, event: DigitDialled, now: float) -> Step:
    if state.phase in (Phase.NEW, Phase.CLOSING):
        return state, ()
    digits = state.digits if event.digit == "#" and state.digits else state.digits + event.digit
    state = replace(state, digits=digits, digits_at=now, digits_wanted=event.wanted)
    if state.phase is Phase.SPEAKING and not state.interruptible:
        return state, ()  # typed ahead; looked at when the agent has finished
    dropped, state = _drop_all(state, "digit"), _quiet(state)
    if state.phase is not Phase.LISTENING:
        state = replace(state, phase=Phase.LISTENING, since=now)
    complete = (event.digit == "#" and len(digits) > 0) or (event.wanted and len(digits) >= event.wanted)
    if not complete:
        return state, dropped
    state, actions = _answer(state, now, text=digits, dialled=True)
    return state, dropped + actions


# ---- the agent speaks ---------------------------------------------------------


def _speak(state: TurnState, text: str, now: float, *, interruptible: bool = True, then: Leave | None = None) -> Step:
    state = replace(
        state,
        phase=Phase.SPEAKING,
        since=now,
        reply=state.reply + 1,
        reply_live=True,
        audible_at=None,
        answering=False,
        interruptible=interruptible,
    )
    return state, (Speak(state.reply, text, interruptible, then),)


def _speaking(state: TurnState, event: SpeakingStarted, now: float) -> Step:
    if event.reply != state.reply or not state.reply_live:
        return state, ()
    if state.phase is Phase.THINKING:
        state = replace(state, phase=Phase.SPEAKING, since=now)
    return replace(state, audible_at=now, interruptible=event.interruptible and state.phase is not Phase.CLOSING), ()


def _reply_ended(state: TurnState, event: ReplyEnded, now: float) -> Step:
    if event.reply != state.reply or not state.reply_live:
        return state, ()
    # A fixed prompt that could be played does not show that the engines are well again.
    state = replace(state, reply_live=False, troubles=0 if state.answering else state.troubles)
    if event.then is not None:
        return _end(state, now, event.then)
    return _listen(state, now)


def _listen(state: TurnState, now: float) -> Step:
    state = replace(state, phase=Phase.LISTENING, since=now, interruptible=True)
    if state.digits and (state.digits_wanted and len(state.digits) >= state.digits_wanted):
        return _answer(state, now, text=state.digits, dialled=True)
    if state.digits:
        return replace(state, digits_at=now), ()
    if state.voice and not state.utterance_open:
        # Half duplex, or not interruptible: the caller speaks already, so hear the rest of it.
        state = replace(state, utterance=state.utterance + 1, utterance_open=True, utterance_at=now)
        return state, (OpenUtterance(state.utterance),)
    return state, ()


# ---- time ---------------------------------------------------------------------


def _timer(state: TurnState, event: Timer, now: float, params: TurnParams) -> Step:
    due = deadline(state, params)
    if due is None or now < due - 1e-6:
        return state, ()
    now = max(now, due)  # clocks round: a timer that fires a hair early means this deadline, not the one after it
    if state.phase is Phase.CLOSING:
        return _end(state, now, Leave("hangup"))
    if now >= state.started + params.max_call_seconds:
        return _close(state, params.max_call_closing, now, Leave("hangup"))
    if state.phase is Phase.LISTENING:
        return _listening_timer(state, now, params)
    if now >= _stuck_at(state, params):
        dropped, state = _drop_all(state, "timeout"), _quiet(state)
        state, actions = _trouble(state, now, params)
        return state, dropped + actions
    return _barge_in(state, event, now, params)


def _listening_timer(state: TurnState, now: float, params: TurnParams) -> Step:
    if state.utterance_open:
        # A caller who is still speaking is at the cap; what they say next is heard as a new utterance.
        ended = now if state.voice else state.voice_end
        length = (ended - state.utterance_at) * 1000
        state = replace(state, phase=Phase.THINKING, since=now, utterance_open=False, voice_end=ended)
        return replace(state, awaited=state.utterance, awaited_ms=length), (CloseUtterance(state.utterance, ended),)
    if state.digits:
        return _answer(state, now, text=state.digits, dialled=True)
    if state.no_inputs >= len(params.no_input_prompts):
        return _close(state, params.no_input_closing, now, Leave("hangup"))
    state = replace(state, no_inputs=state.no_inputs + 1)
    return _speak(state, params.no_input_prompts[state.no_inputs - 1], now)


def _barge_in(state: TurnState, event: Timer, now: float, params: TurnParams) -> Step:
    voiced_ms = (event.voiced_until - state.utterance_at) * 1000
    if not state.interruptible or not state.voice or voiced_ms < params.barge_in_ms:
        return replace(state, barge_check=now + _RECHECK), ()
    actions: tuple[Action, ...] = ()
    if state.awaited:  # words of the utterance before: the newest one counts
        actions += (DropUtterance(state.awaited),)
    if state.reply_live:
        actions += (StopReply(state.reply, "barge_in"),)
    return replace(state, phase=Phase.LISTENING, since=now, reply_live=False, awaited=0, no_inputs=0), actions


def _recognition_failed(state: TurnState, event: RecognitionFailed, now: float, params: TurnParams) -> Step:
    if not state.awaited or event.utterance != state.awaited:
        return state, ()
    return _trouble(replace(state, awaited=0), now, params)


def _reply_failed(state: TurnState, event: ReplyFailed, now: float, params: TurnParams) -> Step:
    if event.reply != state.reply or not state.reply_live:
        return state, ()
    return _trouble(replace(state, reply_live=False), now, params)


def _trouble(state: TurnState, now: float, params: TurnParams) -> Step:
    """An engine failed: say so, and after some times give the caller to the dialplan's fallback."""
    if state.phase is Phase.CLOSING:
        return _end(state, now, Leave("hangup"))
    troubles = state.troubles + 1
    state = replace(state, troubles=troubles)
    if troubles >= params.max_troubles or not params.trouble_prompt:
        return _end(state, now, Leave("fallback"))
    return _speak(state, params.trouble_prompt, now)
