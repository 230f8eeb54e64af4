"""What the turn machine of :mod:`~asterisk_ai.dialog.staged.machine` knows, and its phases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from asterisk_ai.dialog.caller_input import Keys
from asterisk_ai.dialog.events import Action, WordsPartial
from asterisk_ai.dialog.phase import Phase


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
class Reply:
    """What the agent says, or is about to: the newest of its replies."""

    number: int = 0
    live: bool = False
    suspended: bool = False
    """It is held for as long as the caller speaks: without words it goes on where it stopped."""
    audible_at: float | None = None
    """When its newest part began to be played; None before its first."""
    begun_at: float | None = None
    """When its first part did, whatever held it up since."""
    interruptible: bool = True
    """Whether what is being said now may be interrupted."""
    answers: bool = False
    """It answers the caller; it is not a fixed prompt."""
    fillers: int = 0
    """Said while it was waited for."""
    held: Phase = Phase.SPEAKING
    """The phase in which it was interrupted, to go back to."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the caller says, or has said last."""

    number: int = 0
    open: bool = False
    at: float = 0.0
    """When it began."""
    partial: WordsPartial | None = None
    """Its newest words while it is open, if nothing was said after them."""
    surest: WordsPartial | None = None
    """Its newest words that the recogniser did not refuse."""
    likelihood: float | None = None
    """How probably the caller's turn is over, by its sound, if nothing was said after that."""
    drafts: int = 0
    """How many answers were begun ahead of its end."""
    check: float = 0.0
    """When to see whether it is an interruption."""
    awaited: int = 0
    """Number of the closed utterance whose words have not come yet, 0 for none."""
    awaited_ms: float = 0.0
    """How long that lasted."""


@dataclass(frozen=True, slots=True)
class Voice:
    """Whether the caller makes sound, since when, and when they did last."""

    on: bool = False
    at: float = 0.0
    end: float = 0.0


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
    reply: Reply = field(default_factory=Reply)
    utterance: Utterance = field(default_factory=Utterance)
    turn: CallerTurn = field(default_factory=CallerTurn)
    voice: Voice = field(default_factory=Voice)
    draft: str = ""
    """Words whose answer is being made ahead of the turn's end."""
    spoken_until: float = 0.0
    """When the agent last stopped speaking."""
    keys: Keys = field(default_factory=Keys)
    no_inputs: int = 0
    patient_until: float = 0.0
    """Until then a silent caller is not asked for anything: they want a moment."""
    troubles: int = 0


Step = tuple[TurnState, tuple[Action, ...]]
"""The next state, and what is to be carried out."""
