"""The server that ``asterisk-ai bench`` loads: the running one or one of its own, and the calls it registers there."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asterisk_ai.config import Config, HttpConfig, host_port, load, reachable
from asterisk_ai.errors import AsteriskAIError
from asterisk_ai.simulator.agi_client import run_agi
from asterisk_ai.simulator.local_server import local_server

_REGISTER_AT_ONCE = 16
_DELAY = "asterisk_ai.providers.engines.delay:Delay"


@dataclass(frozen=True, slots=True)
class Target:
    """The server under load."""

    config: Config
    pid: int
    agent: str


@contextlib.contextmanager
def loaded(arguments: argparse.Namespace) -> Iterator[Target]:
    """The server to measure. Raises AsteriskAIError where it may not or cannot be."""
    mode = arguments.mode
    agent = {"echo": "echo", "playing": "milliwatt"}.get(mode, arguments.agent)
    if not arguments.serve:
        if mode == "conversation":
            raise AsteriskAIError(
                "mode conversation needs --serve (the engines of a set delay); mode embedded measures an agent's own"
            )
        config = load(arguments.config)
        yield Target(config, _server_pid(config), agent)
        return
    most = max(arguments.calls or [arguments.most])
    connections = {"max_connections": most + 50, "per_second": max(200, most)}
    server_changes = {"max_calls": most}
    if arguments.soak:  # calls go on coming while others have the CPU: frames are to show what becomes of that
        server_changes["max_lateness_ms"] = 0
    changes = {"audiosocket": connections, "fastagi": connections, "server": server_changes}
    prefix = ["taskset", "-c", ",".join(map(str, arguments.server_cpu))] if arguments.server_cpu else []
    with tempfile.TemporaryDirectory(prefix="asterisk-ai-bench-") as folder:
        if mode == "embedded":
            config = load(arguments.config)
        else:
            file = Path(folder) / "bench.yaml"
            file.write_text(yaml.safe_dump(delay_configuration(arguments.delay)), "utf-8")
            config = load(str(file))
        with local_server(config, changes, prefix=prefix) as server:
            yield Target(server.config, server.pid, agent)


def delay_configuration(delay: float) -> dict[str, Any]:
    """An agent that takes turns with engines of a set delay; its callers never hang up by themselves."""
    kinds = {"stt": "SpeechToText", "llm": "LanguageModel", "tts": "TextToSpeech"}
    return {
        "default_agent": "bench",
        "pipeline": "delay",
        "pipelines": {"delay": {kind: _DELAY + name for kind, name in kinds.items()}},
        "providers": {_DELAY + name: {"seconds": delay} for name in kinds.values()},
        "agents": {"bench": {"turn": {"no_input_seconds": 600}}},
    }


def _server_pid(config: Config) -> int:
    """The running server's process, where it is on this machine and says so; 0 else."""
    if config.http is None:
        return 0
    state = health(config.http)
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(config.fastagi.host).is_loopback or config.http.host == socket.gethostname():
            return int(state.get("pid", 0))
    return 0


def health(http: HttpConfig) -> dict[str, Any]:
    """What the server says of itself.

    :raises AsteriskAIError: nobody answers there.
    """
    url = f"http://{host_port(reachable(http.host), http.port)}/health"
    try:
        try:
            reply = urllib.request.urlopen(url, timeout=5)
        except urllib.error.HTTPError as error:
            reply = error  # it is not well, and tells all the same
        with reply:
            return dict(json.load(reply))
    except (OSError, ValueError) as error:
        raise AsteriskAIError(f"no server answers at {url}: {error}; --serve measures one of its own") from error


async def register_calls(target: Target, count: int) -> tuple[list[dict[str, str]], str]:
    """``call/start`` for so many calls: the variables of those that were taken, and why it was not all of them."""
    gate = asyncio.Semaphore(_REGISTER_AT_ONCE)
    query = f"?agent={target.agent}" if target.agent else ""

    async def one(number: int) -> dict[str, str]:
        async with gate:
            outcome = await run_agi(
                *_fastagi(target),
                "call/start" + query,
                environment={"agi_channel": f"Bench/{number}"},
                timeout=20,
            )
            return outcome.variables or {"AI_STATUS": outcome.reason}

    answers = await asyncio.gather(*(one(number) for number in range(count)))
    taken = [answer for answer in answers if answer.get("AI_STATUS") == "OK"]
    refused = sorted({answer.get("AI_STATUS", "no answer") for answer in answers} - {"OK"})
    reasons = ", ".join(refused)
    host, port = _fastagi(target)
    if refused == ["UNKNOWN_AGENT"]:
        raise AsteriskAIError(
            f"the server has no agent {target.agent!r}; the configuration names {', '.join(target.config.agents)}"
        )
    if not any("AI_AUDIOSOCKET" in answer or answer.get("AI_STATUS", "").isupper() for answer in answers):
        raise AsteriskAIError(f"call/start at {host}:{port} (fastagi): {reasons}; does the server use this file?")
    if "FULL" in refused:
        reasons += f" (server.max_calls is {target.config.server.max_calls}, or its audio is late as it is)"
    return taken, f"{count - len(taken)} calls refused: {reasons}" if refused else ""


async def end_calls(target: Target, taken: Sequence[dict[str, str]]) -> None:
    gate = asyncio.Semaphore(_REGISTER_AT_ONCE)

    async def one(call: dict[str, str]) -> None:
        server = address(call["AI_SERVER"]) if "AI_SERVER" in call else _fastagi(target)
        async with gate:
            await run_agi(*server, "call/end", arguments=[call["AI_CALL_ID"]], timeout=20)

    await asyncio.gather(*(one(call) for call in taken))


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _fastagi(target: Target) -> tuple[str, int]:
    return reachable(target.config.fastagi.host), target.config.fastagi.port
