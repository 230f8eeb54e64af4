"""The whole of ``asterisk_ai.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asterisk_ai.config import paths
from asterisk_ai.config.schema.after import WebhookConfig
from asterisk_ai.config.schema.agent import AgentConfig
from asterisk_ai.config.schema.dialling import AmiConfig
from asterisk_ai.config.schema.mail import MailConfig
from asterisk_ai.config.schema.pipeline import PipelineConfig
from asterisk_ai.config.schema.server import (
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
from asterisk_ai.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, checked configuration.

    ``source`` is the file it came from. ``lines`` maps key paths to lines of
    that file, for errors that are found later (see :meth:`located`).
    """

    default_agent: str = ""
    """The agent of calls that name none; not needed where there is only one."""
    pipeline: str = "offline"
    """The pipeline of agents that name none."""
    pipelines: Mapping[str, PipelineConfig] = field(default_factory=lambda: {"offline": PipelineConfig()})
    """Name to engines."""
    audiosocket: AudioSocketConfig = field(default_factory=AudioSocketConfig)
    fastagi: FastAGIConfig = field(default_factory=FastAGIConfig)
    ari: AriConfig | None = None
    websocket: WebSocketConfig | None = None
    ami: AmiConfig | None = None
    http: HttpConfig | None = field(default_factory=HttpConfig)
    web: WebConfig = field(default_factory=WebConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    playback: PlaybackConfig = field(default_factory=PlaybackConfig)
    recordings: RecordingsConfig = field(default_factory=RecordingsConfig)
    webhooks: Mapping[str, WebhookConfig] = field(default_factory=dict)
    mail: MailConfig | None = None
    tracing: TracingConfig | None = None
    vad: VadConfig = field(default_factory=VadConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of the engines, each by its name."""
    agents: Mapping[str, AgentConfig] = field(default_factory=dict)
    """Name to agent."""
    source: str = field(default="", metadata={"key": False})
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False, metadata={"key": False})

    def agent(self, name: str = "") -> AgentConfig:
        """The agent of that name, or the default one for "". Raises KeyError."""
        return self.agents[name or self.default_agent]

    def pipeline_of(self, agent: AgentConfig) -> PipelineConfig:
        """The engines that serve ``agent``."""
        return self.pipelines[agent.pipeline or self.pipeline]

    def settings(self, provider: str) -> Mapping[str, Any]:
        """What ``providers`` says about one engine; empty where it says nothing."""
        return self.providers.get(provider, {})

    def store_path(self) -> Path:
        """The SQLite file; its folder may have to be made."""
        if self.store.path:
            return paths.beside(self.source, self.store.path)
        return paths.state_directory() / "sessions.db"

    def spool_path(self) -> Path:
        """The folder of replies that are played as files; it may have to be made."""
        if self.playback.spool:
            return paths.beside(self.source, self.playback.spool)
        return self.store_path().parent / "spool"

    def recordings_path(self) -> Path:
        """The folder of recordings; it may have to be made."""
        if self.recordings.directory:
            return paths.beside(self.source, self.recordings.directory)
        return self.store_path().parent / "recordings"

    def sounds_path(self) -> Path:
        """The folder of Asterisk's sounds."""
        if self.playback.sounds:
            return paths.beside(self.source, self.playback.sounds)
        return paths.sounds_directory()

    def models_path(self) -> Path:
        """The folder of fetched models; it may have to be made."""
        if self.models.directory:
            return paths.beside(self.source, self.models.directory)
        return paths.models_directory()

    def mirror_url(self) -> str:
        """What is asked for models instead of the internet, empty for nothing."""
        mirror = self.models.mirror
        return str(paths.beside(self.source, mirror)) if mirror and "://" not in mirror else mirror

    def registry_paths(self) -> tuple[Path, ...]:
        """The administrator's own registries of models."""
        return tuple(paths.beside(self.source, path) for path in self.models.registries)

    def located(self, error: ConfigError) -> ConfigError:
        """``error`` with this file's name and the line of its key (or of the nearest key above it)."""
        path = error.path
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        line = error.line or self.lines.get(path, 0)
        return ConfigError(error.message, path=error.path, line=line, file=error.file or self.source)
