"""Fallback chains: engines of one stage in line, that look to the call like one engine.

Each engine has a time limit and a circuit breaker. Where one fails, the next
takes over in the middle of the turn: the recogniser's audio is played to it
again, the question asked again, the rest of the sentence spoken by it. What
happened is told to whoever listens (:func:`listening`) and to the metrics.
"""

from __future__ import annotations

from asterisk_ai.providers.chain.chain import Limits, Listener, Member, Trouble, TroubleKind, listening
from asterisk_ai.providers.chain.circuit import Breaker
from asterisk_ai.providers.chain.llm import LanguageModelChain
from asterisk_ai.providers.chain.meter import KEYS, Meter, Purse
from asterisk_ai.providers.chain.stt import SpeechToTextChain
from asterisk_ai.providers.chain.tts import TextToSpeechChain
from asterisk_ai.providers.chain.whole import RealtimeChain, TurnEndChain

__all__ = [
    "KEYS",
    "Breaker",
    "LanguageModelChain",
    "Limits",
    "Listener",
    "Member",
    "Meter",
    "Purse",
    "RealtimeChain",
    "SpeechToTextChain",
    "TextToSpeechChain",
    "Trouble",
    "TroubleKind",
    "TurnEndChain",
    "listening",
]
