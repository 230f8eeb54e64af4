"""What happens to one utterance: decoded while it is said, looked at in each pause, and answered at its end."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pocketsphinx
import soxr

from asterisk_ai.audio.pauses import Collected, levels, loud
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.engines.pocketsphinx import scores
from asterisk_ai.providers.engines.pocketsphinx.decoders import (
    FRAME_BYTES,
    LOOK_BYTES,
    MODEL_RATE,
    NAME,
    PIECE_BYTES,
    Grammar,
    Mean,
    Pair,
    Search,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from asterisk_ai.providers.engines.pocketsphinx.engine import PocketSphinxEngine

MAX_SECONDS = 30
"""Of audio kept for one utterance; the oldest is dropped."""
DRIFT_SECONDS = 0.5
"""Where the speech turns out to begin so much later than it seemed to, what was before it was noise: begin again."""
END_FRAMES = 8
"""160 ms of pause are taken for the end, as the words may be others where a sentence must be whole. It is begun again
where the caller goes on."""
GLANCE_FRAMES = 20
"""How often the words are looked at while the caller speaks, in frames of 10 ms; the same twice is told."""
Result = dict[str, Any]


class Decoding:
    """An utterance's searches, each as far as it got with the audio there is."""

    def __init__(self, pair: Pair, mean: Mean, *, phones: bool) -> None:
        self._pair = pair
        self._searches = (pair.grammar, pair.phones) if phones else (pair.grammar,)
        self._todo: dict[Search, deque[bytes]] = {search: deque() for search in self._searches}
        self.bytes = 0
        for search in self._searches:
            search.begin(mean)

    def push(self, pcm: bytes) -> None:
        """Audio at the model's rate."""
        self.bytes += len(pcm)
        for start in range(0, len(pcm), PIECE_BYTES):
            for todo in self._todo.values():
                todo.append(pcm[start : start + PIECE_BYTES])

    def step(self) -> bool:
        """Take the search that is behind a piece further; False where there is nothing to do."""
        search = max(self._searches, key=lambda other: len(self._todo[other]))
        if not self._todo[search]:
            return False
        search.feed(self._todo[search].popleft())
        return True

    def text(self) -> str:
        return self._pair.grammar.text()

    def suspicion(self, loud_frames: npt.NDArray[np.bool_]) -> float:
        """Of what was found so far."""
        if len(self._searches) == 1:
            return -math.inf
        sentence = self._pair.grammar.found()
        heard = self._pair.phones.found()
        return scores.suspicion(scores.evidence(sentence, self._pair.spelled(sentence), heard, loud_frames))

    def end(self) -> None:
        """No more audio: only whole sentences count from now on."""
        for search in self._searches:
            search.end()

    def release(self) -> None:
        """Give the decoders to somebody else."""
        self.end()
        self._pair.busy = False


