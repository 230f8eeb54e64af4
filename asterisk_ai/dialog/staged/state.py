"""What the turn machine of :mod:`~asterisk_ai.dialog.staged.machine` knows, how an agent sets it, and its phases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from asterisk_ai.dialog.caller_input import Keys
from asterisk_ai.dialog.events import Action, WordsPartial
from asterisk_ai.dialog.phase import Phase


@dataclass(frozen=True, slots=True)
class TurnParams:
    """How one agent takes turns. The ``turn:`` mapping of an agent in asterisk_ai.yaml."""

    endpoint_ms: float = 600.0
    """Silence after the caller's last sound that ends an utterance whose words are not known yet."""
    endpoint_complete_ms: float = 250.0
    """The same where the words are a whole answer: the grammar's end, a slot that is full."""
    endpoint_incomplete_ms: float = 1000.0
    """The same where they are no answer as they stand ("my number is five five ...")."""
    answer_ahead: bool = True
    """Begin to make the answer in a pause that may be the turn's end; it is given up where the caller goes on."""
    join_ms: float = 1000.0
    """What the caller says within so long of the beginning of an answer goes on with the turn that is answered: both
    are understood as one. 0: each is a turn of its own."""
    barge_in: bool = True
    """False: half duplex, the caller is not listened to while the agent speaks."""
    barge_in_ms: float = 140.0
    """Voiced sound after which the agent holds its speech and listens; less is a click."""
    barge_in_confirm_ms: float = 600.0
    """Voiced sound that is an interruption whatever the words; less is judged by its words ("mm-hm" is none)."""
    barge_in_noise_ms: float = 380.0
    """Speech without words that is shorter is taken for a cough: the agent goes on where it was."""
    guard_ms: float = 0.0
    """Half duplex only: how long after the agent's speech its echo is kept from being heard."""
    min_utterance_ms: float = 120.0
    """Refused speech shorter than this is taken for a noise and not answered."""
    max_utterance_seconds: float = 20.0
    """A caller who talks longer is answered in the middle."""
    no_input_seconds: float = 7.0
    """Silence until the caller is asked whether they are still there."""
    no_input_prompts: tuple[str, ...] = ("Are you still there?", "I did not hear anything. How can I help you?")
    """Said in turn; after the last one has gone unanswered the agent closes."""
    no_input_closing: str = "I cannot hear you, so I will end this call. Goodbye."
    """Said before the call is ended because nobody answers."""
    digit_timeout_ms: float = 2500.0
    """Pause that ends dialled digits where their number is open (# ends them at once)."""
    filler_ms: float = 0.0
    """Waiting time after which the agent says ``filler_prompt``, and again after each further one; 0: never."""
    filler_prompt: str = "One moment."
    """What is said while an answer takes long."""
    answer_seconds: float = 15.0
    """How long words or an answer may take before the agent says that it has a problem."""
    trouble_prompt: str = "I am sorry, I have a technical problem. Please say that again."
    """Said when an answer could not be made."""
    max_troubles: int = 2
    """This many troubles in a row and the caller goes to the dialplan's fallback."""
    resume_prompt: str = "Sorry, we were cut off. Please go on."
    """Said when a call comes back after the server was lost."""
    max_call_seconds: float = 3600.0
    """A conversation that lasts longer is closed."""
    max_call_closing: str = "I have to end this call now. Goodbye."
    """Said before such a conversation is closed."""


@dataclass(frozen=True, slots=True)
class CallerTurn:
    """What the caller has said of a turn that was taken to be over, and may yet go on."""

    text: str = ""
    """All words of it that were understood."""
    confidence: float = 1.0
    """Of the least sure of them."""
    spoken: bool = False
    """The newest reply answers it."""
    unanswered: bool = False
    """Some of its words came when the caller spoke again: nothing was answered to them."""
    awaited: int = 0
    """Number of the utterance before the newest one, if its words are still to come; 0 for none."""
    goes_on: bool = False
    """The newest utterance is the rest of it."""

    def with_words(self, text: str, confidence: float) -> CallerTurn:
        """With some more words."""
        return replace(self, text=f"{self.text} {text}".strip(), confidence=min(self.confidence, confidence))


@dataclass(frozen=True, slots=True)
class TurnState:
    """Where a conversation is. Made by :func:`initial`, changed by :func:`step` only."""

    phase: Phase = Phase.NEW
    since: float = 0.0
    """When this phase began."""
    started: float = 0.0
    greeting: str = ""
    greeting_interruptible: bool = True
    language: str = "en-US"
    reply: int = 0
    """Number of the newest reply."""
    reply_live: bool = False
    suspended: bool = False
    """The newest reply is held for as long as the caller speaks: without words it goes on where it stopped."""
    audible_at: float | None = None
    """When the newest part of the newest reply began to be played; None before its first."""
    answered_at: float | None = None
    """When its first part did, whatever held it up since."""
    spoken_until: float = 0.0
    """When the agent last stopped speaking."""
    interruptible: bool = True
    """Whether what is being said now may be interrupted."""
    fillers: int = 0
    """Said while the newest reply was waited for."""
    held: Phase = Phase.SPEAKING
    """The phase that was interrupted, to go back to."""
    utterance: int = 0
    """Number of the newest utterance."""
    utterance_open: bool = False
    utterance_at: float = 0.0
    partial: WordsPartial | None = None
    """The newest words of the open utterance, if nothing was said after them."""
    surest: WordsPartial | None = None
    """The newest words of this utterance that the recogniser did not refuse."""
    draft: str = ""
    """Words whose answer is being made ahead of the turn's end."""
    drafts: int = 0
    """How many were begun for this utterance."""
    likelihood: float | None = None
    """How probably the caller's turn is over, by its sound, if nothing was said after that."""
    awaited: int = 0
    """Number of the closed utterance whose words have not come yet, 0 for none."""
    awaited_ms: float = 0.0
    """How long it lasted."""
    turn: CallerTurn = field(default_factory=CallerTurn)
    voice: bool = False
    voice_at: float = 0.0
    voice_end: float = 0.0
    barge_check: float = 0.0
    keys: Keys = field(default_factory=Keys)
    no_inputs: int = 0
    patient_until: float = 0.0
    """Until then a silent caller is not asked for anything: they want a moment."""
    answering: bool = False
    """The newest reply answers the caller; it is not a fixed prompt."""
    troubles: int = 0


Step = tuple[TurnState, tuple[Action, ...]]
"""The next state, and what is to be carried out."""
