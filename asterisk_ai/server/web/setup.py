"""The agents, their engines and how these are; and the configuration, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import yaml
from starlette.responses import Response

from asterisk_ai.config import STAGES, AgentConfig, Config, ConfigErrors, find, host_port, load, reachable
from asterisk_ai.config.document import Document
from asterisk_ai.errors import ConfigError
from asterisk_ai.server.web.site import Visit

HIDDEN = "(hidden)"
_SECRET = re.compile(
    r"(?:^|[_-])(?:api)?(?:key|(?<!max_)token|pin|passphrase|credential)s?$|secret|password|authorization|cookie",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")
_NAMED = re.compile(r"\$\{\w+\}")


async def agents(visit: Visit) -> Response:
    """Who answers, with which engines, and how they are now."""
    config, problems = await anyio.to_thread.run_sync(_load, visit.site.file)
    state = await health(visit.site.config)
    lines = [_agent(config, name, state) for name in config.agents] if config else []
    return visit.page("agents.html", agents=lines, state=state, problems=problems, http=visit.site.config.http)


def _agent(config: Config, name: str, state: Mapping[str, Any] | None) -> dict[str, Any]:
    agent = config.agents[name]
    pipeline = config.pipeline_of(agent)
    ready = state.get("providers", {}) if state else {}
    stages = {stage: getattr(pipeline, stage) for stage in STAGES if getattr(pipeline, stage)}
    return {
        "name": name,
        "default": name == config.default_agent,
        "language": agent.language,
        "pipeline": agent.pipeline or config.pipeline,
        "greeting": agent.greeting,
        "record": agent.record,
        "stages": [
            (stage, [(engine, _ready(ready, f"{stage}/{engine}", agent)) for engine in engines])
            for stage, engines in stages.items()
        ],
    }


def _ready(states: Mapping[str, Any], label: str, agent: AgentConfig) -> Mapping[str, Any] | None:
    """Of an engine, which may be one of the agent's own, or of its language's; None where nothing is known of it."""
    own = (f"{label}{suffix}" for suffix in (f"/{agent.name}", f"/{agent.name}/{agent.language}", f"/{agent.language}"))
    return next((states[name] for name in (*own, label) if name in states), None)


async def health(config: Config) -> Mapping[str, Any] | None:
    """The running server's ``/health``; None where there is none."""
    if config.http is None or not config.http.port:
        return None
    where = host_port(reachable(config.http.host), config.http.port)
    try:
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            found = (await client.get(f"http://{where}/health")).json()
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) and "active_calls" in found else None


async def configuration(visit: Visit) -> Response:
    """The file as it is now, with every mistake, and without what is secret."""
    file = find(visit.site.file)
    config, problems = await anyio.to_thread.run_sync(_load, visit.site.file)
    text = await anyio.to_thread.run_sync(without_secrets, file)
    state = await health(visit.site.config)
    well = config is not None
    return visit.page("configuration.html", file=file, problems=problems, text=text, state=state, well=well)


def _load(file: str | None) -> tuple[Config | None, list[ConfigError]]:
    try:
        return load(file), []
    except ConfigErrors as errors:
        return None, list(errors.problems)
    except ConfigError as error:
        return None, [error]


def without_secrets(file: Path) -> str:
    """The file's keys and values, secrets hidden; empty where it cannot be read."""
    try:
        root = Document(file.read_text("utf-8-sig"), str(file), environ=None).root()
    except (ConfigError, OSError, ValueError):
        return ""
    shown = _shown(root.python(), hide=False) if root else None
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=110)


def _shown(value: Any, *, hide: bool) -> Any:
    if isinstance(value, dict):
        return {key: _shown(item, hide=hide or bool(_SECRET.search(str(key)))) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item, hide=hide) for item in value]
    if hide and value not in (None, "", True, False) and not _NAMED.fullmatch(str(value)):
        return HIDDEN
    return _IN_URL.sub(f"{HIDDEN}@", value) if isinstance(value, str) else value
