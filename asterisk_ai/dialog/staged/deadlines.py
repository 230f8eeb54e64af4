"""When the turn machine of :mod:`~asterisk_ai.dialog.staged.machine` wants to be woken, by where a conversation is."""

from __future__ import annotations

import math

from asterisk_ai.dialog.backchannel import is_backchannel, is_hum
from asterisk_ai.dialog.events import WordsPartial
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.staged.state import TurnParams, TurnState

_DOUBTFUL, _LIKELY = 0.3, 0.7  # probabilities that a turn is over, between which nobody knows
_KNOWN_MS = 160.0  # silence after a backchannel; what the caller says after it interrupts as well
_PART_SECONDS = 120.0  # nobody says a sentence for longer: the engine that makes the next one is stuck
CERTAIN = 0.8  # confidence of a recogniser that leaves little doubt
AGENT_BUSY = (Phase.GREETING, Phase.SPEAKING, Phase.THINKING)


def deadline(state: TurnState, params: TurnParams) -> float | None:
    """When a :class:`~.events.Timer` is due; None once the conversation has ended or has not begun."""
    if state.phase in (Phase.NEW, Phase.ENDED):
        return None
    if state.phase is Phase.CLOSING:
        return stuck_at(state, params)
    due = [state.started + params.max_call_seconds]
    if state.phase in AGENT_BUSY:
        due.append(stuck_at(state, params))
        if state.utterance_open:
            due.append(state.barge_check)
    if wants_filler(state, params):
        due.append(filler_at(state, params))
    if state.phase is Phase.LISTENING:
        due.append(_listening_deadline(state, params))
    if state.phase is Phase.INTERRUPTED:
        due.append(_interrupted_deadline(state, params))
    return min(due)


def stuck_at(state: TurnState, params: TurnParams) -> float:
    """When words, an answer or a part of one have taken too long."""
    if state.phase is Phase.THINKING or state.audible_at is None:
        return state.since + params.answer_seconds
    return state.audible_at + _PART_SECONDS


def wants_filler(state: TurnState, params: TurnParams) -> bool:
    return state.phase is Phase.THINKING and state.reply_live and not state.suspended and params.filler_ms > 0


def filler_at(state: TurnState, params: TurnParams) -> float:
    return state.since + (state.fillers + 1) * params.filler_ms / 1000


def _listening_deadline(state: TurnState, params: TurnParams) -> float:
    if state.utterance_open:
        cap = state.utterance_at + params.max_utterance_seconds
        return cap if state.voice else min(cap, state.voice_end + _endpoint_ms(state, params) / 1000)
    if state.keys:
        return state.keys.due(params.digit_timeout_ms)
    return max(state.since + params.no_input_seconds, state.patient_until)


def _endpoint_ms(state: TurnState, params: TurnParams) -> float:
    if state.likelihood is not None:
        if _DOUBTFUL <= state.likelihood < _LIKELY:
            return params.endpoint_ms
        return params.endpoint_complete_ms if state.likelihood >= _LIKELY else params.endpoint_incomplete_ms
    if state.partial is None:
        return params.endpoint_ms
    return params.endpoint_complete_ms if state.partial.complete else params.endpoint_incomplete_ms


def is_certain(words: WordsPartial, language: str) -> bool:
    """Whether these are backchannels, and the recogniser leaves little doubt."""
    return words.accepted and words.confidence >= CERTAIN and is_backchannel(words.text, language)


def _interrupted_deadline(state: TurnState, params: TurnParams) -> float:
    if state.utterance_open and state.voice:
        return state.barge_check
    if state.utterance_open:  # short: it is only to know whether to go on
        words = state.partial
        known = words is not None and (is_certain(words, state.language) or is_hum(words.text))
        return state.voice_end + min(params.endpoint_complete_ms, _KNOWN_MS if known else math.inf) / 1000
    return state.since + params.answer_seconds
