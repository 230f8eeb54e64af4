"""Who is rung after whom, and what whoever answers is told and may press."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from test_call_registry import registered

from asterisk_ai.agents.transfers import Target
from asterisk_ai.call.briefing import WITHOUT_VOICE, Briefing
from asterisk_ai.config.schema import Names, TransferConfig
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.errors import LocalProtocolError
from asterisk_ai.pbx.registry import CallRegistry
from asterisk_ai.pbx.transfers import LOOKS, Transfers
from asterisk_ai.protocol.agi.reader import AgiReply
from asterisk_ai.providers.engines.rules.schema import read_hours
from asterisk_ai.session.model import CallSession, Outcome
from asterisk_ai.transport.spool import Spool

MONDAY = datetime(2026, 3, 2, 11, tzinfo=UTC)


class Channel:
    """Of whoever answered: presses ``keys``, one each time that a key is waited for."""

    def __init__(self, keys: str = "") -> None:
        self.keys = list(keys)
        self.variables: dict[str, str] = {}

    async def set_variable(self, name: str, value: str) -> None:
        self.variables[name] = value

    async def command(self, command: str, *arguments: str) -> AgiReply:
        assert command == "WAIT FOR DIGIT"
        await asyncio.sleep(0)
        return AgiReply(200, str(ord(self.keys.pop(0))) if self.keys else "0", "", None, b"")


def made(folder: Path, *, slow: bool = False, **config: Any) -> tuple[Transfers, CallRegistry, CallSession]:
    registry, session = registered()
    hours = read_hours({"timezone": "UTC", "open": {"mon": "9:00-17:00"}}, "hours")
    target = Target(TransferConfig(to=Names(("PJSIP/1", "200@inside")), **config), hours)
    session.pending = DialplanAction("connect", {"to": "sales", "about": "An order."})
    session.caller = {"name": "Ann"}

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(asyncio.sleep(3600, None) if slow and not work.close() else work)

    def make(session: CallSession, texts: Callable[[str], tuple[str, ...]]) -> Briefing:
        assert texts("en")[1] == "An order."
        return Briefing(texts("en"), None, Spool(folder), session.call_id)

    targets = {"sales": target}
    transfers = Transfers(registry, targets=lambda _: targets, make=make, spawn=spawn, clock=lambda: MONDAY)
    return transfers, registry, session


def test_the_next_one_is_rung_and_then_the_caller_is_back(tmp_path: Path) -> None:
    async def body() -> None:
        transfers, registry, session = made(tmp_path, music="jazz", seconds=9)
        first = {"AI_TARGET": "sales", "AI_DIAL": "PJSIP/1", "AI_HINT": "", "AI_RING": "9", "AI_MUSIC": "jazz"}
        assert transfers.next(session, "") == first
        second = transfers.next(session, "BUSY")
        assert second == first | {"AI_DIAL": "Local/200@inside/n", "AI_HINT": "200@inside"}
        assert transfers.next(session, "NOANSWER") is None
        assert session.came_back == {"to": "sales", "why": "no_answer"}
        assert (session.pending, session.tried, session.ended) == (None, 0, False)
        assert registry.next_action(session).kind == "talk"

    asyncio.run(body())


def test_who_is_called_off_or_closed_is_not_rung(tmp_path: Path) -> None:
    async def body() -> None:
        transfers, _, session = made(tmp_path)
        transfers.next(session, "")
        assert transfers.next(session, "CANCEL") is None, "nobody else is rung"
        assert session.came_back["why"] == "cancelled"
        transfers, _, session = made(tmp_path)
        transfers._clock = lambda: MONDAY.replace(hour=20)
        assert transfers.next(session, "") is None
        assert session.came_back["why"] == "closed"
        session.pending = DialplanAction("connect", {"to": "gone"})
        with pytest.raises(LocalProtocolError, match="has no transfer 'gone'"):
            transfers.next(session, "")

    asyncio.run(body())


def test_the_briefing_is_told_twice_and_a_key_decides(tmp_path: Path) -> None:
    async def body() -> None:
        transfers, _, session = made(tmp_path)
        transfers.next(session, "")
        channel, waits = Channel(), []
        for number in range(6):
            assert await transfers.brief(channel, session, number, "") == "play"
            assert channel.variables["AI_FILE"] == WITHOUT_VOICE, "there is no voice"
            waits.append(channel.variables["AI_WAIT"])
        assert waits == ["0.1", "0.1", "4"] * 2
        assert await transfers.brief(channel, session, 6, "") == "end"
        assert transfers.next(session, "ANSWER"), "the next one is rung"
        assert await transfers.brief(channel, session, 0, "2") == "end"
        assert transfers.next(session, "ANSWER") is None
        assert session.came_back["why"] == "declined"
        assert await transfers.brief(channel, session, 0, "") == "end", "nobody is rung for the caller any more"
        transfers, _, session = made(tmp_path)
        transfers.next(session, "")
        assert await transfers.brief(channel, session, 1, "1") == "connect"
        assert (session.outcome, session.pending) == (Outcome.TRANSFER, None)
        assert await transfers.brief(channel, None, 0, "") == "end"

    asyncio.run(body())


def test_a_key_is_heard_while_the_briefing_is_made(tmp_path: Path) -> None:
    async def body() -> None:
        transfers, _, session = made(tmp_path, slow=True)
        transfers.next(session, "")
        assert await transfers.brief(Channel("51"), session, 0, "") == "connect"
        transfers, _, session = made(tmp_path, slow=True)
        transfers.next(session, "")
        channel = Channel("5" * 2 * LOOKS)
        assert await transfers.brief(channel, session, 0, "") == "play"
        assert len(channel.keys) == LOOKS, "and not waited for without end"
        transfers, _, session = made(tmp_path, attended=False)
        transfers.next(session, "")
        assert await transfers.brief(Channel(), session, 0, "") == "connect", "at once"

    asyncio.run(body())
