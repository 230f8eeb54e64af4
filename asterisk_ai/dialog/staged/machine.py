"""The conversation coordinator: who speaks, who may, and what happens next. Pure: time is an argument.

``step`` takes one event and returns the next state with the actions to carry
out; ``deadlines.deadline`` says when to come back with a :class:`~.events.Timer` if
nothing else happens first; ``gates`` says what keeps the caller's audio from
being captured. Every transition there is stands in
:data:`~asterisk_ai.dialog.staged.state.TRANSITIONS`:

=========== ==================================================== ============================
phase       the agent ...                                        leaves by
=========== ==================================================== ============================
new         has not begun                                        Started
greeting    says its first words                                 as speaking
listening   waits for words or digits                            endpoint, digits, no input
thinking    has words coming or an answer being made             SpeakingStarted, barge-in
speaking    says something                                       ReplyEnded, barge-in
interrupted holds what it was saying: the caller may have begun  words, length, or silence
closing     says its last words, nothing interrupts them         ReplyEnded
ended       is done                                              --
=========== ==================================================== ============================
"""

from __future__ import annotations

from dataclasses import replace

from asterisk_ai.dialog.backchannel import is_backchannel, is_call_for_attention, is_hum, may_be_backchannel, surest
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
    Leave,
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
from asterisk_ai.dialog.staged.deadlines import (
    AGENT_BUSY,
    CERTAIN,
    deadline,
    filler_at,
    is_certain,
    stuck_at,
    wants_filler,
)
from asterisk_ai.dialog.staged.state import Phase, TurnParams, TurnState, may_follow

Step = tuple[TurnState, tuple[Action, ...]]

_RECHECK = 0.02  # a frame: how often a doubtful interruption is looked at again
_DRAWN_OUT = 1.4  # by how much a backchannel may be longer than what is an interruption whatever its words: "mm-hm"
_SYLLABLE_MS = 400.0  # each further ms of a backchannel wants the recogniser to be a little surer of it ...
_SHORT_MS = 500.0  # ... but a short one may be as doubtful as it likes
_WHOLE = 1.6  # the same for what is known to be nothing but backchannels: "okay okay"
_LETTER_MS = 35.0  # who talks fast needs 45 a letter; a chord or a click that sounds like "hello" is shorter
_MAX_DRAFTS = 3  # of one utterance: a caller who pauses at every word is not answered ahead any more
_AUDIBLE = (Phase.GREETING, Phase.SPEAKING, Phase.CLOSING)


def initial(greeting: str = "", *, interruptible: bool = True, language: str = "en-US") -> TurnState:
    """The state before the first event."""
    return TurnState(greeting=greeting, greeting_interruptible=interruptible, language=language)


def gates(state: TurnState, params: TurnParams, now: float) -> frozenset[str]:
    """Tokens that keep the caller's audio from being captured; capture is on while there is none.

    Derived from the state, so that none can be added twice or be left behind.
    """
    tokens = set()
    if state.phase in _AUDIBLE and not (params.barge_in and state.interruptible):
        tokens.add(f"reply-{state.reply}")
    if not params.barge_in and state.phase is Phase.LISTENING and now < state.spoken_until + params.guard_ms / 1000:
        tokens.add("guard")
    return frozenset(tokens)


def step(state: TurnState, event: Event, now: float, params: TurnParams) -> Step:
    """One event at ``now``. Events that are stale or mean nothing in this phase change nothing."""
    if state.phase is Phase.ENDED:
        return state, ()
    after, actions = _stepped(state, event, now, params)
    return (after, actions) if may_follow(state.phase, after.phase) else (state, ())


def _stepped(state: TurnState, event: Event, now: float, params: TurnParams) -> Step:  # noqa: C901 - a case an event
    match event:
        case Started():
            return _started(state, event, now, params)
        case VoiceOnset():
            return _onset(state, event, params)
        case VoiceOffset():
            return _offset(state, event, params)
        case DigitDialled():
            return _digit(state, event, now)
        case WordsPartial():
            return _partial(state, event, now, params)
        case TurnLikelihood():
            pausing = state.utterance_open and not state.voice and event.utterance == state.utterance
            current = pausing and event.paused_at == state.voice_end  # else it judges a pause that is over
            return (replace(state, likelihood=event.probability) if current else state), ()
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
    if event.resumed:
        prompt = "" if event.expected else params.resume_prompt
        return _speak(state, prompt, now) if prompt else _listen(state, now)
    if not state.greeting:
        return _listen(state, now)
    state, actions = _speak(state, state.greeting, now, interruptible=state.greeting_interruptible)
    return replace(state, phase=Phase.GREETING), actions


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
    if state.draft:
        actions += (DropDraft(),)
    if state.reply_live:
        actions += (StopReply(state.reply, outcome),)
    return actions


