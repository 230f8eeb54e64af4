"""Finding, reading and checking ``asterisk_ai.yaml``."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from asterisk_ai.config import paths
from asterisk_ai.config.document import Document, Value
from asterisk_ai.config.reader import Reader, did_you_mean
from asterisk_ai.config.schema import (
    DIAGNOSTIC_AGENTS,
    READY_MADE,
    STAGES,
    WORKER_PORTS_EACH,
    AudioSocketConfig,
    Config,
    FastAGIConfig,
    HttpConfig,
)
from asterisk_ai.config.schema.types import Names
from asterisk_ai.dialog import caller
from asterisk_ai.errors import ConfigError

MAX_BYTES = 1024 * 1024
MAX_PROBLEMS = 50
"""Mistakes of one file that are told."""


class ConfigErrors(ConfigError):
    """All that is wrong with one file: it reads as one line for each of ``problems``, in the file's order."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        first = problems[0]
        super().__init__(first.message, path=first.path, line=first.line, file=first.file)
        self.problems = tuple(problems)

    def __reduce__(self) -> tuple[type[ConfigErrors], tuple[tuple[ConfigError, ...]]]:
        return ConfigErrors, (self.problems,)  # from the process that reads a file for a running server

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def load(path: str | None = None) -> Config:
    """Read the configuration from ``path``, else from where :func:`asterisk_ai.config.paths.find` finds one.

    :raises ConfigError: with file, line and key; :class:`ConfigErrors` where there is more than one.
    """
    file = paths.find(path)
    return parse(_read(file), str(file))


def parse(text: str, file: str = "asterisk_ai.yaml", environ: Mapping[str, str] | None = None) -> Config:
    """Check ``text`` and return the configuration it holds.

    :param file: its name in errors and in ``Config.source``.
    :param environ: what ``${VARIABLE}`` refers to; the process's environment where None.
    :raises ConfigError: as :func:`load`.
    """
    document = Document(text, file, os.environ if environ is None else environ)
    root = document.root()
    if root is None or root.data is None:
        raise ConfigError("the file holds no configuration", file=file)
    if not isinstance(root.data, dict):
        raise ConfigError("the file must be a mapping: lines of 'key: value'", line=root.line, file=file)
    reader = Reader(file, document.problems)
    read: Config = reader.read_class(Config, root, "")
    config = _completed(read, reader, file)
    if not reader.problems:  # names that point to parts that are themselves wrong would only confuse
        _check_names(config, reader)
        _check_after(config, reader)
        _check_texts(config, reader)
        _check_listeners(config, reader)
    if reader.problems:
        problems = sorted(reader.problems, key=lambda problem: problem.line)
        if len(problems) > MAX_PROBLEMS:
            more = f"and {len(problems) - MAX_PROBLEMS:,} mistakes more"
            problems[MAX_PROBLEMS:] = [ConfigError(more, file=file)]
        raise problems[0] if len(problems) == 1 else ConfigErrors(problems)
    return config


def load_part(path: str | None, *keys: str, environ: Mapping[str, str] | None = None) -> Config:
    """As :func:`load`, for who needs some keys only: mistakes in others do not matter, and they are not read.

    :param keys: their paths, such as ``store`` or ``agents.*.language``.
    :param environ: as in :func:`parse`.
    :raises ConfigError: where one of ``keys`` is wrong or cannot be found among the mistakes of the others.
    """
    file = paths.find(path)
    text = _read(file)
    environ = os.environ if environ is None else environ
    document = Document(text, str(file), environ)
    wanted = [key.split(".") for key in keys]
    try:
        root = document.root()
    except ConfigError as error:
        document = Document(_blocks(text, {key[0] for key in wanted}), str(file), environ)
        try:
            root = document.root()
        except ConfigError:
            raise error from None
    reader = Reader(str(file), document.problems)
    whole = root if root is not None and isinstance(root.data, dict) else Value({}, 1)
    read: Config = reader.read_class(Config, _only(whole, wanted), "")
    problems = [one for one in reader.problems if any(_concerns(one.path.split("."), key) for key in wanted)]
    if problems:
        raise problems[0] if len(problems) == 1 else ConfigErrors(problems)
    return _completed(read, reader, str(file))


