"""A short measurement of what bounds language models: memory bandwidth and arithmetic."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from asterisk_ai.models.measured import Measured

_BLOCK = 32 << 20  # larger than caches that one core has to itself
_SIDE = 768


def measure(cores: float, memory_bytes: int, seconds: float = 1.0) -> Measured:
    """Takes about twice ``seconds``. Uses at most an eighth of the memory that is free.

    :param cores: how many threads, rounded up; a quota slows them down as it will slow the engines down.
    """
    began = time.perf_counter()
    threads = max(1, min(math.ceil(cores), memory_bytes // 8 // _BLOCK))
    with ThreadPoolExecutor(threads) as pool:
        blocks = [np.ones(_BLOCK // 8, dtype=np.float64) for _ in range(threads)]
        bandwidth = sum(pool.map(lambda block: _bandwidth(block, seconds), blocks))
    flops = _flops(seconds)
    return Measured(bandwidth, flops, time.perf_counter() - began)


def _bandwidth(block: np.ndarray[tuple[int], np.dtype[np.float64]], seconds: float) -> float:
    """Bytes a second that one thread reads; ``max`` runs without the interpreter's lock."""
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        block.max()
        count += 1
    return count * block.nbytes / elapsed


def _flops(seconds: float) -> float:
    """Operations a second of a matrix product; numpy's library takes all cores itself."""
    left = np.ones((_SIDE, _SIDE), dtype=np.float32)
    right = np.ones((_SIDE, _SIDE), dtype=np.float32)
    left @ right  # threads are started
    count, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        left @ right
        count += 1
    return 2.0 * _SIDE**3 * count / elapsed
