"""Which configuration is in use, and how the next one takes its place while calls go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.config import Config
from asterisk_ai.config.apart import load_apart
from asterisk_ai.errors import AsteriskAIError

logger = logging.getLogger(__name__)

MEND_SECONDS = 15.0


class ConfigInUse:
    """The configuration that new calls are served with, and its engines.

    :param agent_set: makes the engines of a configuration; raises ConfigError.
    :param place: puts a worker's own addresses into a configuration.
    :param changed: told of a configuration that is in use from now on.
    :param group: where the work of the last engines' end runs.
    """

    def __init__(
        self,
        config: Config,
        *,
        agent_set: Callable[[Config], AgentSet],
        place: Callable[[Config], Config],
        changed: Callable[[Config], Awaitable[None]],
        group: asyncio.TaskGroup,
    ) -> None:
        self.config = config
        self.agent_set = agent_set(config)
        self.reloads = 0
        self.problem = ""
        """Why the last reload was refused; empty where it was not."""
        self._make = agent_set
        self._place = place
        self._changed = changed
        self._one_at_a_time = asyncio.Lock()
        self._group = group

    async def reload(self, *, force: bool = False) -> bool:
        """Read the configuration again; new calls use it. A bad one changes nothing. Returns whether it is in use.

        Bad is also one with which calls would fail where they are served now: a stage that no engine is ready for.
        ``force`` takes that one all the same.
        """
        async with self._one_at_a_time:
            self.problem = await self._take_up(force=force)
            self.reloads += 1
        if self.problem:
            logger.error("reload refused, the running configuration stays: %s", self.problem)
        return not self.problem

    async def _take_up(self, *, force: bool) -> str:
        """Load and start the configuration's engines and put them in use; returns why not, empty where they are."""
        try:
            config = self._place(await load_apart(self.config.source or None))
            agent_set = await asyncio.to_thread(self._make, config)  # thousands of phrases take seconds
            await agent_set.start()
        except AsteriskAIError as error:
            return str(error)
        except (Exception, SystemExit) as error:  # the file may name anybody's engine; the calls must go on
            logger.exception("the reload failed")
            return f"{type(error).__name__}: {error}"
        problem = "; ".join(agent_set.problems())
        if problem and not force and not self.agent_set.problems():
            await agent_set.close()
            return problem
        old, self.agent_set, self.config = self.agent_set, agent_set, config
        await self._changed(config)
        self._group.create_task(self._retire(old))
        logger.info("configuration %s is in use for new calls", config.source or "packaged")
        return ""

    async def _retire(self, old: AgentSet) -> None:
        """Give its engines back once its last call has ended; not while the next ones are being made of them."""
        await old.wait_unused()
        async with self._one_at_a_time:
            await old.close()

    async def keep_mending(self) -> None:
        """Try again, every now and then, an engine that could not be started (its network was down)."""
        while True:
            await asyncio.sleep(MEND_SECONDS)
            async with self._one_at_a_time:
                await self.agent_set.mend()
