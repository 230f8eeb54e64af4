"""Searches that take an utterance piece by piece while it is being said, and the pool of decoders they need.

A pair of decoders without the dictionary takes 20 MB and 40 ms to make, so each
utterance that is being said gets one of its own, up to a bound.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pocketsphinx

from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.engines.pocketsphinx.scores import Segment

NAME = "pocketsphinx"
MODEL_RATE = 16000
"""Of the model, in Hz. Its filters at 8 kHz, cut to the telephone's band, understood next to nothing when measured."""
FRAME_BYTES = 320
"""10 ms at the model's rate."""
PIECE_BYTES = 10 * FRAME_BYTES
"""What is decoded at a time: some 10 ms of work."""
LOOK_BYTES = 60 * FRAME_BYTES
"""The beginning of an utterance that tells the line's level before anything is decoded."""
TELEPHONE_MEAN = (48.3, 35.4, -28.4, 40.1, -19.6, 2.2, 7.4, -20.9, 23.9, -13.8, -3.7, 5.2, -13.8)
"""Median cepstral mean of 120 telephone prompts, brought from 8 to 16 kHz."""
TELEPHONE_FRAMES = 200.0
TELEPHONE_LEVEL_FRAMES = 50.0
"""How many frames of the utterance the usual mean weighs as much as."""
CMN_FRAMES = 500
"""As many does pocketsphinx take a mean that is set to be the mean of (CMN_WIN of its cmn.h)."""
SCORE_SCALE = 1024
"""A segment's score is the true one shifted right by 10 bits (SENSCR_SHIFT of pocketsphinx 5.1)."""
GRAMMARS = 16
"""Compiled ones that a decoder keeps; the least recently used goes first."""
MOST_PAIRS = 8
"""Utterances that are decoded while they are said; a core is busy with six. More wait for their end."""


class Grammar(NamedTuple):
    """What may be said: a JSGF grammar, and its words."""

    jsgf: str
    words: tuple[str, ...]


Pronunciations = Callable[[str], Iterable[tuple[str, str]]]


class Mean:
    """The cepstral mean of an utterance as far as it is known, the telephone's usual one mixed in.

    That of a single word is the word as much as the line, and taking it away
    takes the word away. The first coefficient is the level, which differs from
    caller to caller, so there the usual one weighs less.
    """

    def __init__(self) -> None:
        self._weight = np.full(len(TELEPHONE_MEAN), TELEPHONE_FRAMES)
        self._weight[0] = TELEPHONE_LEVEL_FRAMES
        self._sum = self._weight * np.array(TELEPHONE_MEAN)
        self._known = 0

    def copy(self) -> Mean:
        """The same for another search, which is given the same audio."""
        other = Mean()
        other._weight, other._sum, other._known = self._weight.copy(), self._sum.copy(), self._known
        return other

    def look(self, decoder: pocketsphinx.Decoder, pcm: bytes) -> None:
        """Learn from the beginning of an utterance before it is searched."""
        self._process(decoder, pcm, search=False)
        self._known = len(pcm)

    def search(self, decoder: pocketsphinx.Decoder, pcm: bytes) -> None:
        """Have a piece searched, and learn from it what is not known yet."""
        self._process(decoder, pcm, search=True)
        self._known = max(0, self._known - len(pcm))

    def _process(self, decoder: pocketsphinx.Decoder, pcm: bytes, *, search: bool) -> None:
        mean = self._sum / self._weight
        decoder.set_cmn(",".join(f"{part:.4f}" for part in mean))
        decoder.process_raw(pcm, not search, False)
        frames = max(0, len(pcm) - self._known) // FRAME_BYTES
        if frames:
            found = np.array([float(part) for part in decoder.get_cmn(True).split(",")])
            self._sum += found * (CMN_FRAMES + frames) - mean * CMN_FRAMES
            self._weight += frames


class Level:
    """Looks at the beginning of an utterance without decoding it."""

    def __init__(self) -> None:
        self._decoder = decoder()
        self._decoder.add_word("quiet", "SIL", True)
        self._decoder.add_jsgf_string("quiet", b"#JSGF V1.0;\ngrammar quiet;\npublic <quiet> = quiet;\n")
        self._decoder.activate_search("quiet")

    def mean(self, pcm: bytes) -> Mean:
        found = Mean()
        if len(pcm) >= FRAME_BYTES:
            self._decoder.start_utt()
            found.look(self._decoder, pcm)
            self._decoder.end_utt()
        return found


