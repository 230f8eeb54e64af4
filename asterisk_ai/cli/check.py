"""``asterisk-ai check``: is everything there that a first call needs?"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import re
import shlex
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from asterisk_ai import __version__
from asterisk_ai.agents.agent import Agent, RealtimeAgentSetup
from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.cli.findings import Finding, print_findings
from asterisk_ai.cli.pbx_check import inspect
from asterisk_ai.cli.provider_trial import expectations, hearing, quiet
from asterisk_ai.cli.running import health
from asterisk_ai.cli.sound_check import sounds
from asterisk_ai.config import Config, host_port, load
from asterisk_ai.config.loader import ConfigErrors
from asterisk_ai.errors import AsteriskAIError, ConfigError, ModelError, ProviderError
from asterisk_ai.models.choice import load_registry
from asterisk_ai.models.store import store_of
from asterisk_ai.pbx.access import User, listener, server_user
from asterisk_ai.pbx.console import Console
from asterisk_ai.vad.service import load_model


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "check",
        help="is everything there that a first call needs?",
        description="Tests the configuration, the ports, the store and every engine, and, where an Asterisk is on this "
        "machine, its modules and dialplan. Says what fails and how to mend it. Exit status 1 where something fails.",
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml to check")
    parser.add_argument(
        "--etc",
        type=Path,
        default=Path("/etc/asterisk"),
        metavar="DIR",
        help="Asterisk's configuration (default: %(default)s)",
    )
    parser.add_argument("--asterisk", default="asterisk", metavar="COMMAND", help="how to run Asterisk's console")
    parser.add_argument("--json", action="store_true", help="findings as a JSON list")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    quiet()
    findings = []
    for finding in _findings(arguments):
        findings.append(finding)
        if not arguments.json:
            print_findings([finding])
    failed = sum(finding.ok is False for finding in findings)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        print(f"\n{failed} of {len(findings)} checks failed" if failed else "\nready for a first call")
    return 1 if failed else 0


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield Finding(True, f"asterisk-ai {__version__}")
    try:
        config = load(arguments.config)
    except ConfigErrors as errors:
        yield from (Finding(False, f"configuration: {error}") for error in errors.problems)
        return
    except ConfigError as error:
        yield Finding(False, f"configuration: {error}")
        return
    yield Finding(True, f"configuration {config.source}: agents {', '.join(config.agents)}")
    running = health(config)
    yield from _guard(_access(config, int((running or {}).get("pid", 0))))
    yield from _guard(_models(config))
    yield from _guard(sounds(config))
    yield _vad(config)
    yield from _guard(_server(config, running) if running is not None else _ports(config))
    yield from asyncio.run(_collect(_engines(config)))
    yield from _guard(inspect(arguments.etc, Console(shlex.split(arguments.asterisk)), config))


def _guard(findings: Iterator[Finding]) -> Iterator[Finding]:
    """What this user may not look at is told, and ends nothing but its own checks."""
    try:
        yield from findings
    except OSError as error:
        yield Finding(None, f"{error.filename}: {error.strerror}", "run this as root, or as the user of the server")


def _access(config: Config, process: int) -> Iterator[Finding]:
    """Can the server's user read the configuration, and write calls? Without a server or a unit: can this one?"""
    me = User(getpass.getuser(), os.geteuid(), os.getegid())
    user = server_user(process=process) or me
    source = Path(config.source)
    if user.may("r", source) is False:
        cure = f"chgrp {user.name} {source} && chmod g+r {source}"
        yield Finding(False, f"{source} cannot be read by the server's user ({user.name})", cure)
    if config.store.backend == "memory":
        yield Finding(None, "store: in memory", "calls are lost with the server; store.backend: sqlite keeps them")
        return
    path = config.store_path()
    target = path if os.path.exists(path) else next(folder for folder in path.parents if os.path.exists(folder))
    may = user.may("rw", target) if target == path else user.may("wx", target)
    if may is False:
        cure = f"chown -R {user.name}: {path.parent} (a server that root ran made it), or set store.path"
        yield Finding(False, f"store: {path} cannot be written by the server's user ({user.name})", cure)
    else:
        yield Finding(may, f"store: {path}")


def _models(config: Config) -> Iterator[Finding]:
    """Fetched models, used or not: each whole and unchanged? Those that lack are their engines' to tell."""
    store = store_of(config)
    try:
        if config.models.registries:
            load_registry(config)
        problems = {name: store.problem(name) for name in store.ids()}
    except (ConfigError, ModelError) as error:
        yield Finding(False, f"models: {error}")
        return
    damaged = {name: problem for name, problem in problems.items() if problem}
    for name, problem in damaged.items():
        yield Finding(False, f"model {name}: {problem}", store.command(name))
    if problems and not damaged:
        yield Finding(True, f"models in {store.directory}: {', '.join(problems)}")


def _vad(config: Config) -> Finding:
    """Whether speech is told from other sound as configured."""
    if config.vad.engine == "energy":
        return Finding(True, "voice activity: by the level alone")
    try:
        load_model()
    except ProviderError as error:
        return Finding(False, f"voice activity: {error}", "or set vad.engine: energy, which noise and music deceive")
    return Finding(True, f"voice activity: {config.vad.engine}")