def _completed(read: Config, reader: Reader, file: str) -> Config:
    """With what follows from what was read."""
    folder = Path(file).parent
    agents = {
        name: dataclasses.replace(
            agent, name=name, knowledge=Names(str(folder / Path(each).expanduser()) for each in agent.knowledge)
        )
        for name, agent in read.agents.items()
    }
    default = read.default_agent or (next(iter(agents)) if len(agents) == 1 else "")
    pipelines = {**read.pipelines, **{name: one for name, one in READY_MADE.items() if name not in read.pipelines}}
    return dataclasses.replace(
        read, agents=agents, pipelines=pipelines, default_agent=default, source=file, lines=reader.lines
    )


def _only(value: Value, keys: Sequence[Sequence[str]]) -> Value:
    """What stands at these paths, and the mappings around it."""
    if not isinstance(value.data, dict) or not all(keys):
        return value
    below = {name: [key[1:] for key in keys if key[0] in (name, "*")] for name in value.data}
    return dataclasses.replace(
        value, data={name: _only(item, below[name]) for name, item in value.data.items() if below[name]}
    )


def _concerns(path: Sequence[str], key: Sequence[str]) -> bool:
    """Whether a mistake at ``path`` is at the key, or above or below of it."""
    return all(wanted in (found, "*") for found, wanted in zip(path, key, strict=False))


def _blocks(text: str, sections: Collection[str]) -> str:
    """The lines of the sections alone, out of a file that is not YAML as a whole."""
    lines, wanted = [], False
    for line in text.splitlines():
        if line[:1] not in (" ", "\t", "#", ""):
            wanted = line.partition(":")[0] in sections
        lines.append(line if wanted else "")  # each keeps its number
    return "\n".join(lines)


