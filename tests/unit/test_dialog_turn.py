"""The turn machine by example, with floats for time and no sleep, and by hypothesis for what must hold always."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asterisk_ai.dialog.dialplan import HANG_UP, DialplanAction
from asterisk_ai.dialog.events import (
    Action,
    Answer,
    CloseUtterance,
    DigitDialled,
    Draft,
    DropDraft,
    DropUtterance,
    Event,
    HungUp,
    OpenUtterance,
    PauseReply,
    RecognitionFailed,
    ReplyEnded,
    ReplyFailed,
    ResumeReply,
    Speak,
    SpeakFiller,
    SpeakingStarted,
    Started,
    StopReply,
    Timer,
    TurnLikelihood,
    VoiceOffset,
    VoiceOnset,
    WordsFinal,
    WordsPartial,
)
from asterisk_ai.dialog.params import TurnParams, in_language
from asterisk_ai.dialog.phase import TRANSITIONS, Phase
from asterisk_ai.dialog.staged import machine as turn
from asterisk_ai.dialog.staged.deadlines import deadline

PARAMS = TurnParams(endpoint_ms=600.0, no_input_prompts=("One?", "Two?"), no_input_closing="Bye.")


class Talk:
    """A conversation in which the test says what happens when."""

    def __init__(self, params: TurnParams = PARAMS, greeting: str = "Hello.", *, interruptible: bool = True) -> None:
        self.params = params
        self.state = turn.initial(greeting, interruptible=interruptible)
        self.voiced_until = 0.0

    def at(self, now: float, event: Event) -> list[Action]:
        self.state, actions = turn.step(self.state, event, now, self.params)
        return list(actions)

    @property
    def due(self) -> float | None:
        return deadline(self.state, self.params)

    @property
    def phase(self) -> Phase:
        return self.state.phase

    def timer(self, voiced_until: float | None = None) -> list[Action]:
        """The time of the deadline has come; what the caller's voice did until then may be given."""
        assert self.due is not None
        now = self.due
        return self.at(now, Timer(now if voiced_until is None else voiced_until))

    def fire(self, now: float, voiced_until: float) -> list[Action]:
        """Every timer that is due until ``now``, as call.py would send them."""
        actions = []
        for _ in range(1000):
            if self.due is None or self.due > now:
                return actions
            actions += self.at(self.due, Timer(min(self.due, voiced_until)))
        raise AssertionError("the timer spins")


def listening(params: TurnParams = PARAMS) -> Talk:
    """The greeting has been said by 1.0."""
    talk = Talk(params)
    talk.at(0.0, Started())
    talk.at(0.1, SpeakingStarted(1))
    assert talk.at(1.0, ReplyEnded(1)) == []
    assert talk.phase is Phase.LISTENING
    return talk


def speaking(params: TurnParams = PARAMS, *, interruptible: bool = True) -> Talk:
    """Reply 2 answers the caller and is heard from 3.0 on."""
    talk = thinking(params)
    assert talk.at(2.8, WordsFinal(1, "hours")) == [Answer(2, "hours")]
    assert talk.at(3.0, SpeakingStarted(2, interruptible)) == []
    assert talk.phase is Phase.SPEAKING
    return talk


def thinking(params: TurnParams = PARAMS) -> Talk:
    """Utterance 1 from 1.5 to 2.0; its words are awaited from 2.6 on."""
    talk = listening(params)
    assert talk.at(1.5, VoiceOnset(1.5)) == [OpenUtterance(1)]
    assert talk.at(2.16, VoiceOffset(2.0)) == []
    assert talk.due == pytest.approx(2.6)
    assert talk.timer() == [CloseUtterance(1, 2.0)]
    assert talk.phase is Phase.THINKING
    return talk


# ---- beginning ---------------------------------------------------------------------------------


def test_the_greeting_is_said_first() -> None:
    talk = Talk()
    assert talk.due is None
    assert talk.at(5.0, Started()) == [Speak(1, "Hello.", interruptible=True)]
    assert talk.phase is Phase.GREETING


def test_without_a_greeting_the_agent_listens() -> None:
    talk = Talk(greeting="")
    assert talk.at(5.0, Started()) == []
    assert (talk.phase, talk.due) == (Phase.LISTENING, 5.0 + PARAMS.no_input_seconds)


def test_a_call_that_comes_back_hears_the_resume_prompt_and_no_greeting() -> None:
    talk = Talk(interruptible=False)
    assert talk.at(0.0, Started(resumed=True, cut=True)) == [Speak(1, PARAMS.resume_prompt, interruptible=True)]


def test_a_call_of_which_nothing_was_cut_off_comes_back_without_an_excuse() -> None:
    talk = Talk()
    assert talk.at(0.0, Started(resumed=True)) == []
    assert talk.phase is Phase.LISTENING


def test_what_was_not_heard_is_said_and_what_was_to_follow_follows() -> None:
    talk = Talk()
    bridge = PARAMS.resume_prompt
    event = Started(resumed=True, cut=True, unheard=f"{bridge} Good bye.", interruptible=False, then=HANG_UP)
    assert talk.at(0.0, event) == [Speak(1, f"{bridge} Good bye.", interruptible=False, then=HANG_UP)]
    assert Talk().at(0.0, Started(resumed=True, then=HANG_UP)) == [HANG_UP]


def test_what_was_not_answered_is_answered_after_the_excuse() -> None:
    talk = Talk()
    owed = Answer(0, "and my account", continues=True)
    assert talk.at(0.0, Started(resumed=True, cut=True, owed=owed)) == [
        SpeakFiller(1, PARAMS.resume_prompt),
        replace(owed, reply=1),
    ]
    assert talk.phase is Phase.THINKING


@pytest.mark.parametrize("language", ["de-DE", "es-ES", "fr", "it_IT", "nl", "pt-BR"])
def test_the_agent_s_own_words_are_in_its_language(language: str) -> None:
    params = in_language(TurnParams(trouble_prompt="Hm."), language)
    said = (params.resume_prompt, params.filler_prompt, params.no_input_closing, params.max_call_closing)
    assert not set(said) & {getattr(TurnParams(), item.name) for item in fields(TurnParams)}
    assert len(params.no_input_prompts) == 2
    assert params.trouble_prompt == "Hm."
    assert in_language(TurnParams(), "en-GB") == TurnParams()


def test_what_comes_before_the_start_or_a_second_start_changes_nothing() -> None:
    talk = Talk()
    assert talk.at(0.0, DigitDialled("1")) == []
    assert talk.at(0.0, Timer(0.0)) == []
    assert talk.phase is Phase.NEW
    talk.at(0.0, Started())
    assert talk.at(1.0, Started()) == []


def test_who_speaks_before_the_greeting_is_heard_after_it() -> None:
    talk = Talk()
    talk.at(0.0, VoiceOnset(0.0))
    talk.at(0.1, Started())
    talk.at(0.2, SpeakingStarted(1))
    assert talk.at(1.0, ReplyEnded(1)) == [OpenUtterance(1)]


def test_hanging_up_before_the_start() -> None:
    talk = Talk()
    assert talk.at(0.0, HungUp()) == []
    assert (talk.phase, talk.due) == (Phase.ENDED, None)


# ---- a turn ------------------------------------------------------------------------------------


def test_a_turn_from_onset_to_answer() -> None:
    talk = speaking()
    assert talk.at(5.0, ReplyEnded(2)) == []
    assert talk.phase is Phase.LISTENING


def test_a_pause_inside_an_utterance_does_not_end_it() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    talk.at(2.16, VoiceOffset(2.0))
    assert talk.at(2.55, VoiceOnset(2.5)) == []
    assert talk.fire(3.5, 3.5) == []
    talk.at(4.16, VoiceOffset(4.0))
    assert talk.fire(4.59, 4.0) == []
    assert talk.fire(4.61, 4.0) == [CloseUtterance(1, 4.0)]


