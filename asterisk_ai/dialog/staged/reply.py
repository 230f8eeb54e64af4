"""The agent's side of a turn: what it says, how that ends, and the last words of a call."""

from __future__ import annotations

from dataclasses import replace

from asterisk_ai.dialog.dialplan import FALL_BACK, HANG_UP, DialplanAction
from asterisk_ai.dialog.events import (
    Action,
    Answer,
    DropDraft,
    DropUtterance,
    OpenUtterance,
    ReplyEnded,
    ReplyFailed,
    Speak,
    SpeakingStarted,
    StopReason,
    StopReply,
    WordsFinal,
)
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.staged.state import CallerTurn, Reply, Step, TurnState, Utterance


def drop_all(state: TurnState, reason: StopReason) -> tuple[Action, ...]:
    actions: tuple[Action, ...] = ()
    if state.utterance.awaited:
        actions += (DropUtterance(state.utterance.awaited),)
    if state.turn.awaited:
        actions += (DropUtterance(state.turn.awaited),)
    if state.utterance.open:
        actions += (DropUtterance(state.utterance.number),)
    if state.draft:
        actions += (DropDraft(),)
    if state.reply.live:
        actions += (StopReply(state.reply.number, reason),)
    return actions


def quiet(state: TurnState) -> TurnState:
    """The state after :func:`drop_all`'s actions."""
    return replace(
        state,
        draft="",
        turn=CallerTurn(),
        reply=replace(state.reply, live=False, suspended=False),
        utterance=replace(state.utterance, open=False, partial=None, awaited=0),
    )


def undraft(state: TurnState) -> Step:
    return (replace(state, draft=""), (DropDraft(),)) if state.draft else (state, ())


def end(state: TurnState, now: float, leave: DialplanAction | None = None) -> Step:
    actions = drop_all(state, StopReason.END) + ((leave,) if leave else ())
    return replace(quiet(state), phase=Phase.ENDED, since=now), actions


def close(state: TurnState, text: str, now: float, leave: DialplanAction) -> Step:
    """Say the last words and leave."""
    dropped, state = drop_all(state, StopReason.TIMEOUT), quiet(state)
    if not text:
        state, actions = end(state, now, leave)
        return state, dropped + actions
    state, spoken = speak(state, text, now, interruptible=False, then=leave)
    return replace(state, phase=Phase.CLOSING), dropped + spoken


def speak(
    state: TurnState, text: str, now: float, *, interruptible: bool = True, then: DialplanAction | None = None
) -> Step:
    state = replace(
        state,
        phase=Phase.SPEAKING,
        since=now,
        draft="",
        turn=CallerTurn(),
        reply=Reply(state.reply.number + 1, live=True, interruptible=interruptible),
    )
    return state, (Speak(state.reply.number, text, interruptible, then),)


def speaking(state: TurnState, event: SpeakingStarted, now: float) -> Step:
    if event.reply != state.reply.number or not state.reply.live:
        return state, ()
    if state.phase is Phase.THINKING:
        state = replace(state, phase=Phase.SPEAKING, since=now)
    state = replace(
        state, reply=replace(state.reply, begun_at=now if state.reply.begun_at is None else state.reply.begun_at)
    )
    return replace(
        state,
        reply=replace(
            state.reply, audible_at=now, interruptible=event.interruptible and state.phase is not Phase.CLOSING
        ),
    ), ()


def answer_words(state: TurnState, words: WordsFinal, now: float) -> Step:
    """Answer the caller's turn, which ends with these words."""
    if words.accepted:
        return answer_turn(replace(state, turn=state.turn.with_words(words.text, words.confidence)), now)
    state = replace(state, turn=CallerTurn(spoken=True, goes_on=state.utterance.open))
    return answer(state, Answer(0, words.text, understood=False, confidence=words.confidence), now)


def answer_turn(state: TurnState, now: float) -> Step:
    """Answer all that the caller has said of their turn."""
    turn = state.turn
    # The caller may be speaking again, before these words were known: what they say now goes on with them.
    after = CallerTurn(turn.text, turn.confidence, spoken=True, goes_on=state.utterance.open and turn.goes_on)
    state = replace(state, turn=after)
    return answer(state, Answer(0, turn.text, confidence=turn.confidence, continues=turn.spoken), now)


def answer_keys(state: TurnState, now: float) -> Step:
    return answer(replace(state, turn=CallerTurn()), Answer(0, state.keys.digits, dialled=True), now)


def answer(state: TurnState, wanted: Answer, now: float) -> Step:
    """The same as ``wanted``, with the number of the next reply."""
    state = replace(
        state,
        phase=Phase.THINKING,
        since=now,
        no_inputs=0,
        keys=state.keys.after_answer(),
        draft="",
        reply=Reply(state.reply.number + 1, live=True, answers=True),
    )
    return state, (replace(wanted, reply=state.reply.number),)


def listen(state: TurnState, now: float) -> Step:
    state = replace(state, phase=Phase.LISTENING, since=now, reply=replace(state.reply, interruptible=True))
    if state.keys.complete and state.keys:
        return answer_keys(state, now)
    if state.keys:
        return replace(state, keys=state.keys.since(now)), ()
    if state.voice.on and not state.utterance.open:
        # Half duplex, or not interruptible: the caller speaks already, so hear the rest of it.
        return open_utterance(state, now, CallerTurn())
    return state, ()


def open_utterance(state: TurnState, at: float, turn: CallerTurn, *, check: float = 0.0) -> Step:
    """The caller began to speak. Words of an earlier utterance may still be awaited."""
    last = state.utterance
    utterance = Utterance(
        last.number + 1, open=True, at=at, check=check, awaited=last.awaited, awaited_ms=last.awaited_ms
    )
    return replace(state, turn=turn, utterance=utterance), (OpenUtterance(utterance.number),)


def reply_ended(state: TurnState, event: ReplyEnded, now: float) -> Step:
    if event.reply != state.reply.number or not state.reply.live:
        return state, ()
    if state.reply.suspended:  # its last sound was out as the caller began: what it wanted done is not wanted any more
        return replace(state, reply=replace(state.reply, live=False, suspended=False)), ()
    # A fixed prompt that could be played does not show that the engines are well again.
    state = replace(
        state,
        troubles=0 if state.reply.answers else state.troubles,
        spoken_until=now,
        reply=replace(state.reply, live=False),
    )
    if event.then is not None or state.phase is Phase.CLOSING:
        return end(state, now, event.then or HANG_UP)
    return listen(replace(state, patient_until=now + event.patience), now)


def reply_failed(state: TurnState, event: ReplyFailed, now: float, params: TurnParams) -> Step:
    if event.reply != state.reply.number or not state.reply.live:
        return state, ()
    if state.reply.suspended:  # nobody waits for it
        return replace(state, reply=replace(state.reply, live=False, suspended=False)), ()
    state = replace(state, reply=replace(state.reply, live=False))
    dropped, state = drop_all(state, StopReason.END), quiet(state)
    state, actions = trouble(state, now, params)
    return state, dropped + actions


def trouble(state: TurnState, now: float, params: TurnParams) -> Step:
    """An engine failed: say so, and after some times give the caller to the dialplan's fallback."""
    if state.phase is Phase.CLOSING:
        return end(state, now, HANG_UP)
    troubles = state.troubles + 1
    state = replace(state, troubles=troubles)
    if troubles >= params.max_troubles or not params.trouble_prompt:
        return end(state, now, FALL_BACK)
    return speak(state, params.trouble_prompt, now)
