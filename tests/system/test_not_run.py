"""Tests that cannot run are told of in the last lines, and fail the run in CI: in one process and in several."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_no_browser(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/system/test_web_browser.py", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, env={**os.environ, "CI": "true", "PATH": str(tmp_path), "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stdout[done.stdout.index("tests that did NOT run") :]
    assert re.search(r"\d+ tests need a browser: there is no Chromium \(scripts/get_chromium.sh", last)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("ci", ["true", ""])
def test_no_asterisk(tmp_path: Path, workers: str, ci: str) -> None:
    command = [sys.executable, "-m", "pytest", "tests/asterisk/test_dialplan_check.py", "-n", workers, "-q"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ASTERISK_"))}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"], cwd=ROOT, env={**env, "CI": ci, "ASTERISK_AI_CACHE": str(tmp_path)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == (1 if ci else 0), done.stdout + done.stderr
    last = done.stdout[done.stdout.index("tests that did NOT run") :]
    assert re.search(r"\d+ tests need the real Asterisk: no Asterisk in", last)
    assert ("That is a failure here, because CI=true." in last) == bool(ci)
