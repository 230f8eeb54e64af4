"""What a worker process of the pocketsphinx engine runs. Imported there and nowhere else."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pocketsphinx
import soxr

from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.pocketsphinx import scores
from asterisk_ai.providers.pocketsphinx.pauses import Pauses, levels, loud
from asterisk_ai.providers.pocketsphinx.pronounce import Speller
from asterisk_ai.providers.pocketsphinx.scores import Segment

NAME = "pocketsphinx"
MODEL_RATE = 16000
"""Of the model, in Hz. Its filters at 8 kHz, cut to the telephone's band, understood next to nothing when measured."""
GRAMMARS = 64
"""Compiled ones that are kept; the least recently used goes first."""
MAX_SECONDS = 30
"""Of audio kept for one utterance; the oldest is dropped."""
SCORE_SCALE = 1024
"""A segment's score is the true one shifted right by 10 bits (SENSCR_SHIFT of pocketsphinx 5.1)."""
FRAME_BYTES = 320
"""10 ms at the model's rate."""
SHORT_FRAMES = 200
TELEPHONE_MEAN = (48.3, 35.4, -28.4, 40.1, -19.6, 2.2, 7.4, -20.9, 23.9, -13.8, -3.7, 5.2, -13.8)
"""Median cepstral mean of 120 telephone prompts, brought from 8 to 16 kHz."""
TELEPHONE_FRAMES = 200.0
TELEPHONE_LEVEL_FRAMES = 50.0
"""How many frames of the utterance the usual mean weighs as much as."""

Result = dict[str, Any]
Steps = Generator[None, None, Result]


class Utterance:
    """One utterance: collected, decoded ahead at each pause, and whole at the end where that was too early."""

    def __init__(self, engine: PocketSphinxEngine, rate: int, grammar: str) -> None:
        self._engine = engine
        self._rate = rate
        self._grammar = grammar
        self._audio = bytearray()
        self._pauses = Pauses(rate)
        self._ahead: Steps | None = None
        self._ahead_from = 0
        self._result: Result | None = None
        self._told = False
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        data = data[: len(data) & ~1]
        self._audio += data
        self._bound()
        self._pauses.feed(data)
        if self._ahead_from and self._pauses.loud_since(self._ahead_from):  # not the end after all
            self._ahead_from, self._ahead, self._result, self._told = 0, None, None, False
        if not self._ahead_from and self._pauses.pausing():
            self._ahead_from = self._pauses.frames
            self._ahead = self._decode()

    def ahead(self) -> bool:
        if self._ahead is None:
            return False
        self._step()
        return True

    def news(self) -> Result | None:
        if self._result is None or self._told:
            return None
        self._told = True
        return self._result

    def finish(self) -> Result:
        if not self._ahead_from:
            self._ahead = self._decode()
        while self._ahead is not None:
            self._step()
        return {**(self._result or {}), "lost": self._dropped}

    def close(self) -> None:
        self._audio.clear()

    def _bound(self) -> None:
        surplus = len(self._audio) - MAX_SECONDS * self._rate * 2
        if surplus > 0:
            del self._audio[: surplus + (surplus & 1)]
            self._dropped += surplus

    def _step(self) -> None:
        """One search at a time, so that other utterances get their turn between them."""
        assert self._ahead is not None  # noqa: S101 - for the type checker
        try:
            next(self._ahead)
        except StopIteration as stop:
            self._ahead, self._result = None, stop.value

    def _decode(self) -> Steps:
        start, end = self._pauses.speech()
        first = len(self._audio) // 2 - self._pauses.samples  # below 0 where the oldest was dropped
        pcm = np.frombuffer(bytes(self._audio), np.int16)[max(0, start + first) : max(0, end + first)]
        return self._engine.recognise(self._grammar, upsampled(pcm, self._rate))


def upsampled(pcm: npt.NDArray[np.int16], rate: int) -> bytes:
    """Audio at the model's rate."""
    if rate == MODEL_RATE or not len(pcm):
        return pcm.tobytes()
    wide = soxr.resample(pcm.astype(np.float32), rate, MODEL_RATE)
    return bytes(np.clip(np.round(wide), -32768, 32767).astype(np.int16).tobytes())


