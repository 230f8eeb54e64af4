"""The configuration file ``asterisk_ai.yaml``: its schema, and loading it.

config = load()                      # --config, $ASTERISK_AI_CONFIG, ./, /etc/asterisk/, packaged sample
agent = config.agent("reception")    # AgentConfig
engines = config.pipeline_of(agent)  # PipelineConfig(stt, llm, tts)
"""

from __future__ import annotations

from asterisk_ai.config.loader import ConfigErrors, load, load_part, parse, rewritten
from asterisk_ai.config.network import Proxies, host_port, proxies, reachable
from asterisk_ai.config.paths import ServiceManager, find, service_manager, share_path, state_directory
from asterisk_ai.config.schema import (
    STAGES,
    AgentConfig,
    AmiConfig,
    AriConfig,
    AudioSocketConfig,
    Config,
    FastAGIConfig,
    HttpConfig,
    LogConfig,
    LookupConfig,
    MailConfig,
    MessageConfig,
    ModelsConfig,
    Names,
    PipelineConfig,
    PlaybackConfig,
    RecordingsConfig,
    Secret,
    ServerConfig,
    StoreConfig,
    TracingConfig,
    WebConfig,
    WebhookConfig,
    WebSocketConfig,
)

__all__ = [
    "STAGES",
    "AgentConfig",
    "AmiConfig",
    "AriConfig",
    "AudioSocketConfig",
    "Config",
    "ConfigErrors",
    "FastAGIConfig",
    "HttpConfig",
    "LogConfig",
    "LookupConfig",
    "MailConfig",
    "MessageConfig",
    "ModelsConfig",
    "Names",
    "PipelineConfig",
    "PlaybackConfig",
    "Proxies",
    "RecordingsConfig",
    "Secret",
    "ServerConfig",
    "ServiceManager",
    "StoreConfig",
    "TracingConfig",
    "WebConfig",
    "WebSocketConfig",
    "WebhookConfig",
    "find",
    "host_port",
    "load",
    "load_part",
    "parse",
    "proxies",
    "reachable",
    "rewritten",
    "service_manager",
    "share_path",
    "state_directory",
]
