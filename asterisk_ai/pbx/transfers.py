"""Transfers from which a caller comes back: who is rung next, what they are told, and who takes the call.

The dialplan is told whom to ring and asks ``call/next`` again with what became of that, so that all that has to be
remembered is in the call's session, and a server that was lost in between goes on where it was. Whoever answers hears
the briefing piece by piece: before each the dialplan asks ``call/brief``, which is also how a colleague's key comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from asterisk_ai.agents.transfers import Target
from asterisk_ai.call.briefing import Briefing
from asterisk_ai.dialog.dialplan import ActionKind
from asterisk_ai.dialog.transfer import Why, briefing, why
from asterisk_ai.errors import LocalProtocolError
from asterisk_ai.pbx.agi_arguments import key_of
from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.protocol.agi.reader import AgiReply
from asterisk_ai.session.model import CallSession

logger = logging.getLogger(__name__)

ROUNDS = 2
"""How often a colleague is told all of it. Who presses nothing then is no person, or does not want the call."""
LOOKS = 20
LOOK_MS = 250
"""So often, and for so long each time, a piece that is still being made is waited for. A key is heard meanwhile."""
KEY_SECONDS = 4
"""For a key, behind the last piece."""
TAKE, DECLINE = "1", "2"


class Answered(Protocol):
    """The channel of whoever answered, as it runs ``AGI()``."""

    async def set_variable(self, name: str, value: str) -> None: ...

    async def command(self, command: str, *arguments: str) -> AgiReply: ...


class Transfers:
    """Of all calls of this process.

    :param targets: the ``transfers`` of a call's agent.
    :param make: a call's briefing, of these texts.
    :param spawn: runs what makes it.
    :param clock: the time, with its zone, for hours.
    """

    def __init__(
        self,
        registry: CallRegistry,
        *,
        targets: Callable[[CallSession], Mapping[str, Target]],
        make: Callable[[CallSession, Callable[[str], tuple[str, ...]]], Briefing],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry = registry
        self._targets = targets
        self._make = make
        self._spawn = spawn
        self._clock = clock
        self._briefings: dict[str, Briefing] = {}  # of calls for which somebody is rung

    def next(self, session: CallSession, status: str) -> Mapping[str, str] | None:
        """The variables beside AI_NEXT=connect; None where the caller is back with the agent, who knows why.

        :param status: AI_DIALLED: what became of the last one that was rung; empty: nobody was yet.
        :raises LocalProtocolError: the agent has no such transfer (any more).
        """
        target, to = self._pending(session)
        if status:
            noted = session.came_back.get("why", "")
            reason = why(status)
            session.tried += 1
            session.came_back = {"why": noted if noted and reason is Why.DECLINED else reason}
            if reason is Why.CANCELLED or target.dial(session.tried) is None:
                self._back(session, to)
                return None
        if not target.is_open(self._clock()):
            session.came_back = {"why": Why.CLOSED}
            self._back(session, to)
            return None
        dial, hint = target.dial(session.tried) or ("", "")
        session.came_back = {}
        if target.config.attended and session.call_id not in self._briefings:
            self._begin_briefing(session, target)
        return {
            "AI_TARGET": to,
            "AI_DIAL": dial,
            "AI_HINT": hint,
            "AI_RING": str(target.config.seconds),
            "AI_MUSIC": target.config.music,
        }

    def _pending(self, session: CallSession) -> tuple[Target, str]:
        to = session.pending.arguments.get("to", "") if session.pending is not None else ""
        target = self._targets(session).get(to)
        if target is None:
            raise LocalProtocolError(f"the agent {session.agent} has no transfer {to!r}")
        return target, to

    def _back(self, session: CallSession, to: str) -> None:
        session.came_back["to"] = to
        logger.info("nobody took the call: %s", session.came_back["why"], extra={"call_id": session.call_id})
        self._registry.came_back(session)
        self.over(session)

    def _begin_briefing(self, session: CallSession, target: Target) -> None:
        about = session.pending.arguments.get("about", "") if session.pending is not None else ""
        said = next((turn.text for turn in reversed(session.history) if _said(turn.role, turn.dialled)), "")

        def texts(language: str) -> tuple[str, ...]:
            return briefing(session.caller, about, said, language, text=target.config.briefing)

        made = self._briefings[session.call_id] = self._make(session, texts)
        made.begin(self._spawn)

    def over(self, session: CallSession) -> None:
        """Nobody is rung for the call any more."""
        made = self._briefings.pop(session.call_id, None)
        if made is not None:
            made.close()

    # ---- whoever answered ------------------------------------------------------------------

    async def brief(self, agi: Answered, session: CallSession | None, number: int, key: str) -> str:
        """Sets AI_BRIEF: ``play`` (AI_FILE, then AI_WAIT seconds for a key), ``connect`` or ``end``. Returns it.

        :param number: of the piece that is due.
        :param key: that was pressed; empty for none.
        """
        waits = session is not None and session.pending is not None and not session.ended
        if session is None or not waits or session.pending is None or session.pending.kind is not ActionKind.CONNECT:
            return await self._answer(agi, "end")  # the caller has hung up
        target, _ = self._pending(session)
        if key == TAKE or not target.config.attended:
            self._registry.connected(session)
            self.over(session)
            return await self._answer(agi, "connect")
        if session.call_id not in self._briefings:  # a server that was lost had made it
            self._begin_briefing(session, target)
        made = self._briefings[session.call_id]
        if key == DECLINE or number >= ROUNDS * len(made):
            session.came_back = {"why": Why.DECLINED if key == DECLINE else Why.NO_ANSWER}
            return await self._answer(agi, "end")
        number %= len(made)
        for _ in range(LOOKS):
            if made.is_made(number):
                break
            pressed = key_of((await agi.command("WAIT FOR DIGIT", str(LOOK_MS))).result)
            if pressed in (TAKE, DECLINE):
                return await self.brief(agi, session, number, pressed)
        await agi.set_variable("AI_FILE", await made.file(number))
        await agi.set_variable("AI_WAIT", str(KEY_SECONDS) if number == len(made) - 1 else "0.1")
        return await self._answer(agi, "play")

    @staticmethod
    async def _answer(agi: Answered, what: str) -> str:
        await agi.set_variable("AI_BRIEF", what)
        return what


def _said(role: str, dialled: bool) -> bool:
    return role == "caller" and not dialled
