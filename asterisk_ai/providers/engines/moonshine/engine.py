"""What a worker process of the moonshine engine runs. Imported there and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.boundary import library_boundary
from asterisk_ai.providers.engines.moonshine import weights
from asterisk_ai.providers.engines.moonshine.biased import Expected, Written, write
from asterisk_ai.providers.engines.moonshine.expected import (
    MOST,
    SMALL,
    Expectations,
    Heard,
    Wanted,
    decide,
    weigh_numbers,
    with_readings,
)
from asterisk_ai.providers.engines.moonshine.model import RATE, Model, Sound
from asterisk_ai.providers.engines.moonshine.utterance import Utterance
from asterisk_ai.providers.engines.moonshine.within import CORRECTIONS, NUMBERS, Words, search

KEPT = 16
"""Sets of expected words that are kept, some MB each; the oldest goes first."""
TOKENS_A_STEP = 3
"""Written between two looks at what else there is to do: some 15 ms of work."""
PHRASES_A_STEP = 8
"""Judged in one run, likewise."""


class MoonshineEngine:
    """An :class:`~asterisk_ai.providers.workers.child.Engine`. Settings: ``model``, a folder or empty."""

    quantum_bytes = 640
    max_streams = 1000

    def __init__(self, settings: Mapping[str, Any]) -> None:
        folder = weights.checked(settings["model"])
        with library_boundary(weights.NAME, f"cannot use the model in {folder}"):
            self._model = Model(folder)
            self._model.judge(self._model.hear(np.zeros(RATE, np.float32)), [[3]])  # the first run makes its plans
        self._expectations = Expectations(self._model.tokens)
        self._numbers = Words(self._model.tokens, NUMBERS)
        self._corrections = Words(self._model.tokens, CORRECTIONS)
        self._biases: dict[tuple[tuple[str, ...], tuple[str, ...]], Expected] = {}
        self._load = min(self._measured() for _ in range(3))
        if self._load > settings["most_load"]:
            raise ProviderRejected(
                weights.NAME,
                f"a second of speech takes {self._load:.2f} s of a core here, callers would wait for their words (more "
                f"than providers.{weights.NAME}.most_load, {settings['most_load']:g}): "
                "name pocketsphinx alone: stt: pocketsphinx",
            )

    def _measured(self) -> float:
        """Of a core, whatever else runs on it: two seconds of noise, with as much work as most turns are."""
        sound = np.random.default_rng(1).normal(0, 3000, 2 * RATE).astype(np.int16).tobytes()
        began = time.process_time()
        for _ in self.understand(sound, Wanted(SMALL[:MOST])):
            pass
        return (time.process_time() - began) / 2

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """How many seconds of a core a second of speech takes here, phrases and all."""
        return {"load": self._load}

    def open(self, options: Mapping[str, Any]) -> Utterance:
        wanted = Wanted(tuple(options["phrases"]), bool(options["digits"]), tuple(options.get("examples", ())))
        return Utterance(self, int(options["rate"]), wanted)

    def understand(self, pcm: bytes, wanted: Wanted) -> Iterator[Heard | None]:
        """Work on a piece of speech (at RATE) in steps of some 50 ms at most; what is yielded last is the result."""
        sound = self._model.hear(np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768))
        yield None
        written = Written()
        for step, more in enumerate(write(self._model, sound, self._words(wanted))):
            if more is not None:
                written = more
            elif step % TOKENS_A_STEP == TOKENS_A_STEP - 1:
                yield None
        free = self._model.tokens.decode(written.tokens)
        heard = decide(free, 0.0, sound.seconds, ())
        chosen = self._expectations.worth(wanted.phrases, free, written.first)
        if chosen or wanted.digits:
            own = self._model.judge(sound, [self._model.bare(written.tokens)])[0]
            scores: list[float] = []
            for start in range(0, len(chosen), PHRASES_A_STEP):
                scores += self._model.judge(sound, [one.tokens for one in chosen[start : start + PHRASES_A_STEP]])
                yield None
            heard = decide(free, own, sound.seconds, list(zip(chosen, scores, strict=True)))
            if wanted.digits and not heard.phrase:
                words = self._corrections if "no" in wanted.phrases else self._numbers
                yield from self._number(sound, heard, own, words)
                return
        yield with_readings(heard, ((self._model.tokens.decode(one), worth) for one, worth in written.readings))

    def _words(self, wanted: Wanted) -> Expected:
        """The words of the phrases and examples. Those of the last few askers are kept."""
        key = wanted.phrases, wanted.examples
        if key not in self._biases:
            self._biases[key] = Expected(self._model.tokens, *key)
            while len(self._biases) > KEPT:
                del self._biases[next(iter(self._biases))]
        return self._biases[key]

    def _number(self, sound: Sound, heard: Heard, own: float, words: Words) -> Iterator[Heard | None]:
        """Digits may be expected: read as such what the free text makes other words of."""
        path = None
        for path in search(self._model, sound, words):
            if path is None:
                yield None
        if path is not None:
            heard = weigh_numbers(heard, own, self._model.tokens.decode(path.tokens), path.likelihood)
        yield heard