def rewritten(config: Config, changes: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of ``config.source`` with the keys of some sections changed, e.g. to run it on other ports.

    It is read and written by the rules of this file, so that ``0200`` and ``yes`` stay the texts that they
    are here; ``${VARIABLE}`` stays as well, and no secret is written. Raises ConfigError as :func:`load`.
    """
    root = Document(_read(Path(config.source)), config.source, environ=None).root()
    data: dict[str, Any] = root.python() if root else {}
    for section, keys in changes.items():
        old = data.get(section)
        data[section] = {**(old if isinstance(old, dict) else {}), **keys}
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", file=str(file)) from None
    except IsADirectoryError:
        raise ConfigError("is a folder, not a file", file=str(file)) from None
    except PermissionError:
        raise ConfigError("we may not read it: give the user that runs this read permission", file=str(file)) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {error}", file=str(file)) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError("is larger than 1 MiB: surely not a configuration", file=str(file))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8 text: save it as UTF-8", line=line, file=str(file)) from None


def _check_names(config: Config, reader: Reader) -> None:
    """Agents and pipelines are named where they are used; each name must exist."""

    def check(name: str, known: Mapping[str, object], what: str, path: str) -> None:
        if name not in known:
            reader.problem(f"there is no {what} {name!r}{did_you_mean(name, known)}", path, reader.lines.get(path, 0))

    if not config.agents:
        reader.problem("at least one agent is needed", "agents", reader.lines.get("agents", 0))
    elif not config.default_agent:
        reader.problem("say which of the agents takes calls that name none", "default_agent", 0)
    else:
        check(config.default_agent, dict.fromkeys([*config.agents, *DIAGNOSTIC_AGENTS]), "agent", "default_agent")
    check(config.pipeline, config.pipelines, "pipeline", "pipeline")
    for name, agent in config.agents.items():
        if agent.pipeline:
            check(agent.pipeline, config.pipelines, "pipeline", f"agents.{name}.pipeline")
    for name, pipeline in config.pipelines.items():
        for stage in STAGES:
            path = f"pipelines.{name}.{stage}"
            engines = getattr(pipeline, stage)
            if not all(engine.strip() for engine in engines):
                reader.problem("name an engine", path, reader.lines.get(path, 0))
            elif len(set(engines)) < len(engines):
                reader.problem("names an engine twice", path, reader.lines.get(path, 0))


def _check_after(config: Config, reader: Reader) -> None:
    """Who is told of calls is told of agents that there are, and only where what is to be told can be kept."""
    messages = config.mail.messages if config.mail else {}
    named = [(f"webhooks.{name}.agents", one.agents) for name, one in config.webhooks.items()]
    named += [(f"mail.messages.{name}.agents", one.agents) for name, one in messages.items()]
    known = [*config.agents, *DIAGNOSTIC_AGENTS]
    for path, agents in named:
        for agent in agents:
            if agent not in known:
                reader.problem(f"there is no agent {agent!r}{did_you_mean(agent, known)}", path, reader.lines[path])
    for name, agent_config in config.agents.items():
        if agent_config.summary_by == "rules":
            path = f"agents.{name}.summary_by"
            reader.problem("rules write no summaries: name a language model, or none", path, reader.lines[path])
    if named and config.store.backend == "memory":
        path = "webhooks" if config.webhooks else "mail"
        problem = "what is to be delivered is kept in the store: set store.backend to sqlite"
        reader.problem(problem, path, reader.lines.get(path, 0))


def _check_texts(config: Config, reader: Reader) -> None:
    """What is to be filled in must be known: callers would hear the braces."""
    for name, agent in config.agents.items():
        texts = [(key, text, True) for key, text in agent.said()] + [("prompt", agent.prompt, False)]
        for key, text, spoken in texts:
            if problem := caller.problem(text, spoken=spoken, known=agent.known):
                path = f"agents.{name}.{key}"
                reader.problem(problem, path, reader.lines.get(path, 0))


def _check_listeners(config: Config, reader: Reader) -> None:
    """Two listeners cannot have one port; ``advertise`` must be host:port."""
    listeners: dict[str, AudioSocketConfig | FastAGIConfig | HttpConfig | None]
    listeners = {"audiosocket": config.audiosocket, "fastagi": config.fastagi, "http": config.http}
    taken: dict[int, str] = {}
    for name, listener in listeners.items():
        if listener is None:
            continue
        if not listener.host.strip():
            reader.problem("name an address to listen on", f"{name}.host", reader.lines.get(f"{name}.host", 0))
        other = taken.setdefault(listener.port, name)
        if listener.port and other != name:
            line = reader.lines.get(f"{name}.port") or reader.lines.get(f"{other}.port", 0)
            reader.problem(f"port {listener.port} is {other}'s already", f"{name}.port", line)
    for name in ("audiosocket", "fastagi", "websocket", "http"):
        for number, network in enumerate(getattr(getattr(config, name), "allow", ())):
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError as error:
                path = f"{name}.allow[{number}]"
                reader.problem(str(error), path, reader.lines.get(path, reader.lines.get(f"{name}.allow", 0)))
    _check_workers(config, reader)
    advertise = config.audiosocket.advertise
    host, _, port = advertise.rpartition(":")
    if advertise and not (host and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        path = "audiosocket.advertise"
        reader.problem("must be host:port, as Asterisk reaches us", path, reader.lines.get(path, 0))


def _check_workers(config: Config, reader: Reader) -> None:
    """The ports of several workers must be free of the public ones, and every call must be told its worker."""
    if config.server.workers == 1:
        return
    path = "server.worker_ports"
    first = config.server.worker_ports
    last = first + WORKER_PORTS_EACH * config.server.workers - 1
    for name, port in (("fastagi", config.fastagi.port), ("http", config.http.port if config.http else 0)):
        if first <= port <= last:
            line = reader.lines.get(path) or reader.lines.get("server.workers", 0)
            reader.problem(f"the workers' ports {first} to {last} include {name}'s {port}", path, line)
    if not config.audiosocket.require_registration:
        path = "audiosocket.require_registration"
        line = reader.lines.get(path, 0)
        reader.problem("with server.workers above 1, call/start has to tell each call its worker", path, line)
