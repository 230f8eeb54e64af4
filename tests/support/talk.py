"""The caller's side of a session with a service of speech to speech."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from asterisk_ai.providers.api import AgentText, RealtimeSession


class Talk:
    """A session with the caller's side fed in real time, or so many times as fast."""

    def __init__(self, session: RealtimeSession, rate: int, pace: float = 1.0) -> None:
        self.session, self.rate, self.pace = session, rate, pace
        self.seen: list[Any] = []
        self.speech = b""
        self._events = session.events()

    async def feed(self) -> None:
        size, due = self.rate // 50 * 2, time.monotonic()
        while True:
            frame, self.speech = self.speech[:size], self.speech[size:]
            self.session.feed(frame.ljust(size, b"\0"))
            due += 0.02 / self.pace
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def until(self, kind: type[Any], count: int = 1) -> Any:
        async with asyncio.timeout(10):
            async for event in self._events:
                self.seen.append(event)
                count -= isinstance(event, kind)
                if not count:
                    return event
        raise AssertionError

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]

    def words(self) -> str:
        return "".join(event.text for event in self.of(AgentText))
