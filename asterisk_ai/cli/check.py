"""``asterisk-ai check``: is everything there that a first call needs?"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .. import __version__
from ..config import Config, load
from ..config.loader import ConfigErrors
from ..errors import AsteriskAIError, ConfigError, ProviderError
from ..lineup import Engines, Lineup
from . import dialplan

MARKS = {"ok": "ok  ", "note": "note", "fail": "FAIL"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``state``: ok, note (works, but look) or fail; ``remedy``: what to do."""

    state: str
    what: str
    remedy: str = ""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "check",
        help="is everything there that a first call needs?",
        description="Tests the configuration, the ports, the store and every engine, and, where an Asterisk is on this "
        "machine, its modules and dialplan. Says what fails and how to mend it. Exit status 1 where something fails.",
    )
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml to check")
    parser.add_argument("--etc", default="/etc/asterisk", metavar="DIR", help="Asterisk's configuration (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="findings as a JSON list")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    findings = []
    for finding in _findings(arguments):
        findings.append(finding)
        if not arguments.json:
            print(f"{MARKS[finding.state]}  {finding.what}")
            if finding.remedy:
                print(f"      -> {finding.remedy}")
    failed = sum(finding.state == "fail" for finding in findings)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        print(f"\n{failed} of {len(findings)} checks failed" if failed else "\nready for a first call")
    return 1 if failed else 0


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield Finding("ok", f"asterisk-ai {__version__}")
    try:
        config = load(arguments.config)
    except ConfigErrors as errors:
        yield from (Finding("fail", f"configuration: {error}") for error in errors.problems)
        return
    except ConfigError as error:
        yield Finding("fail", f"configuration: {error}")
        return
    yield Finding("ok", f"configuration {config.source}: agents {', '.join(config.agents)}")
    yield from _store(config)
    yield from _ports(config)
    yield from asyncio.run(_collect(_engines(config)))
    for state, what, remedy in dialplan.findings(arguments.etc):
        yield Finding(state, what, remedy)


def _store(config: Config) -> Iterator[Finding]:
    if config.store.backend == "memory":
        yield Finding("note", "store: in memory", "calls are lost with the server; store.backend: sqlite keeps them")
        return
    path = config.store_path()
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    target = path if path.exists() else folder
    if os.access(target, os.W_OK):
        yield Finding("ok", f"store: {path}")
    else:
        yield Finding("fail", f"store: {path} cannot be written by this user", f"chown it, or set store.path ({target})")


def _ports(config: Config) -> Iterator[Finding]:
    running = _health(config)
    if running is not None:
        state = "ok" if running.get("status") == "healthy" else "fail"
        problems = "; ".join(running.get("problems", ())) or str(running.get("status"))
        yield Finding(state, f"a server is running: {problems}, {running.get('active_calls', '?')} calls")
        return
    listeners = {"audiosocket": config.audiosocket, "fastagi": config.fastagi, "http": config.http}
    for name, listener in listeners.items():
        if listener is None:
            continue
        where = f"{listener.host}:{listener.port}"
        try:
            family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
            socket.create_server((listener.host, listener.port), family=family).close()
        except OSError as error:
            yield Finding("fail", f"{name}: cannot listen on {where}: {error.strerror}", f"choose another {name}.port")
        else:
            yield Finding("ok", f"{name}: {where} is free")


def _health(config: Config) -> dict[str, Any] | None:
    """The running server's /health; None where there is none."""
    if config.http is None or not config.http.port:
        return None
    try:
        with urllib.request.urlopen(f"http://{config.http.host}:{config.http.port}/health", timeout=2) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return None
    try:
        found = json.loads(body)
    except ValueError:
        return None  # something else's port
    return found if isinstance(found, dict) and "active_calls" in found else None


async def _collect(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


async def _engines(config: Config) -> AsyncIterator[Finding]:
    """Make, start and try every engine that an agent uses."""
    try:
        lineup = Lineup(config, Engines())
    except AsteriskAIError as error:
        yield Finding("fail", str(error))
        return
    await lineup.start()
    try:
        for name, state in lineup.readiness().items():
            yield Finding("ok" if state.ready else "fail", f"engine {name}" + ("" if state.ready else f": {state.reason}"))
        for name, agent in lineup.agents.items():
            try:
                check_grammar = getattr(agent.stt, "check_grammar", None)
                if check_grammar is not None:
                    await check_grammar(agent.llm.hints({}))
                yield Finding("ok", f"agent {name}: {await _speech(agent.tts, agent.config.greeting):.1f} s of greeting")
            except ProviderError as error:
                yield Finding("fail", f"agent {name}: {error}")
    finally:
        await lineup.close()


async def _speech(tts: Any, text: str) -> float:
    """Seconds of audio that the engine makes of ``text``. Raises ProviderUnavailable where it makes none."""
    length = 0
    async with tts.open(text or "Hello.") as audio:
        async for pcm in audio:
            length += len(pcm)
    return length / 2 / float(tts.sample_rate)
