"""The caller makes sound while the agent is busy: a cough, a backchannel, or the next turn?"""

from __future__ import annotations

from dataclasses import replace

from asterisk_ai.dialog.backchannel import is_backchannel, is_call_for_attention, is_hum, may_be_backchannel, surest
from asterisk_ai.dialog.events import (
    Action,
    CloseUtterance,
    DropUtterance,
    PauseReply,
    ResumeReason,
    ResumeReply,
    StopReason,
    StopReply,
    Timer,
    WordsFinal,
)
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.staged.deadlines import is_certain
from asterisk_ai.dialog.staged.reply import answer_words, undraft
from asterisk_ai.dialog.staged.state import CallerTurn, Step, TurnState

_RECHECK = 0.02  # a frame: how often a doubtful interruption is looked at again


def close_utterance(state: TurnState, ended: float) -> Step:
    # The words of a short interruption may still be awaited: the newest utterance counts.
    dropped: tuple[Action, ...] = (DropUtterance(state.utterance.awaited),) if state.utterance.awaited else ()
    length = (ended - state.utterance.at) * 1000
    number = state.utterance.number
    closed = replace(state.utterance, open=False, partial=None, awaited=number, awaited_ms=length)
    state = replace(state, utterance=closed, voice=replace(state.voice, end=ended))
    state = replace(state, turn=state.turn if state.turn.goes_on else CallerTurn())
    return state, (*dropped, CloseUtterance(state.utterance.number, ended))


def barge_in(state: TurnState, event: Timer, now: float, params: TurnParams) -> Step:
    """The caller has made sound for ``barge_in_ms`` while the agent is busy: hold, and listen."""
    voiced_ms = _voiced_ms(state, event)
    if not state.reply.interruptible or not state.voice.on or voiced_ms < params.barge_in_ms:
        return replace(state, utterance=replace(state.utterance, check=now + _RECHECK)), ()
    if not state.reply.live or state.reply.suspended:  # words are awaited, there is nothing to hold
        return _goes_on(state, now)
    check = state.utterance.at + params.barge_in_confirm_ms / 1000
    state = replace(
        state,
        phase=Phase.INTERRUPTED,
        since=now,
        reply=replace(state.reply, held=state.phase),
        utterance=replace(state.utterance, check=check),
    )
    return state, (PauseReply(state.reply.number),)


def _goes_on(state: TurnState, now: float) -> Step:
    """The caller speaks again before the words of what they said before are known: it is one turn."""
    dropped: tuple[Action, ...] = (DropUtterance(state.turn.awaited),) if state.turn.awaited else ()
    state, undone = undraft(replace(state, turn=replace(state.turn, goes_on=True, awaited=state.utterance.awaited)))
    return replace(
        state, phase=Phase.LISTENING, since=now, utterance=replace(state.utterance, awaited=0)
    ), dropped + undone


def _voiced_ms(state: TurnState, event: Timer) -> float:
    """How long the caller has been speaking; a deadline's own length counts as reached, which binary floats hide."""
    return (event.voiced_until - state.utterance.at) * 1000 + 1e-3


def interrupted_timer(state: TurnState, event: Timer, now: float, params: TurnParams) -> Step:
    if state.utterance.open and state.voice.on:
        if _voiced_ms(state, event) < params.barge_in_confirm_ms * _patience(state, params):
            return replace(state, utterance=replace(state.utterance, check=now + _RECHECK)), ()
        # The caller has the floor. Whether there is anything to answer the words will tell: music has none.
        phase = Phase.LISTENING
        return replace(
            state,
            phase=phase,
            since=now,
            no_inputs=0,
            spoken_until=now,
            reply=replace(state.reply, suspended=True),
        ), ()
    if state.utterance.open:
        return close_utterance(state, state.voice.end)
    return resume(state, now, ResumeReason.NOISE)  # the recogniser is stuck; the answer it held up goes on


def _patience(state: TurnState, params: TurnParams) -> float:
    """By how much what may be a backchannel may last longer than other interruptions until it is one, too."""
    words = state.utterance.partial
    if words is not None and (is_certain(words, state.language, params) or is_hum(words.text, state.language)):
        return params.backchannel_whole
    return (
        params.backchannel_drawn_out
        if words is None or not words.text or may_be_backchannel(words.text, state.language)
        else 1.0
    )


def judge(state: TurnState, words: WordsFinal, now: float, params: TurnParams) -> Step:
    """The words of a short interruption are known: was it one?"""
    if is_backchannel(words.text, state.language):
        # A short one that is refused, too: no other words were more like it. Longer speech has to be a surer one.
        short = state.utterance.awaited_ms <= params.backchannel_ms or is_hum(words.text, state.language)
        if short or surest(words, state.utterance.surest) >= _wanted(state.utterance.awaited_ms, params):
            return resume(state, now, ResumeReason.BACKCHANNEL)
    elif words.accepted and words.text:
        if state.utterance.awaited_ms < params.barge_in_letter_ms * len(words.text.replace(" ", "")):
            return resume(state, now, ResumeReason.NOISE)
        attention = is_call_for_attention(words.text, state.language)
        return take_floor(state, now, None if attention else words)
    if state.utterance.awaited_ms < params.barge_in_noise_ms:
        return resume(state, now, ResumeReason.NOISE)
    return take_floor(state, now, words)


def _wanted(length_ms: float, params: TurnParams) -> float:
    """How sure the recogniser has to be that a sound of this length was a backchannel."""
    # A straight line to the full certainty, which begins at a quarter of it.
    range_ms = max(1.0, params.backchannel_sure_ms - params.backchannel_ms)
    share = min(1.0, (length_ms - params.backchannel_ms) / range_ms)
    return params.sure * (0.3125 + 0.6875 * share)


def take_floor(state: TurnState, now: float, words: WordsFinal | None = None) -> Step:
    """The caller has the turn; with ``words`` it is over already."""
    stopped: tuple[Action, ...] = (StopReply(state.reply.number, StopReason.BARGE_IN),)
    state = replace(
        state,
        phase=Phase.LISTENING,
        since=now,
        no_inputs=0,
        spoken_until=now,
        reply=replace(state.reply, live=False),
    )
    if words is None:
        return state, stopped
    state, actions = answer_words(state, words, now)
    return state, stopped + actions


def give_up(state: TurnState) -> Step:
    """A suspended reply is stopped for good: the caller has said something."""
    if not state.reply.suspended:
        return state, ()
    stopped: tuple[Action, ...] = (StopReply(state.reply.number, StopReason.BARGE_IN),) if state.reply.live else ()
    return replace(state, reply=replace(state.reply, suspended=False, live=False)), stopped


def resume(state: TurnState, now: float, reason: ResumeReason) -> Step:
    """It was nothing: say the rest."""
    dropped: tuple[Action, ...] = (DropUtterance(state.utterance.awaited),) if state.utterance.awaited else ()
    if state.reply.audible_at is not None:
        # The watch over a stuck part begins anew.
        state = replace(state, reply=replace(state.reply, audible_at=now))
    phase = state.reply.held
    if phase is Phase.THINKING and state.reply.audible_at is not None:
        phase = Phase.SPEAKING
    if state.reply.suspended and phase is Phase.GREETING:
        phase = Phase.SPEAKING
    state = replace(
        state,
        phase=phase,
        since=now,
        reply=replace(state.reply, suspended=False),
        utterance=replace(state.utterance, awaited=0),
    )
    return state, (*dropped, ResumeReply(state.reply.number, reason))
