"""Asterisk's manager interface (AMI) by panoramisk: all that this package uses of it, in one place.

panoramisk writes actions, reads messages and brings the two together. Its ``Manager``, which connects, is left out, for
these defects of 1.4 (each is shown in tests/wire/test_ami.py):

- a connection that ends before its task has told it of the connection is lost for good: it never connects again, and
  whoever waits for an answer waits for ever;
- an action that was answered in part is never heard of again when the connection is lost, and one that was not is sent
  once more after it: somebody would be called twice;
- CR and LF in a value begin another header;
- what a peer sends without an end is kept without a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from panoramisk import actions, ami_protocol

from asterisk_ai.config.schema import AmiConfig
from asterisk_ai.errors import ControlError
from asterisk_ai.protocol.ami import checked

logger = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 15.0)
MAX_MESSAGE = 1 << 20
PING_SECONDS = 10.0
Event = Mapping[str, str]


class AmiRefused(ControlError):
    """Asterisk does not let us in, or does not do it: trying again is of no use."""


class _Listed(actions.Action):  # type: ignore[misc]
    """What is answered with a list. panoramisk would wait for it after a refusal, too."""

    def add_message(self, message: Any) -> bool:
        if message.response in ("", "Success"):
            return bool(super().add_message(message))
        if not self.future.done():
            self.future.set_result(message)
        return True


class _Line(ami_protocol.AMIProtocol):  # type: ignore[misc]
    """One connection. It is its own ``factory`` from the beginning, so that no end of it comes too early."""

    forgetable_actions: tuple[str, ...] = ()

    def __init__(self, received: Callable[[Event], None]) -> None:
        self._received = received
        self.encoding = "utf-8"
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.factory = self

    @property
    def awaiting_actions(self) -> list[Any]:
        """What panoramisk would send again: nothing."""
        return []

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.queue and len(self.queue[-1]) > MAX_MESSAGE:
            logger.error("AMI: a message of more than %d bytes: the connection is closed", MAX_MESSAGE)
            self.transport.abort()

    def dispatch(self, event: Any) -> None:
        self._received(_plain(event))

    def connection_lost(self, exc: object) -> None:
        """Also when Asterisk says that it shuts down. Whoever waits for an answer is told."""
        waiting = [action.future for action in self.responses.values() if not action.future.done()]
        self.responses.clear()
        for future in dict.fromkeys(waiting):
            future.set_exception(ControlError("AMI: the connection was lost"))
        if not self.ended.done():
            self.ended.set_result(None)
        self.close()


class Ami:
    """Keeps the connection up.

    :param received: called with each event, in their order; it must not wait.
    :param connected: awaited after each connecting.
    :param seconds: how long an answer may take.
    :param pause: waits between two attempts.
    """

    def __init__(
        self, config: AmiConfig, *, received: Callable[[Event], None],
        connected: Callable[[], Awaitable[None]] | None = None, seconds: float = 5.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._config, self._received, self._connected = config, received, connected
        self._seconds, self._pause = seconds, pause
        self._line: _Line | None = None

    async def run(self, ready: asyncio.Future[None] | None = None) -> None:
        """Stay connected until cancelled.

        :param ready: is told when there is a connection for the first time, or why there is none.
        :raises ControlError: it was not possible at the first time, or Asterisk does not let us in.
        """
        waits = iter(BACKOFF_SECONDS)
        begun = False
        while True:
            try:
                async with self._login() as line:
                    if self._connected is not None:
                        await self._connected()
                    begun, waits = True, iter(BACKOFF_SECONDS)
                    if ready is not None and not ready.done():
                        ready.set_result(None)
                    await self._keep(line)
                logger.warning("AMI: Asterisk has closed the connection")
            except ControlError as error:
                if not begun or isinstance(error, AmiRefused):
                    raise
                logger.warning("%s", error)
            await self._pause(next(waits, BACKOFF_SECONDS[-1]))

    async def _keep(self, line: _Line) -> None:
        """Until the connection ends. A host that is gone closes nothing: it has to answer now and then."""
        while not line.ended.done():
            await asyncio.wait([line.ended], timeout=PING_SECONDS)
            if not line.ended.done():
                await self.do({"Action": "Ping"})

    @contextlib.asynccontextmanager
    async def _login(self) -> AsyncIterator[_Line]:
        where = f"{self._config.host}:{self._config.port}"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                _, line = await loop.create_connection(
                    lambda: _Line(self._received), self._config.host, self._config.port
                )
        except (OSError, TimeoutError) as error:
            cure = "enabled=yes in manager.conf?"
            raise ControlError(f"AMI: nobody answers at {where}: {str(error) or 'time-out'} ({cure})") from None
        self._line = line
        try:
            await self.do(
                {"Action": "Login", "Username": self._config.user, "Secret": self._config.secret, "Events": "on"},
                f"compare `ami` with [{self._config.user}] of manager.conf",
            )
            yield line
        finally:
            self._line = None
            line.close()

    async def do(self, action: Mapping[str, str | list[str]], cure: str = "") -> Event:
        """Have Asterisk do it; what it answered.

        :param cure: for the error's message.
        :raises ControlError: it cannot be reached. :class:`AmiRefused`: it will not.
        :raises LocalProtocolError: the action would be another one.
        """
        found = await self._send(actions.Action(checked(action)), as_list=False)
        name = action["Action"]
        if found.get("Response") not in ("Success", "Goodbye"):
            why = found.get("Message", "refused")
            raise AmiRefused(f"AMI {name}: {why}" + (f" ({cure})" if cure else ""))
        return _plain(found)

    async def list(self, action: Mapping[str, str | list[str]]) -> list[Event]:
        """As :meth:`do`, of what answers with a list of events."""
        found = await self._send(_Listed(checked(action)), as_list=True)
        if not isinstance(found, list):
            raise AmiRefused(f"AMI {action['Action']}: {found.get('Message', 'refused')}")
        return [_plain(one) for one in _events(found)]

    async def _send(self, action: Any, *, as_list: bool) -> Any:
        line = self._line
        if line is None or line.ended.done():
            raise ControlError("AMI: not connected")
        try:
            async with asyncio.timeout(self._seconds):
                return await line.send(action, as_list=as_list)
        except TimeoutError:
            raise ControlError(f"AMI {action['Action']}: no answer within {self._seconds:g} s") from None
        finally:
            line.responses.pop(action.id, None)


def _plain(message: Mapping[str, Any]) -> Event:
    """Of a header that came several times, the last."""
    return {name: str(value[-1]) if isinstance(value, list) else str(value) for name, value in message.items()}


def _events(found: list[Any]) -> Iterator[Any]:
    for one in found:
        if "Event" in one and not one["Event"].endswith("Complete"):
            yield one
