"""The shape of ``asterisk_ai.yaml``: what each key means, its type, its range and its default.

The loader reads these dataclasses' fields, so a key is added by adding a
field; the text behind a field is its description in the documentation.
Ranges are :class:`Range` annotations; what has none takes the range that its
name's unit implies (see ``reader.unit_range``).
"""

from __future__ import annotations

from asterisk_ai.config.schema.after import WebhookConfig
from asterisk_ai.config.schema.agent import DIAGNOSTIC_AGENTS, DOWNSTREAM_MODES, AgentConfig
from asterisk_ai.config.schema.dialling import AmiConfig
from asterisk_ai.config.schema.lookup import LookupConfig
from asterisk_ai.config.schema.mail import MailConfig, MessageConfig
from asterisk_ai.config.schema.pipeline import READY_MADE, STAGES, PipelineConfig
from asterisk_ai.config.schema.root import Config
from asterisk_ai.config.schema.server import (
    WORKER_PORTS_EACH,
    AriConfig,
    AudioSocketConfig,
    FastAGIConfig,
    HttpConfig,
    LogConfig,
    ModelsConfig,
    PlaybackConfig,
    RecordingsConfig,
    ServerConfig,
    StoreConfig,
    VadConfig,
    WebConfig,
    WebSocketConfig,
)
from asterisk_ai.config.schema.tracing import TracingConfig
from asterisk_ai.config.schema.transfer import TransferConfig
from asterisk_ai.config.schema.types import Names, Pattern, Port, Range, Secret, Workers

__all__ = [
    "DIAGNOSTIC_AGENTS",
    "DOWNSTREAM_MODES",
    "READY_MADE",
    "STAGES",
    "WORKER_PORTS_EACH",
    "AgentConfig",
    "AmiConfig",
    "AriConfig",
    "AudioSocketConfig",
    "Config",
    "FastAGIConfig",
    "HttpConfig",
    "LogConfig",
    "LookupConfig",
    "MailConfig",
    "MessageConfig",
    "ModelsConfig",
    "Names",
    "Pattern",
    "PipelineConfig",
    "PlaybackConfig",
    "Port",
    "Range",
    "RecordingsConfig",
    "Secret",
    "ServerConfig",
    "StoreConfig",
    "TracingConfig",
    "TransferConfig",
    "VadConfig",
    "WebConfig",
    "WebSocketConfig",
    "WebhookConfig",
    "Workers",
]
