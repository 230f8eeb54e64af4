"""The end of a turn by how it sounds: the smart-turn v3 model, by onnxruntime, in worker processes.

It tells from the last 8 s of what a caller said whether they have finished,
whatever the language, and takes some 10 to 100 ms of a core for it. The wheel of ``pipecat-ai`` carries its version 3.2
(BSD-2-Clause): where that is installed, agents use it without being told to.

Source: pipecat-ai/smart-turn, ``inference.py``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asterisk_ai.config.schema import Workers
from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.workers import PooledEngine, WorkerPool

NAME = "smart-turn"
PACKAGE = "pipecat-ai"
"""``pip install --no-deps pipecat-ai`` is enough: it is looked up, never imported."""
_WEIGHTS = "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
ENGINE = "asterisk_ai.providers.engines.smart_turn.engine:SmartTurnEngine"
SECONDS = 10.0
"""A worker that says nothing for so long is taken to hang: far more than all that may wait for it takes."""
MAX_WAITING = 8
"""Pauses that one worker has at once: later answers would come after the turns' ends have been decided otherwise."""
_LONGEST_BYTES = 2 * 192_000 * 8  # 8 s at AudioSocket's highest rate


@dataclass(frozen=True, slots=True)
class SmartTurnSettings:
    """``providers.smart-turn``."""

    model: str = field(
        default="",
        metadata={
            "needed": "name a model, such as smart-turn-v3.1-cpu (`asterisk-ai models fetch smart-turn-v3.1-cpu`), or "
            "pip install --no-deps pipecat-ai"
        },
    )
    """A file, or its name as `asterisk-ai models fetch` got it; empty for the one in the wheel of pipecat-ai."""
    workers: Workers = 1
    """Processes."""


def packaged() -> Path | None:
    """The model in the installed wheel, or None."""
    found = importlib.util.find_spec("pipecat")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        if (path := Path(folder) / _WEIGHTS).is_file():
            return path
    return None


class SmartTurn(PooledEngine):
    """The ``smart-turn`` engine. Satisfies :class:`~asterisk_ai.providers.api.TurnEnd`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if not settings.get("model") and (weights := packaged()) is not None:
            settings = {**settings, "model": str(weights)}
        own = read_settings(SmartTurnSettings, settings, f"providers.{NAME}")
        super().__init__(
            WorkerPool(
                NAME,
                ENGINE,
                {"model": own.model},
                workers=own.workers,
                backlog_bytes=_LONGEST_BYTES,
                max_requests=MAX_WAITING,
            )
        )

    async def likelihood(self, pcm: bytes, rate: int) -> float:
        """Probability that the turn is over. Raises ProviderError, at once where too many pauses wait already."""
        async with self._pool.open({"rate": rate}, lambda news: None) as stream:
            stream.feed(pcm)
            return float((await stream.finish(SECONDS))["probability"])
