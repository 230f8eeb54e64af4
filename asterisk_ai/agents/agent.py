"""Who talks: an agent's configuration with the engines that serve it."""

from __future__ import annotations

from dataclasses import dataclass, field

from asterisk_ai.agents.pace import Pace
from asterisk_ai.agents.sounds import Sounds
from asterisk_ai.config.schema import AgentConfig
from asterisk_ai.providers.api import LanguageModel, SpeechToText, TextToSpeech, TurnEnd
from asterisk_ai.providers.chain import RealtimeChain


@dataclass(frozen=True, slots=True)
class Agent:
    """Shared by its calls."""

    config: AgentConfig
    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    turn_end: TurnEnd | None = None
    """None: the words alone tell whether a turn is over."""
    pace: Pace = field(default_factory=Pace)
    """Of its voice."""
    voice_key: str = ""
    """Tells its synthesisers and their settings from others."""
    sounds: Sounds | None = None
    """Where the sound files are that its texts name; None where it may name none."""


@dataclass(frozen=True, slots=True)
class RealtimeAgentSetup:
    """One whose conversations are held by services of speech to speech. Shared by its calls.

    :param seconds: that a service may keep the caller waiting.
    :param fallback: who goes on with a call where all services have failed; None for the dialplan's fallback.
    """

    config: AgentConfig
    chain: RealtimeChain
    seconds: float
    fallback: Agent | None = None