def test_who_talks_without_end_is_answered_in_the_middle() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    assert talk.due == 1.5 + PARAMS.max_utterance_seconds
    assert talk.timer() == [CloseUtterance(1, 21.5)]
    assert talk.at(21.6, WordsFinal(1, "hours")) == [Answer(2, "hours")]
    talk.at(21.8, SpeakingStarted(2))
    assert talk.at(23.0, ReplyEnded(2)) == [OpenUtterance(2)], "still speaking, so hear the rest"


def test_an_early_timer_changes_nothing() -> None:
    talk = listening()
    state = talk.state
    assert talk.at(2.0, Timer(2.0)) == []
    assert talk.state is state


def test_stale_words_are_ignored() -> None:
    talk = thinking()
    assert talk.at(2.7, WordsFinal(7, "nonsense")) == []
    assert talk.at(2.7, RecognitionFailed(7)) == []
    assert talk.at(2.8, WordsFinal(1, "hours")) == [Answer(2, "hours")]
    assert talk.at(2.9, WordsFinal(1, "hours")) == []
    assert talk.at(2.9, RecognitionFailed(1)) == []


def test_words_are_ignored_while_none_are_awaited() -> None:
    assert listening().at(2.0, WordsFinal(0, "hours")) == []


def test_refused_speech_is_answered_as_not_understood() -> None:
    assert thinking().at(2.8, WordsFinal(1, "", accepted=False)) == [Answer(2, "", understood=False)]


def test_a_refused_noise_is_not_answered() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    talk.at(1.7, VoiceOffset(1.58))
    assert talk.timer() == [CloseUtterance(1, 1.58)]
    assert talk.at(2.4, WordsFinal(1, "", accepted=False)) == []
    assert (talk.phase, talk.due) == (Phase.LISTENING, 2.4 + PARAMS.no_input_seconds)


def test_an_accepted_word_counts_however_short() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    talk.at(1.7, VoiceOffset(1.58))
    talk.timer()
    assert talk.at(2.4, WordsFinal(1, "no")) == [Answer(2, "no")]


def test_a_cough_while_the_words_are_awaited_does_not_make_a_noise_of_them() -> None:
    talk = thinking()
    assert talk.at(2.7, VoiceOnset(2.7)) == [OpenUtterance(2)]
    assert talk.at(2.75, WordsFinal(1, "", accepted=False)) == [Answer(2, "", understood=False)]


def test_a_whole_answer_is_answered_after_a_short_silence() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    talk.at(2.16, VoiceOffset(2.0))
    assert talk.at(2.2, WordsPartial(1, "hours", complete=True)) == [Draft("hours")]
    assert talk.due == pytest.approx(2.25)
    assert talk.timer() == [CloseUtterance(1, 2.0)]


def test_half_an_answer_gets_a_longer_silence() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    talk.at(2.16, VoiceOffset(2.0))
    talk.at(2.2, WordsPartial(1, "my number is five", accepted=False))
    assert talk.due == pytest.approx(3.6)
    talk.at(2.9, VoiceOnset(2.85))
    talk.at(3.2, VoiceOffset(3.0))
    assert talk.due == pytest.approx(3.6), "what was decoded before is not all that was said"
    assert talk.at(3.3, WordsPartial(7, "stale", complete=True)) == []
    assert talk.due == pytest.approx(3.6)


def test_words_that_come_after_the_short_silence_end_the_utterance_at_once() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    talk.at(2.16, VoiceOffset(2.0))
    talk.at(2.4, WordsPartial(1, "hours", complete=True))
    assert talk.due == pytest.approx(2.25)
    assert talk.at(2.4, Timer(2.0)) == [CloseUtterance(1, 2.0)]


def test_the_answer_is_begun_in_the_pause_and_given_up_where_the_caller_goes_on() -> None:
    talk = listening()
    talk.at(1.5, VoiceOnset(1.5))
    assert talk.at(1.9, WordsPartial(1, "what are")) == [], "the caller is still speaking"
    assert talk.at(2.16, VoiceOffset(2.0)) == [Draft("what are")]
    assert talk.at(2.2, WordsPartial(1, "what are your", accepted=False)) == [], "no answer as it stands"
    assert talk.at(2.3, WordsPartial(1, "what are your hours")) == [Draft("what are your hours")]
    assert talk.at(2.35, WordsPartial(1, "what are your hours")) == [], "begun already"
    assert talk.at(2.5, VoiceOnset(2.45)) == [DropDraft()]
    assert talk.at(3.1, VoiceOffset(3.0)) == [], "what was said since is not known yet"
    assert talk.at(3.2, WordsPartial(1, "what are your hours on sunday")) == [Draft("what are your hours on sunday")]
    assert talk.timer() == [CloseUtterance(1, 3.0)]
    assert talk.at(3.7, WordsFinal(1, "what are your hours on sunday")) == [Answer(2, "what are your hours on sunday")]
    assert talk.state.draft == ""


def test_answers_are_begun_ahead_a_few_times_only_and_not_where_that_is_switched_off() -> None:
    for params, most in ((PARAMS, 3), (replace(PARAMS, answer_ahead=False), 0)):
        talk = listening(params)
        talk.at(1.5, VoiceOnset(1.5))
        talk.at(2.0, VoiceOffset(1.9))
        drafts = [talk.at(2.0 + n / 100, WordsPartial(1, f"word {n}")) for n in range(10)]
        assert [actions for actions in drafts if actions] == [[Draft(f"word {n}")] for n in range(most)]


def test_a_draft_ends_with_the_call_with_a_digit_and_with_refused_noise() -> None:
    def drafted() -> Talk:
        talk = listening()
        talk.at(1.5, VoiceOnset(1.5))
        talk.at(1.76, VoiceOffset(1.6))
        assert talk.at(1.8, WordsPartial(1, "hours")) == [Draft("hours")]
        return talk

    assert drafted().at(1.9, HungUp()) == [DropUtterance(1), DropDraft()]
    assert drafted().at(1.9, DigitDialled("5")) == [DropUtterance(1), DropDraft()]
    talk = drafted()
    talk.timer()
    assert talk.at(2.3, WordsFinal(1, "", accepted=False)) == [DropDraft()]
    assert talk.phase is Phase.LISTENING


def test_a_filler_while_the_answer_is_made_and_again() -> None:
    params = replace(PARAMS, filler_ms=1000.0, filler_prompt="One moment.")
    talk = thinking(params)
    assert talk.due == pytest.approx(2.6 + params.answer_seconds), "no filler while only words are awaited"
    assert talk.at(2.8, WordsFinal(1, "hours")) == [Answer(2, "hours")]
    assert talk.timer() == [SpeakFiller(2, "One moment.")]
    assert talk.due == pytest.approx(4.8)
    assert talk.timer() == [SpeakFiller(2, "One moment.")]
    talk.at(5.0, SpeakingStarted(2))
    assert talk.phase is Phase.SPEAKING


def test_half_duplex_gates_the_agent_s_own_voice_and_its_echo() -> None:
    params = replace(PARAMS, barge_in=False, guard_ms=300.0)
    talk = speaking(params)
    assert turn.gates(talk.state, params, 3.5) == {"reply-2"}
    assert talk.at(4.0, ReplyEnded(2)) == []
    assert turn.gates(talk.state, params, 4.2) == {"guard"}
    assert turn.gates(talk.state, params, 4.31) == frozenset()


def test_full_duplex_gates_only_what_must_be_heard_out() -> None:
    talk = speaking()
    assert turn.gates(talk.state, PARAMS, 3.5) == frozenset()
    talk.at(3.5, SpeakingStarted(2, False))
    assert turn.gates(talk.state, PARAMS, 3.6) == {"reply-2"}
    talk.at(4.0, SpeakingStarted(2, True))
    assert turn.gates(talk.state, PARAMS, 4.1) == frozenset()


