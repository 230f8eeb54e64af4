"""When the turn machine of :mod:`~asterisk_ai.dialog.staged.machine` wants to be woken, by where a conversation is."""

from __future__ import annotations

import math

from asterisk_ai.dialog.backchannel import is_backchannel, is_hum
from asterisk_ai.dialog.caller_input import input_due, limit_at
from asterisk_ai.dialog.events import WordsPartial
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.staged.state import TurnState

AGENT_BUSY = (Phase.GREETING, Phase.SPEAKING, Phase.THINKING)


def deadline(state: TurnState, params: TurnParams) -> float | None:
    """When a :class:`~.events.Timer` is due; None once the conversation has ended or has not begun."""
    if state.phase in (Phase.NEW, Phase.ENDED):
        return None
    if state.phase is Phase.CLOSING:
        return stuck_at(state, params)
    due = [limit_at(state.started, params)]
    if state.phase in AGENT_BUSY:
        due.append(stuck_at(state, params))
        if state.utterance.open:
            due.append(state.utterance.check)
    if wants_filler(state, params):
        due.append(filler_at(state, params))
    if state.phase is Phase.LISTENING:
        due.append(_listening_deadline(state, params))
    if state.phase is Phase.INTERRUPTED:
        due.append(_interrupted_deadline(state, params))
    return min(due)


def stuck_at(state: TurnState, params: TurnParams) -> float:
    """When words, an answer or a part of one have taken too long."""
    if state.phase is Phase.THINKING or state.reply.audible_at is None:
        return state.since + params.answer_seconds
    return state.reply.audible_at + params.part_seconds


def wants_filler(state: TurnState, params: TurnParams) -> bool:
    return state.phase is Phase.THINKING and state.reply.live and not state.reply.suspended and params.filler_ms > 0


def filler_at(state: TurnState, params: TurnParams) -> float:
    return state.since + (state.reply.fillers + 1) * params.filler_ms / 1000


def _listening_deadline(state: TurnState, params: TurnParams) -> float:
    if state.utterance.open:
        cap = state.utterance.at + params.max_utterance_seconds
        return cap if state.voice.on else min(cap, state.voice.end + _endpoint_ms(state, params) / 1000)
    due = input_due(state.keys, state.since, params)
    return due if state.keys else max(due, state.patient_until)


def _endpoint_ms(state: TurnState, params: TurnParams) -> float:
    """The silence that ends what is said: by its words, and longer, seldom shorter, by how it sounds."""
    steps = (
        params.endpoint_complete_ms,
        params.endpoint_ms,
        params.endpoint_doubtful_ms,
        params.endpoint_incomplete_ms,
    )
    at, likelihood = _by_words(state.utterance.partial), state.utterance.likelihood
    if likelihood is None:
        return steps[at]
    if likelihood < params.sounds_unfinished:
        at = 2 if at == 0 else min(3, at + 1)
    elif likelihood < params.sounds_finished:
        at = max(1, at)
    elif likelihood >= params.sounds_over and at == 1:
        at = 0
    return steps[at]


def _by_words(words: WordsPartial | None) -> int:
    """Which of the silences it is: for a whole answer, for nobody knows, for a doubtful one, for an unfinished one."""
    if words is None:
        return 1
    if words.complete:
        return 0
    if words.unfinished or not words.accepted:
        return 3
    return 1 if words.complete is None else 2


def is_certain(words: WordsPartial, language: str, params: TurnParams) -> bool:
    """Whether these are backchannels, and the recogniser leaves little doubt."""
    return words.accepted and words.confidence >= params.sure and is_backchannel(words.text, language)


def _interrupted_deadline(state: TurnState, params: TurnParams) -> float:
    if state.utterance.open and state.voice.on:
        return state.utterance.check
    if state.utterance.open:  # short: it is only to know whether to go on
        words = state.utterance.partial
        known = words is not None and (is_certain(words, state.language, params) or is_hum(words.text, state.language))
        pause_ms = min(params.endpoint_complete_ms, params.backchannel_pause_ms if known else math.inf)
        return state.voice.end + pause_ms / 1000
    return state.since + params.answer_seconds