class PocketSphinxEngine:
    """Decoders that are each for one utterance at a time: decoding a whole utterance leaves no state behind.

    A whole utterance at once also lets the cepstral mean be taken over all of
    it, which measured better than a running mean on quiet and noisy lines.
    """

    quantum_bytes = 640
    max_streams = 1000

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._rejection = settings["rejection"]
        try:
            # bestpath off: its lattice may end outside of the grammar's final state.
            self._grammar = _decoder(lm=None, bestpath=False, compallsen=True)
            self._heard = _decoder(lm=None, dict=None, beam=1e-20, pbeam=1e-20)
            self._cheap = _decoder(lm=None, dict=None, beam=1e-10, pbeam=1e-10)
            self._cheap.add_allphone_file("phones", None)
            self._cheap.activate_search("phones")
            self._heard.add_allphone_file("phones", pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin"))
            self._heard.activate_search("phones")
        except RuntimeError as error:
            raise ProviderUnavailable(NAME, f"cannot load its model: {error}") from error
        self._free: pocketsphinx.Decoder | None = None
        self._speller: Speller | None = None
        self._measured = (b"", "")
        self._compiled: OrderedDict[str, str] = OrderedDict()
        self._counter = 0

    def open(self, options: Mapping[str, Any]) -> Utterance:
        """A stream; a grammar that cannot be used is refused here."""
        if options["grammar"]:
            self._search(options["grammar"])
        return Utterance(self, options["rate"], options["grammar"])

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Check a grammar: nothing to tell where it can be used."""
        if question["grammar"]:
            self._search(question["grammar"])
        return {}

    def recognise(self, grammar: str, pcm: bytes) -> Steps:
        """Decode an utterance at the model's rate, a search a step."""
        if not pcm:
            return _result("", math.inf, accepted=False)
        if not grammar:
            text, _ = _run(self._free_decoder(), pcm, "")
            return _result(text, 0.0, accepted=bool(text))
        text, sentence = self.match(grammar, pcm)
        if not text:
            return _result("", math.inf, accepted=False)
        if self._rejection == "off":
            return _result(text, -math.inf, accepted=True)
        yield
        suspected = scores.suspicion(self.evidence(pcm, sentence, self.heard(pcm)))
        return _result(text, suspected, accepted=scores.accepts(self._rejection, text, suspected))

    def match(self, grammar: str, pcm: bytes) -> tuple[str, list[Segment]]:
        """The sentence of the grammar that is nearest; empty where there is none near enough to be followed."""
        self._grammar.activate_search(self._search(grammar))
        return _run(self._grammar, pcm, self._mean(pcm))

    def heard(self, pcm: bytes) -> list[Segment]:
        """Phones in the order that English has them."""
        return _run(self._heard, pcm, self._mean(pcm))[1]

    def evidence(self, pcm: bytes, sentence: list[Segment], heard: list[Segment]) -> scores.Evidence:
        """The two searches' results compared."""
        return scores.evidence(sentence, self._phones(sentence), heard, loud(levels(pcm, FRAME_BYTES // 2)))

    def _mean(self, pcm: bytes) -> str:
        """The cepstral mean for an utterance too short to have one of its own, else empty.

        That of a single word is the word as much as the line, and taking it
        away takes the word away; so the telephone's usual one is mixed in.
        The first coefficient is the level, which differs from caller to caller.
        """
        frames = len(pcm) // FRAME_BYTES
        if frames >= SHORT_FRAMES:
            return ""
        if self._measured[0] != pcm:
            _run(self._cheap, pcm, "")
            own = np.array([float(part) for part in self._cheap.get_cmn(False).split(",")])
            usual = np.array(TELEPHONE_MEAN)
            weight = np.full(len(usual), TELEPHONE_FRAMES)
            weight[0] = TELEPHONE_LEVEL_FRAMES
            mean = (frames * own + weight * usual) / (frames + weight)
            self._measured = pcm, ",".join(f"{part:.4f}" for part in mean)
        return self._measured[1]

    def _free_decoder(self) -> pocketsphinx.Decoder:
        """The free language model: for agents without a grammar. Some 90 MB, so loaded when first asked for."""
        if self._free is None:
            self._free = _decoder(fwdflat=False, bestpath=False, beam=1e-30, pbeam=1e-30, wbeam=1e-20, maxhmmpf=3000)
        return self._free

    def _phones(self, sentence: list[Segment]) -> list[str]:
        words = [self._grammar.lookup_word(part.name) or "" for part in sentence if part.speech]
        return " ".join(words).split()

    def _search(self, grammar: str) -> str:
        """The name of the compiled grammar.

        :raises ProviderRejected: it cannot be compiled, or a word of it cannot be pronounced.
        """
        name = self._compiled.get(grammar)
        if name is not None:
            self._compiled.move_to_end(grammar)
            return name
        text = lowered(grammar)
        absent = undefined(text)
        if absent:
            raise ProviderRejected(NAME, f"the grammar has no rule {', '.join(absent)}")
        self._pronounce(text)
        self._counter += 1
        name = f"grammar{self._counter}"
        try:
            self._grammar.add_jsgf_string(name, text.encode())
        except (ValueError, RuntimeError) as error:
            raise ProviderRejected(NAME, "the grammar is no JSGF that it can use") from error
        self._compiled[grammar] = name
        while len(self._compiled) > GRAMMARS:
            # The active search must not be removed from under the decoder.
            self._grammar.activate_search(name)
            self._grammar.remove_search(self._compiled.popitem(last=False)[1])
        return name

    def pronunciation(self, word: str) -> str:
        """The word's phones by the dictionary or by espeak-ng's rules; empty where there is none."""
        found: str | None = self._grammar.lookup_word(word)
        if found:
            return found
        self._speller = self._speller or Speller()
        return self._speller.phones(word)

    def _pronounce(self, grammar: str) -> None:
        for word in sorted(words_of(grammar)):
            if self._grammar.lookup_word(word):
                continue
            phones = self.pronunciation(word)
            if not phones:
                raise ProviderRejected(
                    NAME, f"the grammar's word {word!r} cannot be pronounced; spell it as it is spoken"
                )
            self._grammar.add_word(word, phones, False)


COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/|\{(?:\\.|[^}\\])*\}", re.DOTALL)
"""Comments and tags of a JSGF grammar."""
NOT_WORDS = re.compile(
    r"#JSGF[^;]*;|//[^\n]*|/\*.*?\*/|<[^>]*>|\{(?:\\.|[^}\\])*\}|/\s*[\d.eE+-]+\s*/|\b(?:grammar|import)\b[^;]*;|\bpublic\b(?=\s*<)",
    re.DOTALL,
)
"""All of a JSGF grammar that is no word: header, comments, rule names, tags, weights, declarations."""


def words_of(grammar: str) -> set[str]:
    """The words of a JSGF grammar."""
    return set(re.split(r"[\s|()\[\]*+=;\"]+", NOT_WORDS.sub(" ", grammar))) - {""}


def undefined(grammar: str) -> list[str]:
    """The rules that a JSGF grammar uses and does not have; pocketsphinx takes such for words that nobody says."""
    text = COMMENTS.sub(" ", grammar)
    known = {"<NULL>", "<VOID>", *re.findall(r"(<[^>]*>)\s*=", text), *re.findall(r"\bimport\s*(<[^>]*>)", text)}
    return sorted(set(re.findall(r"<[^>]*>", text)) - known)


def lowered(grammar: str) -> str:
    """The grammar with its words in lower case, as the dictionary has them; all else as it was."""
    parts: list[str] = []
    end = 0
    for other in NOT_WORDS.finditer(grammar):
        parts += [grammar[end : other.start()].lower(), other.group()]
        end = other.end()
    return "".join([*parts, grammar[end:].lower()])


def _decoder(**options: Any) -> pocketsphinx.Decoder:
    return pocketsphinx.Decoder(loglevel="FATAL", **options)


def _run(decoder: pocketsphinx.Decoder, pcm: bytes, mean: str) -> tuple[str, list[Segment]]:
    """Decode a whole utterance: the words and where they are. ``mean``: cepstral mean, empty to take its own."""
    try:
        if mean:
            decoder.set_cmn(mean)
        decoder.start_utt()
        decoder.process_raw(pcm, False, not mean)
        decoder.end_utt()
    except RuntimeError as error:
        raise ProviderUnavailable(NAME, f"the decoder failed: {error}") from error
    found = decoder.hyp()
    if found is None or not found.hypstr:
        return "", []
    return found.hypstr, [
        Segment(part.word, part.start_frame, part.end_frame, SCORE_SCALE * math.log(max(part.ascore, 1e-300)))
        for part in decoder.seg()
    ]


def _result(text: str, suspected: float, *, accepted: bool) -> Result:
    return {"text": text, "accepted": accepted, "confidence": round(scores.confidence(suspected), 3)}