# ---- interruption ------------------------------------------------------------------------------


def test_barge_in_holds_the_agent_until_there_are_words_to_answer() -> None:
    talk = speaking()
    assert talk.at(4.06, VoiceOnset(4.0)) == [OpenUtterance(2)]
    assert talk.due == pytest.approx(4.14)
    assert talk.timer() == [PauseReply(2)]
    assert talk.phase is Phase.INTERRUPTED
    assert talk.fire(4.8, voiced_until=4.8) == [], "as long as a drawn out backchannel"
    assert talk.fire(4.86, voiced_until=4.86) == []
    assert (talk.phase, talk.state.reply.suspended) == (Phase.LISTENING, True)
    talk.at(5.16, VoiceOffset(5.0))
    assert talk.timer() == [CloseUtterance(2, 5.0)]
    assert talk.at(5.7, WordsFinal(2, "hours")) == [StopReply(2, "barge_in"), Answer(3, "hours")]
    assert not talk.state.reply.suspended


def long_sound() -> Talk:
    """The caller's side makes sound from 4.0 to 7.0 while reply 2 is said; its words are awaited."""
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.2, voiced_until=4.2)
    talk.fire(5.0, voiced_until=5.0)
    talk.at(7.16, VoiceOffset(7.0))
    assert talk.timer() == [CloseUtterance(2, 7.0)]
    return talk


def test_music_over_the_agent_does_not_cost_the_answer() -> None:
    talk = long_sound()
    assert talk.at(8.0, WordsFinal(2, "", accepted=False)) == [ResumeReply(2, "noise")]
    assert (talk.phase, talk.state.reply.suspended) == (Phase.SPEAKING, False)
    assert talk.at(9.0, ReplyEnded(2)) == []
    assert talk.phase is Phase.LISTENING


def test_a_recogniser_that_fails_over_an_interruption_does_not_cost_the_answer() -> None:
    assert long_sound().at(8.0, RecognitionFailed(2)) == [ResumeReply(2, "noise")]


def test_words_that_are_not_understood_are_an_interruption() -> None:
    talk = long_sound()
    assert talk.at(8.0, WordsFinal(2, "wait no", accepted=False)) == [
        StopReply(2, "barge_in"),
        Answer(3, "wait no", understood=False),
    ]


def test_the_first_words_of_a_long_interruption_stop_the_agent() -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.2, voiced_until=4.2)
    talk.fire(5.0, voiced_until=5.0)
    assert talk.at(5.2, WordsPartial(2, "okay")) == [StopReply(2, "barge_in")]
    assert talk.at(5.6, VoiceOffset(5.5)) == [Draft("okay")]


def test_what_fails_or_ends_while_the_caller_has_the_floor_is_nobodys() -> None:
    for event in (ReplyFailed(2), ReplyEnded(2, DialplanAction("transfer"))):
        talk = speaking()
        talk.at(4.06, VoiceOnset(4.0))
        talk.fire(4.2, voiced_until=4.2)
        talk.fire(5.0, voiced_until=5.0)
        assert talk.at(5.1, event) == []
        assert (talk.phase, talk.state.reply.live) == (Phase.LISTENING, False)


def test_a_click_is_not_even_listened_to() -> None:
    talk = speaking()
    assert talk.at(4.06, VoiceOnset(4.0)) == [OpenUtterance(2)]
    assert talk.fire(4.25, voiced_until=4.10) == [], "the voice ended before barge_in_ms"
    assert talk.at(4.26, VoiceOffset(4.10)) == [DropUtterance(2)]
    assert talk.phase is Phase.SPEAKING


def interrupted(until: float = 4.3, phase: Phase = Phase.SPEAKING) -> Talk:
    """The caller makes a sound from 4.0 to ``until`` while reply 2 is said; its words are awaited."""
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    assert talk.fire(until, voiced_until=until) == [PauseReply(2)]
    talk.at(until + 0.16, VoiceOffset(until))
    assert talk.timer() == [CloseUtterance(2, until)]
    assert talk.phase is Phase.INTERRUPTED
    return talk


def test_a_cough_only_holds_the_agent() -> None:
    talk = interrupted()
    assert talk.at(4.7, WordsFinal(2, "", accepted=False)) == [ResumeReply(2, "noise")]
    assert talk.phase is Phase.SPEAKING
    assert talk.at(5.0, ReplyEnded(2)) == []


@pytest.mark.parametrize("words", ["okay", "uh huh", "Right. Okay.", "mm-hm"])
def test_a_backchannel_only_holds_the_agent(words: str) -> None:
    talk = interrupted(4.5)
    assert talk.at(4.9, WordsFinal(2, words)) == [ResumeReply(2, "backchannel")]
    assert talk.phase is Phase.SPEAKING


@pytest.mark.parametrize("words", ["no", "okay wait", "sales", "okay no"])
def test_words_take_the_turn_however_short(words: str) -> None:
    talk = interrupted(4.0 + 0.05 * len(words) if len(words) > 5 else 4.3)
    assert talk.at(5.1, WordsFinal(2, words)) == [StopReply(2, "barge_in"), Answer(3, words)]
    assert talk.phase is Phase.THINKING


@pytest.mark.parametrize("words", ["wait", "hold on", "Stop! Stop!"])
def test_a_call_for_attention_is_listened_to_and_not_answered(words: str) -> None:
    talk = interrupted(4.5)
    assert talk.at(4.9, WordsFinal(2, words)) == [StopReply(2, "barge_in")]
    assert talk.phase is Phase.LISTENING


def test_words_that_nobody_says_so_fast_are_a_noise() -> None:
    assert interrupted(4.2).at(4.6, WordsFinal(2, "excuse me")) == [ResumeReply(2, "noise")]
    assert StopReply(2, "barge_in") in interrupted(4.3).at(4.7, WordsFinal(2, "excuse me"))


@pytest.mark.parametrize(("until", "confidence", "taken"), [(4.38, 0.0, False), (4.5, 0.3, False), (4.58, 0.3, True)])
def test_the_longer_a_backchannel_the_surer_it_must_be(until: float, confidence: float, taken: bool) -> None:
    talk = interrupted(until)
    actions = talk.at(until + 0.4, WordsFinal(2, "right", accepted=False, confidence=confidence))
    assert (StopReply(2, "barge_in") in actions) is taken


def test_the_words_of_a_short_interruption_are_not_awaited_once_another_has_ended() -> None:
    talk = interrupted(4.3)
    talk.at(4.66, VoiceOnset(4.6))
    talk.at(4.96, VoiceOffset(4.8))
    assert talk.timer() == [DropUtterance(2), CloseUtterance(3, 4.8)]


@pytest.mark.parametrize(("begun", "taken"), [("all", False), ("right", True), ("al", True)])
def test_a_drawl_is_as_sure_as_its_beginning_was(begun: str, taken: bool) -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.14, voiced_until=4.14)
    talk.at(4.5, WordsPartial(2, begun, confidence=0.67))
    talk.at(4.58, WordsPartial(2, "all right", accepted=False, confidence=0.1))
    if talk.phase is Phase.INTERRUPTED:
        talk.at(4.74, VoiceOffset(4.58))
        talk.timer()
        talk.at(5.0, WordsFinal(2, "all right", accepted=False, confidence=0.1))
    assert (talk.phase is not Phase.SPEAKING) is taken


def test_a_hum_interrupts_nobody_however_long_and_doubtful() -> None:
    talk = interrupted(4.58)
    assert talk.at(5.0, WordsFinal(2, "mm", accepted=False, confidence=0.0)) == [ResumeReply(2, "backchannel")]


