"""The command line itself."""

from __future__ import annotations

import pytest

from asterisk_ai.cli.main import COMMANDS, main


def test_the_bare_command_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert "first steps:" in out
    assert all(f"    {name}" in out for name in COMMANDS)


@pytest.mark.parametrize("group", ["dialplan", "models", "provider"])
def test_a_bare_group_of_commands_helps(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 0
    assert f"usage: asterisk-ai {group}" in capsys.readouterr().out


def test_a_wrong_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serv"])
    assert ended.value.code == 2
    assert "serve" in capsys.readouterr().err