def _server(config: Config, running: Mapping[str, Any]) -> Iterator[Finding]:
    well = running.get("status") == "healthy"
    problems = "; ".join(running.get("problems", ())) or str(running.get("status"))
    yield Finding(well, f"a server is running: {problems}, {running.get('active_calls', '?')} calls")


def _ports(config: Config) -> Iterator[Finding]:
    """Nobody answers on the HTTP port: are the others free, or who has them?"""
    addresses = {
        "audiosocket": (config.audiosocket.host, config.audiosocket.port),
        "fastagi": (config.fastagi.host, config.fastagi.port),
    }
    if config.http is not None:
        addresses["http"] = (config.http.host, config.http.port)
    for name, (host, port) in addresses.items():
        where = host_port(host, port)
        try:
            socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError as error:
            number, command, state = listener(port)
            if _OURS.search(command):
                yield _silent_server(config, number, state)
                return
            cure = f"end it, or choose another {name}.port" if number else f"choose another {name}.port"
            by = f", process {number} ({command[:80]}) has it" if number else ""
            yield Finding(False, f"{name}: cannot listen on {where}: {error.strerror}{by}", cure)
        else:
            yield Finding(True, f"{name}: {where} is free")


_OURS = re.compile(r"asterisk[-_]ai\b.* serve\b")


def _silent_server(config: Config, number: int, state: str) -> Finding:
    if config.http is None or not config.http.port:
        return Finding(None, f"a server is running (process {number}); http is off, so how it is cannot be asked")
    if state == "T":
        return Finding(False, f"our own server (process {number}) was stopped: it hangs", f"kill -CONT {number}")
    cure = f"systemctl restart asterisk-ai (or kill {number} and start it again): callers come back to the new one"
    return Finding(False, f"our own server (process {number}) does not answer: it hangs", cure)


async def _collect(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


async def _engines(config: Config) -> AsyncIterator[Finding]:
    """Make, start and try every engine that an agent uses."""
    try:
        agent_set = AgentSet(config, Engines())
    except AsteriskAIError as error:
        yield Finding(False, str(error))
        return
    await agent_set.start()
    try:
        served = not agent_set.problems()
        for name, state in agent_set.readiness().items():
            # What cannot be here is no fault where another of its chain does the work
            not_made = served and "is not made for" in state.reason
            yield Finding(None if not_made else state.ready, f"engine {name}{state.reason and ': ' + state.reason}")
        for name, spoken in agent_set.agents.items():
            if unused := _unused_tools(spoken):
                yield unused
            for problem in _missing_tools(spoken):
                yield problem
            agent = spoken.fallback if isinstance(spoken, RealtimeAgentSetup) else spoken
            if agent is None:
                continue  # its readiness is all that can be known without the service's time
            for weakness in _weaknesses(agent):
                yield weakness
            try:
                check_grammar = getattr(agent.stt, "check_grammar", None)
                if check_grammar is not None:
                    await check_grammar(expectations(agent.llm))
                yield await hearing(agent)
                yield Finding(True, f"agent {name}: {await _greeting(agent):.1f} s of greeting")
            except ProviderError as error:
                yield Finding(False, f"agent {name}: {error}")
    finally:
        await agent_set.close()


def _unused_tools(agent: Agent | RealtimeAgentSetup) -> Finding | None:
    """Where an agent may do something, and has no engine that knows of it."""
    tools = dict(agent.config.tools)
    names = [name for name, value in tools.items() if name not in ("http", "mcp") and value]
    names += [*(tools.get("http") or {}), *(tools.get("mcp") or {})]
    if not names or isinstance(agent, RealtimeAgentSetup) or agent.llm.uses_tools:
        return None
    engines = ", ".join(member.name for member in getattr(agent.llm, "members", ()))
    lost = ", ".join(names)
    return Finding(
        None,
        f"agent {agent.config.name}: nothing uses its tools ({lost}): the language model ({engines}) has none",
        "take another one, such as openai, or do it by rules (agents.NAME.rules), which need no tools",
    )


def _missing_tools(agent: Agent | RealtimeAgentSetup) -> Iterator[Finding]:
    """What a call's language model could not be offered, each once, whoever of a chain would use it."""
    chain = agent.chain if isinstance(agent, RealtimeAgentSetup) else agent.llm
    told: dict[str, None] = {}
    for member in getattr(chain, "members", ()):
        told |= dict.fromkeys(getattr(member.engine, "tool_problems", list)())
    for problem in told:
        yield Finding(None, f"agent {agent.config.name}: {problem}", "calls go on without these functions")


def _weaknesses(agent: Agent) -> Iterator[Finding]:
    """What its language model does less well than elsewhere, such as in another language."""
    for member in getattr(agent.llm, "members", ()):
        for weakness in getattr(member.engine, "weaknesses", list)():
            cure = "give each intent more phrases (rules.intents.NAME.say), or take a language model"
            yield Finding(None, f"agent {agent.config.name}: {weakness}", cure)


async def _greeting(agent: Agent) -> float:
    """Seconds of the agent's first words. Raises ProviderUnavailable where there is no audio of them."""
    length = 0
    async with agent.tts.open(agent.config.greeting or "Hello.", voice=agent.config.voice) as audio:
        async for pcm in audio:
            length += len(pcm)
    return length / 2 / float(agent.tts.sample_rate)
