"""What all tests share: the human prompts, and the word about tests that could not run.

A test that needs the real Asterisk, its recordings, or a browser is skipped
where there is none; but the last lines of the run say so, and with ``CI=true`` the run
fails. Nothing is skipped in silence.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import alone
import browser
import pytest
import rig
from hypothesis import settings

settings.register_profile("here", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("here")
os.environ.setdefault("ASTERISK_SOUNDS", str(rig.SOUNDS))
NEEDS = "needs"
NOT_RUN: dict[str, int] = {}
"""How many tests were left out, by what they need."""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # this process is not one of xdist's
        alone.begin()
        config.add_cleanup(alone.end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/asterisk/" in item.path.as_posix():
            item.add_marker(pytest.mark.asterisk)
    items.sort(key=turn)


FOLDERS = ("asterisk", "system", "wire", "unit")
"""Of tests/, in the order in which their tests begin: those that take longest, which wait for what is spoken in real
time, are not to be the last that the others wait for."""


def turn(item: pytest.Item) -> tuple[bool, bool, int]:
    """What sorts the tests: who has to be alone begins before anybody has begun anything."""
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    marks = [item.get_closest_marker(name) is None for name in ("alone", "slow")]
    return marks[0], marks[1], FOLDERS.index(folder)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test that needs all of the machine has it; the time that it waits for that is not its own."""
    with alone.turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("asterisk") or "prompts" in getattr(item, "fixturenames", ()):
        _needs(item, "the real Asterisk", rig.why_not())
    if item.get_closest_marker("browser"):
        _needs(item, "a browser", browser.why_not())


def _needs(item: pytest.Item, what: str, why_not: str) -> None:
    if why_not:
        item.user_properties.append((NEEDS, f"{what}: {why_not}"))
        pytest.skip(why_not)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where tests run in several processes, the one that has the last word hears of them by reports only."""
    for name, what in report.user_properties if report.when == "setup" else ():
        if name == NEEDS:
            NOT_RUN[str(what)] = NOT_RUN.get(str(what), 0) + 1


@pytest.fixture(scope="session")
def prompts() -> dict[str, str]:
    """Human 8 kHz recordings, name -> wording. The file of ``name`` is $ASTERISK_SOUNDS/name.wav."""
    return rig.wording()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if NOT_RUN and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    yield  # after pytest's own summary, so that it is among the last lines
    if NOT_RUN:
        failure = " That is a failure here, because CI=true." if os.environ.get("CI") == "true" else ""
        terminalreporter.section("tests that did NOT run", red=True)
        for what, count in NOT_RUN.items():
            terminalreporter.line(f"{count} tests need {what}.{failure}")
