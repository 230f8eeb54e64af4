"""The engines that agents share: equal ones are made once, started, mended, and stopped with the last who uses them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from asterisk_ai.errors import AsteriskAIError, ConfigError, ModelError, ProviderError, ProviderUnavailable
from asterisk_ai.providers.api import Counting, Engine, Readiness
from asterisk_ai.providers.boundary import EngineFault, engine_boundary
from asterisk_ai.providers.catalog import Kind
from asterisk_ai.providers.chain import KEYS, Breaker, Member, Meter

logger = logging.getLogger(__name__)
E = TypeVar("E", bound=Engine)


@dataclass(slots=True)
class _Shared(Generic[E]):
    """An engine and how many sets of agents use it."""

    engine: E
    breaker: Breaker
    resource: str = ""
    """The key of what it shares with the engines of other agents."""
    check: Callable[[], object] | None = None
    """Raises ModelError while its model is not there. May read all of it."""
    users: int = 0
    started: bool = False
    problem: str = ""
    """Why it could not be started."""
    curable: bool = False
    """Whether another start may go better."""

    def readiness(self) -> Readiness:
        if self.problem:
            return Readiness(False, self.problem)
        return self.engine.readiness()


@dataclass(slots=True)
class _Resource:
    """What engines of several agents share: the process that holds their model."""

    pool: Engine
    users: int = 0


class Engines:
    """Every engine that some set of agents uses, by kind, name and settings: equal ones are made once."""

    def __init__(self) -> None:
        self._shared: dict[str, _Shared[Any]] = {}
        self._resources: dict[str, _Resource] = {}
        self._meters: dict[str, Meter] = {}  # by name: they outlast engines, as days do

    def take(
        self,
        kind: Kind[E],
        name: str,
        settings: Mapping[str, Any],
        agent: Mapping[str, Any] | None,
        breaker: Breaker | None = None,
        *,
        check: Callable[[], object] | None = None,
    ) -> str:
        """Make or share an engine; returns its key. Raises ConfigError.

        ``settings.engine`` names the engine's class where ``name`` is the administrator's own.
        """
        self._meters.setdefault(name, Meter()).set(settings, name)
        settings = {item: value for item, value in settings.items() if item not in KEYS}
        key = json.dumps([kind.name, name, settings, agent], sort_keys=True, default=str)
        shared = self._shared.get(key)
        if shared is None:
            own = {item: value for item, value in settings.items() if item != "engine"}
            engine_class = kind.load(str(settings.get("engine") or name))
            try:
                with engine_boundary(name, (AsteriskAIError,)):
                    engine, resource = self._make(engine_class, name, own, agent)
            except ConfigError as error:
                raise _under(error, name) from error
            except EngineFault as error:
                raise ConfigError(f"the {kind.name} engine {name!r} cannot be made: {error}") from error
            shared = self._shared[key] = _Shared(engine, breaker or Breaker(), resource, check)
        shared.users += 1
        return key

    def _make(
        self, engine_class: Callable[..., E], name: str, own: Mapping[str, Any], agent: Mapping[str, Any] | None
    ) -> tuple[E, str]:
        if agent is None:
            return engine_class(own), ""
        make = getattr(engine_class, "resource", None)
        if make is None:
            return engine_class(own, agent), ""
        key = json.dumps([name, own], sort_keys=True, default=str)
        resource = self._resources.get(key) or _Resource(make(own))
        engine = engine_class(own, agent, resource.pool)
        resource.users += 1
        self._resources[key] = resource
        return engine, key

    async def _let_go(self, shared: _Shared[Any], *, stop: bool) -> None:
        """The last set of agents that used the engine is gone."""
        if stop:
            await _stop(shared.engine)
        pool = self._unshare(shared)
        if pool is not None:
            await _stop(pool)

    def _unshare(self, shared: _Shared[Any]) -> Engine | None:
        """What the engine shared, where it was the last one to do so."""
        resource = self._resources.get(shared.resource)
        if resource is None:
            return None
        resource.users -= 1
        if resource.users:
            return None
        del self._resources[shared.resource]
        return resource.pool

    def member(self, name: str, key: str) -> Member[Any]:
        """The engine as a part of a chain."""
        shared = self._shared[key]
        return Member(name, shared.engine, shared.breaker, shared.readiness, self._meters[name])

    def readiness(self, key: str) -> Readiness:
        """The engine's own, or that it has failed too often lately."""
        shared = self._shared[key]
        state, left_alone = shared.readiness(), shared.breaker.problem()
        return Readiness(False, left_alone) if state.ready and left_alone else state

    def enough(self, name: str) -> str:
        """Why the engine of that name is asked after others, as it has cost enough today; empty where it has not."""
        return self._meters[name].problem()

    def counters(self, key: str) -> Mapping[str, int]:
        """What the engine has lost; empty where it does not count."""
        engine = self._shared[key].engine
        return engine.counters() if isinstance(engine, Counting) else {}

    async def start(self, keys: Iterable[str]) -> None:
        """Start those that are not running. One that cannot start is reported as not ready, the rest go on."""
        for key in keys:
            shared = self._shared[key]
            if shared.started and not shared.problem:
                continue
            problem, shared.started, shared.curable = "", True, False
            try:
                if shared.check is not None:
                    await asyncio.to_thread(shared.check)
                with engine_boundary(key, (ModelError, OSError)):
                    await shared.engine.start()
            except EngineFault as error:
                problem = str(error)
            except (ProviderError, ModelError, OSError) as error:
                problem = str(error)
                shared.curable = isinstance(error, (ProviderUnavailable, ModelError, OSError))
                if problem != shared.problem:  # trying again must not fill the log
                    logger.error("%s", error)
            shared.problem = problem  # until it is known, it is what it was

    async def mend(self, keys: Iterable[str]) -> None:
        """Start again what could not be started for a reason that may have passed."""
        await self.start([key for key in keys if self._shared[key].curable])

    async def give_back(self, keys: Iterable[str]) -> None:
        """Stop those that nobody uses any more."""
        for key in keys:
            shared = self._shared[key]
            shared.users -= 1
            if shared.users == 0:
                del self._shared[key]
                await self._let_go(shared, stop=shared.started)

    def drop(self, keys: Iterable[str]) -> None:
        """Undo :meth:`take` for a set of agents that did not come about: what was made for it alone never started."""
        for key in keys:
            shared = self._shared[key]
            shared.users -= 1
            if shared.users == 0:
                del self._shared[key]
                self._unshare(shared)


def _under(error: ConfigError, name: str) -> ConfigError:
    """A mistake in an engine's settings, by the path that they have in the file and not by the engine's own name."""
    first, _, rest = error.path.partition(".")
    if first != "providers":
        return error
    key = rest.partition(".")[2]
    path = f"providers.{name}.{key}" if key else f"providers.{name}"
    return ConfigError(error.message, path=path, line=error.line, file=error.file)


async def _stop(engine: Engine) -> None:
    try:
        with engine_boundary(type(engine).__name__):
            await engine.stop()
    except ProviderError as error:  # the others are still to be stopped
        logger.error("an engine failed to stop: %s", error)
