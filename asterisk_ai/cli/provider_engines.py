"""The engines of a pipeline, or one of them alone, made and tried without the server."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import inspect
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from asterisk_ai.agents.agent import Agent, RealtimeAgentSetup
from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.cli.findings import Finding
from asterisk_ai.cli.provider_trial import rehearse, trial
from asterisk_ai.config import STAGES, AgentConfig, Config, Names, PipelineConfig
from asterisk_ai.errors import AsteriskAIError, ConfigError, ProviderError
from asterisk_ai.providers import catalog


def pipeline_named(config: Config, name: str) -> PipelineConfig:
    if name in config.pipelines:
        return config.pipelines[name]
    near = difflib.get_close_matches(name, config.pipelines, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(config.pipelines)}"
    raise ConfigError(f"there is no pipeline {name!r}; {hint}", path="pipelines")


def with_engine(config: Config, name: str) -> Config:
    """The active pipeline with the engine ``name`` alone in the stages that it can serve."""
    target = str(config.settings(name).get("engine") or name)
    if ":" in target:
        stages = _stages_of(config, name, target)
    else:
        stages = [stage for stage in STAGES if target in catalog.names(stage)]
    if not stages:
        pipeline_named(config, name)
    none = dict.fromkeys(STAGES, Names()) if "realtime" in stages else {}
    named = none | {stage: Names((name,)) for stage in stages}
    changed = replace(config.pipelines[config.pipeline], **named)  # type: ignore[arg-type]
    return replace(config, pipelines={"test": changed}, pipeline="test", agents=one_agent(config))


def _stages_of(config: Config, name: str, target: str) -> list[str]:
    """Where anybody's engine belongs: where a pipeline has it, else where its class has what the stage asks for."""
    named = [stage for stage in STAGES if any(name in getattr(one, stage) for one in config.pipelines.values())]
    if named:
        return named
    engine = catalog.engine_class(target, f"the engine {name!r}")
    opening = inspect.signature(engine.open).parameters if hasattr(engine, "open") else {}
    marks = {"realtime": "request", "stt": "hints", "tts": "voice"}
    found = [stage for stage, mark in marks.items() if mark in opening]
    found += [stage for stage, method in (("llm", "reply"), ("turn", "likelihood")) if hasattr(engine, method)]
    if not found:
        raise ConfigError(f"it is not to be seen what {name!r} is: name it in a stage of a pipeline", path="pipelines")
    return found


def one_agent(config: Config) -> dict[str, AgentConfig]:
    agent = config.agents.get(config.default_agent) or next(iter(config.agents.values()))
    return {agent.name: replace(agent, pipeline="")}


@contextlib.asynccontextmanager
async def started(config: Config, name: str) -> AsyncIterator[AgentSet]:
    """The engines of the pipeline ``name`` with one agent."""
    agent_set = AgentSet(replace(config, pipeline=name, agents=one_agent(config)), Engines())
    try:
        await agent_set.start()
        yield agent_set
    finally:
        await agent_set.close()


async def tried(config: Config, name: str, sample: str) -> AsyncIterator[Finding]:
    """Start the engines of one pipeline with one agent, let each do a little, and then all of them take a turn."""
    began = time.monotonic()
    async with started(config, name) as agent_set:
        for label, state in agent_set.readiness().items():
            if not state.ready:
                yield Finding(False, f"{label}: {state.reason}")
        yield Finding(True, f"{name}: started in {time.monotonic() - began:.1f} s")
        for agent in agent_set.agents.values():
            for stage, chain in chains(agent):
                for member in getattr(chain, "members", ()):
                    if member.readiness().ready:
                        yield await _tried(stage, member, agent.config)
            stages = agent.fallback if isinstance(agent, RealtimeAgentSetup) else agent
            if stages is None or agent_set.problems():
                continue
            try:
                async for finding in rehearse(stages, sample):
                    yield finding
            except ProviderError as error:
                yield Finding(False, str(error))


def chains(agent: Agent | RealtimeAgentSetup) -> list[tuple[str, Any]]:
    """The engines of an agent, by what they do."""
    if isinstance(agent, RealtimeAgentSetup):
        return [("realtime", agent.chain), *(chains(agent.fallback) if agent.fallback else [])]
    turn = [("turn", agent.turn_end)] if agent.turn_end else []
    return [("stt", agent.stt), ("llm", agent.llm), ("tts", agent.tts), *turn]


async def _tried(stage: str, member: Any, agent: AgentConfig) -> Finding:
    began = time.monotonic()
    try:
        what = await asyncio.wait_for(trial(stage, member.engine, agent), 30)
    except TimeoutError:
        return Finding(False, f"{stage}/{member.name}: no answer within 30 s")
    except AsteriskAIError as error:
        return Finding(False, f"{stage}/{member.name}: {error}")
    return Finding(True, f"{stage}/{member.name}: {what} ({(time.monotonic() - began) * 1000:.0f} ms)")