class Utterance:
    """One for which there is a grammar."""

    def __init__(self, engine: PocketSphinxEngine, rate: int, grammar: Grammar) -> None:
        self._engine = engine
        self._grammar = grammar
        self._collected = Collected(rate, MAX_SECONDS)
        self._decoding: Decoding | None = None
        self._start = self._at = 0
        self._resampler = Resampler(rate, MODEL_RATE)
        self._fresh = False
        self._overlong = False
        self._paused = False
        self._ended_at = self._glanced_at = 0
        self._glimpse = ""
        self._told: Result | None = None
        self._news: Result | None = None

    def feed(self, data: bytes) -> None:
        self._collected.feed(data)
        self._fresh = True

    def ahead(self) -> bool:
        """A piece of the decoding, or a look at what it has found."""
        if self._fresh:
            self._fresh = False
            self._take_in()
        if self._decoding is None:
            return False
        if self._decoding.step():
            return True
        return self._look(self._decoding)

    def news(self) -> Result | None:
        news, self._news = self._news, None
        return news

    def finish(self) -> Result:
        start, end = self._collected.pauses.speech()
        if not end:
            return {**_result("", math.inf, accepted=False), "lost": self._collected.dropped}
        if self._goes_on() or self._drifted(start):
            self._release()
        if self._ended_at and self._told:
            return {**self._told, "lost": self._collected.dropped}
        if self._decoding is None:
            pair = self._engine.take(self._grammar) or self._engine.spare
            self._begin(pair, start, end)
        decoding = self._push(end, last=True)
        while decoding.step():
            pass
        decoding.end()
        result = self._result(decoding)
        return {**result, "lost": self._collected.dropped}

    def close(self) -> None:
        self._release()
        self._collected.clear()

    def _take_in(self) -> None:
        """Hand over what of the audio is to be decoded now."""
        pauses = self._collected.pauses
        start, end = pauses.speech()
        if not end or self._overlong:
            return
        if self._goes_on() or self._drifted(start):
            self._release()
        if self._ended_at:
            return
        if self._decoding is None:
            known = (end - start) * MODEL_RATE // self._collected.rate * 2
            pair = self._engine.take(self._grammar) if known >= LOOK_BYTES or pauses.pausing() else None
            if pair is None:
                return
            self._begin(pair, start, end)
        decoding = self._push(end)
        if decoding.bytes > MAX_SECONDS * MODEL_RATE * 2:  # what is kept is decoded at the end
            self._overlong = True
            self._release()

    def _begin(self, pair: Pair, start: int, end: int) -> None:
        self._engine.prepare(pair, self._grammar)
        self._glanced_at = 0
        self._start = self._at = max(start, self._collected.dropped // 2)
        beginning = upsampled(self._collected.part(start, end), self._collected.rate)[:LOOK_BYTES]
        self._resampler = Resampler(self._collected.rate, MODEL_RATE)
        self._decoding = Decoding(pair, self._engine.mean(beginning), phones=self._engine.rejection != "off")

    def _push(self, end: int, *, last: bool = False) -> Decoding:
        assert self._decoding is not None  # noqa: S101 - for the type checker
        if end > self._at:
            self._decoding.push(self._resampler.push(self._collected.part(self._at, end)))
            self._at = end
        if last:
            self._decoding.push(self._resampler.flush())
        return self._decoding

    def _goes_on(self) -> bool:
        """Whether a pause that was taken for the end was none."""
        return self._ended_at > 0 and self._collected.pauses.loud_since(self._ended_at)

    def _drifted(self, start: int) -> bool:
        return self._decoding is not None and start - self._start > DRIFT_SECONDS * self._collected.rate

    def _look(self, decoding: Decoding) -> bool:
        """All there is has been decoded. Whether anything was done."""
        if self._ended_at:
            return False
        pauses = self._collected.pauses
        pausing = pauses.pausing()
        if pauses.pausing(END_FRAMES):
            self._end(decoding)
            return True
        if pausing and not self._paused:
            self._paused = True
            result = self._result(decoding)
            self._told = self._news = result if result["accepted"] else None
            return True
        self._paused = pausing
        frames = decoding.bytes // FRAME_BYTES
        if pausing or frames - self._glanced_at < GLANCE_FRAMES:
            return False
        self._glanced_at = frames
        self._glance(decoding)
        return True

    def _end(self, decoding: Decoding) -> None:
        """Only whole sentences count: that may be another result than it was a moment ago."""
        told = self._told if self._paused else None
        decoding.end()
        self._ended_at = self._collected.pauses.frames
        result = self._result(decoding)
        if told is None or (told["text"], told["accepted"]) != (result["text"], result["accepted"]):
            self._news = result
        self._told = result

    def _glance(self, decoding: Decoding) -> None:
        """The caller is speaking: tell the words so far where they stay the same, and are others than before."""
        text = decoding.text()
        same, self._glimpse = text == self._glimpse, text
        if not text or not same or (self._told and self._told["text"] == text):
            return
        result = self._result(decoding)
        if result["accepted"] or (self._told and self._told["accepted"]):
            self._told = self._news = result

    def _result(self, decoding: Decoding) -> Result:
        text = decoding.text()
        if not text:
            return _result("", math.inf, accepted=False)
        audio = self._collected.part(self._start, self._at)
        suspected = decoding.suspicion(loud(levels(audio, self._collected.rate // 100)))
        return _result(text, suspected, accepted=scores.accepts(self._engine.rejection, text, suspected))

    def _release(self) -> None:
        if self._decoding is not None:
            self._decoding.release()
            self._decoding = None
            self._ended_at = 0
            self._paused = False


class FreeUtterance:
    """One without a grammar: decoded whole by the one decoder there is for such, ahead at each pause."""

    def __init__(self, rate: int, decoder: Callable[[], pocketsphinx.Decoder]) -> None:
        self._collected = Collected(rate, MAX_SECONDS)
        self._decoder = decoder
        self._ahead_from = 0
        self._result: Result | None = None
        self._told = False

    def feed(self, data: bytes) -> None:
        self._collected.feed(data)
        pauses = self._collected.pauses
        if self._ahead_from and pauses.loud_since(self._ahead_from):  # not the end after all
            self._ahead_from, self._result, self._told = 0, None, False
        if not self._ahead_from and pauses.pausing(END_FRAMES):
            self._ahead_from = pauses.frames

    def ahead(self) -> bool:
        if not self._ahead_from or self._result is not None:
            return False
        self._result = self._decode()
        return True

    def news(self) -> Result | None:
        if self._result is None or self._told:
            return None
        self._told = True
        return self._result

    def finish(self) -> Result:
        result = self._result if self._ahead_from and self._result is not None else self._decode()
        return {**result, "lost": self._collected.dropped}

    def close(self) -> None:
        self._collected.clear()

    def _decode(self) -> Result:
        pcm = upsampled(self._collected.part(*self._collected.pauses.speech()), self._collected.rate)
        if not pcm:
            return _result("", math.inf, accepted=False)
        decoder = self._decoder()
        try:
            decoder.start_utt()
            decoder.process_raw(pcm, False, True)
            decoder.end_utt()
        except RuntimeError as error:
            raise ProviderUnavailable(NAME, f"the decoder failed: {error}") from error
        found = decoder.hyp()
        text = found.hypstr if found is not None else ""
        return _result(text, 0.0 if text else math.inf, accepted=bool(text))


def upsampled(pcm: bytes, rate: int) -> bytes:
    """Audio at the model's rate."""
    if rate == MODEL_RATE or not pcm:
        return pcm
    wide = soxr.resample(np.frombuffer(pcm, np.int16).astype(np.float32), rate, MODEL_RATE)
    return bytes(np.clip(np.round(wide), -32768, 32767).astype(np.int16).tobytes())


def _result(text: str, suspected: float, *, accepted: bool) -> Result:
    return {"text": text, "accepted": accepted, "confidence": round(scores.confidence(suspected), 3)}
