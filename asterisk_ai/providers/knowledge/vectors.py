"""The meaning of a sentence as a vector: the mean of what is known of its parts. Nothing is fetched.

The numbers and the list of word parts are files in wordllama's wheel (MIT; 256 numbers for each of 32,000 parts). They
are read as files: that library itself would load much more, and look for its files on the internet where it misses one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_WEIGHTS = Path("weights/l2_supercat_256.safetensors")
_PARTS = Path("tokenizers/l2_supercat_tokenizer_config.json")
_HEADER = 8  # bytes of the length of the header, which tells where the numbers are. Source: safetensors' README.


class Vectors:
    """Shared by all agents: the file stays on the disk, mapped, and what is used of it is read."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, ValueError or ImportError where the files or the reader of word parts are not there."""
        from tokenizers import Tokenizer

        raw = np.memmap(folder / _WEIGHTS, np.uint8, "r")
        begin = _HEADER + int(raw[:_HEADER].view("<u8")[0])
        about = json.loads(bytes(raw[_HEADER:begin]))["embedding.weight"]
        if about["dtype"] != "F16":
            raise ValueError(f"{_WEIGHTS.name} holds {about['dtype']}, not F16")
        start, end = about["data_offsets"]
        self._matrix = raw[begin + start : begin + end].view("<f2").reshape(about["shape"])
        self._parts: Any = Tokenizer.from_file(str(folder / _PARTS))
        self._parts.no_padding()

    def of(self, texts: Sequence[str]) -> Floats:
        """A row of length 1 for each text; zeros where nothing is known of it."""
        rows = np.zeros((len(texts), self._matrix.shape[1]), np.float32)
        for number, found in enumerate(self._parts.encode_batch(list(texts), add_special_tokens=False)):
            if found.ids:
                rows[number] = self._matrix[found.ids].astype(np.float32).mean(axis=0)
        lengths: Floats = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6).astype(np.float32)
        rows /= lengths
        return rows


@functools.cache
def vectors() -> Vectors | None:
    """None where this machine has no such files: then the words alone tell."""
    found = find_spec("wordllama")
    try:
        return Vectors(Path(found.origin).parent) if found and found.origin else None
    except (OSError, ValueError, ImportError, KeyError):
        return None
