"""What a worker process of the pocketsphinx engine runs. Imported there and nowhere else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import pocketsphinx

from asterisk_ai.audio.pauses import levels, loud
from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.engines.pocketsphinx import scores
from asterisk_ai.providers.engines.pocketsphinx.decoders import (
    FRAME_BYTES,
    LOOK_BYTES,
    NAME,
    Grammar,
    Level,
    Mean,
    Pair,
    Pairs,
)
from asterisk_ai.providers.engines.pocketsphinx.pronounce import Speller
from asterisk_ai.providers.engines.pocketsphinx.scores import Segment
from asterisk_ai.providers.engines.pocketsphinx.utterance import FreeUtterance, Utterance

GRAMMARS = 64
"""Those known to be good that are remembered; the least recently used goes first."""


class PocketSphinxEngine:
    """The model, its dictionary and the decoders of all utterances in this process."""

    quantum_bytes = 640
    max_streams = 1000

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.rejection: str = settings["rejection"]
        try:
            self._dictionary = pocketsphinx.Decoder(loglevel="FATAL", lm=None)
            self._level = Level()
            self._pairs = Pairs(self._pronunciations)
            self.spare = Pair(self._pronunciations)
        except RuntimeError as error:
            raise ProviderUnavailable(NAME, f"cannot load its model: {error}") from error
        self._free: pocketsphinx.Decoder | None = None
        self._speller: Speller | None = None
        self._good: OrderedDict[Grammar, None] = OrderedDict()

    def open(self, options: Mapping[str, Any]) -> Utterance | FreeUtterance:
        """A stream; a grammar that cannot be used is refused here."""
        if not options["grammar"]:
            return FreeUtterance(options["rate"], self.free)
        grammar = Grammar(options["grammar"], tuple(options["words"]))
        self._check(grammar)
        return Utterance(self, options["rate"], grammar)

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Check a grammar: nothing to tell where it can be used."""
        if question["grammar"]:
            self._check(Grammar(question["grammar"], tuple(question["words"])))
        return {}

    def take(self, grammar: Grammar) -> Pair | None:
        """Decoders for one utterance, to be given back by ``pair.busy = False``; None where all are busy."""
        return self._pairs.take(grammar.jsgf)

    def prepare(self, pair: Pair, grammar: Grammar) -> None:
        """Make the next utterance of these decoders one of this grammar."""
        pair.use(*grammar)

    def mean(self, pcm: bytes) -> Mean:
        """The cepstral mean that the beginning of an utterance lets expect."""
        return self._level.mean(pcm)

    def match(self, grammar: Grammar, pcm: bytes) -> tuple[str, list[Segment]]:
        """The sentence of the grammar nearest to a whole utterance; empty where none is near enough to be followed."""
        self.prepare(self.spare, grammar)
        return self.spare.grammar.run(pcm, self.mean(pcm[:LOOK_BYTES]))

    def heard(self, pcm: bytes) -> list[Segment]:
        """Phones of a whole utterance, in the order that English has them."""
        return self.spare.phones.run(pcm, self.mean(pcm[:LOOK_BYTES]))[1]

    def evidence(self, pcm: bytes, sentence: list[Segment], heard: list[Segment]) -> scores.Evidence:
        """The results of :meth:`match` and :meth:`heard` compared."""
        return scores.evidence(sentence, self.spare.spelled(sentence), heard, loud(levels(pcm, FRAME_BYTES // 2)))

    def free(self) -> pocketsphinx.Decoder:
        """The free language model: for agents without a grammar. Some 90 MB, so loaded when first asked for."""
        if self._free is None:
            self._free = pocketsphinx.Decoder(
                loglevel="FATAL", fwdflat=False, bestpath=False, beam=1e-30, pbeam=1e-30, wbeam=1e-20, maxhmmpf=3000
            )
        return self._free

    def pronunciation(self, word: str) -> str:
        """The word's phones by the dictionary or by espeak-ng's rules; empty where there is none."""
        found: str | None = self._dictionary.lookup_word(word)
        if found:
            return found
        self._speller = self._speller or Speller()
        return self._speller.phones(word)

    def _pronunciations(self, word: str) -> Iterator[tuple[str, str]]:
        """All that there are: "read" and "read(2)", as the dictionary calls them, with their phones."""
        yield word, self.pronunciation(word)
        number = 2
        while phones := self._dictionary.lookup_word(f"{word}({number})"):
            yield f"{word}({number})", phones
            number += 1

    def _check(self, grammar: Grammar) -> None:
        """See whether it can be used.

        :raises ProviderRejected: it cannot be compiled, or a word of it cannot be pronounced.
        """
        if grammar not in self._good:
            for word in grammar.words:
                if not self.pronunciation(word):
                    raise ProviderRejected(NAME, f"the word {word!r} cannot be pronounced; spell it as it is spoken")
            self.spare.use(*grammar)
            self._good[grammar] = None
        self._good.move_to_end(grammar)
        while len(self._good) > GRAMMARS:
            self._good.popitem(last=False)