@pytest.mark.parametrize(("confidence", "seconds"), [(0.9, 0.96), (0.6, 0.84)])
def test_a_backchannel_that_is_certain_may_be_drawn_out(confidence: float, seconds: float) -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.14, voiced_until=4.14)
    talk.at(4.5, WordsPartial(2, "okay okay", confidence=confidence))
    assert talk.fire(4.0 + seconds - 0.02, voiced_until=4.0 + seconds - 0.02) == []
    assert talk.phase is Phase.INTERRUPTED
    assert talk.fire(4.0 + seconds, voiced_until=4.0 + seconds) == []
    assert talk.state.reply.suspended


def test_the_agent_goes_on_soon_after_a_certain_backchannel() -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.14, voiced_until=4.14)
    talk.at(4.4, WordsPartial(2, "okay"))
    talk.at(4.46, VoiceOffset(4.3))
    assert talk.due == pytest.approx(4.46)


def test_speech_that_was_not_understood_but_is_too_long_for_a_cough_takes_the_turn() -> None:
    talk = interrupted(4.5)
    assert talk.at(4.9, WordsFinal(2, "", accepted=False)) == [
        StopReply(2, "barge_in"),
        Answer(3, "", understood=False),
    ]


@pytest.mark.parametrize(
    ("words", "silence"),
    [
        (WordsPartial(1, "hours", complete=True), 0.25),
        (WordsPartial(1, "well then", complete=None), 0.6),
        (WordsPartial(1, "blue giraffes"), 1.1),
        (WordsPartial(1, "blue"), 1.1),
        (WordsPartial(1, "where is", complete=None, unfinished=True), 1.6),
        (WordsPartial(1, "where is", accepted=False), 1.6),
    ],
)
@pytest.mark.parametrize(
    ("probability", "silences"),
    [
        (None, (0.25, 0.6, 1.1, 1.6)),
        (0.98, (0.25, 0.25, 1.1, 1.6)),
        (0.9, (0.25, 0.6, 1.1, 1.6)),
        (0.5, (0.6, 0.6, 1.1, 1.6)),
        (0.05, (1.1, 1.1, 1.6, 1.6)),
    ],
)
def test_words_and_sound_decide_together_how_long_a_pause_may_be(
    words: WordsPartial, silence: float, probability: float | None, silences: tuple[float, ...]
) -> None:
    talk = listening()
    talk.at(2.0, VoiceOnset(2.0))
    talk.at(3.0, VoiceOffset(3.0))
    talk.at(3.1, words)
    if probability is not None:
        talk.at(3.1, TurnLikelihood(1, probability, 3.0))
    assert talk.due == pytest.approx(3.0 + silences[(0.25, 0.6, 1.1, 1.6).index(silence)])


@pytest.mark.parametrize(("probability", "silence"), [(0.98, 0.25), (0.9, 0.6), (0.5, 0.6), (0.05, 1.1)])
def test_the_sound_of_a_pause_decides_how_long_it_may_be(probability: float, silence: float) -> None:
    talk = listening()
    talk.at(2.0, VoiceOnset(2.0))
    assert talk.at(2.1, TurnLikelihood(1, 0.9, 3.0)) == [], "the caller is still speaking"
    talk.at(3.0, VoiceOffset(3.0))
    assert talk.due == pytest.approx(3.6)
    talk.at(3.1, TurnLikelihood(7, 0.9, 3.0))
    assert talk.due == pytest.approx(3.6), "stale"
    talk.at(3.1, TurnLikelihood(1, probability, 3.0))
    assert talk.due == pytest.approx(3.0 + silence)
    talk.at(3.2, VoiceOnset(3.2))
    talk.at(4.0, VoiceOffset(4.0))
    assert talk.due == pytest.approx(4.6), "what was told of an earlier pause is not true of this one"
    talk.at(4.1, TurnLikelihood(1, 0.9, 3.0))
    assert talk.due == pytest.approx(4.6), "nor what is told of it only now"


def test_words_with_which_a_backchannel_begins_take_no_turn_yet() -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.3, voiced_until=4.3)
    for words in ("i", "okay all", "uh"):
        assert talk.at(4.4, WordsPartial(2, words)) == []
    assert talk.at(4.5, WordsPartial(2, "okay i want sales")) == [StopReply(2, "barge_in")]


def test_a_refused_backchannel_is_one_too() -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.2, voiced_until=4.2)
    talk.at(4.66, VoiceOffset(4.5))
    talk.timer()
    assert talk.at(4.8, WordsFinal(2, "right", accepted=False)) == [ResumeReply(2, "backchannel")]


def test_words_known_while_the_caller_still_speaks_take_the_turn_at_once() -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    assert talk.fire(4.3, voiced_until=4.3) == [PauseReply(2)]
    assert talk.at(4.3, WordsPartial(2, "okay")) == []
    assert talk.at(4.4, WordsPartial(2, "okay but", accepted=False)) == []
    assert talk.at(4.5, WordsPartial(2, "sales")) == [StopReply(2, "barge_in")]
    assert talk.phase is Phase.LISTENING


def test_a_recogniser_that_fails_or_is_stuck_does_not_cost_the_caller_the_answer() -> None:
    talk = interrupted()
    assert talk.at(4.7, RecognitionFailed(2)) == [ResumeReply(2, "noise")]
    talk = interrupted()
    assert talk.timer() == [DropUtterance(2), ResumeReply(2, "noise")]
    assert talk.phase is Phase.SPEAKING


def test_a_second_sound_belongs_to_the_same_interruption() -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    talk.fire(4.2, voiced_until=4.2)
    talk.at(4.36, VoiceOffset(4.2))
    assert talk.at(4.4, VoiceOnset(4.35)) == []
    assert talk.fire(5.0, voiced_until=5.0) == []
    assert talk.state.reply.suspended


def test_an_answer_that_was_held_before_it_was_audible_is_heard_after_a_cough() -> None:
    talk = thinking()
    talk.at(2.7, VoiceOnset(2.65))
    assert talk.at(2.8, WordsFinal(1, "hours")) == [Answer(2, "hours")]
    assert talk.fire(2.85, voiced_until=2.85) == [PauseReply(2)]
    talk.at(2.86, SpeakingStarted(2))
    talk.at(3.0, VoiceOffset(2.86))
    assert talk.timer() == [CloseUtterance(2, 2.86)]
    assert talk.at(3.2, WordsFinal(2, "", accepted=False)) == [ResumeReply(2, "noise")]
    assert talk.phase is Phase.SPEAKING


@pytest.mark.parametrize("words_first", [True, False])
def test_a_cough_after_the_question_does_not_lose_the_question(words_first: bool) -> None:
    talk = thinking()
    talk.at(2.7, VoiceOnset(2.65))
    assert talk.fire(2.75, voiced_until=2.75) == []
    assert talk.at(2.8, VoiceOffset(2.75)) == [DropUtterance(2)], "a click"
    talk.at(2.9, VoiceOnset(2.85))
    assert talk.fire(3.1, voiced_until=3.05) == []
    assert talk.phase is Phase.LISTENING, "the caller seems to go on"
    talk.at(3.2, VoiceOffset(3.05))
    if words_first:
        assert talk.at(3.3, WordsFinal(1, "hours")) == []
    assert talk.timer() == [CloseUtterance(3, 3.05)]
    if words_first:
        assert talk.at(3.7, WordsFinal(3, "", accepted=False)) == [Answer(2, "hours")]
    else:
        assert talk.at(3.66, WordsFinal(1, "hours")) == []
        assert talk.at(3.7, WordsFinal(3, "", accepted=False)) == [Answer(2, "hours")]


# ---- a turn that was taken to be over goes on -----------------------------------------------------


