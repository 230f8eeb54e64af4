"""``asterisk-ai call --serve``: a whole call by the pipeline that needs no download, no key and no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_whole_call_offline(tmp_path: Path) -> None:
    words = "what are your opening hours"
    done = subprocess.run(
        [sys.executable, "-m", "asterisk_ai", "call", "--serve", "--say", words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"caller: {words}" in done.stdout
    assert "agent: We are open Monday to Thursday from 9 to 5" in done.stdout
    assert (tmp_path / "asterisk-ai-call.wav").stat().st_size > 100_000
