"""Turn-taking around a service of speech to speech: floats for time and no sleep."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.events import DigitDialled, HungUp, Timer, VoiceOffset, VoiceOnset
from asterisk_ai.dialog.speech_to_speech import machine as turn
from asterisk_ai.dialog.speech_to_speech.machine import (
    Answered,
    Answering,
    GiveUp,
    GoOn,
    Heard,
    Hears,
    Hold,
    Interrupt,
    Lost,
    Opened,
    Played,
    Prompt,
    RealtimeParams,
    Tell,
    Wanted,
)
from asterisk_ai.dialog.staged.state import Phase, TurnParams

PARAMS = RealtimeParams(
    TurnParams(
        no_input_seconds=5.0,
        no_input_prompts=("Still there?",),
        no_input_closing="Over.",
        max_call_seconds=100.0,
        max_call_closing="Time is up.",
        digit_timeout_ms=1000.0,
    ),
    seconds=4.0,
    closing="Bye.",
)


class Conversation:
    """Steps, and what came of them; the clock goes from deadline to deadline."""

    def __init__(self, *events: Any, params: RealtimeParams = PARAMS, interruptible: bool = True) -> None:
        self.params = params
        self.now = 0.0
        self.state = turn.initial(0.0, interruptible=interruptible)
        self.actions: list[Any] = []
        for event in events:
            self(event)

    def __call__(self, event: Any, at: float | None = None) -> list[Any]:
        """The actions of one event."""
        self.now = self.now if at is None else at
        self.state, actions = turn.step(self.state, event, self.now, self.params)
        self.actions += actions
        return list(actions)

    def wait(self, seconds: float, voiced_until: float = 0.0) -> list[Any]:
        """The actions of the timers in so many seconds."""
        end, found = self.now + seconds, list[Any]()
        for _ in range(1000):
            due = turn.deadline(self.state, self.params)
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            found += self(Timer(max(voiced_until, self.now if self.state.voice else 0.0)))
        self.now = end
        return found

    @property
    def phase(self) -> Phase:
        return self.state.phase


def greeted() -> Conversation:
    return Conversation(Opened(True), Answering(), Answering(True, 2.0), Answered(), Played())


def speaking() -> Conversation:
    talk = greeted()
    for event in (Hears(), Heard(), Answering(), Answering(True, 3.0)):
        talk(event)
    return talk


def test_a_turn() -> None:
    talk = greeted()
    assert talk.phase is Phase.LISTENING
    assert (talk(Hears()), talk.phase) == ([], Phase.LISTENING)
    assert (talk(Heard()), talk.phase) == ([], Phase.THINKING)
    talk(Answering())
    talk(Answering(True, 1.0))
    assert talk.phase is Phase.SPEAKING
    talk(Answered())
    assert talk.wait(20) == [], "however long it takes to be played"
    talk(Played())
    assert (talk.phase, talk.actions) == (Phase.LISTENING, [])


def test_the_caller_interrupts() -> None:
    talk = speaking()
    assert talk(Hears()) == [Interrupt("barge_in")]
    assert talk.phase is Phase.LISTENING
    assert talk(Played()) == []


def test_a_sound_holds_the_agent_until_the_service_says_what_it_was() -> None:
    talk = speaking()
    talk(VoiceOnset(talk.now))
    assert talk.wait(0.2) == [Hold()]
    assert talk.phase is Phase.INTERRUPTED
    assert talk(Hears()) == [Interrupt("barge_in")]
    talk = speaking()
    talk(VoiceOnset(talk.now))
    assert talk.wait(0.2) == [Hold()]
    talk(VoiceOffset(talk.now))
    assert talk.wait(1.0) == [GoOn("noise")]
    assert talk.phase is Phase.SPEAKING
    talk = speaking()
    talk(VoiceOnset(talk.now))
    talk(VoiceOffset(talk.now + 0.08), talk.now + 0.1)
    assert talk.wait(2.0) == [], "a click"
    talk = speaking()
    talk(VoiceOnset(talk.now))
    assert talk(Timer(0.0)) == [], "it fired early"
    assert talk(Timer(talk.now + 0.05), talk.now + 0.2) == [], "no frames came for a while"
    assert talk.state.check == talk.now + 0.02


def test_who_goes_on_speaking_is_not_answered_yet() -> None:
    talk = greeted()
    talk(Hears())
    talk(Heard())
    assert talk(Hears()) == [Interrupt("turn")]
    assert talk.state.hearing


def test_what_may_not_be_interrupted_is_not() -> None:
    talk = Conversation(Opened(True), Answering(True, 2.0), interruptible=False)
    assert turn.gates(talk.state, PARAMS)
    talk(VoiceOnset(0.0))
    assert talk.wait(1.0) == []
    assert talk(Hears()) == []
    assert talk(DigitDialled("1", 1)) == []
    talk(Answered())
    assert talk(Played()) == [Tell("1")], "typed ahead"
    assert not turn.gates(talk.state, PARAMS)


def test_half_duplex() -> None:
    params = RealtimeParams(TurnParams(barge_in=False))
    talk = Conversation(Opened(True), Answering(True, 2.0), params=params)
    assert turn.gates(talk.state, params)
    talk(Answered())
    talk(Played())
    assert not turn.gates(talk.state, params)


def test_a_service_that_keeps_the_caller_waiting() -> None:
    assert Conversation(Opened(True)).wait(4.0) == [GiveUp()]
    talk = greeted()
    talk(Hears())
    talk(Heard())
    assert talk.wait(3.9) == []
    talk(Answering())
    assert talk.wait(3.9) == []
    talk(Answering(True, 2.0))
    assert talk.wait(5.9) == [], "what came is played meanwhile"
    assert talk.wait(0.2) == [GiveUp()]
    talk = greeted()
    talk(VoiceOnset(talk.now))
    talk(Hears())
    assert talk.wait(8.0) == [], "the caller speaks for long"
    talk(VoiceOffset(talk.now))
    assert talk.wait(4.0) == [GiveUp()], "the service has not noticed that it is over"
    talk = greeted()
    talk(Hears())
    talk(VoiceOnset(talk.now))
    assert talk.wait(8.0) == []
    talk = greeted()
    talk(Hears())
    assert talk.wait(3.9) == [], "a short word: we were quicker"
    assert talk.wait(0.2) == [GiveUp()]
    talk = greeted()
    talk(VoiceOnset(talk.now))
    talk(Hears())
    talk(VoiceOffset(talk.now))
    talk(Answering(), talk.now + 1)
    assert talk.phase is Phase.THINKING


def test_another_service_takes_over() -> None:
    talk = speaking()
    assert talk(Lost()) == []
    assert talk.phase is Phase.THINKING
    assert talk.wait(10.0) == [], "the chain has its own limits"
    talk(Opened(True))
    talk(Answering(True, 1.0))
    assert talk.phase is Phase.SPEAKING
    talk = greeted()
    talk(Lost())
    talk(Opened(False))
    assert talk.phase is Phase.LISTENING
    talk = speaking()
    talk(Wanted(DialplanAction("queue")))
    assert talk(Lost()) == [DialplanAction("queue")], "it was wanted, whoever has failed since"


def test_an_action_comes_after_what_is_said() -> None:
    leave = DialplanAction("transfer", {"exten": "200"})
    talk = speaking()
    assert talk(Wanted(leave)) == []
    talk(Answered())
    assert talk.wait(5.0) == []
    assert talk(Played()) == [leave]
    assert talk.phase is Phase.ENDED
    assert talk(Hears()) == []


def test_an_action_without_a_word() -> None:
    leave = DialplanAction("transfer", {"exten": "200"})
    talk = greeted()
    for event in (Hears(), Heard(), Answering(), Wanted(leave)):
        assert talk(event) == []
    assert talk(Answered()) == [leave]
    talk = greeted()
    for event in (Hears(), Heard(), Answering(), Wanted(DialplanAction("hangup"))):
        assert talk(event) == []
    assert talk(Answered()) == [Interrupt("timeout"), Prompt("Bye.")]
    talk(Answering(True, 1.0))
    talk(Answered())
    assert talk(Played()) == [DialplanAction("hangup")]
    talk = greeted()
    talk(Wanted(leave))
    assert talk.wait(2.0) == [leave], "no answer is made, and none comes"


def test_who_interrupts_is_not_transferred() -> None:
    talk = speaking()
    talk(Wanted(DialplanAction("transfer")))
    assert talk(Hears()) == [Interrupt("barge_in")]
    talk(Wanted(DialplanAction("queue")))
    for event in (Heard(), Answering(True, 1.0), Answered()):
        talk(event)
    assert talk(Played()) == []
    talk(Wanted(DialplanAction("queue")))
    talk(Wanted(DialplanAction("transfer")))
    assert talk.wait(2.0) == [DialplanAction("queue")], "one action a call"


def test_digits() -> None:
    talk = speaking()
    assert talk(DigitDialled("4", 0)) == [Interrupt("digit")]
    assert talk(DigitDialled("2", 0)) == []
    assert talk.wait(1.0) == [Tell("42")]
    assert talk.phase is Phase.THINKING
    talk = greeted()
    talk(DigitDialled("4", 2))
    assert talk(DigitDialled("2", 2)) == [Tell("42")]
    talk = greeted()
    assert talk(DigitDialled("#", 0)) == [Tell("#")]
    talk = greeted()
    talk(DigitDialled("7", 0))
    assert talk(DigitDialled("#", 0)) == [Tell("7")]


def test_nobody_speaks() -> None:
    talk = greeted()
    assert talk.wait(4.9) == []
    assert talk.wait(0.2) == [Prompt("Still there?")]
    talk(Answering(True, 1.0))
    talk(Answered())
    talk(Played())
    assert talk.wait(5.0) == [Prompt("Over.")]
    assert talk.phase is Phase.CLOSING
    assert talk(Hears()) == talk(DigitDialled("1", 0)) == []
    assert talk(Answered()) == [DialplanAction("hangup")], "where nothing comes of it"


def test_last_words_that_do_not_come() -> None:
    talk = greeted()
    talk.wait(5.0)
    talk(Answering(True, 1.0))
    talk(Answered())
    talk(Played())
    assert talk.wait(9.0) == [Prompt("Over."), DialplanAction("hangup")]


def test_the_longest_call() -> None:
    talk = speaking()
    talk(Answering(True, 1000.0))
    assert talk.wait(105.0) == [Interrupt("timeout"), Prompt("Time is up."), DialplanAction("hangup")]
    silent = RealtimeParams(TurnParams(max_call_seconds=10.0, max_call_closing=""))
    talk = Conversation(Opened(True), Answering(True, 50.0), params=silent)
    assert talk.wait(10.0) == [Interrupt("timeout"), DialplanAction("hangup")]


def test_hanging_up() -> None:
    talk = speaking()
    assert talk(HungUp()) == [Interrupt("end")]
    assert turn.deadline(talk.state, PARAMS) is None


EVENTS = st.one_of(
    st.builds(Opened, st.booleans()),
    st.builds(Answering, st.booleans(), st.floats(0, 5)),
    st.sampled_from(
        [
            Lost(),
            Hears(),
            Heard(),
            Answered(),
            Played(),
            Wanted(DialplanAction("queue")),
            Wanted(DialplanAction("hangup")),
        ]
    ),
    st.builds(DigitDialled, st.sampled_from("0123456789*#"), st.integers(0, 3)),
    st.just("onset"),
    st.just("offset"),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 3)), max_size=40))
def test_whatever_happens_the_call_goes_on_or_ends(events: list[tuple[Any, float]]) -> None:
    talk = Conversation()
    for event, pause in events:
        at = {"onset": VoiceOnset(talk.now), "offset": VoiceOffset(talk.now)}
        talk(at[event] if isinstance(event, str) else event)
        talk.wait(pause)
        if talk.phase is Phase.ENDED:
            break
        assert turn.deadline(talk.state, PARAMS) is not None
    leaves = [action for action in talk.actions if isinstance(action, DialplanAction)]
    assert len(leaves) <= 1
    assert bool(leaves) is (talk.phase is Phase.ENDED)
    # An idle service, a silent caller: it always comes to an end.
    talk.wait(300.0)
    assert talk.phase is Phase.ENDED
