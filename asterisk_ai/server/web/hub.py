"""What the server's processes tell of live calls, for every browser that looks on."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio.to_thread
import httpx

from asterisk_ai.config import Config, host_port, reachable
from asterisk_ai.config.private import control_token
from asterisk_ai.server.worker import WorkerPlace

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
SILENT_SECONDS = 6.0
"""A server that says nothing for so long, not even that nothing happens, is not reached."""
ENDED_SECONDS = 4.0
"""How long a call that has ended is still shown."""
MAX_BROWSERS = 100


class Subscriber:
    """One browser. What waits for it is which calls have changed, so that it is never more than there are calls."""

    def __init__(self) -> None:
        self.changed: dict[str, None] = {}
        self.seen: set[str] = set()
        """Calls of which it has all, so that what changes is enough."""
        self.wake = asyncio.Event()

    def note(self, call_id: str) -> None:
        self.changed[call_id] = None
        self.wake.set()


class LiveHub:
    """Asks the server's processes as long as anybody looks on; each process for its own calls."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.calls: dict[str, dict[str, Any]] = {}
        """What :func:`asterisk_ai.session.feed.shown` says, with the ``place`` that has the call."""
        self.reached: set[str] = set()
        self._subscribers: set[Subscriber] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def places(self) -> list[str]:
        """host:port of each process; none where ``http`` is switched off."""
        http, workers = self.config.http, self.config.server.workers
        if http is None or not http.port:
            return []
        if workers == 1:
            return [host_port(reachable(http.host), http.port)]
        return [f"127.0.0.1:{WorkerPlace(index, workers).http_port(self.config)}" for index in range(workers)]

    @property
    def full(self) -> bool:
        return len(self._subscribers) >= MAX_BROWSERS

    def subscribe(self) -> Subscriber:
        """From now on it is told of changes; what there is, it has to ask for."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._follow(place)) for place in self.places()]
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """With the last one the server is not asked any more."""
        self._subscribers.discard(subscriber)
        if not self._subscribers:
            for task in self._tasks:
                task.cancel()
            self._tasks = []
            self.calls.clear()
            self.reached.clear()

    def _tell(self, call_id: str) -> None:
        for subscriber in self._subscribers:
            subscriber.note(call_id)

    async def _follow(self, place: str) -> None:
        while True:
            with suppress(httpx.HTTPError, OSError, ValueError):
                await self._take(place)
            self.reached.discard(place)
            self._forget(place, ())
            self._tell("")
            await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, place: str) -> None:
        timeout = httpx.Timeout(SILENT_SECONDS)
        headers = {"Authorization": f"Bearer {await anyio.to_thread.run_sync(control_token, self.config)}"}
        async with (
            httpx.AsyncClient(timeout=timeout, trust_env=False, headers=headers) as client,
            client.stream("GET", f"http://{place}/calls") as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                logger.warning("the server at %s does not tell its calls: HTTP %d", place, answer.status_code)
                return
            self.reached.add(place)
            self._tell("")
            async for line in answer.aiter_lines():
                if line:
                    self._line(place, json.loads(line))

    def _line(self, place: str, told: dict[str, Any]) -> None:
        if "all" in told:
            self._forget(place, told["all"])
            return
        call_id = str(told["id"])
        if told["ended"]:
            told["gone_at"] = time.monotonic()
            asyncio.get_running_loop().call_later(ENDED_SECONDS, self._end, call_id)
        self.calls[call_id] = {**told, "place": place}
        self._tell(call_id)

    def _end(self, call_id: str) -> None:
        if self.calls.get(call_id, {}).get("ended"):
            del self.calls[call_id]
            self._tell(call_id)

    def _forget(self, place: str, kept: Any) -> None:
        for call_id in [one for one, call in self.calls.items() if call["place"] == place and one not in kept]:
            del self.calls[call_id]
            self._tell(call_id)

    async def act(self, call_id: str, what: str, fields: Mapping[str, str]) -> str:
        """Have the process that has the call do something with it; why not, empty where it has."""
        known = self.calls.get(call_id)
        headers = {"Authorization": f"Bearer {await anyio.to_thread.run_sync(control_token, self.config)}"}
        problem = "the server is not reached"
        async with httpx.AsyncClient(timeout=4.0, trust_env=False, headers=headers) as client:
            for place in [known["place"]] if known else self.places():
                try:
                    answer = await client.post(f"http://{place}/calls/{call_id}/{what}", data=dict(fields))
                    problem = str(answer.json()["problem"])
                except (httpx.HTTPError, ValueError, KeyError, TypeError):
                    continue
                if answer.status_code != httpx.codes.NOT_FOUND:
                    return problem
        return problem
