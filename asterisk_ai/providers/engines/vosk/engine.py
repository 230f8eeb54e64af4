"""The recogniser in a worker process. One model, a recogniser of its own for each utterance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.boundary import library_boundary
from asterisk_ai.providers.engines.vosk import NAME

MODEL_RATE = 16_000
UNKNOWN = ("[unk]", "<UNK>", "<unk>", "[UNK]")
"""What models write for a word that is none of theirs; each has one of them."""


class VoskEngine:
    """An :class:`~asterisk_ai.providers.workers.child.Engine`. Settings: ``model``, a folder."""

    quantum_bytes = 3200  # 0.2 s at 8 kHz: the chunk that Kaldi's networks work on
    max_streams = 200

    def __init__(self, settings: Mapping[str, Any]) -> None:
        folder = Path(settings["model"])
        if not folder.is_dir():
            raise ProviderRejected(NAME, f"there is no model {folder}")
        with library_boundary(NAME, f"{folder} is no model"):
            import vosk

            vosk.SetLogLevel(-1)
            self._recogniser = vosk.KaldiRecognizer
            self._model = vosk.Model(str(folder))
        self._unknown = next((word for word in UNKNOWN if self._knows(word)), "")

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Which of ``words`` the model does not know."""
        return {"unknown": [word for word in question.get("words", ()) if not self._knows(word)]}

    def _knows(self, word: str) -> bool:
        return bool(self._model.vosk_model_find_word(word) >= 0)

    def open(self, options: Mapping[str, Any]) -> VoskUtterance:
        known = [word for word in options["words"] if self._knows(word)]
        if known:
            # The library takes UTF-8 and knows no escapes: an escaped letter makes a word that is none of the model's.
            words = json.dumps([*known, self._unknown] if self._unknown else known, ensure_ascii=False)
            recogniser = self._recogniser(self._model, MODEL_RATE, words)
        else:
            recogniser = self._recogniser(self._model, MODEL_RATE)
        recogniser.SetWords(True)
        return VoskUtterance(recogniser, int(options["rate"]))


class VoskUtterance:
    """An :class:`~asterisk_ai.providers.workers.child.EngineStream`."""

    def __init__(self, recogniser: Any, rate: int) -> None:
        self._recogniser = recogniser
        self._resampler = Resampler(rate, MODEL_RATE)
        self._words: list[Mapping[str, Any]] = []
        self._partial = self._told = ""
        self._fresh = False

    def feed(self, data: bytes) -> None:
        pcm = self._resampler.push(data)
        if not pcm:
            return
        if self._recogniser.AcceptWaveform(pcm):  # Kaldi's own endpoint: an utterance may hold several
            self._words += json.loads(self._recogniser.Result()).get("result", ())
        self._fresh = True

    def ahead(self) -> bool:
        """The words so far cost nothing more than asking for them."""
        if not self._fresh:
            return False
        self._fresh = False
        self._partial = json.loads(self._recogniser.PartialResult()).get("partial", "")
        return True

    def news(self) -> Mapping[str, Any] | None:
        text = " ".join([*(str(word["word"]) for word in self._words), *self._partial.split()])
        if not text or text == self._told:
            return None
        self._told = text
        return _result(text, 1.0)

    def finish(self) -> Mapping[str, Any]:
        """The words, with their times in seconds from the utterance's beginning."""
        if tail := self._resampler.flush():
            self._recogniser.AcceptWaveform(tail)
        self._words += json.loads(self._recogniser.FinalResult()).get("result", ())
        text = " ".join(str(word["word"]) for word in self._words)
        sure = [float(word.get("conf", 1.0)) for word in self._words]
        times = [{"word": word["word"], "start": word["start"], "end": word["end"]} for word in self._words]
        return {**_result(text, min(1.0, sum(sure) / len(sure)) if sure else 0.0), "words": times}

    def close(self) -> None:
        self._recogniser = None


def _result(text: str, confidence: float) -> dict[str, Any]:
    words = text.split()
    plain = " ".join(word for word in words if word not in UNKNOWN)
    return {"text": plain, "accepted": bool(plain) and not set(words) & set(UNKNOWN), "confidence": confidence}
