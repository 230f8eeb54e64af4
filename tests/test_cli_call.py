"""``asterisk-ai call``: what is asked wrongly is told before anybody is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from asterisk_ai.cli import main as cli


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