def _quiet(state: TurnState) -> TurnState:
    """The state after :func:`_drop_all`'s actions."""
    return replace(
        state, utterance_open=False, partial=None, draft="", awaited=0, reply_live=False, suspended=False
    )


# ---- the caller speaks ------------------------------------------------------


def _onset(state: TurnState, event: VoiceOnset, params: TurnParams) -> Step:
    # What was decoded before no longer is all that was said.
    state = replace(state, voice=True, voice_at=event.at, partial=None, likelihood=None)
    listens = state.phase in (Phase.LISTENING, Phase.INTERRUPTED)
    if state.utterance_open:
        return _undraft(state)  # speech goes on after a short pause: the same utterance
    if listens or (state.phase in AGENT_BUSY and params.barge_in):
        return _open(state, event.at, params)
    return state, ()


def _open(state: TurnState, at: float, params: TurnParams) -> Step:
    state = replace(
        state,
        utterance=state.utterance + 1,
        utterance_open=True,
        utterance_at=at,
        partial=None,
        surest=None,
        likelihood=None,
        drafts=0,
        barge_check=at + params.barge_in_ms / 1000,
    )
    return state, (OpenUtterance(state.utterance),)


def _offset(state: TurnState, event: VoiceOffset, params: TurnParams) -> Step:
    state = replace(state, voice=False, voice_end=event.at)
    if state.utterance_open and state.phase in AGENT_BUSY:
        # Too short to be an interruption, else the timer would have fired while it lasted.
        return replace(state, utterance_open=False), (DropUtterance(state.utterance),)
    return _drafted(state, params)


def _partial(state: TurnState, event: WordsPartial, now: float, params: TurnParams) -> Step:
    if not state.utterance_open or event.utterance != state.utterance:
        return state, ()
    stopped: tuple[Action, ...] = ()
    state = replace(state, partial=event, surest=event if event.accepted and event.text else state.surest)
    takes_turn = event.accepted and event.text and not may_be_backchannel(event.text, state.language)
    if state.phase is Phase.INTERRUPTED and takes_turn:
        state, stopped = _taken(state, now)
    elif event.accepted and event.text:
        state, stopped = _given_up(state)
    state, drafted = _drafted(state, params)
    return state, stopped + drafted


def _drafted(state: TurnState, params: TurnParams) -> Step:
    """In a pause with words that could be the whole turn: begin the answer, the endpoint's silence is time to use."""
    words = state.partial
    pausing = state.phase is Phase.LISTENING and state.utterance_open and not state.voice
    if not (params.answer_ahead and pausing and words and words.accepted and words.text) or state.digits:
        return state, ()
    if words.text == state.draft or state.drafts >= _MAX_DRAFTS:
        return state, ()
    return replace(state, draft=words.text, drafts=state.drafts + 1), (Draft(words.text, words.confidence),)


def _undraft(state: TurnState) -> Step:
    return (replace(state, draft=""), (DropDraft(),)) if state.draft else (state, ())


def _words(state: TurnState, event: WordsFinal, now: float, params: TurnParams) -> Step:
    if not state.awaited or event.utterance != state.awaited:
        return state, ()
    state = replace(state, awaited=0)
    if state.phase is Phase.INTERRUPTED:
        return _judged(state, event, now, params)
    if state.suspended and state.reply_live and not event.text.strip():
        return _resumed(state, now, "noise")
    state, stopped = _given_up(state)
    state, actions = _heard(state, event, now, params)
    return state, stopped + actions


def _heard(state: TurnState, event: WordsFinal, now: float, params: TurnParams) -> Step:
    """The words of a turn are known."""
    # Beside dialled digits, refused speech is the tone of the keys that leaked into the audio.
    if not event.accepted and (state.awaited_ms < params.min_utterance_ms or state.digits):
        state, dropped = _undraft(state)
        state, actions = _listen(state, now)
        return state, dropped + actions
    return _answer(state, now, text=event.text, understood=event.accepted, confidence=event.confidence)


def _answer(
    state: TurnState, now: float, *, text: str, understood: bool = True, dialled: bool = False, confidence: float = 1.0
) -> Step:
    state = replace(
        state,
        phase=Phase.THINKING,
        since=now,
        reply=state.reply + 1,
        reply_live=True,
        audible_at=None,
        fillers=0,
        answering=True,
        interruptible=True,
        no_inputs=0,
        digits="",
        draft="",
    )
    return state, (Answer(state.reply, text, understood, dialled, confidence),)


# ---- interruptions ----------------------------------------------------------


