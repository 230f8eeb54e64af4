"""Both machines against every event at any time, sensible or not: no step leaves the table of phases."""

from __future__ import annotations

import typing

from hypothesis import given, settings
from hypothesis import strategies as st

from asterisk_ai.dialog import events
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import TRANSITIONS, Phase
from asterisk_ai.dialog.speech_to_speech import events as service_events
from asterisk_ai.dialog.speech_to_speech import machine as realtime
from asterisk_ai.dialog.speech_to_speech.state import RealtimeParams, deadline, initial
from asterisk_ai.dialog.staged import machine as staged

leaves = st.builds(DialplanAction, st.sampled_from(["hangup", "transfer"]), st.just({}))
numbers = st.integers(0, 4)
moments = st.floats(99, 200)
FIELDS = {
    "then": st.none() | leaves,
    "action": leaves,
    "utterance": numbers,
    "reply": numbers,
    "text": st.sampled_from(["", "yes", "what are your opening hours"]),
    "digit": st.sampled_from("05#*"),
    "wanted": st.integers(0, 3),
    **dict.fromkeys(("at", "paused_at", "voiced_until"), moments),
    **dict.fromkeys(("seconds", "probability", "confidence", "patience"), st.floats(0, 1)),
}


def any_of(kinds: object) -> st.SearchStrategy[object]:
    """Events of every kind, their fields as they come."""
    made = []
    for kind in typing.get_args(kinds):
        hints = typing.get_type_hints(kind)
        made.append(st.builds(kind, **{name: FIELDS.get(name, st.from_type(hints[name])) for name in hints}))
    return st.one_of(made)


steps = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, 8.0]), any_of(events.Event)), max_size=40)
realtime_steps = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 1.0, 8.0]), any_of(service_events.Event)), max_size=40)


def check(before: Phase, after: Phase) -> None:
    assert before is after or after in TRANSITIONS[before], f"{before} -> {after}"


@settings(max_examples=300)
@given(steps, st.booleans(), st.sampled_from(["", "Hello."]))
def test_in_stages(taken: list[tuple[float, events.Event]], barge_in: bool, greeting: str) -> None:
    params, state, now = TurnParams(barge_in=barge_in, max_call_seconds=60.0), staged.initial(greeting), 100.0
    for wait, event in taken:
        now += wait
        before = state.phase
        state, actions = staged.step(state, event, now, params)
        check(before, state.phase)
        assert (state.phase is Phase.ENDED) or not any(isinstance(action, DialplanAction) for action in actions)


@settings(max_examples=300)
@given(realtime_steps, st.booleans())
def test_speech_to_speech(taken: list[tuple[float, service_events.Event]], barge_in: bool) -> None:
    turn = TurnParams(barge_in=barge_in, max_call_seconds=60.0)
    params, state, now = RealtimeParams(turn, closing="Goodbye."), initial(100.0), 100.0
    for wait, event in taken:
        now += wait
        before = state.phase
        state, _ = realtime.step(state, event, now, params)
        check(before, state.phase)
        if state.phase is Phase.CLOSING:
            assert deadline(state, params) is not None, "a closing that never ends"


def test_closing_ends_whatever_the_last_words_say_of_what_comes_then() -> None:
    params = TurnParams(no_input_prompts=(), no_input_seconds=1.0)
    state, _ = staged.step(staged.initial(""), events.Started(), 100.0, params)
    state, _ = staged.step(state, events.Timer(), 102.0, params)
    assert state.phase is Phase.CLOSING
    state, actions = staged.step(state, events.ReplyEnded(state.reply.number), 103.0, params)
    assert (state.phase, actions) == (Phase.ENDED, (DialplanAction("hangup"),))