def test_what_is_said_in_the_first_second_of_the_answer_is_one_turn_with_what_was_answered() -> None:
    talk = speaking()
    assert talk.at(3.4, VoiceOnset(3.35)) == [OpenUtterance(2)]
    assert talk.fire(3.5, voiced_until=3.5) == [PauseReply(2)]
    assert talk.at(3.9, WordsPartial(2, "on sunday")) == [StopReply(2, "barge_in")]
    assert talk.at(4.0, VoiceOffset(3.85)) == [Draft("hours on sunday", continues=True)]
    assert talk.timer() == [CloseUtterance(2, 3.85)]
    assert talk.at(5.0, WordsFinal(2, "on sunday")) == [Answer(3, "hours on sunday", continues=True)]
    talk.at(5.1, VoiceOnset(5.05))
    talk.fire(5.4, voiced_until=5.35)
    talk.at(5.5, VoiceOffset(5.35))
    talk.timer()
    assert talk.at(5.8, WordsFinal(3, "please", confidence=0.5)) == [
        StopReply(3, "barge_in"),
        Answer(4, "hours on sunday please", confidence=0.5, continues=True),
    ], "three parts are one turn, too"


@pytest.mark.parametrize(("params", "onset"), [(PARAMS, 4.0), (replace(PARAMS, join_ms=0.0), 3.1)])
def test_what_is_said_later_is_a_turn_of_its_own(params: TurnParams, onset: float) -> None:
    talk = speaking(params)
    talk.at(onset + 0.06, VoiceOnset(onset))
    talk.fire(onset + 0.2, voiced_until=onset + 0.2)
    talk.at(onset + 0.5, WordsPartial(2, "sales"))
    talk.at(onset + 0.7, VoiceOffset(onset + 0.5))
    talk.timer()
    assert talk.at(onset + 2, WordsFinal(2, "sales")) == [Answer(3, "sales")]


def test_what_was_not_understood_goes_on_with_what_follows() -> None:
    talk = thinking()
    assert talk.at(2.8, WordsFinal(1, "", accepted=False)) == [Answer(2, "", understood=False)]
    talk.at(3.0, SpeakingStarted(2))
    talk.at(3.4, VoiceOnset(3.35))
    talk.fire(3.5, voiced_until=3.5)
    talk.at(3.9, WordsPartial(2, "sales"))
    talk.at(4.0, VoiceOffset(3.85))
    talk.timer()
    assert talk.at(5.0, WordsFinal(2, "sales")) == [Answer(3, "sales", continues=True)]


def test_wait_and_backchannels_are_no_part_of_the_turn() -> None:
    for words, then in (("wait", [StopReply(2, "barge_in")]), ("okay", [ResumeReply(2, "backchannel")])):
        talk = speaking()
        talk.at(3.4, VoiceOnset(3.35))
        talk.fire(3.6, voiced_until=3.55)
        talk.at(3.71, VoiceOffset(3.55))
        talk.timer()
        assert talk.at(3.9, WordsFinal(2, words)) == then


def test_keys_are_no_part_of_the_turn() -> None:
    talk = speaking()
    talk.at(3.4, DigitDialled("1", wanted=1))
    assert talk.state.turn.text == ""
    talk.at(3.5, SpeakingStarted(3))
    talk.at(3.7, VoiceOnset(3.7))
    talk.fire(3.9, voiced_until=3.9)
    talk.at(4.2, WordsPartial(2, "sales"))
    talk.at(4.4, VoiceOffset(4.2))
    talk.timer()
    assert talk.at(5.5, WordsFinal(2, "sales")) == [Answer(4, "sales")]


def test_nothing_of_the_above_stops_the_agent() -> None:
    talk = speaking()
    assert talk.at(4.06, VoiceOnset(4.0)) == [OpenUtterance(2)]
    assert talk.fire(4.2, voiced_until=4.12) == []
    assert talk.at(4.28, VoiceOffset(4.12)) == [DropUtterance(2)]
    assert talk.phase is Phase.SPEAKING
    assert talk.at(5.0, ReplyEnded(2)) == []


@pytest.mark.parametrize(("voiced", "stopped"), [(0.139, False), (0.141, True)])
def test_the_length_of_an_interruption(voiced: float, stopped: bool) -> None:
    talk = speaking()
    talk.at(4.06, VoiceOnset(4.0))
    assert talk.fire(4.4, voiced_until=4.0 + voiced) == [PauseReply(2)] * stopped


def test_nothing_interrupts_a_legal_notice_but_it_is_heard_out() -> None:
    talk = speaking(interruptible=False)
    assert talk.at(4.06, VoiceOnset(4.0)) == [OpenUtterance(2)]
    assert talk.fire(6.0, voiced_until=6.0) == []
    assert talk.at(6.0, ReplyEnded(2)) == []
    assert talk.phase is Phase.LISTENING
    talk.at(6.3, VoiceOffset(6.1))
    assert talk.timer() == [CloseUtterance(2, 6.1)]


def test_what_may_be_interrupted_changes_from_part_to_part() -> None:
    talk = speaking(interruptible=False)
    talk.at(3.5, VoiceOnset(3.5))
    assert talk.fire(4.5, voiced_until=4.5) == []
    talk.at(4.5, SpeakingStarted(2, True))
    assert talk.fire(4.6, voiced_until=4.6) == [PauseReply(2)]


def test_a_greeting_that_may_not_be_interrupted() -> None:
    talk = Talk(interruptible=False)
    assert talk.at(0.0, Started()) == [Speak(1, "Hello.", interruptible=False)]
    talk.at(0.1, SpeakingStarted(1, False))
    talk.at(0.3, VoiceOnset(0.3))
    assert talk.fire(0.9, voiced_until=0.9) == []


def test_half_duplex_listens_when_the_agent_has_finished() -> None:
    talk = speaking(replace(PARAMS, barge_in=False))
    assert talk.at(4.06, VoiceOnset(4.0)) == []
    assert talk.fire(5.0, voiced_until=5.0) == []
    assert talk.at(5.0, ReplyEnded(2)) == [OpenUtterance(2)]
    talk.at(5.5, VoiceOffset(5.3))
    assert talk.timer() == [CloseUtterance(2, 5.3)]


def test_half_duplex_forgets_what_was_said_over_the_agent() -> None:
    talk = speaking(replace(PARAMS, barge_in=False))
    talk.at(4.06, VoiceOnset(4.0))
    assert talk.at(4.6, VoiceOffset(4.4)) == []
    assert talk.at(5.0, ReplyEnded(2)) == []


@pytest.mark.parametrize("order", [(1, 2), (2,), (0, 2)])
def test_going_on_while_the_words_are_awaited_is_one_turn(order: tuple[int, ...]) -> None:
    talk = thinking()
    assert talk.at(2.7, VoiceOnset(2.65)) == [OpenUtterance(2)]
    assert talk.fire(2.8, voiced_until=2.8) == []
    assert talk.phase is Phase.LISTENING
    if order[0] == 1:
        assert talk.at(2.9, WordsFinal(1, "late")) == []
    if order[0] == 0:
        assert talk.at(2.9, RecognitionFailed(1)) == []
    talk.at(3.3, VoiceOffset(3.1))
    assert talk.timer() == [CloseUtterance(2, 3.1)]
    late: list[Action] = [DropUtterance(1)] if order[0] == 2 else []
    text = "late words" if order[0] == 1 else "words"
    assert talk.at(3.9, WordsFinal(2, "words")) == [*late, Answer(2, text)]
    assert talk.at(4.0, WordsFinal(1, "late")) == []


def test_interrupting_an_answer_that_is_still_being_made() -> None:
    talk = thinking()
    talk.at(2.7, VoiceOnset(2.65))
    assert talk.at(2.8, WordsFinal(1, "hours")) == [Answer(2, "hours")]
    assert talk.fire(3.6, voiced_until=3.6) == [PauseReply(2)]
    assert talk.at(3.1, SpeakingStarted(2)) == []
    assert talk.at(3.1, ReplyEnded(2)) == []
    assert talk.at(3.1, ReplyFailed(2)) == []
    assert talk.phase is Phase.LISTENING


