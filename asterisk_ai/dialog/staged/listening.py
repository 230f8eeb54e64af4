"""The caller's side of a turn: utterances, their words, answers begun ahead, and keys."""

from __future__ import annotations

from dataclasses import replace

from asterisk_ai.dialog.backchannel import may_be_backchannel
from asterisk_ai.dialog.caller_input import no_input_question
from asterisk_ai.dialog.dialplan import HANG_UP
from asterisk_ai.dialog.events import (
    Action,
    DigitDialled,
    Draft,
    DropUtterance,
    RecognitionFailed,
    ResumeReason,
    StopReason,
    VoiceOffset,
    VoiceOnset,
    WordsFinal,
    WordsPartial,
)
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import AUDIBLE, Phase
from asterisk_ai.dialog.staged.deadlines import AGENT_BUSY
from asterisk_ai.dialog.staged.interruption import close_utterance, give_up, judge, resume, take_floor
from asterisk_ai.dialog.staged.reply import (
    answer_keys,
    answer_turn,
    answer_words,
    close,
    drop_all,
    listen,
    open_utterance,
    quiet,
    speak,
    trouble,
    undraft,
)
from asterisk_ai.dialog.staged.state import CallerTurn, Step, TurnState


def onset(state: TurnState, event: VoiceOnset, params: TurnParams) -> Step:
    # What was decoded before no longer is all that was said.
    state = replace(
        state,
        utterance=replace(state.utterance, partial=None, likelihood=None),
        voice=replace(state.voice, on=True, at=event.at),
    )
    listens = state.phase in (Phase.LISTENING, Phase.INTERRUPTED)
    if state.utterance.open:
        return undraft(state)  # speech goes on after a short pause: the same utterance
    if listens or (state.phase in AGENT_BUSY and params.barge_in):
        turn = replace(state.turn, goes_on=_goes_on(state, event.at, params))
        return open_utterance(state, event.at, turn, check=event.at + params.barge_in_ms / 1000)
    return state, ()


def _goes_on(state: TurnState, at: float, params: TurnParams) -> bool:
    """Whether what begins now is the rest of the turn whose words are awaited, or whose answer has only just begun."""
    if state.phase is Phase.THINKING and state.utterance.awaited and params.join_ms:
        return True
    if not (state.phase in (Phase.THINKING, Phase.SPEAKING, Phase.INTERRUPTED) and state.reply.live):
        return False
    in_time = state.reply.begun_at is None or at < state.reply.begun_at + params.join_ms / 1000
    return state.turn.spoken and params.join_ms > 0 and in_time


def offset(state: TurnState, event: VoiceOffset, params: TurnParams) -> Step:
    state = replace(state, voice=replace(state.voice, on=False, end=event.at))
    if state.utterance.open and state.phase in AGENT_BUSY:
        # Too short to be an interruption, else the timer would have fired while it lasted.
        return replace(state, utterance=replace(state.utterance, open=False)), (DropUtterance(state.utterance.number),)
    return _drafted(state, params)


def partial(state: TurnState, event: WordsPartial, now: float, params: TurnParams) -> Step:
    if not state.utterance.open or event.utterance != state.utterance.number:
        return state, ()
    stopped: tuple[Action, ...] = ()
    state = replace(
        state,
        utterance=replace(
            state.utterance,
            partial=event,
            surest=event if event.accepted and event.text else state.utterance.surest,
        ),
    )
    takes_turn = event.accepted and event.text and not may_be_backchannel(event.text, state.language)
    if state.phase is Phase.INTERRUPTED and takes_turn:
        state, stopped = take_floor(state, now)
    elif event.accepted and event.text:
        state, stopped = give_up(state)
    state, drafted = _drafted(state, params)
    return state, stopped + drafted


def _drafted(state: TurnState, params: TurnParams) -> Step:
    """In a pause with words that could be the whole turn: begin the answer, the endpoint's silence is time to use."""
    words = state.utterance.partial
    pausing = state.phase is Phase.LISTENING and state.utterance.open and not state.voice.on
    if not (params.answer_ahead and pausing and words and words.accepted and words.text) or state.keys:
        return state, ()
    if state.turn.goes_on and state.turn.awaited:
        return state, ()  # the first words of the turn are still to come
    turn = (state.turn if state.turn.goes_on else CallerTurn()).with_words(words.text, words.confidence)
    if turn.text == state.draft or state.utterance.drafts >= params.answers_ahead:
        return state, ()
    return replace(state, draft=turn.text, utterance=replace(state.utterance, drafts=state.utterance.drafts + 1)), (
        Draft(turn.text, turn.confidence, turn.spoken),
    )


