"""The page in a real Chromium, beside a running server with simulated callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import browser
import pytest
import web_store
from browser import DESK, LOOKS, Watched, Web, browsing, look, serious, shoot
from rig import until
from served import Served

from asterisk_ai.simulator.asterisk import Caller, Line, Result, simulate
from asterisk_ai.simulator.caller_speech import speech_of

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SECONDS = 40_000
"""Milliseconds, for what takes a tenth of a second where the machine has nothing else to do."""
RULES = {
    "intents": {
        "hours": {"say": ["what are your opening hours", "your opening hours"], "answer": "From nine to five."},
        "sales": {"say": ["connect me to sales"], "answer": "Yes."},
    }
}
AGENTS = {
    "reception": {"greeting": "Hello, how can I help you?", "record": True, "rules": RULES},
    "sales": {"greeting": "This is the sales department.", "rules": RULES},
}


@dataclass
class Running:
    server: Served
    link: str
    context: Any
    watched: Watched
    page: Any

    def ring(self, *words: str, number: str = "+15557654321") -> Callable[[], Result]:
        """A caller on the line; what is returned waits for the call's end."""
        results: list[Result] = []

        async def call() -> None:
            lines = [Line(one, pcm=await speech_of(one)) for one in words]
            caller = Caller(lines, linger=60, patience=60)
            results.append(await simulate(caller, host="127.0.0.1", fastagi_port=self.server.agi_port, number=number))

        thread = threading.Thread(target=lambda: asyncio.run(call()), daemon=True)
        thread.start()

        def end() -> Result:
            thread.join(40)
            assert results, "the call goes on"
            return results[0]

        return end

    def card(self, number: str = "+15557654321") -> Any:
        card = self.page.locator(".live-call:not(.ended)", has_text=number)
        card.wait_for(timeout=SECONDS)
        return card

    def says(self, card: Any, words: str) -> None:
        card.locator(".words", has_text=words).wait_for(timeout=SECONDS)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("browser")
    web_store.fill(folder / "sessions.db", [*web_store.calls(), *web_store.day()])
    # The page first: it makes what lets it see the server's calls.
    server = Served(folder, AGENTS, {"web": {"port": 0}})
    web = Web(server.file)
    try:
        with server, browsing() as chromium:
            link = web.link()
            context = chromium.new_context(viewport=DESK)
            context.set_default_timeout(SECONDS)
            page = context.new_page()
            page.goto(link)
            yield Running(server, link, context, Watched(context), page)
            context.close()
    finally:
        web.stop()


def test_a_call_appears_and_is_hung_up(running: Running) -> None:
    page = running.page
    page.goto("/".join(running.link.split("/")[:3]) + "/")
    page.get_by_text("Nobody is on the line").wait_for(timeout=SECONDS)
    end = running.ring("what are your opening hours")
    card = running.card()
    running.says(card, "Hello, how can I help you?")
    running.says(card, "what are your opening hours")
    running.says(card, "From nine to five.")
    page.get_by_text("1 call now").wait_for(timeout=SECONDS)
    card.get_by_text("listening").wait_for(timeout=SECONDS)
    card.get_by_text("Hang up, transfer").click()
    assert serious(page) == []
    shoot(page, "live")
    card.get_by_role("button", name="Hang up").click()
    assert end().next == "hangup"
    page.get_by_text("Nobody is on the line").wait_for(timeout=SECONDS)


def test_a_call_is_given_to_another_agent_and_transferred(running: Running) -> None:
    end = running.ring(number="<b>5550100</b>")
    card = running.card("<b>5550100</b>")
    running.says(card, "Hello, how can I help you?")
    card.get_by_text("Hang up, transfer").click()
    card.get_by_label("Agent").select_option("sales")
    card.get_by_role("button", name="Change agent").click()
    running.says(card, "This is the sales department.")
    card.get_by_text("with sales").wait_for(timeout=SECONDS)
    card.get_by_label("Extension").fill("2 00")
    card.get_by_role("button", name="Transfer").click()
    card.get_by_text("Not done: '2 00' cannot be a transfer's exten").wait_for(timeout=SECONDS)
    card.get_by_label("Extension").fill("200")
    card.get_by_role("button", name="Transfer").click()
    result = end()
    assert result.next == "transfer"
    assert (result.variables["AI_EXTEN"], result.variables["AI_CONTEXT"]) == ("200", "from-internal")
    running.server.no_calls(20)


def test_a_call_is_found_by_a_word_and_heard(running: Running) -> None:
    page = running.page
    page.get_by_role("link", name="Calls", exact=True).click()
    page.get_by_role("textbox", name="Caller").fill("7654321")
    page.get_by_label("Words that were said").fill("opening hours")
    page.get_by_role("button", name="Search").click()
    page.locator("tbody tr").first.get_by_role("link").click()
    page.get_by_role("heading", name="Transcript").wait_for()
    until(lambda: _recorded(page), 40, "the recording")
    page.locator("button[data-seek]").nth(1).click()
    playing = "() => { const p = document.getElementById('player'); return p.currentTime > 1 && !p.paused }"
    page.wait_for_function(playing, timeout=SECONDS)
    page.wait_for_function("() => document.querySelector('.turn.now') && !document.querySelector('.playhead').hidden")
    where = "() => document.querySelector('.playhead').offsetLeft > 100"  # of a second and more into the call
    page.wait_for_function(where, timeout=SECONDS)
    now = page.locator(".turn.now")
    assert float(now.get_attribute("data-at")) > 1
    page.evaluate("document.getElementById('player').pause()")
    shoot(page, "call", whole=True)


def _recorded(page: Any) -> bool:
    if page.locator("#player").count():
        return True
    page.reload()
    return False


PAGES = {
    "overview": "/overview",
    "calls": "/calls?agent=reception",
    "one call": f"/calls/{web_store.CALL}",
    "agents": "/agents",
    "configuration": "/configuration",
    "hostile calls": "/calls",
    "a hostile call": f"/calls/{web_store.HOSTILE_CALL}",
    "no call": "/calls?text=giraffe",
}


@pytest.mark.parametrize("which", list(LOOKS))
def test_every_page_can_be_used(running: Running, which: str) -> None:
    page = running.page
    look(page, which)
    for name, path in PAGES.items():
        page.goto(running.link.partition("/login")[0] + path)
        if which != "phone":  # the same page, narrower
            assert serious(page) == [], (name, which)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{name} is {wider} pixels wider than the window"
        if which == "light" and " " not in name:
            shoot(page, name)


def test_the_keyboard_is_enough(running: Running) -> None:
    page = running.page
    page.set_viewport_size(DESK)
    page.goto(running.link.partition("/login")[0] + "/calls")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Transcript").wait_for()


def test_nothing_went_wrong_in_the_browser(running: Running) -> None:
    """Of all that the tests above have done."""
    assert running.watched.errors == []
    assert running.watched.hosts == {running.link.split("/")[2]}
    assert browser.why_not() == ""
