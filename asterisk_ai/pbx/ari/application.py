"""Calls that come by ``Stasis()``: their audio goes to us as RTP, and they leave to the dialplan when they are done.

The dialplan stays in charge. It registers the call by FastAGI as ever, and
``Stasis(asterisk-ai,${AI_CALL_ID})`` stands where ``AudioSocket()`` would:
here the call gets a bridge with an ExternalMedia channel, and at the end of
the conversation it goes on in the dialplan, which asks ``call/next``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from asterisk_ai.errors import CallRefused, ControlError
from asterisk_ai.pbx.ari.client import AriClient
from asterisk_ai.protocol import ari

logger = logging.getLogger(__name__)

ENTER_SECONDS = 5.0
"""How long the media channel may take to be there."""
SWEEP_SECONDS = 1.0
"""How long the event of a caller whom Asterisk lists may take: who has none by then came to an earlier server."""


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
class _Visit:
    """One stay of a call in the application: it may go to the dialplan and be back before all of the last is removed.

    :param name: of this stay alone, and part of what Asterisk's things of it are called.
    """

    name: str
    call_id: str
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
        self._visits: dict[str, _Visit] = {}  # by name
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
                for visit in self._visits.values():
                    visit.media.close("the server stops")

    # ---- events ------------------------------------------------------------------

    def _received(self, event: ari.Event) -> None:
        match event:
            case ari.Entered(channel, _, arguments):
                self._entered(channel, arguments)
            case ari.Left(channel) | ari.Gone(channel):
                if visit := self._visit_of(channel):
                    visit.gone = True
                    visit.media.close("hangup")
            case ari.Digit(channel, digit):
                if visit := self._visit_of(channel):
                    visit.media.digit(digit)
            case ari.Replaced():
                logger.error("another server has taken the Stasis application", extra={"app": self._app})
            case ari.Other():
                pass

    def _entered(self, channel: str, arguments: tuple[str, ...]) -> None:
        if self._stopping:
            return
        if name := self._of_media(channel):
            if name in self._visits:
                self._visits[name].entered.set()
        elif arguments:
            self._group.create_task(self._serve(channel, arguments[0]))
        else:
            logger.warning("a channel came by Stasis() without a call id", extra={"channel": channel})
            self._group.create_task(self._quietly(ari.leave(channel)))

    def _visit_of(self, channel: str) -> _Visit | None:
        """The stay of this caller's channel that has not ended."""
        return next((visit for visit in self._visits.values() if visit.channel == channel and not visit.gone), None)

    # ---- one call ----------------------------------------------------------------

    async def _serve(self, channel: str, call_id: str) -> None:
        try:
            media = await self.ports.open()
        except OSError as error:
            logger.error("no RTP port for the call: %s", error, extra={"call_id": call_id})
            await self._quietly(ari.leave(channel))
            return
        name = f"{call_id}-{secrets.token_hex(4)}"
        visit = self._visits[name] = _Visit(name, call_id, channel, media)
        try:
            await self._connect(visit)
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
            await asyncio.shield(self._clean_up(visit))

    async def _connect(self, visit: _Visit) -> None:
        bridge, media_channel = self._bridge(visit.name), self._media_channel(visit.name)
        await self.client.do(ari.make_bridge(bridge))
        made = await self.client.do(
            ari.make_external_media(media_channel, self._app, visit.media.address, self._format)
        )
        logger.info("ExternalMedia channel created: %s", media_channel, extra={"call_id": visit.call_id})
        if source := ari.rtp_source(made):
            visit.media.lock(source)
        async with asyncio.timeout(ENTER_SECONDS):
            await visit.entered.wait()
        await self.client.do(ari.join(bridge, visit.channel, media_channel))

    async def _clean_up(self, visit: _Visit) -> None:
        await self._quietly(ari.hang_up(self._media_channel(visit.name)), ari.remove_bridge(self._bridge(visit.name)))
        if not visit.gone:
            visit.gone = True  # what comes of its channel from now on is of another stay
            await self._quietly(ari.leave(visit.channel))
        self._visits.pop(visit.name, None)
        logger.info("ExternalMedia cleaned up", extra={"call_id": visit.call_id})

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
        media = [channel for channel in channels if (name := self._of_media(channel)) and name not in self._visits]
        empty = [
            bridge
            for bridge in bridges
            if bridge.startswith(self._bridge("")) and bridge.removeprefix(self._bridge("")) not in self._visits
        ]
        if media or empty:
            logger.info("left by an earlier server: %d media channels, %d bridges", len(media), len(empty))
        await self._quietly(*map(ari.hang_up, media), *map(ari.remove_bridge, empty))
        for visit in self._visits.values():
            if visit.channel not in channels:  # it hung up while we were not connected
                visit.gone = True
                visit.media.close("hangup")
        known = await self.client.do(ari.application(self._app))
        waiting = known.get("channel_ids", []) if isinstance(known, dict) else []
        self._group.create_task(self._send_back({channel for channel in waiting if not self._of_media(channel)}))

    async def _send_back(self, callers: set[str]) -> None:
        """To the dialplan, those who came to an earlier server; not who came just now, of whom we shall be told."""
        await asyncio.sleep(SWEEP_SECONDS)
        left = callers - {visit.channel for visit in self._visits.values()}
        if left:
            logger.info("left by an earlier server: %d callers", len(left))
        await self._quietly(*map(ari.leave, left))

    # ---- names ------------------------------------------------------------------------

    def _bridge(self, visit: str) -> str:
        return f"{self._app}-bridge-{visit}"

    def _media_channel(self, visit: str) -> str:
        return f"{self._app}-media-{visit}"

    def _of_media(self, channel: str) -> str:
        """The stay whose media channel this is; empty for any other channel."""
        prefix = self._media_channel("")
        return channel.removeprefix(prefix) if channel.startswith(prefix) else ""


def _ids(things: Any) -> set[str]:
    listed: Iterable[Any] = things if isinstance(things, list) else ()
    return {thing["id"] for thing in listed if isinstance(thing, dict) and isinstance(thing.get("id"), str)}
