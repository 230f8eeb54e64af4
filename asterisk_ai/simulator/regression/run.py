"""A private Asterisk and a server of its own, and every transport's calls between them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from asterisk_ai.config import load
from asterisk_ai.simulator.installation import Installation
from asterisk_ai.simulator.local_server import local_server
from asterisk_ai.simulator.ports import free_port
from asterisk_ai.simulator.private_asterisk import PrivateAsterisk
from asterisk_ai.simulator.regression import script
from asterisk_ai.simulator.regression.transports import DIALPLAN, Transport
from asterisk_ai.simulator.regression.trial import Trial, Verdict

LIGHT = {"stt": ["moonshine", "pocketsphinx"], "llm": "rules", "tts": "espeak", "stt_seconds": 30}
"""Engines that a busy machine bears, for a look at the transports alone."""
RTP_PORTS = (42_000, 48_999)


def regression(
    installation: Installation,
    transports: Sequence[Transport],
    folder: Path,
    *,
    light: bool = False,
    calls: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[Verdict]:
    """Try each of ``transports``, and give its verdict when it is there.

    :param folder: where recordings and logs are kept; it exists.
    :param light: with engines that start at once, instead of those that agents have by default.
    :param calls: further calls over each transport, to see what so many leave behind.
    :param tell: is told what is being done.
    :raises AsteriskAIError: Asterisk or the server does not start.
    """
    missing = {transport.name: transport.lacks(installation) for transport in transports}
    wanted = [transport for transport in transports if not missing[transport.name]]
    with contextlib.ExitStack() as stack:
        trial = _started(stack, installation, wanted, folder, light=light, calls=calls, tell=tell) if wanted else None
        for transport in transports:
            if trial is None or missing[transport.name]:
                yield Verdict(transport, skipped=missing[transport.name])
            else:
                yield trial.run(transport, lambda what, title=transport.title: tell(f"{title}: {what}"))  # type: ignore[misc]


def _started(
    stack: contextlib.ExitStack,
    installation: Installation,
    wanted: Sequence[Transport],
    folder: Path,
    *,
    light: bool,
    calls: int,
    tell: Callable[[str], None],
) -> Trial:
    used = {name for transport in wanted for name in transport.variables}
    password = secrets.token_hex(8) if "AI_STASIS" in used else ""
    port = free_port() if "AI_WEBSOCKET" in used else 0
    asterisk = PrivateAsterisk(
        installation, "127.0.0.1:1", dialplan=DIALPLAN, ari_password=password, websocket_port=port
    )
    changes: dict[str, dict[str, Any]] = {}
    if port:
        changes["websocket"] = {"port": port, "asterisk": f"ws://127.0.0.1:{asterisk.http_port}/media"}
    if password:
        first, last = RTP_PORTS
        changes["ari"] = {
            "url": asterisk.ari_url, "password": password, "rtp_first_port": first, "rtp_last_port": last,
        }  # fmt: skip
    file = folder / "asterisk_ai.yaml"
    file.write_text(yaml.safe_dump(_config(light=light), sort_keys=False), "utf-8")
    tell("a server of its own starts")
    server = stack.enter_context(local_server(load(str(file)), changes))
    stack.callback(_copy, server.log, folder / "server.log")
    asterisk.globals["AI_SERVER"] = f"127.0.0.1:{server.config.fastagi.port}"
    tell("Asterisk starts, with a configuration of its own")
    stack.enter_context(asterisk)
    stack.callback(_copy, asterisk.folder / "log/full", folder / "asterisk.log")
    for program in ("agi", "eagi"):
        asterisk.install_program(f"asterisk-ai-{program}", program, "--config", server.config.source)
    prompts = asyncio.run(script.recordings(installation.sounds, asterisk.folder / "rec"))
    return Trial(asterisk, server, prompts, folder, calls=calls)


def _config(*, light: bool) -> dict[str, Any]:
    return {
        "default_agent": script.AGENT,
        "server": {"max_lateness_ms": 0},  # a busy machine is to have its calls tried, too
        "log": {"level": "info", "transcripts": True},
        **({"pipeline": "light", "pipelines": {"light": LIGHT}} if light else {}),
        "agents": {script.AGENT: script.agent()},
    }


def _copy(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.copy(source, target)
