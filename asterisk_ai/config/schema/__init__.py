"""The shape of ``asterisk_ai.yaml``: what each key means, its type, its range and its default.

The loader reads these dataclasses' fields, so a key is added by adding a
field. Ranges are :class:`Range` annotations; what has none takes the range
that its name's unit implies (see ``reader.unit_range``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from asterisk_ai.config import paths
from asterisk_ai.dialog.staged.state import TurnParams
from asterisk_ai.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it."""

    low: float
    high: float


class Secret(str):
    """A string that :func:`repr` does not show: a configuration can be logged, its keys not.

    It is the string itself for everything else (``str()`` and formatting
    give the value), because an engine has to send it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


DIAGNOSTIC_AGENTS = ("echo", "milliwatt")
"""Agents that are there without being configured, see :mod:`asterisk_ai.call.diagnostic`."""

WORKER_PORTS_EACH = 3
"""AudioSocket, FastAGI and HTTP."""

Port = Annotated[int, Range(1, 65535)]
Seconds = Annotated[float, Range(0.1, 86_400)]
Count = Annotated[int, Range(1, 100_000)]


class Names(tuple[str, ...]):
    """One name, or several in their order: ``a`` and ``[a, b]`` in the file."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(self)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """The engines of one pipeline, by their names in the catalog or as ``package.module:Class``.

    A stage with several has the first that works: the next takes over where
    one fails, or keeps the caller waiting for longer than the stage's limit.

    ``realtime`` names services of speech to speech, which need no stages. Where some stage is named beside it, the
    stages go on with calls whose services have all failed.
    """

    realtime: Names = field(default_factory=Names)
    stt: Names = field(default_factory=Names)
    llm: Names = field(default_factory=Names)
    tts: Names = field(default_factory=Names)
    turn: str = ""
    """What tells by its sound whether a caller's turn is over; empty: the words tell."""
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
        for stage, engine in (("stt", "pocketsphinx"), ("llm", "rules"), ("tts", "espeak")):
            if not getattr(self, stage):
                object.__setattr__(self, stage, Names((engine,)))

    @property
    def stages(self) -> tuple[str, ...]:
        """The kinds of engines that it has."""
        return tuple(kind for kind in ("realtime", "stt", "llm", "tts") if getattr(self, kind))


_LOCAL = PipelineConfig(stt=Names(("vosk", "pocketsphinx")), tts=Names(("piper", "espeak")))
READY_MADE: Mapping[str, PipelineConfig] = {
    "local": _LOCAL,
    "local-llm": dataclasses.replace(_LOCAL, llm=Names(("gpt4all", "rules")), llm_seconds=10.0),
}
"""Pipelines of what `asterisk-ai models fetch` got, where the file has none of the name."""


@dataclass(frozen=True, slots=True)
class AudioSocketConfig:
    """The listener for audio. ``advertise`` is host:port as Asterisk reaches it, empty for ``host:port``."""

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 9092
    advertise: str = ""
    require_registration: bool = True
    handshake_seconds: Seconds = 5.0
    idle_seconds: Seconds = 10.0
    max_connections: Count = 200


@dataclass(frozen=True, slots=True)
class FastAGIConfig:
    """The listener for ``AGI(agi://...)``."""

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 4574
    header_seconds: Seconds = 5.0
    max_connections: Count = 200


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """The listener for /health, /live, /ready and /metrics. Port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 9093


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Limits of each worker process, and how many there are.

    ``max_lateness_ms``: no new calls while 1 % of the audio leaves later than that; 0 for no such limit.
    ``worker_ports``: where ``workers`` is more than 1, the first of the ports that are the workers' own,
    three for each: AudioSocket, FastAGI, and HTTP on loopback.
    """

    max_calls: Count = 100
    drain_seconds: Annotated[float, Range(0, 86_400)] = 30.0
    max_call_seconds: Annotated[float, Range(1, 604_800)] = 3600.0
    workers: Annotated[int, Range(1, 64)] = 1
    max_lateness_ms: Annotated[float, Range(0, 1000)] = 20.0
    worker_ports: Annotated[int, Range(1, 65535 - 3 * 64)] = 9100


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where calls are kept. ``path`` is the SQLite file, empty for the state directory's."""

    backend: Literal["sqlite", "memory"] = "sqlite"
    path: str = ""
    keep_days: Annotated[int, Range(0, 36_500)] = 30


@dataclass(frozen=True, slots=True)
class VadConfig:
    """What tells a caller's speech from other sound: a small model behind a gate, or the level alone.

    ``threshold``: the model's probability of speech from which speech begins.
    """

    engine: Literal["silero", "energy"] = "silero"
    threshold: Annotated[float, Range(0.1, 0.99)] = 0.7


@dataclass(frozen=True, slots=True)
class PlaybackConfig:
    """``spool`` is the folder of replies that are played as files, empty for one beside the store."""

    spool: str = ""


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Where fetched models are kept (empty: ``paths.models_directory``), and where they come from.

    ``mirror`` is a URL (file:// too) or folder with ``<model id>/<file>`` below it, used instead of the internet.
    ``registries`` are JSON files in the shape of ``models/registry.schema.json``, added to the packaged one.
    """

    directory: str = ""
    mirror: str = ""
    registries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogConfig:
    """``transcripts`` True puts what was said and dialled into the log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    transcripts: bool = False
    format: Literal["text", "json"] = "text"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent: what it says first and last, how it takes turns, what it can answer."""

    name: str = field(default="", metadata={"key": False})
    pipeline: str = ""
    language: str = "en-US"
    greeting: str = ""
    greeting_interruptible: bool = True
    closing: str = ""
    voice: str = ""
    turn: TurnParams = field(default_factory=TurnParams)
    rules: Mapping[str, Any] = field(default_factory=dict)
    """For the ``rules`` language model, see :mod:`asterisk_ai.providers.engines.rules.schema`."""
    prompt: str = ""
    """What other language models are told they are."""
    tools: Mapping[str, Any] = field(default_factory=dict)
    """What they may do, see :mod:`asterisk_ai.providers.tools.toolbox`."""

    def as_mapping(self) -> dict[str, Any]:
        """Its fields by name, as the constructor of a language model takes them."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, checked configuration.

    ``source`` is the file it came from. ``lines`` maps key paths to lines of
    that file, for errors that are found later (see :meth:`located`).
    """

    default_agent: str = ""
    pipeline: str = "offline"
    pipelines: Mapping[str, PipelineConfig] = field(default_factory=lambda: {"offline": PipelineConfig()})
    audiosocket: AudioSocketConfig = field(default_factory=AudioSocketConfig)
    fastagi: FastAGIConfig = field(default_factory=FastAGIConfig)
    http: HttpConfig | None = field(default_factory=HttpConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    playback: PlaybackConfig = field(default_factory=PlaybackConfig)
    vad: VadConfig = field(default_factory=VadConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    agents: Mapping[str, AgentConfig] = field(default_factory=dict)
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
