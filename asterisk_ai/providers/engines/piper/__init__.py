"""Text to speech with piper: neural voices on the CPU, one sentence after the other, in worker processes."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from asterisk_ai.config.schema import Range, Workers
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.workers import PooledEngine, WorkerPool, producing

NAME = "piper"
ENGINE = "asterisk_ai.providers.engines.piper.engine:PiperEngine"
MAX_TEXT = 5000
PIECE_SECONDS = 0.5
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class PiperSettings:
    """``providers.piper``."""

    model: str = field(default="", metadata={"needed": "name a voice: a file, or a model of `asterisk-ai models list`"})
    """An .onnx voice, its .json beside it, or a model's name that `asterisk-ai models fetch` got."""
    speaker: Any = ""
    """A name or number of a voice with several."""
    speed: Annotated[float, Range(0.3, 3)] = 1.0
    workers: Workers = 1
    """Processes; each loads the voice."""
    threads: Annotated[int, Range(1, 64)] = 1
    """Of each process."""


class Piper(PooledEngine):
    """The ``piper`` engine. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    streams = "sound as it is made"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read_settings(PiperSettings, settings, f"providers.{NAME}")
        self._rate = 22_050
        self._speakers: dict[str, int] = {}
        self._speaker, self._speed = str(own.speaker), own.speed
        setup = {"model": own.model, "threads": own.threads}
        super().__init__(WorkerPool(NAME, ENGINE, setup, workers=own.workers))

    @property
    def sample_rate(self) -> int:
        """The voice's, known once it was started."""
        return self._rate

    async def start(self) -> None:
        """Start the workers, which load the voice. Raises ProviderRejected where it is none."""
        await super().start()
        about = await self._pool.ask({})
        self._rate, self._speakers = int(about["rate"]), dict(about["speakers"])
        self._speaker_id(self._speaker)

    def _speaker_id(self, name: str) -> int | None:
        if not name:
            return None
        if name in self._speakers:
            return self._speakers[name]
        if name.isascii() and name.isdigit() and int(name) in self._speakers.values():
            return int(name)
        raise ProviderRejected(NAME, f"the voice has no speaker {name!r}")

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``; ``voice`` is one of the voice's speakers. Leaving ends the work after its sentence.

        :raises ProviderUnavailable: no worker; :raises ProviderRejected: no such speaker.
        """
        text = " ".join("".join(char if char.isprintable() else " " for char in text[:MAX_TEXT]).split())
        speaker = self._speaker_id(voice or self._speaker)
        options = {"text": text.replace("[[", " "), "speaker": speaker, "speed": self._speed * speed}
        async with producing(self._pool, NAME, options, SECONDS) as messages:
            yield self._pieces(messages)

    async def _pieces(self, messages: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
        size = int(PIECE_SECONDS * self._rate) * 2
        async for message in messages:
            pcm = base64.b64decode(message["pcm"])
            for start in range(0, len(pcm), size):
                yield pcm[start : start + size]


def voice_config(model: Path) -> dict[str, Any]:
    """The voice's .json. Raises ProviderRejected."""
    try:
        found = json.loads(model.with_name(model.name + ".json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ProviderRejected(NAME, f"the voice cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ProviderRejected(NAME, f"{model.name}.json holds no voice")
    return found
