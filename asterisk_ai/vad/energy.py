"""Voice activity from energy over a tracked noise floor, with hysteresis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from asterisk_ai.audio.formats import duration
from asterisk_ai.audio.levels import dbov

MAX_RUN = 0.3
"""Sound that has lasted for longer before it is taken for speech did not begin with it."""


@dataclass(frozen=True, slots=True)
class VadParams:
    """Levels in dBov and dB, times in seconds.

    Speech on a telephone line lies at -35 to -15 dBov, line noise below -50.
    """

    min_level: float = -48.0
    """Never take anything below this for speech."""
    onset_db: float = 12.0
    """How far above the noise floor speech begins ..."""
    offset_db: float = 7.0
    """... and how far above it speech is held."""
    onset: float = 0.06
    """Voiced time that makes an onset; a click is shorter."""
    hangover: float = 0.16
    """Unvoiced time that ends speech; a plosive's closure is shorter."""
    floor_rise: float = 6.0
    """How fast the floor follows a louder background, dB per second, while nobody speaks ..."""
    floor_rise_speaking: float = 3.0
    """... and while somebody seems to: speech has dips that pull it down again, music and engines have not."""


@dataclass(frozen=True, slots=True)
class Onset:
    """Speech began at ``at`` (seconds on the caller's clock)."""

    at: float


@dataclass(frozen=True, slots=True)
class Offset:
    """Speech ended at ``at``: its last voiced frame, one hangover ago."""

    at: float


class EnergyVad:
    """Feed it every frame of one call; it says when speech begins and ends."""

    __slots__ = ("_calm", "_floor", "_last", "_lowest", "_params", "_rate", "_run", "_voiced", "speaking")

    def __init__(self, rate: int, params: VadParams | None = None) -> None:
        self._params = params or VadParams()
        self._rate = rate
        # Below this the floor decides nothing (min_level does), and would only have the longer way up again.
        # A first guess below any line's noise would make the noise an onset; this one adapts at once.
        self._floor = self._lowest = self._params.min_level - self._params.onset_db
        self._calm = False
        self._run = 0.0  # voiced seconds before the onset
        self._last = 0.0  # end of the last voiced frame
        self._voiced = False
        self.speaking = False

    def hear(self, pcm: bytes, level: float, now: float) -> Onset | Offset | None:
        """One frame that ended at ``now`` seconds, and its level."""
        return self.push_level(level, duration(len(pcm), self._rate), now)

    def push(self, pcm: bytes, now: float) -> Onset | Offset | None:
        """One frame that ended at ``now`` seconds."""
        return self.push_level(dbov(pcm), duration(len(pcm), self._rate), now)

    def push_level(self, level: float, seconds: float, now: float) -> Onset | Offset | None:
        """One frame of ``seconds`` that ended at ``now``, of which only the level is known."""
        if self._calm and level <= self._lowest:
            return None  # nothing would change: what most frames of a listening caller are
        voice = self._decide(level, seconds, now)
        self._calm = not self.speaking and not self._run and self._floor <= self._lowest + 0.01
        return voice

    def _decide(self, level: float, seconds: float, now: float) -> Onset | Offset | None:
        params = self._params
        margin = params.offset_db if self.speaking else params.onset_db
        self._voiced = voiced = level > params.min_level and level > self._floor + margin
        self._track_floor(level, seconds)
        if self.speaking:
            return self._held(self._goes_on(voiced, now), now)
        return self._waiting(voiced, now, seconds)

    def _confirmed(self, now: float) -> bool:
        """Whether what is loud enough for an onset is speech."""
        return True

    def _goes_on(self, voiced: bool, now: float) -> bool:
        """Whether a frame that is loud enough, or not, belongs to the speech that was begun."""
        return voiced

    @property
    def voiced_until(self) -> float:
        """End of the last voiced frame."""
        return self._last

    def reset(self) -> bool:
        """Audio will be missing from here on: forget what was begun. Returns whether somebody was speaking."""
        was, self.speaking, self._run = self.speaking, False, 0.0
        return was

    def close(self) -> None:
        """The call is over."""

    def expire(self, now: float) -> Offset | None:
        """No frame came for a while (comfort noise is not forwarded): end speech by the clock."""
        return self._held(False, now) if self.speaking else None

    def _waiting(self, voiced: bool, now: float, seconds: float) -> Onset | None:
        if not voiced:
            # One weak frame inside a word's attack does not undo it.
            self._run = max(0.0, self._run - 2 * seconds)
            return None
        if now - self._last > seconds + MAX_RUN / 2:
            self._run = 0.0  # as frames of silence would have it: some lines carry none
        self._run = min(self._run + seconds, MAX_RUN)
        self._last = now
        return self._begun(now - self._run) if self._confirmed(now) else None

    def _begun(self, at: float) -> Onset | None:
        """An onset, if it has lasted long enough."""
        if self._run < self._params.onset - 1e-9:
            return None
        self.speaking = True
        return Onset(at)

    def _held(self, voiced: bool, now: float) -> Offset | None:
        if voiced:
            self._last = now
        elif now - self._last >= self._params.hangover - 1e-9:
            self.speaking = False
            self._run = 0.0
            return Offset(self._last)
        return None

    def _track_floor(self, level: float, seconds: float) -> None:
        params = self._params
        level = max(level, self._lowest)
        if level < self._floor:
            self._floor += (level - self._floor) * min(1.0, seconds / 0.1)
        else:
            rise = params.floor_rise_speaking if self.speaking else params.floor_rise
            self._floor = min(level, self._floor + rise * seconds)


def by_level(rate: int, onset: Callable[[Onset], None]) -> EnergyVad:
    """A detector that knows no more than how loud it is; it tells of no onset between frames."""
    return EnergyVad(rate)
