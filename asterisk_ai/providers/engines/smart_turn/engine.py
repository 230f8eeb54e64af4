"""The model in a worker process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.boundary import library_boundary
from asterisk_ai.providers.engines.smart_turn import NAME
from asterisk_ai.providers.engines.smart_turn.features import BANDS, FRAMES, RATE, SECONDS, features


class SmartTurnEngine:
    """An :class:`~asterisk_ai.providers.workers.child.Engine`. Settings: ``model``, a file."""

    quantum_bytes = 2 * RATE * SECONDS
    max_streams = 1000

    def __init__(self, settings: Mapping[str, Any]) -> None:
        path = Path(settings["model"])
        mend = "fetch it with: asterisk-ai models fetch smart-turn-v3.1-cpu"
        if not path.is_file():
            raise ProviderRejected(NAME, f"there is no model {path} ({mend})")
        with library_boundary(NAME, f"cannot use {path} ({mend})"):
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.likelihood(np.zeros(RATE))

    def ask(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Nothing can be asked."""
        return {}

    def open(self, options: Mapping[str, Any]) -> Turn:
        return Turn(self, int(options["rate"]))

    def likelihood(self, samples: Any) -> float:
        """Of samples at RATE, in -1..1."""
        inputs = {"input_features": features(samples).reshape(1, BANDS, FRAMES)}
        return float(np.ravel(self._session.run(None, inputs)[0])[0])


class Turn:
    """An :class:`~asterisk_ai.providers.workers.child.EngineStream`: what the caller has said so far."""

    def __init__(self, engine: SmartTurnEngine, rate: int) -> None:
        self._engine = engine
        self._resampler = Resampler(rate, RATE)
        self._audio = bytearray()

    def feed(self, data: bytes) -> None:
        self._audio += self._resampler.push(data[: len(data) & ~1])
        del self._audio[: max(0, len(self._audio) - 2 * RATE * SECONDS)]

    def finish(self) -> Mapping[str, Any]:
        self._audio += self._resampler.flush()
        return {"probability": self._engine.likelihood(np.frombuffer(bytes(self._audio), "<i2") / 32768)}

    def ahead(self) -> bool:
        return False

    def news(self) -> None:
        return None

    def close(self) -> None:
        self._audio.clear()
