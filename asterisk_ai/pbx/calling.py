"""Calling people: Asterisk rings them, and whoever answers is with the agent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from asterisk_ai.config.schema import AmiConfig
from asterisk_ai.errors import ControlError
from asterisk_ai.pbx.ami import Ami, AmiRefused, Event
from asterisk_ai.protocol.ami import (
    CONTEXT,
    STATUS,
    Callee,
    Outcome,
    Progress,
    Stage,
    advanced,
    given_up,
    of_call,
    originate,
)

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0
"""What the dialplan says of a call that was not answered may come after Asterisk's word that it was not."""
Told = Callable[[Progress], None]


@dataclass(slots=True)
class _Call:
    progress: Progress
    told: Told
    ended: asyncio.Future[None]
    sent: bool = False
    """Asterisk has taken the order."""


class Calling:
    """All calls that one process makes, over one connection; as an asynchronous context manager."""

    def __init__(self, config: AmiConfig) -> None:
        self._calls: dict[str, _Call] = {}
        self.ami = Ami(config, received=self._received, connected=self._look)
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Calling:
        """Connected.

        :raises ControlError: there is no connection.
        """
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._run = asyncio.create_task(self.ami.run(ready))
        await asyncio.wait([ready, self._run], return_when=asyncio.FIRST_COMPLETED)
        if self._run.done():
            self._run.result()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._run is not None:
            self._run.cancel()
            with contextlib.suppress(asyncio.CancelledError, ControlError):
                await self._run

    async def call(self, callee: Callee, told: Told = lambda progress: None) -> Progress:
        """Call somebody; returns when the call is over. Cancelled, it hangs up.

        :param told: of each step.
        :raises ControlError: Asterisk cannot be reached, or refuses.
        """
        with self._following(callee.call, told) as call:
            await self.ami.do(originate(callee), "may the user write: originate?")
            call.sent = True
            return await self._end(callee.call, call)

    async def follow(self, name: str, told: Told = lambda progress: None) -> Progress | None:
        """What came, or comes, of a call that was made before by a process that is gone; None: Asterisk knows none.

        :raises ControlError: Asterisk cannot be reached.
        """
        with self._following(name, told) as call:
            if name not in await self._channels():
                outcome = await self.outcome(name)
                return None if outcome is None else Progress(Stage.ENDED, outcome)
            call.progress, call.sent = Progress(Stage.TALKING), True
            return await self._end(name, call)

    @contextlib.contextmanager
    def _following(self, name: str, told: Told) -> Iterator[_Call]:
        if self._run is not None and self._run.done():
            self._run.result()  # raises what ended it
        call = self._calls[name] = _Call(Progress(), told, asyncio.get_running_loop().create_future())
        try:
            yield call
        finally:
            del self._calls[name]

    async def _end(self, name: str, call: _Call) -> Progress:
        run = self._run
        assert run is not None  # noqa: S101 - it is entered
        try:
            await asyncio.wait([call.ended, run], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            with contextlib.suppress(ControlError):
                await self.hang_up(name)
            raise
        if not call.ended.done():
            run.result()  # raises what ended it
        return call.progress

    async def hang_up(self, name: str) -> None:
        """:raises ControlError: it cannot be done, as where the call is over."""
        for channel in (await self._channels()).get(name, ()):
            await self.ami.do({"Action": "Hangup", "Channel": channel})

    async def outcome(self, name: str) -> Outcome | None:
        """What Asterisk noted of a call that is over; None: it was never rung, and nobody was disturbed.

        :raises ControlError: Asterisk cannot be reached.
        """
        try:
            found = await self.ami.list({"Action": "DBGet", "Family": CONTEXT, "Key": name})
        except AmiRefused as error:
            if "not found" not in str(error):
                raise
            found = []
        return STATUS.get(found[0].get("Val", ""), Outcome.UNKNOWN) if found else None

    async def forget(self, name: str) -> None:
        """What Asterisk noted of a call is not needed any more: this process has noted it."""
        with contextlib.suppress(ControlError):  # then it stays: it is small, and does no harm
            await self.ami.do({"Action": "DBDel", "Family": CONTEXT, "Key": name})

    async def _channels(self) -> dict[str, list[str]]:
        """The channels that are up, by the call that they belong to, where one of its ids is its call's name."""
        found: dict[str, list[str]] = {}
        for event in await self.ami.list({"Action": "CoreShowChannels"}):
            found.setdefault(of_call(event), []).append(event.get("Channel", ""))
        return found

    async def _look(self) -> None:
        """After each connecting: what happened to calls meanwhile?"""
        if not self._calls:
            return
        channels = await self._channels()
        for name, call in list(self._calls.items()):
            if call.sent and name not in channels:
                outcome = await self.outcome(name) or Outcome.UNKNOWN
                self._advance(call, replace(call.progress, stage=Stage.ENDED, outcome=outcome))

    def _received(self, event: Event) -> None:
        call = self._calls.get(of_call(event))
        if call is not None:
            self._advance(call, advanced(call.progress, event))

    def _advance(self, call: _Call, now: Progress) -> None:
        before, call.progress = call.progress, now
        if now.failed and not before.failed:
            asyncio.get_running_loop().call_later(SETTLE_SECONDS, lambda: self._advance(call, given_up(call.progress)))
        if now != before:
            call.told(now)
        if now.stage is Stage.ENDED and not call.ended.done():
            call.ended.set_result(None)
