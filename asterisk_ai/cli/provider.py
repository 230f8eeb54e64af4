"""``asterisk-ai provider``: which engines serve calls, and switching between them."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.cli import running
from asterisk_ai.cli.findings import Finding, print_findings
from asterisk_ai.cli.provider_bench import run_bench
from asterisk_ai.cli.provider_engines import pipeline_named, tried, with_engine
from asterisk_ai.cli.provider_table import engines_table
from asterisk_ai.cli.provider_trial import quiet
from asterisk_ai.config import STAGES, Config, PipelineConfig, edit, find, load_part, parse, share_path
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers import catalog


def add_parser(commands: Any) -> None:
    """Register the command and what is below it."""
    parser = commands.add_parser(
        "provider",
        help="list, show, test, measure and switch engines",
        description="Which engines serve calls. `switch` changes the one line of the configuration that says so; calls "
        "in progress keep their engines, the next call uses the new ones.",
    )
    below = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(run=lambda _: parser.print_help())  # the group alone: it helps

    def add(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = below.add_parser(name, help=text, description=text)
        command.add_argument("--config", metavar="FILE", help="asterisk_ai.yaml to use")
        command.set_defaults(run=run)
        return command

    listing = add(
        "list", run_list, "the pipelines of the configuration, the active one marked, and how the running engines are"
    )
    listing.add_argument("--engines", action="store_true", help="what every engine can do, instead")
    show = add("show", run_show, "one pipeline: its engines, their settings, and the agents that use it")
    show.add_argument("name", nargs="?", metavar="PIPELINE", help="the active one where it is left out")
    test = add("test", run_test, "make, start and try the engines of a pipeline, or one engine, without the server")
    test.add_argument("name", nargs="?", metavar="PIPELINE|ENGINE", help="the active pipeline where it is left out")
    test.add_argument("--say", default="", metavar="TEXT", help="the sample that is spoken, heard and answered")
    bench = add(
        "bench", run_bench, "what engines take, side by side: time to the first token or sound, real-time factor"
    )
    bench.add_argument("names", nargs="*", metavar="PIPELINE|ENGINE", help="the active pipeline where none is named")
    bench.add_argument("--say", default="", metavar="TEXT", help="the sample that is spoken, heard and answered")
    bench.add_argument("--tries", type=int, default=5, metavar="N", help="medians of so many (default: 5)")
    switch = add("switch", run_switch, "use another pipeline (or other engines for one stage) from the next call on")
    switch.add_argument("name", metavar="PIPELINE|STAGE=ENGINE[,ENGINE]", help="e.g. local, or stt=vosk,pocketsphinx")
    switch.add_argument("--agent", metavar="NAME", help="for this agent only")
    switch.add_argument("--dry-run", action="store_true", help="show the difference and change nothing")
    switch.add_argument("--force", action="store_true", help="also to engines that are not ready")
    switch.add_argument("--no-reload", action="store_true", help="only write the file")
    again = add("reload", run_reload, "make the running server read its configuration again, and wait until it has")
    again.add_argument("--force", action="store_true", help="also where engines are not ready")
    for command in (switch, again):
        command.add_argument(
            "--timeout", type=float, default=60.0, metavar="SECONDS", help="for the server to be ready (default: 60)"
        )


class _Environment(Mapping[str, str]):
    """The server has variables (keys, most of all) that this shell need not have."""

    def __getitem__(self, name: str) -> str:
        return os.environ.get(name, "unset")

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)

    def __contains__(self, name: object) -> bool:
        return True


def _load(arguments: argparse.Namespace, *, strict: bool = False) -> tuple[Path, str, Config]:
    file = find(arguments.config)
    text = edit.read(file)
    return file, text, parse(text, str(file), None if strict else _Environment())


def _pipelines(arguments: argparse.Namespace, *more: str) -> Config:
    """What pipelines there are and who uses them, whatever else is wrong with the file."""
    return load_part(arguments.config, "pipeline", "pipelines", "agents.*.pipeline", *more, environ=_Environment())


# ---- list, show, test -----------------------------------------------------------------


def run_list(arguments: argparse.Namespace) -> int:
    if arguments.engines:
        print(engines_table(_pipelines(arguments, "providers")))
        return 0
    config = _pipelines(arguments)
    print(config.source)
    for name, pipeline in config.pipelines.items():
        print(f"{'*' if name == config.pipeline else ' '} {name:12} {_stages(pipeline)}{_agents(config, name)}")
    try:
        state = running.health(load_part(arguments.config, "http"))
    except ConfigError as error:
        print(f"the running server cannot be asked: {error}")
        return 0
    if state is None:
        print("no server is running with it; `asterisk-ai provider test` tries the engines")
        return 0
    if state.get("active_pipeline") != config.pipeline:
        print(f"the running server still uses {state.get('active_pipeline')}: asterisk-ai provider reload")
    for name, engine in state.get("providers", {}).items():
        why = f": {engine['reason']}" if engine.get("reason") else ""  # also of one that works, and is asked last
        print(f"  {name:24} {'ready' if engine.get('ready') else 'NOT READY'}{why}")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    config = _pipelines(arguments, "providers")
    name = arguments.name or config.pipeline
    pipeline = pipeline_named(config, name)
    print(f"{name}{' (active)' if name == config.pipeline else ''}{_agents(config, name)}")
    for stage in STAGES:
        for engine in getattr(pipeline, stage):
            settings = ", ".join(f"{key}: {value!r}" for key, value in config.settings(engine).items())
            print(f"  {stage}  {engine}{'  {' + settings + '}' if settings else ''}")
    limits = ", ".join(
        f"{stage} {getattr(pipeline, f'{stage}_seconds'):g} s" for stage in pipeline.stages if stage != "turn"
    )
    print(f"  limits: {limits}; while switching: {pipeline.switching!r}")
    return 0


def run_test(arguments: argparse.Namespace) -> int:
    _, _, config = _load(arguments, strict=True)
    quiet()
    name = arguments.name or config.pipeline
    if name not in config.pipelines:
        config = with_engine(config, name)
        name = "test"
    return asyncio.run(_show(tried(config, name, arguments.say)))


async def _show(findings: AsyncIterator[Finding]) -> int:
    """Print them as they come; the exit status."""
    failed = False
    async for finding in findings:
        print_findings([finding])
        failed = failed or finding.ok is False
    return 1 if failed else 0


def _stages(pipeline: PipelineConfig) -> str:
    return "  ".join(f"{stage}: {getattr(pipeline, stage)}" for stage in pipeline.stages)


def _agents(config: Config, name: str) -> str:
    """Who uses the pipeline by name, and not because it is the active one."""
    own = [agent.name for agent in config.agents.values() if agent.pipeline == name]
    return f"   (agents {', '.join(own)})" if own else ""


# ---- switch, reload ---------------------------------------------------------------------


def run_switch(arguments: argparse.Namespace) -> int:
    file, text, config = _load(arguments)
    quiet()
    path, value = _change(config, arguments.name, arguments.agent)
    new = edit.set_value(text, path, value, file=str(file))
    wanted = parse(new, str(file), _Environment())
    difference = list(
        difflib.unified_diff(text.splitlines(True), new.splitlines(True), str(file), f"{file} (new)", n=2)
    )
    if arguments.dry_run:
        print("".join(difference) or "nothing would change")
        return 0
    if file.parent == share_path("etc-asterisk"):
        raise ConfigError(
            "this is the sample of the package, which updates replace: make one of your own with "
            f"`asterisk-ai dialplan install` (for /etc/asterisk) or `cp {file} .`, and start the server with it",
            file=str(file),
        )
    state = running.health(config)
    if state is not None and not running.uses(state, file):
        raise ConfigError(f"the running server uses {state.get('config') or 'the packaged one'}", file=str(file))
    for line in _refusals(wanted, state, arguments):
        print(f"refused: {line}")
        return 1
    if difference:
        backup = edit.replace(file, text, new)
        print("".join(line for line in difference if line[:1] in "+-" and line[:3] not in ("+++", "---")), end="")
        print(f"{file} is written; what it was is in {backup}")
    if arguments.no_reload or state is None:
        print("no server is running: the next start uses it" if state is None else "the running server was left alone")
        return 0
    try:
        now = running.reload(wanted, state, force=arguments.force, seconds=arguments.timeout)
    except running.ReloadFailed as error:
        _roll_back(file, text, new, config)
        print(f"refused, and {file} is what it was before: {error}")
        return 1
    _report(now, wanted)
    return 0


def _change(config: Config, name: str, agent: str | None) -> tuple[list[str], str | list[str]]:
    """The key's path and its new value."""
    if agent is not None and agent not in config.agents:
        raise ConfigError(f"there is no agent {agent!r}; there are: {', '.join(config.agents)}", path="agents")
    stage, equals, engines = name.partition("=")
    if equals and stage in STAGES:
        names = [engine.strip() for engine in engines.split(",")]
        for engine in names:
            catalog.load(stage, str(config.settings(engine).get("engine") or engine))
        pipeline = (config.agents[agent].pipeline if agent else "") or config.pipeline
        return ["pipelines", pipeline, stage], names if len(names) > 1 else names[0]
    pipeline_named(config, name)
    return (["agents", agent, "pipeline"] if agent else ["pipeline"]), name


