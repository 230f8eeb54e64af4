"""``asterisk-ai dial``: calls somebody, who talks with an agent."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import uuid
from collections.abc import Mapping
from typing import Any

from asterisk_ai.config import AmiConfig, Config, ConfigErrors, load
from asterisk_ai.errors import AsteriskAIError, ConfigError, LocalProtocolError
from asterisk_ai.pbx.calling import Calling
from asterisk_ai.protocol.ami import MACHINE, Callee, Outcome, Progress, Stage, number_of
from asterisk_ai.telemetry.printable import printable

STATUS = {
    Outcome.ANSWERED: 0,
    Outcome.BUSY: 3,
    Outcome.NO_ANSWER: 4,
    Outcome.MACHINE: 5,
    Outcome.FAILED: 6,
    Outcome.REFUSED: 7,
    Outcome.UNKNOWN: 8,
}
"""The exit status for what came of the call."""
_EPILOG = """\
The exit status tells what came of it:
  0 they talked with the agent   3 busy   4 no answer   5 an answering machine   6 the number or the line failed
  7 they answered, and the agent was not there   8 nobody can tell: Asterisk was gone meanwhile
  1 it could not be tried (the last line says why)   2 wrong usage   130 Ctrl-C: the call was hung up

  asterisk-ai dial "+1 555 123 4567" --agent reminder --var customer=4711

A --var is one of agents.NAME.variables. Of its value letters, digits and @.+*#:- are left.
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "dial", help="call somebody, who talks with an agent", description="Call somebody, who talks with an agent.",
        epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("number", metavar="NUMBER", help="whom to call")
    parser.add_argument("--agent", default="", metavar="NAME", help="who talks with them (default: default_agent)")
    parser.add_argument("--var", action="append", default=[], metavar="K=V", help="what the agent is told of them")
    parser.add_argument("--machine", choices=MACHINE, default="talk", help="where an answering machine takes the call: "
                        "talk with it, hang up, or say agents.NAME.machine_message after its beep")  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml of the server")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    try:
        number = number_of(arguments.number)
        given = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in arguments.var)
        found = callee(config, number, arguments.agent, given, arguments.machine)
    except (LocalProtocolError, ConfigErrors, ConfigError) as error:
        print(f"asterisk-ai: {error}", file=sys.stderr)
        return 2
    progress = asyncio.run(_call(ami_of(config), found))
    return STATUS.get(progress.outcome, 1)


def ami_of(config: Config) -> AmiConfig:
    """:raises ConfigError: we may call nobody."""
    if config.ami is None:
        message = "is needed to call people: ami: {secret: ${AMI_SECRET}}, and a user asterisk-ai in manager.conf"
        raise ConfigError(message, path="ami", file=config.source)
    return config.ami


def callee(config: Config, number: str, agent: str, known: Mapping[str, str], machine: str) -> Callee:
    """Somebody to be called.

    :param known: what the agent is told of them, by the names of its ``variables``.
    :raises ConfigError: there is no such agent, or it does not ask for one of these.
    """
    ami = ami_of(config)
    name = agent or config.default_agent
    if name not in config.agents:
        raise ConfigError(f"there is no agent {printable(name)!r}", path="agents", file=config.source)
    if machine == "message" and not config.agents[name].machine_message:
        raise ConfigError("is needed for --machine message", path=f"agents.{name}.machine_message", file=config.source)
    listed = config.agents[name].variables
    variables = {}
    for key, value in known.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", listed.get(key, "")):
            raise ConfigError(f"has no variable {printable(key)!r}: {', '.join(listed) or 'none at all'}",
                              path=f"agents.{name}.variables", file=config.source)  # fmt: skip
        variables[listed[key]] = value
    return Callee(uuid.uuid4().hex, number, name, ami.dial, variables, ami.caller_id, ami.seconds, machine)


async def _call(config: AmiConfig, found: Callee) -> Progress:
    shown: list[Stage] = []

    def told(progress: Progress) -> None:
        if progress.stage not in shown and progress.stage is not Stage.ENDED:
            shown.append(progress.stage)
            print(progress.stage.value, flush=True)

    try:
        async with Calling(config) as calling:
            print(f"calling {found.number} for the agent {found.agent}", flush=True)
            progress = await calling.call(found, told)
            await calling.forget(found.call)
    except AsteriskAIError:
        print("failed", flush=True)
        raise
    record = f", asterisk-ai calls show {progress.record[:8]}" if progress.record else ""
    print(printable(f"{progress.outcome.value}{record}{': ' + progress.result if progress.result else ''}"), flush=True)
    return progress
