"""Calls that come by ``Stasis()``: their audio goes to us as RTP, and they leave to the dialplan when they are done.

The dialplan stays in charge. It registers the call by FastAGI as ever, and
``Stasis(asterisk-ai,${AI_CALL_ID})`` stands where ``AudioSocket()`` would:
here the call gets a bridge with an ExternalMedia channel, and at the end of
the conversation it goes on in the dialplan, which asks ``call/next``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from asterisk_ai.errors import CallRefused, ControlError
from asterisk_ai.pbx.ari.client import AriClient
from asterisk_ai.protocol import ari

logger = logging.getLogger(__name__)

ENTER_SECONDS = 5.0
"""How long the media channel may take to be there."""


class Media(Protocol):
    """The audio of one call over RTP, as this application sees it."""

    @property
    def address(self) -> str:
        """host:port that Asterisk is to send to."""

    def lock(self, source: tuple[str, int]) -> None:
        """Take audio from nobody else. Without it the first sender is taken."""

    def begin(self, call_id: str) -> None:
        """Give the audio to the call. Raises CallRefused."""

    def digit(self, digit: str) -> None:
        """A key that the caller dialled."""

    def close(self, reason: str) -> None:
        """The channel is gone, or the server stops."""

    async def closed(self) -> None:
        """Wait for the end, whoever it came from."""


class Ports(Protocol):
    """Where the audio of calls comes from."""

    counters: Any

    async def open(self) -> Media: ...


@dataclass(slots=True)
class _Call:
    channel: str
    media: Media
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    """The media channel is in our application, and can be put into a bridge."""
    gone: bool = False
    """The caller's channel has left the application."""