def _barge_in(state: TurnState, event: Timer, now: float, params: TurnParams) -> Step:
    """The caller has made sound for ``barge_in_ms`` while the agent is busy: hold, and listen."""
    voiced_ms = _voiced_ms(state, event)
    if not state.interruptible or not state.voice or voiced_ms < params.barge_in_ms:
        return replace(state, barge_check=now + _RECHECK), ()
    if not state.reply_live or state.suspended:  # words are awaited, there is nothing to hold
        if voiced_ms < params.barge_in_confirm_ms:
            return replace(state, barge_check=now + _RECHECK), ()
        # The caller goes on: the newest utterance counts.
        dropped: tuple[Action, ...] = (DropUtterance(state.awaited),) if state.awaited else ()
        state, undone = _undraft(state)
        return replace(state, phase=Phase.LISTENING, since=now, awaited=0), dropped + undone
    check = state.utterance_at + params.barge_in_confirm_ms / 1000
    state = replace(state, phase=Phase.INTERRUPTED, held=state.phase, since=now, barge_check=check)
    return state, (PauseReply(state.reply),)


def _voiced_ms(state: TurnState, event: Timer) -> float:
    """How long the caller has been speaking; a deadline's own length counts as reached, which binary floats hide."""
    return (event.voiced_until - state.utterance_at) * 1000 + 1e-3


def _interrupted_timer(state: TurnState, event: Timer, now: float, params: TurnParams) -> Step:
    if state.utterance_open and state.voice:
        if _voiced_ms(state, event) < params.barge_in_confirm_ms * _patience(state):
            return replace(state, barge_check=now + _RECHECK), ()
        # The caller has the floor. Whether there is anything to answer the words will tell: music has none.
        phase = Phase.LISTENING
        return replace(state, phase=phase, since=now, suspended=True, no_inputs=0, spoken_until=now), ()
    if state.utterance_open:
        return _close_utterance(state, state.voice_end)
    return _resumed(state, now, "noise")  # the recogniser is stuck; the answer it held up goes on


def _patience(state: TurnState) -> float:
    """By how much what may be a backchannel may last longer than other interruptions until it is one, too."""
    words = state.partial
    if words is not None and (is_certain(words, state.language) or is_hum(words.text)):
        return _WHOLE
    return _DRAWN_OUT if words is None or not words.text or may_be_backchannel(words.text, state.language) else 1.0


def _judged(state: TurnState, words: WordsFinal, now: float, params: TurnParams) -> Step:
    """The words of a short interruption are known: was it one?"""
    if is_backchannel(words.text, state.language):
        # A short one that is refused, too: no other words were more like it. Longer speech has to be a surer one.
        short = state.awaited_ms <= _SHORT_MS or is_hum(words.text)
        if short or surest(words, state.surest) >= min(CERTAIN, (state.awaited_ms - _SYLLABLE_MS) / 400):
            return _resumed(state, now, "backchannel")
    elif words.accepted and words.text:
        if state.awaited_ms < _LETTER_MS * len(words.text.replace(" ", "")):
            return _resumed(state, now, "noise")
        attention = is_call_for_attention(words.text, state.language)
        return _taken(state, now, None if attention else words)
    if state.awaited_ms < params.barge_in_noise_ms:
        return _resumed(state, now, "noise")
    return _taken(state, now, words)


def _taken(state: TurnState, now: float, words: WordsFinal | None = None) -> Step:
    """The caller has the turn; with ``words`` it is over already."""
    stopped: tuple[Action, ...] = (StopReply(state.reply, "barge_in"),)
    state = replace(state, phase=Phase.LISTENING, since=now, reply_live=False, no_inputs=0, spoken_until=now)
    if words is None:
        return state, stopped
    state, actions = _answer(state, now, text=words.text, understood=words.accepted, confidence=words.confidence)
    return state, stopped + actions


def _given_up(state: TurnState) -> Step:
    """A suspended reply is stopped for good: the caller has said something."""
    if not state.suspended:
        return state, ()
    stopped: tuple[Action, ...] = (StopReply(state.reply, "barge_in"),) if state.reply_live else ()
    return replace(state, suspended=False, reply_live=False), stopped


def _resumed(state: TurnState, now: float, outcome: str) -> Step:
    """It was nothing: say the rest."""
    dropped: tuple[Action, ...] = (DropUtterance(state.awaited),) if state.awaited else ()
    if state.audible_at is not None:
        state = replace(state, audible_at=now)  # the watch over a stuck part begins anew
    phase = Phase.SPEAKING if state.held is Phase.THINKING and state.audible_at is not None else state.held
    if state.suspended and phase is Phase.GREETING:
        phase = Phase.SPEAKING
    state = replace(state, phase=phase, since=now, awaited=0, suspended=False)
    return state, (*dropped, ResumeReply(state.reply, outcome))