def _refusals(wanted: Config, state: Mapping[str, Any] | None, arguments: argparse.Namespace) -> list[str]:
    """Why calls would fail with it, found out without the server; with one running it is the one to ask.

    It has the keys, and loads each model once.
    """
    if arguments.force or (state is not None and not arguments.no_reload):
        return []

    async def problems() -> list[str]:
        agent_set = AgentSet(wanted, Engines())
        await agent_set.start()
        try:
            found = agent_set.problems()
            if not found:
                _say_not_ready(
                    {label: state.reason for label, state in agent_set.readiness().items() if not state.ready}
                )
            return found
        finally:
            await agent_set.close()

    return [f"{problem} (--force switches all the same)" for problem in asyncio.run(problems())]


def _say_not_ready(reasons: Mapping[str, str]) -> None:
    """Calls go well without these engines, but the administrator has asked for them."""
    for label, reason in reasons.items():
        print(f"not ready, so that the next in line serves: {label}: {reason}")


def _roll_back(file: Path, text: str, new: str, config: Config) -> None:
    """What was written is taken back, and the server is told where it may have taken it up."""
    if text != new:
        edit.replace(file, new, text)
    state = running.health(config)
    if state is not None:
        try:
            running.reload(config, state, seconds=30)
        except running.ReloadFailed as error:
            print(f"the server does not say that it has the old one again: {error}")


def run_reload(arguments: argparse.Namespace) -> int:
    _, _, config = _load(arguments)
    state = running.health(config)
    if state is None:
        print("no server is running with this configuration (or `http` is switched off)")
        return 1
    try:
        now = running.reload(config, state, force=arguments.force, seconds=arguments.timeout)
    except running.ReloadFailed as error:
        print(f"refused, the server goes on as it was: {error}")
        return 1
    _report(now, config)
    return 0


def _report(state: Mapping[str, Any], config: Config) -> None:
    print(f"in use for new calls: {state.get('active_pipeline')} ({state.get('active_calls', 0)} calls in progress)")
    problems = state.get("problems", ())
    for problem in problems:
        print(f"  NOT READY: {problem}")
    if not problems:
        engines: Mapping[str, Mapping[str, Any]] = state.get("providers", {})
        _say_not_ready({label: str(one.get("reason")) for label, one in engines.items() if not one.get("ready")})
    for agent in config.agents.values():
        if agent.pipeline and agent.pipeline != config.pipeline:
            print(f"  agent {agent.name} has a pipeline of its own: {agent.pipeline}")
