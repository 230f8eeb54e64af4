"""Voice activity from a model's probability of speech, for all calls at once, behind the energy gate.

What is not loud enough never reaches the model, so a listening caller's
silence costs nothing; what is loud enough is speech only if the model says so
(music, noise and most coughs are not). Levels stay the judge of when speech
ends, as they are exact to a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asterisk_ai.audio.formats import duration
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.audio.window import Window
from asterisk_ai.vad.batch import CHUNK, CHUNK_BYTES, CONTEXT_BYTES, MODEL_RATE, STATE_SHAPE, BatchedModel, Floats
from asterisk_ai.vad.energy import EnergyVad, Offset, Onset, VadParams

_GAP_SECONDS = 0.1
"""Without a frame for so long a line carries nothing: some send none while their caller is silent."""
_PREROLL_SECONDS = 0.1
"""The first judgements need something before the sound: three chunks."""
_MAX_PENDING = 16 * CHUNK_BYTES
"""Half a second: a model that is so far behind is not asked about the oldest."""

LEVEL_ALONE = VadParams()
"""What is loud enough where nothing but the level is known ..."""
GATE = VadParams(onset_db=4.0, offset_db=3.0)
"""... and where the model has the last word: in noise at 10 dB speech hardly rises above the other's 12 dB."""


@dataclass(frozen=True, slots=True)
class SpeechParams:
    """How probabilities are taken for speech. Times in seconds."""

    onset: float = 0.7
    """Probability from which a chunk is speech ..."""
    offset: float = 0.5
    """... and below which it is not any more."""
    hold: float = 0.3
    """Sound that is loud enough still counts for so long after the last speech: final consonants are no voice.

    But for no longer than the speech was: the attack of a chord looks like a chunk or two of it.
    """
    lead: float = 0.16
    """Sound that is loud enough counts for so long before the first speech: so are the first ones."""
    gate_hold: float = 0.4
    """Silence after which the model hears no more of it and forgets."""
    sure: float = 0.4
    """Where many speak at once: after so much speech on a quiet line the level alone tells how it goes on.

    It is most of what there is to judge. A breath or a door behind the last word ends the speech somewhat later then.
    """
    patience: float = 0.15
    """A model that has said nothing for so long is not waited for: the level decides."""


def _ignore(onset: Onset) -> None: ...