# ---- digits -----------------------------------------------------------------


def _digit(state: TurnState, event: DigitDialled, now: float) -> Step:
    if state.phase in (Phase.NEW, Phase.CLOSING):
        return state, ()
    digits = state.digits if event.digit == "#" and state.digits else state.digits + event.digit
    state = replace(state, digits=digits, digits_at=now, digits_wanted=event.wanted)
    if state.phase in _AUDIBLE and not state.interruptible:
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
        draft="",
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
    if state.suspended:  # its last sound was out as the caller began: what it wanted done is not wanted any more
        return replace(state, reply_live=False, suspended=False), ()
    # A fixed prompt that could be played does not show that the engines are well again.
    state = replace(state, reply_live=False, troubles=0 if state.answering else state.troubles, spoken_until=now)
    if event.then is not None or state.phase is Phase.CLOSING:
        return _end(state, now, event.then or Leave("hangup"))
    return _listen(replace(state, patient_until=now + event.patience), now)


def _listen(state: TurnState, now: float) -> Step:
    state = replace(state, phase=Phase.LISTENING, since=now, interruptible=True)
    if state.digits and (state.digits_wanted and len(state.digits) >= state.digits_wanted):
        return _answer(state, now, text=state.digits, dialled=True)
    if state.digits:
        return replace(state, digits_at=now), ()
    if state.voice and not state.utterance_open:
        # Half duplex, or not interruptible: the caller speaks already, so hear the rest of it.
        number = state.utterance + 1
        state = replace(
            state, utterance=number, utterance_open=True, utterance_at=now, partial=None, surest=None, drafts=0
        )
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
    if state.phase is Phase.INTERRUPTED:
        return _interrupted_timer(state, event, now, params)
    if now >= stuck_at(state, params):
        dropped, state = _drop_all(state, "timeout"), _quiet(state)
        state, actions = _trouble(state, now, params)
        return state, dropped + actions
    if wants_filler(state, params) and now >= filler_at(state, params):
        return replace(state, fillers=state.fillers + 1), (SpeakFiller(state.reply, params.filler_prompt),)
    return _barge_in(state, event, now, params)


def _listening_timer(state: TurnState, now: float, params: TurnParams) -> Step:
    if state.utterance_open:
        # A caller who is still speaking is at the cap; what they say next is heard as a new utterance.
        state, actions = _close_utterance(state, now if state.voice else state.voice_end)
        return replace(state, phase=Phase.THINKING, since=now), actions
    if state.digits:
        return _answer(state, now, text=state.digits, dialled=True)
    if state.no_inputs >= len(params.no_input_prompts):
        return _close(state, params.no_input_closing, now, Leave("hangup"))
    state = replace(state, no_inputs=state.no_inputs + 1)
    return _speak(state, params.no_input_prompts[state.no_inputs - 1], now)


def _close_utterance(state: TurnState, ended: float) -> Step:
    # The words of a short interruption may still be awaited: the newest utterance counts.
    dropped: tuple[Action, ...] = (DropUtterance(state.awaited),) if state.awaited else ()
    length = (ended - state.utterance_at) * 1000
    state = replace(state, utterance_open=False, partial=None, voice_end=ended)
    state = replace(state, awaited=state.utterance, awaited_ms=length)
    return state, (*dropped, CloseUtterance(state.utterance, ended))


# ---- trouble --------------------------------------------------------------------


def _recognition_failed(state: TurnState, event: RecognitionFailed, now: float, params: TurnParams) -> Step:
    if not state.awaited or event.utterance != state.awaited:
        return state, ()
    state = replace(state, awaited=0)
    if state.phase is Phase.INTERRUPTED or (state.suspended and state.reply_live):
        return _resumed(state, now, "noise")
    return _trouble(state, now, params)


def _reply_failed(state: TurnState, event: ReplyFailed, now: float, params: TurnParams) -> Step:
    if event.reply != state.reply or not state.reply_live:
        return state, ()
    if state.suspended:  # nobody waits for it
        return replace(state, reply_live=False, suspended=False), ()
    state = replace(state, reply_live=False)
    dropped, state = _drop_all(state, "end"), _quiet(state)
    state, actions = _trouble(state, now, params)
    return state, dropped + actions


def _trouble(state: TurnState, now: float, params: TurnParams) -> Step:
    """An engine failed: say so, and after some times give the caller to the dialplan's fallback."""
    if state.phase is Phase.CLOSING:
        return _end(state, now, Leave("hangup"))
    troubles = state.troubles + 1
    state = replace(state, troubles=troubles)
    if troubles >= params.max_troubles or not params.trouble_prompt:
        return _end(state, now, Leave("fallback"))
    return _speak(state, params.trouble_prompt, now)
