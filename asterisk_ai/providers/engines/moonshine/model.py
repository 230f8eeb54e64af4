"""The model by plain onnxruntime: an encoder of sound, and a decoder that writes words or judges given ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from asterisk_ai.providers.engines.moonshine.tokens import BEGIN, END, Tokens

RATE = 16_000
LEAST_SAMPLES = 1_600
"""The encoder's filters need 0.056 s; words are never shorter than this."""
BEAMS = 3
"""Texts that a search among given words follows at a time."""
_HEADS, _SIZE, _LAYERS = 8, 36, 6
PER_SECOND = 6.5
"""Tokens that a second of speech can have. Longer texts are the decoder going round in circles."""
_PAST = [f"past_key_values.{layer}.{side}.{kind}" for layer in range(_LAYERS) for side in ("decoder", "encoder")
         for kind in ("key", "value")]  # fmt: skip

Floats = npt.NDArray[np.float32]


@dataclass(slots=True)
class Sound:
    """A piece of speech as the encoder sees it; all that is asked about it uses this one pass."""

    seconds: float
    states: Floats


class Model:
    """Loaded once a process. Not for several threads at a time.

    :raises OSError, ValueError: the files cannot be read. onnxruntime raises its own errors for what is no model.
    """

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # a second one brings nothing
        options.log_severity_level = 3
        cpu = ["CPUExecutionProvider"]
        self.tokens = Tokens.read(folder / "tokenizer.bin")
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder_model.ort"), options, providers=cpu)
        self._decoder = onnxruntime.InferenceSession(str(folder / "decoder_model_merged.ort"), options, providers=cpu)
        self._outputs = [output.name for output in self._decoder.get_outputs()]
        self.ends = [END, *(self.tokens.encode("a" + mark)[-1] for mark in "?!")]
        """What ends a text for certain; a comma and a dot may be followed by more."""
        self.marks = [self.tokens.encode("a" + mark)[-1] for mark in ".,"]

    def hear(self, samples: Floats) -> Sound:
        """Encode sound at RATE, -1 to 1: 30 ms of work for a second, 150 for five."""
        if len(samples) < LEAST_SAMPLES:
            samples = np.concatenate([samples, np.zeros(LEAST_SAMPLES - len(samples), np.float32)])
        mask = np.ones((1, len(samples)), np.int64)
        states = self._encoder.run(None, {"input_values": samples[None, :], "attention_mask": mask})[0]
        return Sound(len(samples) / RATE, states)

    def bare(self, tokens: Sequence[int]) -> list[int]:
        """The tokens without marks at the end."""
        found = list(tokens)
        while found and found[-1] in (*self.ends, *self.marks):
            found.pop()
        return found

    def judge(self, sound: Sound, texts: Sequence[Sequence[int]]) -> list[float]:
        """The natural log likelihood of each text (tokens without a mark at the end), whatever mark ends it.

        All in one run: some 4 ms a text.
        """
        if not texts:
            return []
        given = np.full((len(texts), max(map(len, texts)) + 2), END, np.int64)
        given[:, 0] = BEGIN
        for row, text in enumerate(texts):
            given[row, 1 : len(text) + 2] = [*text, self.marks[1]]
        logits = self.run(sound.states, given, _no_past(len(texts)), first=True)[0]
        scores = []
        for row, text in enumerate(texts):
            likely = _log_softmax(logits[row, : len(text) + 2])
            dot, comma = likely[-2, self.marks]
            ends = np.logaddexp.reduce([*likely[-2, self.ends], dot, comma + likely[-1, END]])
            scores.append(float(likely[np.arange(len(text)), list(text)].sum() + ends))
        return scores

    def run(
        self, states: Floats, tokens: npt.NDArray[np.int64], past: Mapping[str, Floats], *, first: bool
    ) -> list[Floats]:
        """The decoder once: its logits and what it wants to be given back, for each row of tokens."""
        given: dict[str, Any] = {
            "input_ids": tokens,
            "encoder_hidden_states": states if len(tokens) == 1 else np.repeat(states, len(tokens), axis=0),
            "encoder_attention_mask": np.ones((len(tokens), 1), np.int64),  # one for all: there is no padding
            "use_cache_branch": np.array([not first]),
            **past,
        }
        return list(self._decoder.run(self._outputs, given))


class Beams:
    """Several texts of one piece of speech, written side by side."""

    def __init__(self, model: Model, sound: Sound) -> None:
        self._model, self._sound = model, sound
        self._past = _no_past(1)
        self._rows = 1
        self._first = True

    def step(self, last: Sequence[Sequence[int]]) -> Floats:
        """The log likelihood of each token after each text, whose last token is given (none at the beginning)."""
        given = np.array([[*tokens] or [BEGIN] for tokens in last], np.int64)
        logits, *present = self._model.run(self._sound.states, given, self._past, first=self._first)
        for name, value in zip(_PAST, present, strict=True):
            if self._first or ".decoder." in name:
                self._past[name] = value
        self._first = False
        return _log_softmax(logits[:, -1])

    def keep(self, parents: Sequence[int]) -> None:
        """The texts that go on, by the number of the one that each comes from."""
        rows = list(parents)
        if rows != list(range(self._rows)):
            for name, value in self._past.items():
                if ".decoder." in name or len(rows) != self._rows:
                    self._past[name] = value[rows if ".decoder." in name else [0] * len(rows)]
        self._rows = len(rows)


def _no_past(rows: int) -> dict[str, Floats]:
    return {name: np.zeros((rows, _HEADS, 0, _SIZE), np.float32) for name in _PAST}


def _log_softmax(logits: Floats) -> Floats:
    top = logits.max(axis=-1, keepdims=True)
    return np.asarray(logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True)), np.float32)
