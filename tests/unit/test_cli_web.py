"""``asterisk-ai web``: who may log in, and where the page does not start."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import web_store

from asterisk_ai.cli.main import main


def run(monkeypatch: pytest.MonkeyPatch, file: Path, *words: str, typed: str = "") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    return main(["web", "--config", str(file), *words])


def test_users_are_set_told_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = web_store.configured(tmp_path)
    assert run(monkeypatch, file, "--set-password", "ada", "--role", "admin", typed="a long password\n") == 0
    assert run(monkeypatch, file, "--set-password", "vera", "--transcripts", typed="a long password\n") == 0
    assert run(monkeypatch, file, "--set-password", "otto", typed="short\n") == 2
    assert run(monkeypatch, file, "--set-password", "\x1b[31m", typed="a long password\n") == 2
    capsys.readouterr()
    assert run(monkeypatch, file, "--users") == 0
    told = capsys.readouterr().out
    assert [line.split()[:2] for line in told.splitlines()][:2] == [["ada", "admin"], ["vera", "viewer,"]]
    assert "2 users" in told
    # Another password leaves the role as it is
    assert run(monkeypatch, file, "--set-password", "ada", typed="another password\n") == 0
    assert "ada is admin" in capsys.readouterr().out
    assert run(monkeypatch, file, "--remove-user", "ada") == 0
    assert run(monkeypatch, file, "--remove-user", "ada") == 1
    assert (tmp_path / "web-users.json").stat().st_mode & 0o777 == 0o600


def test_it_does_not_start_where_everybody_may_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = web_store.configured(tmp_path, web={"host": "0.0.0.0", "port": 0})
    assert run(monkeypatch, file) == 1
    assert "--set-password" in capsys.readouterr().err


def test_a_damaged_file_of_users_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = web_store.configured(tmp_path, web={"port": 0})
    for text in ("{", "[]", '{"ada": {"role": "king", "hash": "x"}}', '{"ada": 5}'):
        (tmp_path / "web-users.json").write_text(text)
        assert run(monkeypatch, file, "--users") == 1, text
        assert "set the passwords again" in capsys.readouterr().err