class AriApplication:
    """All calls of one Stasis application.

    :param ports: opens the audio of a call; raises OSError where no port is free.
    """

    def __init__(self, *, url: str, user: str, password: str, app: str, sound_format: str, ports: Ports) -> None:
        self._app, self._format, self.ports = app, sound_format, ports
        self._calls: dict[str, _Call] = {}  # by call id
        self._group = asyncio.TaskGroup()
        self._stopping = False
        self.client = AriClient(
            url, user, password, app, connected=self._sweep, received=self._received, lost=lambda: None
        )

    async def run(self) -> None:
        """Serve until cancelled; then every call goes back to the dialplan."""
        async with asyncio.TaskGroup() as group:
            client = group.create_task(self.client.run())
            try:
                await self._serve_all()
            finally:
                client.cancel()  # not before: by it Asterisk is told what is over

    async def _serve_all(self) -> None:
        async with self._group:
            try:
                await asyncio.get_running_loop().create_future()  # until cancelled
            finally:
                self._stopping = True
                for call in self._calls.values():
                    call.media.close("the server stops")

    # ---- events ------------------------------------------------------------------

    def _received(self, event: ari.Event) -> None:
        match event:
            case ari.Entered(channel, _, arguments):
                self._entered(channel, arguments)
            case ari.Left(channel) | ari.Gone(channel):
                if call := self._call_with(channel):
                    call.gone = True
                    call.media.close("hangup")
            case ari.Digit(channel, digit):
                if call := self._call_with(channel):
                    call.media.digit(digit)
            case ari.Replaced():
                logger.error("another server has taken the Stasis application", extra={"app": self._app})
            case ari.Other():
                pass

    def _entered(self, channel: str, arguments: tuple[str, ...]) -> None:
        if self._stopping:
            return
        if call_id := self._of_media(channel):
            if call_id in self._calls:
                self._calls[call_id].entered.set()
        elif arguments and arguments[0] not in self._calls:
            self._group.create_task(self._serve(channel, arguments[0]))
        else:
            logger.warning("a channel came by Stasis() without a call id of its own", extra={"channel": channel})
            self._group.create_task(self._quietly(ari.leave(channel)))

    def _call_with(self, channel: str) -> _Call | None:
        """The call whose caller's channel this is."""
        return next((call for call in self._calls.values() if call.channel == channel), None)

    # ---- one call ----------------------------------------------------------------

    async def _serve(self, channel: str, call_id: str) -> None:
        try:
            media = await self.ports.open()
        except OSError as error:
            logger.error("no RTP port for the call: %s", error, extra={"call_id": call_id})
            await self._quietly(ari.leave(channel))
            return
        call = self._calls[call_id] = _Call(channel, media)
        try:
            await self._connect(call_id, call)
            media.begin(call_id)
            logger.info("ExternalMedia connected: RTP at %s", media.address, extra={"call_id": call_id})
            await media.closed()
        except (CallRefused, ControlError, TimeoutError) as error:
            logger.warning(
                "ExternalMedia failed: %s", str(error) or "its channel did not come", extra={"call_id": call_id}
            )
        finally:
            media.close("ended")
            # The server may be stopping: what Asterisk holds for the call is given back all the same.
            await asyncio.shield(self._clean_up(call_id, call))

    async def _connect(self, call_id: str, call: _Call) -> None:
        bridge, media_channel = self._bridge(call_id), self._media_channel(call_id)
        await self.client.do(ari.make_bridge(bridge))
        made = await self.client.do(ari.make_external_media(media_channel, self._app, call.media.address, self._format))
        logger.info("ExternalMedia channel created: %s", media_channel, extra={"call_id": call_id})
        if source := ari.rtp_source(made):
            call.media.lock(source)
        async with asyncio.timeout(ENTER_SECONDS):
            await call.entered.wait()
        await self.client.do(ari.join(bridge, call.channel, media_channel))

    async def _clean_up(self, call_id: str, call: _Call) -> None:
        await self._quietly(ari.hang_up(self._media_channel(call_id)), ari.remove_bridge(self._bridge(call_id)))
        if not call.gone:
            await self._quietly(ari.leave(call.channel))
        self._calls.pop(call_id, None)
        logger.info("ExternalMedia cleaned up", extra={"call_id": call_id})

    async def _quietly(self, *requests: ari.Request) -> None:
        """Each of them, whether or not the one before could be done."""
        for request in requests:
            try:
                await self.client.do(request)
            except ControlError as error:
                logger.warning("%s", error)

    # ---- what an earlier server left ------------------------------------------------

    async def _sweep(self) -> None:
        """After each connecting: nothing of calls that are not ours any more stays in Asterisk, and nobody waits in it.

        :raises ControlError: Asterisk does not tell what there is.
        """
        channels, bridges = _ids(await self.client.do(ari.CHANNELS)), _ids(await self.client.do(ari.BRIDGES))
        ours = {call.channel for call in self._calls.values()}
        known = await self.client.do(ari.application(self._app))
        waiting = known.get("channel_ids", []) if isinstance(known, dict) else []
        media = [name for name in channels if (call_id := self._of_media(name)) and call_id not in self._calls]
        empty = [
            name for name in bridges if name.startswith(self._bridge("")) and self._call_of(name) not in self._calls
        ]
        callers = [name for name in waiting if name not in ours and not self._of_media(name)]
        if media or empty or callers:
            logger.info(
                "left by an earlier server: %d media channels, %d bridges, %d callers",
                len(media),
                len(empty),
                len(callers),
            )
        await self._quietly(*map(ari.hang_up, media), *map(ari.remove_bridge, empty), *map(ari.leave, callers))
        for call in self._calls.values():
            if call.channel not in channels:  # it hung up while we were not connected
                call.gone = True
                call.media.close("hangup")

    # ---- names ------------------------------------------------------------------------

    def _bridge(self, call_id: str) -> str:
        return f"{self._app}-bridge-{call_id}"

    def _call_of(self, bridge: str) -> str:
        return bridge.removeprefix(self._bridge(""))

    def _media_channel(self, call_id: str) -> str:
        return f"{self._app}-media-{call_id}"

    def _of_media(self, channel: str) -> str:
        """The call whose media channel this is; empty for any other channel."""
        prefix = self._media_channel("")
        return channel.removeprefix(prefix) if channel.startswith(prefix) else ""


def _ids(things: Any) -> set[str]:
    listed: Iterable[Any] = things if isinstance(things, list) else ()
    return {thing["id"] for thing in listed if isinstance(thing, dict) and isinstance(thing.get("id"), str)}
