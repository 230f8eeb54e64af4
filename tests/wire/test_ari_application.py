"""Who comes into the Stasis application, how often, and when: with an ARI whose answers and events a test times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asterisk_ai.pbx.ari import application as module
from asterisk_ai.pbx.ari.application import AriApplication, Media
from asterisk_ai.protocol import ari

CALL = "0f0c98d4-f6b8-4b08-9655-447c452bbc98"


class TimedAri:
    """The connection: requests are kept; what a test puts into ``answers`` (path -> answer) or ``held`` is obeyed."""

    def __init__(
        self, *_: str, connected: Callable[[], Awaitable[None]], received: Callable[[ari.Event], None], lost: Any
    ) -> None:
        self.connected, self.received = connected, received
        self.requests: list[ari.Request] = []
        self.answers: dict[str, Any] = {}
        self.held: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def do(self, request: ari.Request) -> Any:
        self.requests.append(request)
        for part, event in self.held.items():
            if request.method == "DELETE" and part in request.path:
                await event.wait()
        if request.path == "/channels/externalMedia":  # it is in the application at once
            self.received(ari.Entered(request.parameters["channelId"], "UnicastRTP/x", ()))
        return self.answers.get(request.path)

    def asked(self, path: str) -> list[ari.Request]:
        return [request for request in self.requests if path in request.path]


class Audio:
    """A call's audio, which nobody sends."""

    address = "127.0.0.1:40000"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._closed = asyncio.Event()

    def lock(self, source: tuple[str, int]) -> None: ...

    def begin(self, call_id: str) -> None:
        self.calls.append(call_id)

    def digit(self, digit: str) -> None: ...

    def close(self, reason: str) -> None:
        self._closed.set()

    async def closed(self) -> None:
        await self._closed.wait()


class Ports:
    counters = None

    def __init__(self) -> None:
        self.opened: list[Audio] = []

    async def open(self) -> Media:
        self.opened.append(Audio())
        return self.opened[-1]


async def comes(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)
    assert condition(), what


def running(
    monkeypatch: pytest.MonkeyPatch, body: Callable[[AriApplication, TimedAri, Ports], Awaitable[None]]
) -> None:
    monkeypatch.setattr(module, "AriClient", TimedAri)
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.05)

    async def main() -> None:
        ports = Ports()
        app = AriApplication(
            url="http://pbx/ari", user="u", password="p", app="asterisk-ai", sound_format="slin", ports=ports
        )
        assert isinstance(app.client, TimedAri)
        serving = asyncio.create_task(app.run())
        await asyncio.sleep(0)
        try:
            await body(app, app.client, ports)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(main())


def test_who_enters_while_it_looks_for_what_is_left_over_is_no_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(app: AriApplication, pbx: TimedAri, ports: Ports) -> None:
        pbx.answers = {"/applications/asterisk-ai": {"channel_ids": ["new", "old"]}}
        await pbx.connected()
        pbx.received(ari.Entered("new", "PJSIP/new", (CALL,)))  # its event waited behind the look
        await comes(lambda: bool(pbx.asked("/channels/old/continue")), "the left over goes back to the dialplan")
        await comes(lambda: bool(ports.opened and ports.opened[0].calls), "the new one talks")
        assert not pbx.asked("/channels/new/continue")

    running(monkeypatch, body)


def test_a_call_is_back_before_all_of_its_last_stay_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(app: AriApplication, pbx: TimedAri, ports: Ports) -> None:
        pbx.received(ari.Entered("caller", "PJSIP/x", (CALL,)))
        await comes(lambda: bool(ports.opened and ports.opened[0].calls), "it talks")
        pbx.held["bridge"] = asyncio.Event()
        pbx.received(ari.Left("caller"))  # pulled out by somebody's redirect, and sent here again
        await comes(lambda: any(r.method == "DELETE" for r in pbx.requests), "its things are being removed")
        pbx.received(ari.Entered("caller", "PJSIP/x", (CALL,)))
        await comes(lambda: len(ports.opened) == 2 and bool(ports.opened[1].calls), "it talks again")
        pbx.held["bridge"].set()
        bridges = [r.path for r in pbx.asked("/bridges/") if r.method == "POST" and "addChannel" not in r.path]
        assert len(set(bridges)) == 2, "the new stay has things of its own"
        assert not pbx.asked("/continue"), "nobody is sent away"
        pbx.received(ari.Digit("caller", "5"))
        pbx.received(ari.Gone("caller"))
        await comes(lambda: sum(r.method == "DELETE" for r in pbx.requests) == 4, "all is removed")

    running(monkeypatch, body)
