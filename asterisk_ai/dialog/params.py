"""How an agent takes turns: every threshold of both turn machines, and what is said when nothing is heard or made.

The texts' defaults are English; :func:`in_language` has them in the other languages, from :mod:`.turn_words`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from asterisk_ai.dialog.turn_words import turn_words


@dataclass(frozen=True, slots=True)
class TurnParams:
    """How one agent takes turns. The ``turn:`` mapping of an agent in asterisk_ai.yaml."""

    endpoint_ms: float = 700.0
    """Silence after the caller's last sound that ends what they say where the words do not tell whether it is all:
    they are not known yet, or the language model cannot know."""
    endpoint_complete_ms: float = 250.0
    """The same where the words are a whole answer: the grammar's end, a slot that is full."""
    endpoint_doubtful_ms: float = 1100.0
    """The same where they could be all and are not understood."""
    endpoint_incomplete_ms: float = 1600.0
    """The same where more has to follow ("my number is", "five five")."""
    sounds_finished: float = 0.8
    """Below this probability by the sound (``turn`` of the pipeline), ``endpoint_ms`` ends a whole answer, too ..."""
    sounds_unfinished: float = 0.1
    """... below this one ``endpoint_doubtful_ms`` does, and the next longer silence what is no whole answer."""
    sounds_over: float = 0.97
    """From this probability on ``endpoint_complete_ms`` ends it where the words do not tell."""
    answer_ahead: bool = True
    """Begin to make the answer in a pause that may be the turn's end; it is given up where the caller goes on."""
    answers_ahead: int = 3
    """So many of one turn: who pauses at every word is not answered ahead any more."""
    join_ms: float = 1000.0
    """What the caller says within so long of the beginning of an answer goes on with the turn that is answered: both
    are understood as one. 0: each is a turn of its own."""
    hangover_ms: float = 160.0
    """Silence after which the caller's voice has ended: longer than a plosive's closure, shorter than an endpoint."""
    echo_cancelling: bool = True
    """Take the agent's own voice, as hybrids and speakerphones send it back, out of what is heard; False where the line
    has a canceller of its own and the work should be spared."""
    barge_in: bool = True
    """False: half duplex, the caller is not listened to while the agent speaks."""
    barge_in_ms: float = 140.0
    """Voiced sound after which the agent holds its speech and listens; less is a click."""
    barge_in_confirm_ms: float = 600.0
    """Voiced sound that is an interruption whatever the words; less is judged by its words ("mm-hm" is none)."""
    barge_in_noise_ms: float = 380.0
    """Speech without words that is shorter is taken for a cough: the agent goes on where it was."""
    barge_in_letter_ms: float = 35.0
    """Words said faster than that a letter are a click or a chord: who talks fast needs 45."""
    backchannel_ms: float = 500.0
    """A backchannel ("mm-hm") up to this length is one however unsure the recogniser is of it ..."""
    backchannel_sure_ms: float = 720.0
    """... and from this length on it has to be as sure as ``sure``; between them in proportion."""
    backchannel_drawn_out: float = 1.4
    """By how much what may become a backchannel may be longer than ``barge_in_confirm_ms`` ..."""
    backchannel_whole: float = 1.6
    """... and by how much what is known to be nothing else: "okay okay"."""
    backchannel_pause_ms: float = 160.0
    """Silence after a backchannel; what the caller says after it interrupts."""
    sure: float = 0.8
    """Confidence of a recogniser that leaves little doubt."""
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
    part_seconds: float = 120.0
    """Nobody says a sentence for longer: the engine that makes the next one is stuck."""
    trouble_prompt: str = "I am sorry, I have a technical problem. Please say that again."
    """Said when an answer could not be made."""
    max_troubles: int = 2
    """This many troubles in a row and the caller goes to the dialplan's fallback."""
    resume_prompt: str = "Sorry, I lost you for a second."
    """Said when a call comes back after its server was lost, where that cut somebody off. Then only that is said which
    was not heard."""
    max_call_seconds: float = 3600.0
    """A conversation that lasts longer is closed."""
    max_call_closing: str = "I have to end this call now. Goodbye."
    """Said before such a conversation is closed."""


def in_language(params: TurnParams, language: str) -> TurnParams:
    """``params`` with those texts that are the defaults in ``language``, as in ``de-DE``, where we have them."""
    said = turn_words(language).prompts
    own = {item.name: said[item.name] for item in fields(params) if item.name in said}
    kept = {name: text for name, text in own.items() if getattr(params, name) == getattr(_DEFAULTS, name)}
    return replace(params, **kept) if kept else params


_DEFAULTS = TurnParams()