def words(state: TurnState, event: WordsFinal, now: float, params: TurnParams) -> Step:
    if event.utterance and event.utterance == state.turn.awaited:
        return _first_words(state, event, params)
    if not state.utterance.awaited or event.utterance != state.utterance.awaited:
        return state, ()
    late: tuple[Action, ...] = (DropUtterance(state.turn.awaited),) if state.turn.awaited else ()
    state = replace(state, turn=replace(state.turn, awaited=0), utterance=replace(state.utterance, awaited=0))
    if state.phase is Phase.INTERRUPTED:
        state, actions = judge(state, event, now, params)
        return state, late + actions
    if state.reply.suspended and state.reply.live and not event.text.strip():
        state, actions = resume(state, now, ResumeReason.NOISE)
        return state, late + actions
    state, stopped = give_up(state)
    state, actions = understand(state, event, now, params)
    return state, late + stopped + actions


def _first_words(state: TurnState, event: WordsFinal, params: TurnParams) -> Step:
    """The words of a turn that goes on already have come late."""
    turn = replace(state.turn, awaited=0)
    stopped: tuple[Action, ...] = ()
    if event.accepted and event.text:
        turn = replace(turn.with_words(event.text, event.confidence), unanswered=True)
        state, stopped = give_up(state)
    state, drafted = _drafted(replace(state, turn=turn), params)
    return state, stopped + drafted


def understand(state: TurnState, event: WordsFinal, now: float, params: TurnParams) -> Step:
    """The words of a turn are known."""
    if state.turn.goes_on and state.turn.unanswered and not (event.accepted and event.text):
        return answer_turn(state, now)  # what followed them were no words
    # Beside dialled digits, refused speech is the tone of the keys that leaked into the audio.
    if not event.accepted and (state.utterance.awaited_ms < params.min_utterance_ms or state.keys):
        state, dropped = undraft(state)
        state, actions = listen(state, now)
        return state, dropped + actions
    return answer_words(state, event, now)


def recognition_failed(state: TurnState, event: RecognitionFailed, now: float, params: TurnParams) -> Step:
    if event.utterance and event.utterance == state.turn.awaited:
        return _first_words(state, WordsFinal(event.utterance, "", accepted=False), params)
    if not state.utterance.awaited or event.utterance != state.utterance.awaited:
        return state, ()
    state = replace(state, utterance=replace(state.utterance, awaited=0))
    if state.phase is Phase.INTERRUPTED or (state.reply.suspended and state.reply.live):
        return resume(state, now, ResumeReason.NOISE)
    return trouble(state, now, params)


def digit(state: TurnState, event: DigitDialled, now: float, params: TurnParams) -> Step:
    keys = state.keys.pressed(event, now, params)
    if keys is None or state.phase in (Phase.NEW, Phase.CLOSING):
        return state, ()
    state = replace(state, keys=keys)
    if state.phase in AUDIBLE and not state.reply.interruptible:
        return state, ()  # typed ahead; looked at when the agent has finished
    dropped, state = drop_all(state, StopReason.DIGIT), quiet(state)
    if state.phase is not Phase.LISTENING or not keys:
        state = replace(state, phase=Phase.LISTENING, since=now)
    if not keys.complete:
        return state, dropped
    state, actions = answer_keys(state, now)
    return state, dropped + actions


def listening_timer(state: TurnState, now: float, params: TurnParams) -> Step:
    if state.utterance.open:
        # A caller who is still speaking is at the cap; what they say next is heard as a new utterance.
        state, actions = close_utterance(state, now if state.voice.on else state.voice.end)
        return replace(state, phase=Phase.THINKING, since=now), actions
    if state.keys:
        return answer_keys(state, now)
    question = no_input_question(state.no_inputs, params)
    if question is None:
        return close(state, params.no_input_closing, now, HANG_UP)
    return speak(replace(state, no_inputs=state.no_inputs + 1), question, now)