class SpeechVad(EnergyVad):
    """:class:`EnergyVad` whose onsets have to be confirmed by the model, and whose speech ends where it says so."""

    __slots__ = (
        "_context",
        "_judged_at",
        "_level",
        "_loud_at",
        "_model",
        "_on_onset",
        "_open",
        "_pending",
        "_preroll",
        "_resampler",
        "_since",
        "_speech",
        "_spoken",
        "_sure",
        "_until",
        "_when",
        "state",
    )

    def __init__(
        self,
        rate: int,
        model: BatchedModel,
        on_onset: Callable[[Onset], None],
        params: VadParams | None = None,
        speech: SpeechParams | None = None,
    ) -> None:
        """``on_onset`` is called with an onset that a judgement of :meth:`BatchedModel.flush` makes."""
        super().__init__(rate, params or GATE)
        self._level = 0.0
        self._speech = speech or SpeechParams()
        self._model = model
        self._on_onset = on_onset
        self._preroll = Window(_PREROLL_SECONDS, rate)
        self._open = self._sure = False
        self._loud_at = self._judged_at = self._when = 0.0
        self._forget()

    def _forget(self) -> None:
        self.state = np.zeros(STATE_SHAPE, np.float32)
        self._context = bytes(CONTEXT_BYTES)
        self._pending = bytearray()
        self._resampler: Resampler | None = None  # 49 KB and 0.1 ms, where there is something to hear
        self._since: float | None = None  # where the speech began that still goes on
        self._spoken = 0.0  # seconds of speech since the onset
        self._until = -1e9  # end of the last chunk of speech

    def hear(self, pcm: bytes, level: float, now: float) -> Onset | Offset | None:
        """As :meth:`EnergyVad.hear`; an onset mostly comes by ``on_onset``."""
        if self._calm and not self._open and level <= self._lowest:
            self._preroll.push(pcm)
            return None
        self._level = level
        if self._open and not self.speaking and now - self._when > _GAP_SECONDS:
            self._shut()  # else the model, which was not asked meanwhile, would seem to have nothing to say
        voice = super().hear(pcm, level, now)
        if self._sure and (not self.speaking or self._noisy):
            self._sure, self._until = False, now  # what goes on is speech until the model has heard enough of it
            self._model.sounds(self, False)
        if self._sure:
            self._when = now
            self._preroll.push(pcm)
        else:
            self._gate(pcm, now)
        return voice

    def _gate(self, pcm: bytes, now: float) -> None:
        if self._voiced:
            self._loud_at = now
            if not self._open:
                self._open, self._judged_at = True, now
                self._model.sounds(self, True)
                for before in self._preroll.take():
                    self._feed(before)
        elif self._open and not self.speaking and now - self._loud_at > self._speech.gate_hold:
            self._shut()
        if self._open and not self._model.broken:
            self._feed(pcm)
            self._when = now
            self._ask()
        else:
            self._preroll.push(pcm)

    def _ask(self) -> None:
        if len(self._pending) >= CHUNK_BYTES:
            self._model.add(self, behind=len(self._pending) >= 3 * CHUNK_BYTES)

    def _feed(self, pcm: bytes) -> None:
        if self._resampler is None:
            self._resampler = Resampler(self._rate, MODEL_RATE)
        self._pending += self._resampler.push(pcm)
        if len(self._pending) > _MAX_PENDING:
            del self._pending[: len(self._pending) - _MAX_PENDING]

    def _shut(self) -> None:
        self._open = False
        self._model.drop(self)
        self._model.sounds(self, False)
        self._forget()

    def expire(self, now: float) -> Offset | None:
        offset = super().expire(now)
        if offset is not None:
            self._sure = False
            self._shut()
        return offset

    def gone(self, now: float) -> bool:
        """Whether nothing comes from the line any more."""
        return now - self._when > 1

    @property
    def _noisy(self) -> bool:
        return self._floor > self._lowest + 6

    def take_chunk(self) -> bytes:
        """The oldest chunk that waits, with its context; ``state`` is the one before it."""
        chunk = self._context + self._pending[:CHUNK_BYTES]
        del self._pending[:CHUNK_BYTES]
        self._context = chunk[-CONTEXT_BYTES:]
        return chunk

    def judged(self, probability: float, state: Floats, now: float) -> None:
        """What the model says of the chunk that was taken last."""
        self.state, self._judged_at = state, now
        self._ask()
        ended = self._when - duration(len(self._pending), MODEL_RATE)
        if probability < (self._speech.onset if self._since is None else self._speech.offset):
            self._since = None
            return
        self._until = ended
        if self._since is None:
            self._since = ended - CHUNK / MODEL_RATE
            self._spoken = self._spoken if self.speaking else 0.0
        self._spoken += CHUNK / MODEL_RATE
        if not self.speaking:
            onset = self._begun(self._began(self._when))
            if onset is not None:
                self._on_onset(onset)
        elif self._model.many and self._spoken >= self._speech.sure and not self._noisy:
            spoken = self._spoken
            self._shut()
            self._sure, self._spoken = True, spoken
            self._model.sounds(self, True)

    def _begun(self, at: float) -> Onset | None:
        return super()._begun(max(at, self._began(self._when)))

    def _began(self, now: float) -> float:
        since = now if self._since is None else self._since
        return max(now - self._run, since - self._speech.lead)

    def _alone(self, now: float) -> bool:
        """Whether nothing is known of what the model thinks, or all that is needed."""
        return self._sure or self._model.broken or (self._open and now - self._judged_at > self._speech.patience)

    def _above(self, db: float) -> bool:
        """Whether the level is high enough for who knows nothing else.

        The floor does not go below what matters to the gate, and what lies there or little above may be 8 dB lower.
        """
        floor = self._floor - 2 * max(0.0, self._lowest + 4 - self._floor)
        return self._level > max(LEVEL_ALONE.min_level, floor + db)

    def _confirmed(self, now: float) -> bool:
        if self._alone(now):
            return self._above(LEVEL_ALONE.onset_db)
        return self._since is not None

    def _goes_on(self, voiced: bool, now: float) -> bool:
        if self._alone(now):
            return voiced and self._above(LEVEL_ALONE.offset_db)
        if voiced:
            return now - self._until <= min(self._speech.hold, self._spoken)
        # Weak ends of words sink in a noise that the level has to rise above.
        return self._noisy and self._since is not None and now - self._until < 0.03

    def reset(self) -> bool:
        self._preroll.clear()
        self._sure = False
        self._shut()
        return super().reset()

    def close(self) -> None:
        self._shut()
        self._on_onset = _ignore  # it is the call's, which refers to this one: together they would stay
