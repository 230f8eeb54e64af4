"""What the regression's calls are judged by, and what is told where there is no Asterisk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from asterisk_ai.cli.main import main
from asterisk_ai.session.model import CallSession, TurnRecord
from asterisk_ai.simulator.installation import Installation, unpacked
from asterisk_ai.simulator.regression import script
from asterisk_ai.simulator.regression.report import answered, markdown, result
from asterisk_ai.simulator.regression.transports import TRANSPORTS
from asterisk_ai.simulator.regression.trial import Check, Verdict, _log_checks, _same_words

RTP = next(transport for transport in TRANSPORTS if transport.name == "rtp")


def test_without_an_asterisk_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regress", "--asterisk", str(tmp_path / "none")]) == 1
    assert "is no Asterisk that can be run" in capsys.readouterr().err
    assert main(["regress", "--asterisk", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())


def test_what_does_not_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "asterisk"
    program.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    program.chmod(0o755)
    assert main(["regress", "--asterisk", str(program)]) == 1
    told = capsys.readouterr().err
    assert "astmoddir" in told or "broken" in told


def test_a_release_without_the_modules_is_not_tested_and_says_why(tmp_path: Path) -> None:
    old = Installation(("asterisk",), tmp_path, tmp_path, None)
    (tmp_path / "res_agi.so").touch()
    assert "chan_rtp" in RTP.lacks(old)
    eagi = next(transport for transport in TRANSPORTS if transport.name == "eagi")
    assert eagi.lacks(old) == ""
    verdict = Verdict(RTP, skipped=RTP.lacks(old))
    assert (result(verdict), verdict.ok) == ("not tested", False)
    text = markdown([verdict], asterisk="Asterisk 18.1", engines="e", at=datetime(2026, 1, 2, tzinfo=UTC))
    assert "# Calls over every transport, 2026-01-02 00:00" in text
    assert RTP.lacks(old) in text


def test_only_the_call_s_own_lines_count() -> None:
    log = "".join(
        f"2026 INFO x [{call}] {line}\n"
        for call, line in (("a", "playback started"), ("b", "playback finished"), ("a", "RTP audio comes from 1:2"))
    )
    found = {check.text: check.ok for check in _log_checks(RTP, log, "a")}
    assert found["log: playback starts"]
    assert found["log: RTP audio comes"]
    assert not found["log: playback finishes"]
    assert not any(check.ok for check in _log_checks(RTP, log, ""))


def test_words_are_compared_without_their_punctuation() -> None:
    session = CallSession("id", script.AGENT)
    session.history = [TurnRecord(role, words.upper() + "!", 0.0) for role, words in script.expected()]
    assert _same_words(session).ok
    session.history.append(TurnRecord("agent", "Sorry?", 0.0))
    assert not _same_words(session).ok
    assert not _same_words(None).ok


def test_a_report_tells_what_failed_and_what_was_found() -> None:
    verdict = Verdict(RTP, checks=[Check(True, "fine", "1"), Check(False, "broken", "two\nlines")])
    verdict.answered_after = [0.5, 1.25]
    text = markdown([verdict], asterisk="Asterisk 22", engines="e", at=datetime(2026, 1, 2, tzinfo=UTC))
    assert result(verdict) == "FAILED"
    assert answered(verdict) == "0.50 s, 1.25 s"
    assert "- **FAILED**: broken\n  `two`\n  `lines`\n" in text
    assert "| FAILED | 1 of 2 | 0.50 s, 1.25 s |" in text


def test_an_unpacked_system_is_run_with_its_own_libraries(tmp_path: Path) -> None:
    assert unpacked(tmp_path) is None
    for name in ("usr/sbin/asterisk", "lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/asterisk/modules/a.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "usr/share/asterisk/sounds/en").mkdir(parents=True)
    found = unpacked(tmp_path)
    assert found is not None
    assert found.program[0].endswith("ld-linux-x86-64.so.2")
    assert found.program[-1] == str(tmp_path / "usr/sbin/asterisk")
    assert found.has("a")
    assert found.sounds == tmp_path / "usr/share/asterisk/sounds/en"


@pytest.mark.parametrize(
    ("version", "there"),
    [
        ("20.16.3", False),
        ("20.17.0", True),
        ("22.6.1~dfsg", False),
        ("23.0.0", False),
        ("24.0.0", True),
        ("19.9.0", False),
    ],
)
def test_what_came_to_each_major_release_with_a_minor_one(tmp_path: Path, version: str, there: bool) -> None:
    program = tmp_path / "asterisk"
    program.write_text(f"#!/bin/sh\necho Asterisk {version}\n")
    program.chmod(0o755)
    wideband = next(transport for transport in TRANSPORTS if transport.name == "audiosocket-wideband")
    for name in wideband.modules:
        (tmp_path / f"{name}.so").touch()
    lacks = wideband.lacks(Installation((str(program),), tmp_path, tmp_path, None))
    assert lacks == "" if there else "too old" in lacks
