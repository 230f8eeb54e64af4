"""``asterisk-ai call``: a whole call offline, and what is asked wrongly is told before anybody is called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asterisk_ai.cli import main as cli
from asterisk_ai.config import load
from asterisk_ai.simulator.local_server import local_server

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dtmf", "12x"], "--dtmf 12x: a telephone dials 0123456789*#ABCD"),
        (["--wav", "nowhere.wav"], "--wav nowhere.wav: there is no such file"),
    ],
)
def test_what_a_caller_cannot_do(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["call", *words])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.alone
def test_recording_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The call is shown all the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASTERISK_AI_CONFIG", raising=False)
    status = cli.main(["call", "--serve", "--dtmf", "1", "--linger", "0.1", "--record", "no/folder/x.wav"])
    captured = capsys.readouterr()
    assert status == 1
    assert "no recording: no/folder/x.wav cannot be written" in captured.err
    assert "agent: Hello" in captured.out


def test_a_whole_call_offline(tmp_path: Path) -> None:
    words = "what are your opening hours"
    done = subprocess.run(
        [sys.executable, "-m", "asterisk_ai", "call", "--serve", "--patience", "60", "--say", words],
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


def test_a_server_lost_in_the_call_is_no_success(tmp_path: Path) -> None:
    with local_server(load(str(ROOT / "etc-asterisk" / "asterisk_ai.yaml"))) as served:
        calling = subprocess.Popen(
            [sys.executable, "-m", "asterisk_ai", "call", "--config", served.config.source, "--linger", "30"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert calling.stdout is not None
        for line in calling.stdout:
            if "agent: Hello" in line:
                os.kill(served.pid, signal.SIGKILL)
                break
        told, _ = calling.communicate(timeout=30)
    assert "then: server lost" in told
    assert calling.returncode == 1
