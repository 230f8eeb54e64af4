"""What a speech or language engine must offer, and nothing more.

All audio here is signed 16-bit little-endian mono PCM in ``bytes``. Opening a
stream is an async context manager: leaving it, by whatever way, aborts the
work and frees what it held. Every method may raise
:class:`~asterisk_ai.errors.ProviderUnavailable` (worth a retry or a fallback)
or :class:`~asterisk_ai.errors.ProviderRejected` (not worth one).

An engine that is a subclass of its Protocol inherits what it has nothing to say to; one that is not must have it all.
"""

from __future__ import annotations

from asterisk_ai.dialog.dialplan import ActionKind, DialplanAction
from asterisk_ai.providers.api.common import (
    Counting,
    Engine,
    Message,
    Readiness,
    ServedEngine,
)
from asterisk_ai.providers.api.llm import (
    AskDigits,
    Collecting,
    LanguageModel,
    Offering,
    Remember,
    ReplyPart,
    Say,
    TurnRequest,
    Wait,
)
from asterisk_ai.providers.api.realtime import (
    AgentAudio,
    AgentText,
    CallerText,
    RealtimeAgent,
    RealtimeEvent,
    RealtimeRequest,
    RealtimeSession,
    ResponseDone,
    ResponseStarted,
    ServiceProblem,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
)
from asterisk_ai.providers.api.stt import (
    Hints,
    SpeechToText,
    SpeechToTextStream,
    Transcript,
    Word,
    check_rate,
    ignore,
)
from asterisk_ai.providers.api.tts import (
    MarkedPcm,
    TextToSpeech,
)
from asterisk_ai.providers.api.turn_end import (
    TurnEnd,
)
from asterisk_ai.providers.api.usage import Usage

__all__ = [
    "ActionKind",
    "AgentAudio",
    "AgentText",
    "AskDigits",
    "CallerText",
    "Collecting",
    "Counting",
    "DialplanAction",
    "Engine",
    "Hints",
    "LanguageModel",
    "MarkedPcm",
    "Message",
    "Offering",
    "Readiness",
    "RealtimeAgent",
    "RealtimeEvent",
    "RealtimeRequest",
    "RealtimeSession",
    "Remember",
    "ReplyPart",
    "ResponseDone",
    "ResponseStarted",
    "Say",
    "ServedEngine",
    "ServiceProblem",
    "SpeechStarted",
    "SpeechStopped",
    "SpeechToText",
    "SpeechToTextStream",
    "TextToSpeech",
    "ToolCall",
    "Transcript",
    "TurnEnd",
    "TurnRequest",
    "Usage",
    "Wait",
    "Word",
    "check_rate",
    "ignore",
]
