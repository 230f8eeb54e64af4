"""What the dialplan asks for over FastAGI: ``call/start``, ``/media``, ``/next``, ``/brief``, ``/end``, ``/eagi``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from asterisk_ai.config.schema import DOWNSTREAM_MODES
from asterisk_ai.dialog.caller import KNOWN, plain
from asterisk_ai.dialog.dialplan import FALL_BACK, ActionKind, reply_variables
from asterisk_ai.errors import CallRefused, ControlError, LocalProtocolError, Refusal
from asterisk_ai.pbx.agi_arguments import argument, call_of, key_of, played
from asterisk_ai.pbx.caller import caller_of
from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.pbx.results import results
from asterisk_ai.pbx.transfers import Transfers
from asterisk_ai.protocol.agi.reader import AgiReply, AgiRequest
from asterisk_ai.protocol.audiosocket import KIND_BY_RATE
from asterisk_ai.session.model import END_BY, CallSession, Outcome
from asterisk_ai.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

P = TypeVar("P")

_ALL_DIGITS = "0123456789*#ABCD"
_IDLE_MS = "100"
"""How long an EAGI channel listens for a digit before it looks for something to play again."""


Play = Callable[[str, int, Callable[[], None]], Awaitable[tuple[int, str] | None]]
"""Plays a file, from a sample on; calls the third argument as it begins. Returns where which key stopped it, if any."""


class Channel(Protocol):
    """A channel that runs ``AGI()``, as a route sees it."""

    request: AgiRequest

    @property
    def local_host(self) -> str:
        """The address of ours that Asterisk connected to; empty where it is unknown."""

    async def command(self, command: str, *arguments: str, seconds: float | None = -1) -> AgiReply: ...

    async def set_variable(self, name: str, value: str) -> None: ...


class FilePlayer(Protocol):
    """Plays a call's replies as files, where the agent's voice cannot go back over AudioSocket."""

    def dialled(self, digit: str) -> None: ...

    async def play(self, play: Play, idle: Callable[[], Awaitable[None]]) -> None: ...

    def close(self) -> None: ...


class Away(Protocol):
    """A call that goes on while the dialplan plays its replies."""

    @property
    def waits(self) -> bool:
        """For its next line."""

    @property
    def plays(self) -> bool:
        """The dialplan was told to play something that is still wanted."""

    async def asked(self, stopped_ms: int = 0, digit: str = "") -> tuple[str, int] | None:
        """The dialplan asks what to do. A file, and from which millisecond on, where it has one played."""

    def gone(self, reason: str = "hangup") -> None:
        """The dialplan does not come back."""


class CallRoutes:
    """The handlers, over the registry of calls.

    :param address: host:port of the AudioSocket listener as Asterisk reaches it.
    :param server: where the dialplan has to ask about this call from now on (AI_SERVER), given the host that it
        reached us at; empty: where it asked first.
    :param player: makes the player of an EAGI call, whose replies are played as files.
    :param transfers: who is rung for callers that may come back.
    :param away: the call of an id, where the dialplan may be playing its replies.
    :param fetch: connects to the channel of Asterisk that waits with a call's audio, given the call's id and the
        channel's; None where that is not configured. Raises ControlError.
    :param listed: the ``variables`` of a call's agent: what they are called, and what the channel is asked for.
    :param look_up: adds what is known about a new call's caller; within a time limit.
    """

    def __init__(
        self,
        registry: CallRegistry,
        metrics: Metrics,
        *,
        address: Callable[[], str],
        player: Callable[[CallSession], FilePlayer],
        transfers: Transfers,
        away: Callable[[str], Away | None] = lambda call_id: None,
        server: Callable[[str], str] = lambda host: "",
        fetch: Callable[[str, str], Awaitable[None]] | None = None,
        listed: Callable[[CallSession], Mapping[str, str]] = lambda session: {},
        look_up: Callable[[CallSession], Awaitable[None]] | None = None,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._address = address
        self._player = player
        self._transfers = transfers
        self._away = away
        self._server = server
        self._fetch = fetch
        self._listed = listed
        self._look_up = look_up

    def table(self) -> Mapping[str, Callable[[Channel], Awaitable[None]]]:
        """Script path to handler."""
        return {
            "call/start": self.start,
            "call/media": self.media,
            "call/next": self.next,
            "call/brief": self.brief,
            "call/end": self.end,
            "call/eagi": self.eagi,
        }

    def expects(self, request: AgiRequest) -> bool:
        """Whether it is about a call that has not ended: such a request is served however many others there are."""
        of_a_call = request.script in ("call/media", "call/next", "call/brief", "call/end")
        call_id, store = call_of(request), self._registry.store
        return of_a_call and (store.get(call_id) is not None or call_id in store.elsewhere)

    async def start(self, agi: Channel) -> None:
        """Register the call: sets AI_CALL_ID, AI_AUDIOSOCKET and AI_STATUS.

        Query: ``agent``, ``rate`` (8000; 16000 and others for the AudioSocket channel driver), ``downstream`` (the
        way of the replies, where it is not to be the agent's), ``called`` (the number that we called, where we did),
        ``machine`` (what is to be done where a machine answers), ``amd`` (AMDSTATUS).
        """
        await self._start(agi, lambda session: None)

    async def _start(self, agi: Channel, player: Callable[[CallSession], P]) -> P | None:
        """Register and announce the call, once its ``player`` is there; None where it was refused."""
        route = agi.request.script
        try:
            session = self.register(agi.request)
        except CallRefused as refused:
            logger.warning("call refused: %s (%s)", refused.reason, refused)
            self._registry.refused()
            self._count(route, refused.reason)
            await agi.set_variable("AI_STATUS", refused.reason)
            return None
        for name, asked in self._listed(session).items():
            if value := plain((await agi.command("GET FULL VARIABLE", f"${{{asked}}}")).data):
                session.caller[KNOWN + name] = value
        if self._look_up is not None:
            await self._look_up(session)
        playing = player(session)
        # The status last: a dialplan that sees OK has the other two.
        await agi.set_variable("AI_CALL_ID", session.call_id)
        await agi.set_variable("AI_AUDIOSOCKET", self._address())
        server = self._server(agi.local_host)
        if server:
            await agi.set_variable("AI_SERVER", server)
        await agi.set_variable("AI_STATUS", "OK")
        self._count(route, "OK")
        return playing

    async def media(self, agi: Channel) -> None:
        """Connect to a channel of chan_websocket that waits with the call's audio, before it is dialled.

        Arguments: AI_CALL_ID and the channel's MEDIA_WEBSOCKET_CONNECTION_ID. The channel is hung up where that fails,
        so that nobody waits for it.
        """
        call_id, arguments = call_of(agi.request), agi.request.arguments
        try:
            if self._fetch is None:
                raise ControlError("websocket: is not in the configuration")
            if not call_id or len(arguments) < 2:
                raise ControlError("call/media needs AI_CALL_ID and MEDIA_WEBSOCKET_CONNECTION_ID")
            await self._registry.bring(call_id)
            await self._fetch(call_id, arguments[1])
        except ControlError as error:
            logger.error("no audio over chan_websocket: %s", error, extra={"call_id": call_id})
            self._count("call/media", "FAILED")
            await agi.command("HANGUP")
            return
        self._count("call/media", "OK")

    async def eagi(self, agi: Channel) -> None:
        """A whole conversation for a PBX without AudioSocket, driven by ``asterisk-ai-eagi``.

        The caller's audio comes over AudioSocket from that program; the
        replies are played as files over this AGI connection. Returns when the
        agent has something for the dialplan to do; ``call/next`` tells what.
        """
        started = await self._start(agi, lambda session: (session, self._player(session)))
        if started is None:
            return
        session, player = started

        async def play(path: str, offset: int, begun: Callable[[], None]) -> tuple[int, str] | None:
            begun()
            reply = await agi.command("STREAM FILE", path, _ALL_DIGITS, str(offset), seconds=None)
            if reply.result == "-1":
                await agi.command("CHANNEL STATUS")  # a hang-up ends it here; else it was the file
                self._unplayable(session, f"{path}.wav")
                player.close()
            elif key := key_of(reply.result):
                return reply.endpos or offset, key
            return None

        async def idle() -> None:
            if key := key_of((await agi.command("WAIT FOR DIGIT", _IDLE_MS)).result):
                player.dialled(key)

        await player.play(play, idle)

    def _unplayable(self, session: CallSession, path: str) -> None:
        logger.error(
            "Asterisk cannot play %s: its user must be able to read that folder (asterisk-ai check tells more; "
            "playback.spool names another). The caller goes to the fallback",
            path,
            extra={"call_id": session.call_id},
        )
        session.pending = FALL_BACK

    def register(self, request: AgiRequest) -> CallSession:
        """A new session for the channel that asks. Raises CallRefused."""
        query = request.query
        rate, mode = query.get("rate", "8000"), query.get("downstream", "")
        if rate not in map(str, KIND_BY_RATE):
            raise CallRefused(Refusal.ERROR, f"rate={rate[:20]!r} is none of {', '.join(map(str, KIND_BY_RATE))}")
        if mode not in ("", *DOWNSTREAM_MODES):
            logger.warning("downstream=%s is none of %s: the agent's own is used", mode[:20], DOWNSTREAM_MODES)
            mode = ""
        caller = caller_of(request.environment, called=query.get("called", ""))
        if query.get("called"):
            caller |= {name: query[name].lower() for name in ("machine", "amd") if query.get(name)}
        return self._registry.register(query.get("agent", ""), rate=int(rate), caller=caller, downstream=mode)

    async def next(self, agi: Channel) -> None:
        """What the dialplan has to do now: sets AI_NEXT and the action's variables.

        Arguments: AI_CALL_ID, AI_PLAYED and AI_DIALLED, which tell what became of what it was told before.
        """
        session = await self._session(agi.request)
        if session is None:
            self._count("call/next", "UNKNOWN")
            await agi.set_variable("AI_NEXT", "fallback")
            return
        try:
            kind, variables = await self._next(session, agi.request)
        except LocalProtocolError as error:
            logger.error("it cannot be handed to the dialplan: %s", error, extra={"call_id": session.call_id})
            kind, variables = ActionKind.FALLBACK, {}
            session.pending = FALL_BACK
        logger.info("next: %s", kind, extra={"call_id": session.call_id})
        if kind not in (ActionKind.TALK, ActionKind.PLAY):
            variables = {**results(session, END_BY.get(kind, kind)), **variables}
        for name, value in variables.items():
            await agi.set_variable(name, value)
        await agi.set_variable("AI_NEXT", kind)
        self._count("call/next", kind)
        self._registry.handed_over(session, kind)

    async def _next(self, session: CallSession, request: AgiRequest) -> tuple[ActionKind, Mapping[str, str]]:
        """AI_NEXT and the variables beside it."""
        away = self._away(session.call_id)
        if away is not None:
            status, stopped_ms, key = played(request)
            if status == "ERROR" and away.plays:
                self._unplayable(session, "a reply in the spool")
                away.gone("the reply could not be played")
            elif found := await away.asked(stopped_ms, key):
                return ActionKind.PLAY, reply_variables(*found)
            elif away.waits:
                return ActionKind.TALK, {}
        await self._registry.wait_released(session)
        action = self._registry.next_action(session)
        if action.kind is ActionKind.CONNECT:
            rung = self._transfers.next(session, argument(request, 2))
            return (ActionKind.TALK, {}) if rung is None else (ActionKind.CONNECT, rung)
        if action.kind is ActionKind.TALK and self._registry.store.get(session.call_id) is None:
            return ActionKind.TALK, {"AI_AUDIOSOCKET": self._address()}  # another host had it
        return action.kind, action.variables()

    async def brief(self, agi: Channel) -> None:
        """Somebody has answered who is rung for a caller: see :meth:`Transfers.brief`.

        Arguments: AI_CALL_ID, how many pieces of the briefing were heard, and a key that was pressed.
        """
        heard = argument(agi.request, 1)
        number = int(heard) if heard.isdecimal() and len(heard) < 4 else 0
        session = await self._session(agi.request)
        self._count("call/brief", await self._transfers.brief(agi, session, number, argument(agi.request, 2)))

    async def end(self, agi: Channel) -> None:
        """The channel is gone, or the dialplan has given up. Arguments: AI_CALL_ID, and an outcome if it knows one."""
        session = await self._session(agi.request)
        self._count("call/end", "OK" if session else "UNKNOWN")
        if session is not None:
            if away := self._away(session.call_id):
                away.gone()
            await self._registry.wait_released(session)
            self._transfers.over(session)
            told = argument(agi.request, 1)
            self._registry.end(session, Outcome(told) if told and told in tuple(Outcome) else Outcome.HANGUP)
            for name, value in results(session, session.outcome).items():
                await agi.set_variable(name, value)

    async def _session(self, request: AgiRequest) -> CallSession | None:
        call_id = call_of(request)
        if not call_id:
            logger.warning("%s without a call id (AI_CALL_ID)", request.script)
            return None
        await self._registry.bring(call_id)
        # What is not here may be on a disk, or with another host that has to let go of it.
        store = self._registry.store
        if (session := store.get(call_id)) is None:
            found = await asyncio.to_thread(store.find, call_id)
            session = store.get(call_id) or found
        return session

    def _count(self, route: str, status: str) -> None:
        self._metrics.fastagi_requests.labels(route, status).inc()
