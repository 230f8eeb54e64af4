"""Agents with the engines that serve them, as one configuration names them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from asterisk_ai.call import Agent
from asterisk_ai.config import Config
from asterisk_ai.errors import AsteriskAIError, ConfigError, ModelError, ProviderError
from asterisk_ai.providers import catalog
from asterisk_ai.providers.base import Readiness

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """What every engine has in common, whatever its kind."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness: ...


@dataclass(slots=True)
class _Shared:
    """An engine and how many line-ups use it."""

    engine: Any
    users: int = 0
    started: bool = False
    problem: str = ""


class Engines:
    """Every engine that some line-up uses, by kind, name and settings: equal ones are made once."""

    def __init__(self) -> None:
        self._shared: dict[str, _Shared] = {}

    def take(self, kind: str, name: str, settings: Mapping[str, Any], agent: Mapping[str, Any] | None) -> str:
        """Make or share an engine; returns its key. Raises ConfigError and ModelError."""
        key = json.dumps([kind, name, settings, agent], sort_keys=True, default=str)
        shared = self._shared.get(key)
        if shared is None:
            engine_class = catalog.load(kind, name)
            try:
                engine = engine_class(settings, agent) if agent is not None else engine_class(settings)
            except AsteriskAIError:
                raise
            except Exception as error:  # anybody's engine may be named: it must not end a server that reloads
                raise ConfigError(f"the {kind} engine {name!r} cannot be made: {error!r}") from error
            shared = self._shared[key] = _Shared(engine)
        shared.users += 1
        return key

    def engine(self, key: str) -> Any:
        return self._shared[key].engine

    def readiness(self, key: str) -> Readiness:
        shared = self._shared[key]
        return Readiness(False, shared.problem) if shared.problem else shared.engine.readiness()

    async def start(self, keys: Iterable[str]) -> None:
        """Start those that are not running. One that cannot start is reported as not ready, the rest go on."""
        for key in keys:
            shared = self._shared[key]
            if shared.started and not shared.problem:
                continue
            shared.started, shared.problem = True, ""
            try:
                await shared.engine.start()
            except (ProviderError, ModelError, OSError) as error:
                logger.error("%s", error)
                shared.problem = str(error)
            except Exception as error:  # as above
                logger.exception("an engine failed to start")
                shared.problem = repr(error)

    async def give_back(self, keys: Iterable[str]) -> None:
        """Stop those that nobody uses any more."""
        for key in keys:
            shared = self._shared[key]
            shared.users -= 1
            if shared.users == 0:
                del self._shared[key]
                if shared.started:
                    await _stop(shared.engine)

    def drop(self, keys: Iterable[str]) -> None:
        """Undo :meth:`take` for a line-up that did not come about: what was made for it alone never started."""
        for key in keys:
            shared = self._shared[key]
            shared.users -= 1
            if shared.users == 0:
                del self._shared[key]


async def _stop(engine: Engine) -> None:
    try:
        await engine.stop()
    except Exception:  # as above; the others are still to be stopped
        logger.exception("an engine failed to stop")


class Lineup:
    """The agents of one configuration. A call keeps the line-up that it began with to its end."""

    def __init__(self, config: Config, engines: Engines) -> None:
        """Raises ConfigError with the key's path where an agent's engines cannot be made."""
        self.config = config
        self.agents: dict[str, Agent] = {}
        self._engines = engines
        self._keys: dict[str, str] = {}  # "stt/pocketsphinx" or "llm/rules/AGENT" to the engine's key
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        try:
            for name in config.agents:
                self.agents[name] = self._agent(name)
        except AsteriskAIError:
            engines.drop(self._keys.values())
            raise

    def _agent(self, name: str) -> Agent:
        agent = self.config.agents[name]
        pipeline = self.config.pipeline_of(agent)
        made = {}
        for kind, engine in (("stt", pipeline.stt), ("llm", pipeline.llm), ("tts", pipeline.tts)):
            own = agent.as_mapping() if kind == "llm" else None  # a language model belongs to its agent
            label = f"{kind}/{engine}" + (f"/{name}" if own else "")
            if label not in self._keys:
                try:
                    self._keys[label] = self._engines.take(kind, engine, self.config.settings(engine), own)
                except ConfigError as error:
                    raise self.config.located(error) from error
            made[kind] = self._engines.engine(self._keys[label])
        limit = min(agent.turn.max_call_seconds, self.config.server.max_call_seconds)
        agent = replace(agent, turn=replace(agent.turn, max_call_seconds=limit))
        return Agent(agent, made["stt"], made["llm"], made["tts"])

    async def start(self) -> None:
        await self._engines.start(self._keys.values())

    async def retire(self) -> None:
        """Wait for the last call of this line-up, then give the engines back."""
        await self._idle.wait()
        await self._engines.give_back(self._keys.values())

    async def close(self) -> None:
        """Give the engines back now; calls that still run lose them."""
        await self._engines.give_back(self._keys.values())

    def enter(self) -> None:
        """A call begins."""
        self._calls += 1
        self._idle.clear()

    def leave(self) -> None:
        """A call has ended."""
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    def readiness(self) -> dict[str, Readiness]:
        """Every engine's, by ``kind/name``."""
        return {label: self._engines.readiness(key) for label, key in self._keys.items()}
