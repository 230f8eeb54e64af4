"""asterisk-ai dialplan check against an Asterisk that runs."""

from __future__ import annotations

import shutil

from rig import Asterisk, free_port

from asterisk_ai.cli.dialplan import inspect


def test_all_is_well_and_what_is_missing_is_found() -> None:
    with Asterisk(server=f"127.0.0.1:{free_port()}") as asterisk:
        etc = asterisk.outside / "etc"
        findings = inspect(etc, asterisk.command())
        assert [finding for finding in findings if not finding.ok] == []
        assert "Asterisk 2" in findings[2].text
        assert "ERROR" not in asterisk.rx("module unload func_cut.so")
        text = (etc / "extensions.conf").read_text()
        (etc / "extensions.conf").write_text(text.replace("#include asterisk_ai.conf", ""))
        shutil.move(etc / "asterisk_ai.conf", etc / "elsewhere.conf")
        asterisk.rx("dialplan reload")
        problems = [finding.text for finding in inspect(etc, asterisk.command()) if finding.ok is False]
        assert any("func_cut" in problem for problem in problems)
        assert "context [asterisk-ai] is not loaded" in problems
        assert len(problems) == 5