def test_a_second_onset_without_an_offset_opens_nothing() -> None:
    talk = speaking()
    talk.at(4.0, VoiceOnset(4.0))
    assert talk.at(4.1, VoiceOnset(4.1)) == []


# ---- digits ------------------------------------------------------------------------------------


def test_the_wanted_number_of_digits_is_an_answer_at_once() -> None:
    talk = listening()
    assert talk.at(2.0, DigitDialled("4", 3)) == []
    assert talk.at(2.1, DigitDialled("7", 3)) == []
    assert talk.at(2.2, DigitDialled("1", 3)) == [Answer(2, "471", dialled=True)]


def test_the_hash_behind_a_number_that_its_length_has_ended_is_a_part_of_it() -> None:
    talk = listening()
    for at, key in ((2.0, "4"), (2.1, "7")):
        talk.at(at, DigitDialled(key, 3))
    assert talk.at(2.2, DigitDialled("1", 3)) == [Answer(2, "471", dialled=True)]
    assert talk.at(2.4, DigitDialled("#", 0)) == []
    assert talk.phase is Phase.THINKING, "the answer is still being made"
    talk.at(2.5, SpeakingStarted(2))
    assert talk.at(9.0, DigitDialled("#", 0)) == [StopReply(2, "digit"), Answer(3, "#", dialled=True)], "much later"


def test_an_open_number_ends_with_a_pause() -> None:
    talk = listening()
    talk.at(2.0, DigitDialled("4"))
    talk.at(3.0, DigitDialled("7"))
    assert talk.due == 5.5
    assert talk.timer() == [Answer(2, "47", dialled=True)]


def test_an_open_number_ends_with_a_hash_which_is_not_part_of_it() -> None:
    talk = listening()
    talk.at(2.0, DigitDialled("4"))
    assert talk.at(3.0, DigitDialled("#")) == [Answer(2, "4", dialled=True)]


def test_a_hash_alone_is_an_answer_of_its_own() -> None:
    assert listening().at(2.0, DigitDialled("#")) == [Answer(2, "#", dialled=True)]


def test_a_digit_interrupts_the_agent() -> None:
    talk = speaking()
    assert talk.at(4.0, DigitDialled("4")) == [StopReply(2, "digit")]
    assert talk.phase is Phase.LISTENING
    assert talk.timer() == [Answer(3, "4", dialled=True)]


def test_a_digit_takes_the_place_of_words_that_are_awaited() -> None:
    talk = thinking()
    assert talk.at(2.7, DigitDialled("4", 1)) == [DropUtterance(1), Answer(2, "4", dialled=True)]
    assert talk.at(2.8, WordsFinal(1, "late")) == []


def test_digits_dialled_ahead_count_when_the_agent_has_finished() -> None:
    talk = speaking(interruptible=False)
    assert talk.at(4.0, DigitDialled("4", 2)) == []
    assert talk.at(4.1, DigitDialled("7", 2)) == []
    assert talk.phase is Phase.SPEAKING
    assert talk.at(5.0, ReplyEnded(2)) == [Answer(3, "47", dialled=True)]


def test_digits_dialled_ahead_that_are_not_complete_are_waited_for() -> None:
    talk = speaking(interruptible=False)
    talk.at(4.0, DigitDialled("4", 2))
    assert talk.at(5.0, ReplyEnded(2)) == []
    assert talk.due == 7.5
    assert talk.at(6.0, DigitDialled("7", 2)) == [Answer(3, "47", dialled=True)]


def test_the_tone_of_a_key_in_the_audio_does_not_take_the_digits_away() -> None:
    talk = listening()
    talk.at(2.0, DigitDialled("4"))
    assert talk.at(2.05, VoiceOnset(2.0)) == [OpenUtterance(1)]
    talk.at(2.36, VoiceOffset(2.2))
    assert talk.timer() == [CloseUtterance(1, 2.2)]
    assert talk.at(2.9, WordsFinal(1, "", accepted=False)) == []
    assert talk.timer() == [Answer(2, "4", dialled=True)]


def test_words_after_a_digit_are_taken_for_the_answer() -> None:
    talk = listening()
    talk.at(2.0, DigitDialled("4"))
    talk.at(2.5, VoiceOnset(2.5))
    talk.at(3.6, VoiceOffset(3.4))
    talk.timer()
    assert talk.at(4.1, WordsFinal(1, "hours")) == [Answer(2, "hours")]


def test_digits_mean_nothing_while_the_agent_says_goodbye() -> None:
    talk = closing()
    assert talk.at(50.0, DigitDialled("1", 1)) == []


# ---- silence -----------------------------------------------------------------------------------


def closing() -> Talk:
    """Nobody has said anything; the closing is made from about 40 on."""
    talk = listening()
    for number, prompt in ((2, "One?"), (3, "Two?")):
        assert talk.timer() == [Speak(number, prompt)]
        talk.at(talk.state.since + 0.1, SpeakingStarted(number))
        assert talk.at(talk.state.since + 1.0, ReplyEnded(number)) == []
    assert talk.timer() == [Speak(4, "Bye.", interruptible=False, then=DialplanAction("hangup"))]
    assert talk.phase is Phase.CLOSING
    return talk


def test_silence_is_asked_about_and_then_closed() -> None:
    talk = closing()
    talk.at(41.0, SpeakingStarted(4, True))
    assert not talk.state.reply.interruptible
    assert talk.at(42.0, ReplyEnded(4, DialplanAction("hangup"))) == [DialplanAction("hangup")]
    assert (talk.phase, talk.due) == (Phase.ENDED, None)


def test_an_answer_resets_the_count_of_prompts() -> None:
    talk = listening()
    assert talk.timer() == [Speak(2, "One?")]
    talk.at(10.0, SpeakingStarted(2))
    talk.at(11.0, VoiceOnset(11.0))
    assert talk.fire(11.9, voiced_until=11.9) == [PauseReply(2)]
    talk.at(12.2, VoiceOffset(12.0))
    talk.timer()
    assert talk.at(13.0, WordsFinal(1, "hours")) == [StopReply(2, "barge_in"), Answer(3, "hours")]
    talk.at(13.1, SpeakingStarted(3))
    talk.at(14.0, ReplyEnded(3))
    assert talk.timer() == [Speak(4, "One?")]


def test_noise_does_not_reset_the_count_of_prompts() -> None:
    talk = listening()
    assert talk.timer() == [Speak(2, "One?")]
    talk.at(9.1, SpeakingStarted(2))
    talk.at(10.0, ReplyEnded(2))
    talk.at(11.0, VoiceOnset(11.0))
    talk.at(11.3, VoiceOffset(11.1))
    talk.timer()
    talk.at(12.0, WordsFinal(1, "", accepted=False))
    assert talk.timer() == [Speak(3, "Two?")]


def test_without_a_closing_the_agent_just_leaves() -> None:
    talk = listening(replace(PARAMS, no_input_prompts=(), no_input_closing=""))
    assert talk.timer() == [DialplanAction("hangup")]
    assert talk.phase is Phase.ENDED


def test_nothing_interrupts_the_closing() -> None:
    talk = closing()
    talk.at(41.0, SpeakingStarted(4))
    assert talk.at(41.2, VoiceOnset(41.2)) == []
    assert talk.fire(43.0, voiced_until=43.0) == []


def test_a_closing_that_cannot_be_said_ends_the_call_all_the_same() -> None:
    talk = closing()
    assert talk.at(41.0, ReplyFailed(4)) == [DialplanAction("hangup")]


def test_a_closing_that_never_comes_ends_the_call_all_the_same() -> None:
    talk = closing()
    assert talk.due == pytest.approx(talk.state.since + PARAMS.answer_seconds)
    assert talk.timer() == [StopReply(4, "end"), DialplanAction("hangup")]


