"""A real Chromium, and the page that it looks at."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rig import die_with_parent, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}


def chromium() -> str:
    """Where it is; empty where it is not."""
    return next((found for name in NAMES if (found := shutil.which(name))), "")


def why_not() -> str:
    """Why no browser can be had; empty where one can."""
    if not importlib.util.find_spec("playwright"):
        return "there is no playwright (pip install -e '.[test]')"
    return "" if chromium() else "there is no Chromium (scripts/get_chromium.sh fetches Debian's)"


@contextmanager
def browsing() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


class Watched:
    """What a browser's pages have asked for, and what went wrong in them."""

    def __init__(self, context: BrowserContext) -> None:
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        context.on("console", self._said)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")


def serious(page: Page) -> list[str]:
    """What axe-core finds that keeps somebody from using the page."""
    from axe_core_python.sync_playwright import Axe

    found = Axe().run(page)["violations"]
    return [
        f"{one['id']}: {one['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


class Web:
    """``asterisk-ai web`` as a process."""

    def __init__(self, file: Path) -> None:
        self.log = file.with_name("web.log")
        self.output = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asterisk_ai", "web", "--config", str(file)],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls one C function
        )  # fmt: skip

    def link(self) -> str:
        """The one that it prints as long as nobody has a password."""

        def printed() -> str:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended: {self.log.read_text()}")
            found = re.search(r"http://\S+", self.log.read_text())
            return found[0] if found else ""

        until(lambda: bool(printed()), 40, "the page's address")
        return printed()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        self.output.close()
        return status


LOOKS: dict[str, tuple[Any, Any]] = {"light": ("light", DESK), "dark": ("dark", DESK), "phone": ("light", PHONE)}


def look(page: Page, name: str) -> None:
    """Have the page look as in one of :data:`LOOKS`."""
    scheme, size = LOOKS[name]
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)


def shoot(page: Page, name: str, *, whole: bool = False) -> None:
    """Take the documentation's pictures of a page, where SCREENSHOTS names a folder."""
    folder = os.environ.get("SCREENSHOTS", "")
    for one in (*LOOKS, "light") if folder else ():
        look(page, one)
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=f"{folder}/web-{name}-{one}.png", full_page=whole)