class Search:
    """A decoder at work on one utterance after another."""

    def __init__(self, found: pocketsphinx.Decoder) -> None:
        self._decoder = found
        self._mean = Mean()
        self._open = False

    def begin(self, mean: Mean) -> None:
        """``mean``: what a look at the utterance's beginning told."""
        self._mean = mean.copy()
        self._decoder.start_utt()
        self._open = True

    def feed(self, pcm: bytes) -> None:
        """A piece of audio at the model's rate.

        :raises ProviderUnavailable: the decoder failed.
        """
        try:
            self._mean.search(self._decoder, pcm)
        except RuntimeError as error:
            raise ProviderUnavailable(NAME, f"the decoder failed: {error}") from error

    def end(self) -> None:
        """No more audio: what is found from now on is a whole sentence, or nothing. Ending twice is harmless."""
        if not self._open:
            return
        self._open = False
        try:
            self._decoder.end_utt()
        except RuntimeError as error:
            raise ProviderUnavailable(NAME, f"the decoder failed: {error}") from error

    def text(self) -> str:
        """The best so far."""
        found = self._decoder.hyp()
        return found.hypstr if found is not None else ""

    def found(self) -> list[Segment]:
        """The words or phones of the best so far, and where they are."""
        if not self.text():
            return []
        return [
            Segment(part.word, part.start_frame, part.end_frame, SCORE_SCALE * math.log(max(part.ascore, 1e-300)))
            for part in self._decoder.seg() or ()
        ]

    def run(self, pcm: bytes, mean: Mean) -> tuple[str, list[Segment]]:
        """A whole utterance at once, as if it came in pieces."""
        self.begin(mean)
        for start in range(0, len(pcm), PIECE_BYTES):
            self.feed(pcm[start : start + PIECE_BYTES])
        self.end()
        return self.text(), self.found()


class Pair:
    """The two searches that an utterance needs: one for the grammar, one for any phones."""

    def __init__(self, pronunciations: Pronunciations) -> None:
        # bestpath off: its lattice may end outside of the grammar's final state.
        self._decoder = decoder(bestpath=False, compallsen=True)
        heard = decoder(beam=1e-20, pbeam=1e-20)
        heard.add_allphone_file("phones", pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin"))
        heard.activate_search("phones")
        self.grammar = Search(self._decoder)
        self.phones = Search(heard)
        self.busy = False
        self._pronunciations = pronunciations
        self._compiled: OrderedDict[str, str] = OrderedDict()
        self._counter = 0

    def knows(self, grammar: str) -> bool:
        return grammar in self._compiled

    def use(self, grammar: str, words: Iterable[str]) -> None:
        """Search this grammar from the next utterance on.

        :raises ProviderRejected: it cannot be compiled, or a word of it cannot be pronounced.
        """
        if grammar not in self._compiled:
            self._compile(grammar, words)
        self._compiled.move_to_end(grammar)
        self._decoder.activate_search(self._compiled[grammar])
        while len(self._compiled) > GRAMMARS:
            self._decoder.remove_search(self._compiled.popitem(last=False)[1])

    def spelled(self, sentence: Iterable[Segment]) -> list[str]:
        """The phones of a sentence that was found."""
        return " ".join(self._decoder.lookup_word(part.name) or "" for part in sentence if part.speech).split()

    def _compile(self, grammar: str, words: Iterable[str]) -> None:
        for word in words:
            if self._decoder.lookup_word(word):
                continue
            for name, phones in self._pronunciations(word):
                self._decoder.add_word(name, phones, False)
        self._counter += 1
        name = f"grammar{self._counter}"
        try:
            self._decoder.add_jsgf_string(name, grammar.encode())
        except (ValueError, RuntimeError) as error:
            raise ProviderRejected(NAME, "the grammar is no JSGF that it can use") from error
        self._compiled[grammar] = name


class Pairs:
    """A pool, made as they are needed and kept."""

    def __init__(self, pronunciations: Pronunciations) -> None:
        self._pronunciations = pronunciations
        self._all: list[Pair] = []

    def take(self, grammar: str) -> Pair | None:
        """A pair for one utterance, one that knows the grammar if there is such; None where all are busy."""
        free = [pair for pair in self._all if not pair.busy]
        pair = next((pair for pair in free if pair.knows(grammar)), free[0] if free else None)
        if pair is None and len(self._all) < MOST_PAIRS:
            pair = Pair(self._pronunciations)
            self._all.append(pair)
        if pair is not None:
            pair.busy = True
        return pair


def decoder(**options: Any) -> pocketsphinx.Decoder:
    """A decoder without dictionary and language model, unless the options name them."""
    return pocketsphinx.Decoder(loglevel="FATAL", **{"lm": None, "dict": None, **options})