def test_a_closing_that_sticks_in_the_middle_ends_the_call_all_the_same() -> None:
    talk = closing()
    talk.at(41.0, SpeakingStarted(4))
    assert talk.due is not None
    assert 41.0 < talk.due < 41.0 + 300.0
    assert talk.timer() == [StopReply(4, "end"), DialplanAction("hangup")]


# ---- what the answer wants done ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["transfer", "queue", "voicemail", "play", "hangup", "fallback"])
def test_an_action_waits_until_everything_was_said(kind: str) -> None:
    talk = speaking()
    leave = DialplanAction(kind, {"queue": "sales"})
    assert talk.at(4.0, ReplyEnded(2, leave)) == [leave]
    assert (talk.phase, talk.due) == (Phase.ENDED, None)


def test_an_answer_without_a_word_is_listened_after() -> None:
    talk = thinking()
    talk.at(2.8, WordsFinal(1, "hours"))
    assert talk.at(3.0, ReplyEnded(2)) == []
    assert talk.phase is Phase.LISTENING


def test_interrupting_an_action_cancels_it() -> None:
    talk = speaking()
    talk.at(4.0, VoiceOnset(4.0))
    assert talk.fire(4.9, voiced_until=4.9) == [PauseReply(2)]
    assert talk.at(4.9, ReplyEnded(2, DialplanAction("transfer"))) == []


# ---- trouble -----------------------------------------------------------------------------------


def test_trouble_is_told_and_the_second_one_in_a_row_goes_to_the_fallback() -> None:
    talk = thinking()
    assert talk.at(2.8, RecognitionFailed(1)) == [Speak(2, PARAMS.trouble_prompt)]
    talk.at(3.0, SpeakingStarted(2))
    assert talk.at(4.0, ReplyEnded(2)) == []
    talk.at(5.0, VoiceOnset(5.0))
    talk.at(6.2, VoiceOffset(6.0))
    talk.timer()
    assert talk.at(7.0, RecognitionFailed(2)) == [DialplanAction("fallback")]


def test_an_answer_in_between_forgives_the_trouble() -> None:
    talk = thinking()
    talk.at(2.8, RecognitionFailed(1))
    talk.at(3.0, SpeakingStarted(2))
    talk.at(4.0, ReplyEnded(2))
    talk.at(5.0, DigitDialled("1", 1))
    talk.at(5.5, SpeakingStarted(3))
    talk.at(6.0, ReplyEnded(3))
    talk.at(7.0, DigitDialled("1", 1))
    assert talk.at(7.5, ReplyFailed(4)) == [Speak(5, PARAMS.trouble_prompt)]


def test_without_a_prompt_for_trouble_the_first_one_goes_to_the_fallback() -> None:
    assert thinking(replace(PARAMS, trouble_prompt="")).at(2.8, RecognitionFailed(1)) == [DialplanAction("fallback")]


def test_words_that_never_come_are_trouble() -> None:
    talk = thinking()
    assert talk.due == pytest.approx(2.6 + PARAMS.answer_seconds)
    assert talk.timer() == [DropUtterance(1), Speak(2, PARAMS.trouble_prompt)]


def test_an_answer_that_never_comes_is_trouble() -> None:
    talk = thinking()
    talk.at(2.8, WordsFinal(1, "hours"))
    assert talk.timer() == [StopReply(2, "timeout"), Speak(3, PARAMS.trouble_prompt)]


def test_a_prompt_that_never_comes_is_trouble() -> None:
    talk = Talk()
    talk.at(0.0, Started())
    assert talk.due == PARAMS.answer_seconds
    assert talk.timer() == [StopReply(1, "timeout"), Speak(2, PARAMS.trouble_prompt)]
    assert talk.timer() == [StopReply(2, "timeout"), DialplanAction("fallback")]


def test_an_answer_that_sticks_in_the_middle_is_trouble() -> None:
    talk = speaking()
    assert talk.due is not None
    assert 63.0 < talk.due < 303.0
    assert talk.timer() == [StopReply(2, "timeout"), Speak(3, PARAMS.trouble_prompt)]


def test_each_part_of_a_long_answer_has_its_own_time() -> None:
    talk = speaking()
    first = talk.due
    talk.at(60.0, SpeakingStarted(2))
    assert first is not None
    assert talk.due == first + 57.0


# ---- the longest call --------------------------------------------------------------------------


def test_the_longest_call_is_closed() -> None:
    talk = speaking(replace(PARAMS, max_call_seconds=4.0, max_call_closing="Over."))
    assert talk.due == 4.0
    assert talk.timer() == [
        StopReply(2, "timeout"),
        Speak(3, "Over.", interruptible=False, then=DialplanAction("hangup")),
    ]
    talk.at(4.1, SpeakingStarted(3))
    assert talk.at(5.0, ReplyEnded(3, DialplanAction("hangup"))) == [DialplanAction("hangup")]


def test_the_longest_call_ends_what_the_caller_says() -> None:
    talk = listening(replace(PARAMS, max_call_seconds=4.0))
    talk.at(2.0, VoiceOnset(2.0))
    assert talk.timer()[0] == DropUtterance(1)


def test_a_timer_that_is_a_hair_early_means_its_own_deadline() -> None:
    talk = listening(replace(PARAMS, max_call_seconds=4.0))
    assert talk.at(4.0 - 5e-7, Timer(0.0)) == [
        Speak(2, PARAMS.max_call_closing, interruptible=False, then=DialplanAction("hangup"))
    ]
    talk = thinking()
    talk.at(2.7, VoiceOnset(2.7))
    talk.at(2.8, VoiceOffset(2.75))
    assert talk.due is not None
    assert talk.at(talk.due - 5e-7, Timer(2.75))[0] == DropUtterance(1)


# ---- the end -----------------------------------------------------------------------------------


def test_hanging_up_drops_everything() -> None:
    talk = thinking()
    talk.at(2.7, VoiceOnset(2.7))
    assert talk.at(2.75, HungUp()) == [DropUtterance(1), DropUtterance(2)]
    talk = speaking()
    assert talk.at(4.0, HungUp()) == [StopReply(2, "end")]
    assert talk.at(4.0, VoiceOnset(4.0)) == []
    assert talk.at(4.0, HungUp()) == []


# ---- always ------------------------------------------------------------------------------------


