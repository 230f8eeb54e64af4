"""Who talks: an agent's configuration with the engines that serve it."""

from __future__ import annotations

from dataclasses import dataclass

from asterisk_ai.config.schema import AgentConfig
from asterisk_ai.providers.base import LanguageModel, SpeechToText, TextToSpeech, TurnEnd


@dataclass(frozen=True, slots=True)
class Agent:
    """Shared by its calls."""

    config: AgentConfig
    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    turn_end: TurnEnd | None = None
    """None: the words alone tell whether a turn is over."""
