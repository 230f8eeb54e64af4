"""Turn-taking around a service of speech to speech: floats for time and no sleep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.events import (
    Answer,
    DigitDialled,
    HungUp,
    PauseReply,
    ResumeReply,
    Speak,
    StopReply,
    Timer,
    VoiceOffset,
    VoiceOnset,
)
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.dialog.speech_to_speech.events import (
    ActionAsked,
    CallerStarted,
    CallerStopped,
    GiveUpService,
    ResponseComplete,
    ResponseGrew,
    ResponsePlayed,
    ServiceLost,
    ServiceOpened,
)
from asterisk_ai.dialog.speech_to_speech.machine import step
from asterisk_ai.dialog.speech_to_speech.state import RealtimeParams, deadline, gates, initial

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
        self.state = initial(0.0, interruptible=interruptible)
        self.actions: list[Any] = []
        for event in events:
            self(event)

    def __call__(self, event: Any, at: float | None = None) -> list[Any]:
        """The actions of one event; the numbers of the replies do not matter here."""
        self.now = self.now if at is None else at
        self.state, done = step(self.state, event, self.now, self.params)
        actions = [replace(action, reply=0) if hasattr(action, "reply") else action for action in done]
        self.actions += actions
        return actions

    def wait(self, seconds: float, voiced_until: float = 0.0) -> list[Any]:
        """The actions of the timers in so many seconds."""
        end, found = self.now + seconds, list[Any]()
        for _ in range(1000):
            due = deadline(self.state, self.params)
            if due is None or due > end:
                break
            self.now = max(self.now, due)
            found += self(Timer(max(voiced_until, self.now if self.state.voice else 0.0)))
        self.now = end
        return found

    @property
    def phase(self) -> Phase:
        return self.state.phase


def last_words(text: str) -> Speak:
    return Speak(0, text, interruptible=False, then=DialplanAction("hangup"))


def greeted() -> Conversation:
    return Conversation(
        ServiceOpened(True), ResponseGrew(), ResponseGrew(True, 2.0), ResponseComplete(), ResponsePlayed()
    )


def speaking() -> Conversation:
    talk = greeted()
    for event in (CallerStarted(), CallerStopped(), ResponseGrew(), ResponseGrew(True, 3.0)):
        talk(event)
    return talk


def test_a_turn() -> None:
    talk = greeted()
    assert talk.phase is Phase.LISTENING
    assert (talk(CallerStarted()), talk.phase) == ([], Phase.LISTENING)
    assert (talk(CallerStopped()), talk.phase) == ([], Phase.THINKING)
    talk(ResponseGrew())
    talk(ResponseGrew(True, 1.0))
    assert talk.phase is Phase.SPEAKING
    talk(ResponseComplete())
    assert talk.wait(20) == [], "however long it takes to be played"
    talk(ResponsePlayed())
    assert (talk.phase, talk.actions) == (Phase.LISTENING, [])


def test_the_caller_interrupts() -> None:
    talk = speaking()
    assert talk(CallerStarted()) == [StopReply(0, "barge_in")]
    assert talk.phase is Phase.LISTENING
    assert talk(ResponsePlayed()) == []


def test_a_sound_holds_the_agent_until_the_service_says_what_it_was() -> None:
    talk = speaking()
    talk(VoiceOnset(talk.now))
    assert talk.wait(0.2) == [PauseReply(0)]
    assert talk.phase is Phase.INTERRUPTED
    assert talk(CallerStarted()) == [StopReply(0, "barge_in")]
    talk = speaking()
    talk(VoiceOnset(talk.now))
    assert talk.wait(0.2) == [PauseReply(0)]
    talk(VoiceOffset(talk.now))
    assert talk.wait(1.0) == [ResumeReply(0, "noise")]
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
    talk(CallerStarted())
    talk(CallerStopped())
    assert talk(CallerStarted()) == [StopReply(0, "turn")]
    assert talk.state.hearing


def test_what_may_not_be_interrupted_is_not() -> None:
    talk = Conversation(ServiceOpened(True), ResponseGrew(True, 2.0), interruptible=False)
    assert gates(talk.state, PARAMS)
    talk(VoiceOnset(0.0))
    assert talk.wait(1.0) == []
    assert talk(CallerStarted()) == []
    assert talk(DigitDialled("1", 1)) == []
    talk(ResponseComplete())
    assert talk(ResponsePlayed()) == [Answer(0, "1", dialled=True)], "typed ahead"
    assert not gates(talk.state, PARAMS)


def test_half_duplex() -> None:
    params = RealtimeParams(TurnParams(barge_in=False))
    talk = Conversation(ServiceOpened(True), ResponseGrew(True, 2.0), params=params)
    assert gates(talk.state, params)
    talk(ResponseComplete())
    talk(ResponsePlayed())
    assert not gates(talk.state, params)


def test_a_service_that_keeps_the_caller_waiting() -> None:
    assert Conversation(ServiceOpened(True)).wait(4.0) == [GiveUpService()]
    talk = greeted()
    talk(CallerStarted())
    talk(CallerStopped())
    assert talk.wait(3.9) == []
    talk(ResponseGrew())
    assert talk.wait(3.9) == []
    talk(ResponseGrew(True, 2.0))
    assert talk.wait(5.9) == [], "what came is played meanwhile"
    assert talk.wait(0.2) == [GiveUpService()]
    talk = greeted()
    talk(VoiceOnset(talk.now))
    talk(CallerStarted())
    assert talk.wait(8.0) == [], "the caller speaks for long"
    talk(VoiceOffset(talk.now))
    assert talk.wait(4.0) == [GiveUpService()], "the service has not noticed that it is over"
    talk = greeted()
    talk(CallerStarted())
    talk(VoiceOnset(talk.now))
    assert talk.wait(8.0) == []
    talk = greeted()
    talk(CallerStarted())
    assert talk.wait(3.9) == [], "a short word: we were quicker"
    assert talk.wait(0.2) == [GiveUpService()]
    talk = greeted()
    talk(VoiceOnset(talk.now))
    talk(CallerStarted())
    talk(VoiceOffset(talk.now))
    talk(ResponseGrew(), talk.now + 1)
    assert talk.phase is Phase.THINKING


def test_another_service_takes_over() -> None:
    talk = speaking()
    assert talk(ServiceLost()) == []
    assert talk.phase is Phase.THINKING
    assert talk.wait(10.0) == [], "the chain has its own limits"
    talk(ServiceOpened(True))
    talk(ResponseGrew(True, 1.0))
    assert talk.phase is Phase.SPEAKING
    talk = greeted()
    talk(ServiceLost())
    talk(ServiceOpened(False))
    assert talk.phase is Phase.LISTENING
    talk = speaking()
    talk(ActionAsked(DialplanAction("queue")))
    assert talk(ServiceLost()) == [DialplanAction("queue")], "it was wanted, whoever has failed since"


def test_an_action_comes_after_what_is_said() -> None:
    leave = DialplanAction("transfer", {"exten": "200"})
    talk = speaking()
    assert talk(ActionAsked(leave)) == []
    talk(ResponseComplete())
    assert talk.wait(5.0) == []
    assert talk(ResponsePlayed()) == [leave]
    assert talk.phase is Phase.ENDED
    assert talk(CallerStarted()) == []


def test_an_action_without_a_word() -> None:
    leave = DialplanAction("transfer", {"exten": "200"})
    talk = greeted()
    for event in (CallerStarted(), CallerStopped(), ResponseGrew(), ActionAsked(leave)):
        assert talk(event) == []
    assert talk(ResponseComplete()) == [leave]
    talk = greeted()
    for event in (CallerStarted(), CallerStopped(), ResponseGrew(), ActionAsked(DialplanAction("hangup"))):
        assert talk(event) == []
    assert talk(ResponseComplete()) == [StopReply(0, "timeout"), last_words("Bye.")]
    talk(ResponseGrew(True, 1.0))
    talk(ResponseComplete())
    assert talk(ResponsePlayed()) == [DialplanAction("hangup")]
    talk = greeted()
    talk(ActionAsked(leave))
    assert talk.wait(2.0) == [leave], "no answer is made, and none comes"


def test_who_interrupts_is_not_transferred() -> None:
    talk = speaking()
    talk(ActionAsked(DialplanAction("transfer")))
    assert talk(CallerStarted()) == [StopReply(0, "barge_in")]
    talk(ActionAsked(DialplanAction("queue")))
    for event in (CallerStopped(), ResponseGrew(True, 1.0), ResponseComplete()):
        talk(event)
    assert talk(ResponsePlayed()) == []
    talk(ActionAsked(DialplanAction("queue")))
    talk(ActionAsked(DialplanAction("transfer")))
    assert talk.wait(2.0) == [DialplanAction("queue")], "one action a call"


def test_digits() -> None:
    talk = speaking()
    assert talk(DigitDialled("4", 0)) == [StopReply(0, "digit")]
    assert talk(DigitDialled("2", 0)) == []
    assert talk.wait(1.0) == [Answer(0, "42", dialled=True)]
    assert talk.phase is Phase.THINKING
    talk = greeted()
    talk(DigitDialled("4", 2))
    assert talk(DigitDialled("2", 2)) == [Answer(0, "42", dialled=True)]
    talk = greeted()
    assert talk(DigitDialled("#", 0)) == [Answer(0, "#", dialled=True)]
    talk = greeted()
    talk(DigitDialled("7", 0))
    assert talk(DigitDialled("#", 0)) == [Answer(0, "7", dialled=True)]


def test_nobody_speaks() -> None:
    talk = greeted()
    assert talk.wait(4.9) == []
    assert talk.wait(0.2) == [Speak(0, "Still there?")]
    talk(ResponseGrew(True, 1.0))
    talk(ResponseComplete())
    talk(ResponsePlayed())
    assert talk.wait(5.0) == [last_words("Over.")]
    assert talk.phase is Phase.CLOSING
    assert talk(CallerStarted()) == talk(DigitDialled("1", 0)) == []
    assert talk(ResponseComplete()) == [DialplanAction("hangup")], "where nothing comes of it"


def test_last_words_that_do_not_come() -> None:
    talk = greeted()
    talk.wait(5.0)
    talk(ResponseGrew(True, 1.0))
    talk(ResponseComplete())
    talk(ResponsePlayed())
    assert talk.wait(9.0) == [last_words("Over."), DialplanAction("hangup")]


def test_the_longest_call() -> None:
    talk = speaking()
    talk(ResponseGrew(True, 1000.0))
    assert talk.wait(105.0) == [StopReply(0, "timeout"), last_words("Time is up."), DialplanAction("hangup")]
    silent = RealtimeParams(TurnParams(max_call_seconds=10.0, max_call_closing=""))
    talk = Conversation(ServiceOpened(True), ResponseGrew(True, 50.0), params=silent)
    assert talk.wait(10.0) == [StopReply(0, "timeout"), DialplanAction("hangup")]


def test_hanging_up() -> None:
    talk = speaking()
    assert talk(HungUp()) == [StopReply(0, "end")]
    assert deadline(talk.state, PARAMS) is None


EVENTS = st.one_of(
    st.builds(ServiceOpened, st.booleans()),
    st.builds(ResponseGrew, st.booleans(), st.floats(0, 5)),
    st.sampled_from(
        [
            ServiceLost(),
            CallerStarted(),
            CallerStopped(),
            ResponseComplete(),
            ResponsePlayed(),
            ActionAsked(DialplanAction("queue")),
            ActionAsked(DialplanAction("hangup")),
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
        assert deadline(talk.state, PARAMS) is not None
    leaves = [action for action in talk.actions if isinstance(action, DialplanAction)]
    assert len(leaves) <= 1
    assert bool(leaves) is (talk.phase is Phase.ENDED)
    # An idle service, a silent caller: it always comes to an end.
    talk.wait(300.0)
    assert talk.phase is Phase.ENDED