class Conversation(RuleBasedStateMachine):
    """Any order of events, as engines and callers may bring them, with a clock that only goes forward."""

    @initialize(
        greeting=st.sampled_from(["", "Hello."]),
        interruptible=st.booleans(),
        barge_in=st.booleans(),
        prompts=st.sampled_from([(), ("One?",)]),
        closing=st.sampled_from(["", "Bye."]),
        max_call=st.sampled_from([3.0, 20.0, 3600.0]),
        zero=st.booleans(),
        filler=st.sampled_from([0.0, 300.0]),
    )
    def begin(
        self,
        greeting: str,
        interruptible: bool,
        barge_in: bool,
        prompts: tuple[str, ...],
        closing: str,
        max_call: float,
        zero: bool,
        filler: float,
    ) -> None:
        limits: dict[str, Any] = {}
        if zero:  # every limit as low as the configuration lets it be
            limits = dict.fromkeys(_LIMITS, 0.0)
        self.params = TurnParams(
            barge_in=barge_in,
            no_input_prompts=prompts,
            no_input_closing=closing,
            max_call_seconds=max_call,
            max_call_closing=closing,
            filler_ms=filler,
            guard_ms=200.0,
            **limits,
        )
        self.state = turn.initial(greeting, interruptible=interruptible)
        self.now = 100.0
        self.voiced = False
        self.open: set[int] = set()
        self.closed: set[int] = set()
        self.live: int | None = None
        self.paused = False
        self.draft = ""
        self.left = 0
        self.then: DialplanAction | None = None
        self.numbers = (0, 0)

    def send(self, event: Event) -> tuple[Action, ...]:
        before = self.state
        self.state, actions = turn.step(before, event, self.now, self.params)
        for action in actions:
            self.carry_out(action)
        phases = (before.phase, self.state.phase)
        assert phases[0] is phases[1] or phases[1] in TRANSITIONS[phases[0]], f"{phases} is not in the table"
        if before.phase is Phase.ENDED:
            assert not actions
            assert self.state is before
        return actions

    def carry_out(self, action: Action) -> None:
        match action:
            case OpenUtterance(number):
                assert not self.open, "one utterance at a time is open"
                assert number > self.numbers[0], "numbers are never used twice"
                self.numbers = (number, self.numbers[1])
                self.open.add(number)
            case CloseUtterance(number, ended_at):
                assert ended_at <= self.now + 1e-6
                self.open.remove(number)
                self.closed.add(number)
            case DropUtterance(number):
                assert (number in self.open) != (number in self.closed), "dropped once, and only what there was"
                self.open.discard(number)
                self.closed.discard(number)
            case Answer(number) | Speak(number):
                assert self.live is None, "two live replies"
                assert number > self.numbers[1]
                assert not self.left
                self.numbers = (self.numbers[0], number)
                self.live, self.draft = number, ""
                self.then = action.then if isinstance(action, Speak) else None
            case Draft(text):
                assert self.live is None, "a draft beside a reply"
                assert self.open
                self.draft = text
            case DropDraft():
                assert self.draft
                self.draft = ""
            case StopReply(number):
                assert self.live == number
                self.live, self.paused = None, False
            case PauseReply(number):
                assert self.live == number
                assert not self.paused
                self.paused = True
            case ResumeReply(number):
                assert self.live == number
                assert self.paused
                self.paused = False
            case SpeakFiller(number):
                assert self.live == number
                assert not self.paused
            case DialplanAction():
                assert self.live is None
                self.left += 1
                assert self.left == 1, "left twice"

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.1, 0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and call.py's timer fires whenever it is due."""
        until = self.now + seconds
        fired = 0
        while True:
            due = deadline(self.state, self.params)
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.fire()
            fired += 1
            assert fired < 200, "the timer spins"
        self.now = until

    @rule()
    def jump(self) -> None:
        """Nothing happens until the deadline."""
        due = deadline(self.state, self.params)
        if due is not None:
            self.now = max(self.now, due)
            self.fire()

    def fire(self) -> None:
        before, due = self.state, deadline(self.state, self.params)
        actions = self.send(Timer(self.now if self.voiced else before.voice.end))
        after = deadline(self.state, self.params)
        assert due is not None
        moved = after is None or after > due or self.state.phase is not before.phase or bool(actions)
        assert moved, "a timer at the deadline must get somewhere"

    @rule(resumed=st.booleans(), expected=st.booleans())
    def start(self, resumed: bool, expected: bool) -> None:
        self.send(Started(resumed, expected))

    @rule()
    def voice(self) -> None:
        self.voiced = not self.voiced
        self.send(VoiceOnset(self.now - 0.06) if self.voiced else VoiceOffset(max(0.0, self.now - 0.16)))

    @rule(digit=st.sampled_from("0149*#"), wanted=st.sampled_from([0, 1, 3]))
    def dial(self, digit: str, wanted: int) -> None:
        self.send(DigitDialled(digit, wanted))

    @precondition(lambda self: self.closed)
    @rule(text=st.sampled_from(["", "hours", "okay", "wait"]), accepted=st.booleans(), failed=st.booleans())
    def words(self, text: str, accepted: bool, failed: bool) -> None:
        number = self.closed.pop()
        self.send(RecognitionFailed(number) if failed else WordsFinal(number, text, accepted))

    @rule(
        text=st.sampled_from(["", "okay", "wait", "hours"]),
        accepted=st.booleans(),
        complete=st.none() | st.booleans(),
    )
    def partial_words(self, text: str, accepted: bool, complete: bool | None) -> None:
        self.send(WordsPartial(next(iter(self.open), 0), text, accepted, complete))

    @rule(number=st.integers(0, 5), event=st.sampled_from([WordsFinal, RecognitionFailed]))
    def stale_words(self, number: int, event: type) -> None:
        if number not in self.closed:
            actions = self.send(event(number, "x") if event is WordsFinal else event(number))
            assert actions == ()

    @precondition(lambda self: self.live is not None)
    @rule(interruptible=st.booleans())
    def audible(self, interruptible: bool) -> None:
        assert self.live is not None
        self.send(SpeakingStarted(self.live, interruptible))

    @precondition(lambda self: self.live is not None and not self.paused)  # what is held cannot have been played
    @rule(failed=st.booleans(), leave=st.sampled_from([None, "transfer", "play"]))
    def reply_ends(self, failed: bool, leave: str | None) -> None:
        number, self.live = self.live, None
        assert number is not None
        then = self.then or (DialplanAction(leave) if leave else None)
        self.send(ReplyFailed(number) if failed else ReplyEnded(number, then))
        if then is not None and not failed:
            assert self.left == 1

    @rule(number=st.integers(0, 5), event=st.sampled_from([SpeakingStarted, ReplyEnded, ReplyFailed]))
    def stale_reply(self, number: int, event: type) -> None:
        if number != self.live:
            assert self.send(event(number)) == ()

    @precondition(lambda self: self.now > 105.0)
    @rule()
    def hang_up(self) -> None:
        self.send(HungUp())
        assert self.state.phase is Phase.ENDED

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "state"):
            return
        assert self.state.reply.live == (self.live is not None)
        assert self.state.utterance.open == bool(self.open)
        assert self.state.draft == self.draft
        assert {self.state.utterance.awaited, self.state.turn.awaited} - {0} == self.closed
        assert self.paused == (self.state.phase is Phase.INTERRUPTED or self.state.reply.suspended)
        gates = turn.gates(self.state, self.params, self.now)
        if gates:
            assert self.state.phase in (Phase.GREETING, Phase.SPEAKING, Phase.CLOSING, Phase.LISTENING)
        if self.state.phase is Phase.ENDED:
            assert not gates, "a gate that is never opened again"
            assert not self.open
            assert not self.closed
            assert self.live is None
            assert not self.draft

    @invariant()
    def never_stuck(self) -> None:
        if hasattr(self, "state"):
            due = deadline(self.state, self.params)
            assert (due is None) == (self.state.phase in (Phase.NEW, Phase.ENDED))

    def teardown(self) -> None:
        """Left alone by caller and engines, every conversation comes to its end."""
        if not hasattr(self, "state") or self.state.phase is Phase.NEW:
            return
        for _ in range(2000):
            if self.state.phase is Phase.ENDED:
                return
            self.voiced = False
            self.jump()
            if self.state.voice.on:
                self.send(VoiceOffset(self.now))
        raise AssertionError(f"it never ends: {self.state}")


_LIMITS = (
    "join_ms",
    "endpoint_ms",
    "endpoint_complete_ms",
    "endpoint_doubtful_ms",
    "endpoint_incomplete_ms",
    "barge_in_ms",
    "barge_in_confirm_ms",
    "barge_in_noise_ms",
    "min_utterance_ms",
    "max_utterance_seconds",
    "no_input_seconds",
    "digit_timeout_ms",
    "answer_seconds",
)

EXAMPLES = int(os.environ.get("TURN_EXAMPLES", "500"))
"""Nightly: TURN_EXAMPLES=10000."""

HALF = settings(max_examples=EXAMPLES // 2, stateful_step_count=60, deadline=None)


@pytest.mark.timeout(120 + EXAMPLES // 5)
class TestConversation(Conversation.TestCase):
    """Half of the examples: two processes share the longest of the unit tests."""

    settings = HALF


@pytest.mark.timeout(120 + EXAMPLES // 5)
class TestConversationAgain(Conversation.TestCase):
    """The other half."""

    settings = HALF
