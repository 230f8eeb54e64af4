"""Which users Asterisk and the server run as, and what those may read."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from asterisk_ai.pbx.access import asterisk_user, listener, server_user, share_state, user

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def test_users() -> None:
    assert user("0") == user("root")
    assert user("no-such-user") is None
    assert user("999999") is None


def test_whom_asterisk_runs_as_where_it_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "asterisk.conf").write_text("[options]\nrunuser = nobody ; here\n")
    running = asterisk_user(tmp_path)
    assert running is not None  # another test's Asterisk may run: then it is that one's user
    assert running.name in ("nobody", "root", "asterisk")


def test_whom_the_server_runs_as(tmp_path: Path) -> None:
    unit = tmp_path / "asterisk-ai.service"
    assert server_user(unit) is None
    unit.write_text("[Service]\nUser=nobody\nExecStart=x\n")
    assert server_user(unit) == user("nobody")
    assert server_user(unit, process=os.getpid()) == user(str(os.geteuid()))


@root_only
def test_what_another_user_may(tmp_path: Path) -> None:
    nobody = user("nobody")
    assert nobody is not None
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(0o644)
    assert nobody.may("r", file) is True
    assert nobody.may("rw", file) is False
    tmp_path.chmod(0o700)
    assert nobody.may("r", file) is False, "a folder above it counts, too"
    assert nobody.may("r", tmp_path / "none") is False


@root_only
def test_a_server_that_root_runs_lets_asterisk_in(tmp_path: Path) -> None:
    other = user("nobody")
    assert other is not None
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    state = tmp_path / "state"
    note = share_state((state, state / "spool"), "nobody")
    assert f"chown -R nobody: {state}" in note
    assert other.may("rx", state / "spool")
    assert other.may("w", state) is False
    os.chown(state, other.uid, other.gid)
    state.chmod(0o700)
    share_state((state, state / "spool"), "nobody")
    assert state.stat().st_mode & 0o777 == 0o700, "what is not root's is left alone"
    assert share_state((tmp_path / "other",), "no-such-user") == ""
    assert not (tmp_path / "other").exists()


def test_who_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        number, command, state = listener(port)
    assert number == os.getpid()
    assert "python" in command
    assert state in "RS"
    assert listener(port) == (0, "", "")
