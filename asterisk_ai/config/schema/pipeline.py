"""Which engines serve a call, and how long each may take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from asterisk_ai.config.schema.types import Names, Range

STAGES = ("realtime", "stt", "llm", "tts", "turn")
"""The kinds of engines, each a key of a pipeline."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """The engines of one pipeline, by their names in the catalog or as ``package.module:Class``.

    A stage with several has the first that works: the next takes over where
    one fails, or keeps the caller waiting for longer than the stage's limit.
    """

    realtime: Names = field(default_factory=Names)
    """Services of speech to speech, which need no stages. Stages beside them take over where all fail."""
    stt: Names = field(default_factory=Names)
    """Recognisers: speech to text."""
    llm: Names = field(default_factory=Names)
    """Language models: what is answered."""
    tts: Names = field(default_factory=Names)
    """Voices: text to speech."""
    turn: Names = field(default_factory=Names)
    """What tells by its sound, beside the words, whether a caller's turn is over; empty: smart-turn where its model is
    installed (`pip install --no-deps pipecat-ai`), else the words alone."""
    realtime_seconds: Annotated[float, Range(0.1, 60)] = 4.0
    """For a session, for the beginning of an answer from the end of the caller's speech, and within answers."""
    stt_seconds: Annotated[float, Range(0.1, 60)] = 4.0
    """For the words, from the end of the caller's speech."""
    llm_seconds: Annotated[float, Range(0.1, 60)] = 4.0
    """For the first part of the answer, and between parts."""
    tts_seconds: Annotated[float, Range(0.1, 60)] = 2.0
    """For the first sound of a sentence, and between pieces."""
    switching: str = "One moment, please."
    """Said where the caller has waited for one engine and the next is asked; empty for nothing."""
    breaker_failures: Annotated[int, Range(1, 1000)] = 3
    """After so many failures in a row an engine is left alone ..."""
    breaker_seconds: Annotated[float, Range(0.1, 86_400)] = 30.0
    """... for so long, then tried by one call."""

    def __post_init__(self) -> None:
        """The stages that are not named are the embedded engines', unless no stages are wanted."""
        if self.realtime and not (self.stt or self.llm or self.tts):
            return
        embedded = (("stt", ("moonshine", "pocketsphinx")), ("llm", ("rules",)), ("tts", ("hibari", "espeak")))
        for stage, engines in embedded:
            if not getattr(self, stage):
                object.__setattr__(self, stage, Names(engines))

    @property
    def stages(self) -> tuple[str, ...]:
        """The kinds of engines that it has."""
        return tuple(kind for kind in STAGES if getattr(self, kind))


_LOCAL = PipelineConfig(stt=Names(("vosk", "pocketsphinx")), tts=Names(("piper", "espeak")))
READY_MADE: Mapping[str, PipelineConfig] = {
    "local": _LOCAL,
    "local-llm": dataclasses.replace(_LOCAL, llm=Names(("gpt4all", "rules")), llm_seconds=10.0),
}
"""Pipelines of what `asterisk-ai models fetch` got, where the file has none of the name."""
