"""No library that is loaded for an engine tells anybody about it: no file that identifies the machine, no look-ups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import turn_model

PROGRAM = """
import sys, time
import asterisk_ai
from asterisk_ai.vad.silero import SileroModel
from asterisk_ai.providers.engines.smart_turn.engine import SmartTurnEngine
SileroModel()
SmartTurnEngine({"model": sys.argv[1]})
time.sleep(1.5)
"""
NETWORK = "AF_INET"


def loaded(folder: Path, *prefix: str) -> str:
    """What the program above leaves in its home, and what it is seen to do."""
    model = turn_model(folder, np.zeros((80, 800), np.float32))
    environ = {key: value for key, value in os.environ.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    command = [*prefix, sys.executable, "-c", PROGRAM, str(model)]
    home = folder / "home"
    home.mkdir()
    done = subprocess.run(
        command, env=environ | {"HOME": str(home)}, capture_output=True, text=True, check=True, timeout=60
    )
    return "\n".join([*map(str, home.rglob("*")), done.stderr])


def test_no_file_identifies_the_machine(tmp_path: Path) -> None:
    assert "deviceid" not in loaded(tmp_path)
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_nobody_is_asked_or_told(tmp_path: Path) -> None:
    assert NETWORK not in loaded(tmp_path, "strace", "-f", "-e", "trace=socket,connect,sendto,sendmmsg")
