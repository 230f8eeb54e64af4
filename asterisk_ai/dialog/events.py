"""What can happen in a conversation, and what can be done about it.

Times are seconds on one clock that only has to be monotonic. Utterances and
replies are numbered within the call, so that an answer which comes late is
known to be stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from asterisk_ai.dialog.dialplan import DialplanAction

# ---- events -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """Audio flows. ``resumed``: this call has been talking before (its server was lost, or the dialplan had it).

    ``cut``: somebody was cut off by that. ``unheard``: what the agent was saying, from the first piece of it that was
    not heard, and ``then``: what was to follow. ``owed``: what the caller had said, and nobody had answered yet.
    """

    resumed: bool = False
    cut: bool = False
    unheard: str = ""
    interruptible: bool = True
    then: DialplanAction | None = None
    owed: Answer | None = None


@dataclass(frozen=True, slots=True)
class VoiceOnset:
    """The caller began to speak at ``at``."""

    at: float


@dataclass(frozen=True, slots=True)
class VoiceOffset:
    """The caller's last voiced sound was at ``at``."""

    at: float


@dataclass(frozen=True, slots=True)
class DigitDialled:
    """DTMF. ``wanted`` is how many digits make an answer now, 0 where it is open.

    ``restarts``: a star begins the entry anew. ``pause_seconds``: so long a pause ends it; 0: the agent's own.
    """

    digit: str
    wanted: int = 0
    restarts: bool = False
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class WordsPartial:
    """The recogniser's view of an utterance that is still open; a newer one replaces it.

    ``complete``: a whole answer that need not go on; None where nobody can tell. ``unfinished``: more has to follow.
    Not ``accepted``: words that are no answer as they stand, so that the caller may be in the middle of one.
    """

    utterance: int
    text: str
    accepted: bool = True
    complete: bool | None = False
    confidence: float = 1.0
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class TurnLikelihood:
    """How probable it is, by its sound, that what was said of an utterance until a pause is the whole turn.

    ``paused_at``: the pause's :class:`VoiceOffset`.
    """

    utterance: int
    probability: float
    paused_at: float


@dataclass(frozen=True, slots=True)
class WordsFinal:
    """The recogniser's last word on an utterance; ``accepted`` False: outside of what it may take for an answer."""

    utterance: int
    text: str
    accepted: bool = True
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class RecognitionFailed:
    """No recogniser could take the utterance."""

    utterance: int


@dataclass(frozen=True, slots=True)
class SpeakingStarted:
    """Audio of a reply (or its next part) is on its way to the line."""

    reply: int
    interruptible: bool = True


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """Everything of the reply was played; ``then`` is what it wants done.

    The caller, who asked for a moment, is not asked for anything for ``patience`` seconds.
    """

    reply: int
    then: DialplanAction | None = None
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplyFailed:
    """The language model or the synthesiser failed, and so did what stands behind it."""

    reply: int


@dataclass(frozen=True, slots=True)
class Timer:
    """The time that :func:`~asterisk_ai.dialog.staged.deadlines.deadline` asked for has come.

    ``voiced_until``: end of the caller's last voiced frame, which runs ahead of :class:`VoiceOffset`.
    """

    voiced_until: float = 0.0


@dataclass(frozen=True, slots=True)
class HungUp:
    """The caller's audio connection is gone."""


CallerEvent = VoiceOnset | VoiceOffset | DigitDialled | Timer
"""What is the same to every kind of conversation."""

Event = (
    Started
    | VoiceOnset
    | VoiceOffset
    | DigitDialled
    | WordsPartial
    | TurnLikelihood
    | WordsFinal
    | RecognitionFailed
    | SpeakingStarted
    | ReplyEnded
    | ReplyFailed
    | Timer
    | HungUp
)

# ---- actions ------------------------------------------------------------


class StopReason(StrEnum):
    """Why what the agent says is stopped."""

    BARGE_IN = "barge_in"
    DIGIT = "digit"
    TURN = "turn"
    """The caller goes on before anything of the answer is heard."""
    TIMEOUT = "timeout"
    END = "end"


class ResumeReason(StrEnum):
    """What a sound of the caller's was that is no interruption."""

    NOISE = "noise"
    BACKCHANNEL = "backchannel"


@dataclass(frozen=True, slots=True)
class OpenUtterance:
    """Start recognising, from the pre-roll on."""

    utterance: int


@dataclass(frozen=True, slots=True)
class CloseUtterance:
    """The caller has finished: ask for the words. ``ended_at``: the last voiced sound."""

    utterance: int
    ended_at: float


@dataclass(frozen=True, slots=True)
class DropUtterance:
    """It was none: stop recognising."""

    utterance: int


@dataclass(frozen=True, slots=True)
class Draft:
    """Begin to make the answer to ``text``, which the caller may yet go on from; nothing of it may be heard or done.

    The :class:`Answer` to the same text takes it up. A newer draft, any other answer and a prompt replace it.
    ``continues``: as the answer's.
    """

    text: str
    confidence: float = 1.0
    continues: bool = False


@dataclass(frozen=True, slots=True)
class DropDraft:
    """The caller goes on, or is gone: give the draft up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Ask the language model and speak what it says.

    ``continues``: the turn that was answered last was not over. ``text`` is all of it, and takes its place: what was
    remembered for the first part, and said to it, is undone.
    """

    reply: int
    text: str
    understood: bool = True
    dialled: bool = False
    confidence: float = 1.0
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Speak:
    """Speak a fixed prompt as a reply of its own, then do ``then``."""

    reply: int
    text: str
    interruptible: bool = True
    then: DialplanAction | None = None


@dataclass(frozen=True, slots=True)
class StopReply:
    """Clear playout at once and abort what makes more of it."""

    reply: int
    reason: StopReason


@dataclass(frozen=True, slots=True)
class PauseReply:
    """Hold playout at once, keeping what is queued: the caller may be interrupting."""

    reply: int


@dataclass(frozen=True, slots=True)
class ResumeReply:
    """It was no interruption: go on where playout was held."""

    reply: int
    reason: ResumeReason


@dataclass(frozen=True, slots=True)
class SpeakFiller:
    """Say something while the answer is being made, in front of it, as a part of the same reply."""

    reply: int
    text: str


SpeechAction = Draft | DropDraft | Answer | Speak | SpeakFiller | PauseReply | ResumeReply | StopReply
Action = OpenUtterance | CloseUtterance | DropUtterance | SpeechAction | DialplanAction
