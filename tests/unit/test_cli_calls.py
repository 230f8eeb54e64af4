"""``asterisk-ai calls``: records as people and programs read them, whatever else is wrong or was said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asterisk_ai import config
from asterisk_ai.cli.main import main
from asterisk_ai.errors import ConfigError
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession, TurnRecord
from asterisk_ai.session.store import SessionStore

EVIL = "\x1b]0;mine\x07\x1b[2J\r\n\x9b31m\u202e\u2028Zoë"
CALL = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    store = SessionStore(SqliteBackend(tmp_path / "sessions.db"))
    store.start()
    call = CallSession(CALL, f"agent{EVIL}", caller={"number": EVIL, "name": EVIL})
    call.history = [TurnRecord("caller", f"hello {EVIL}", 1.0), TurnRecord(EVIL, "hi", 2.0, timings={EVIL: 1.0})]
    call.troubles = [{"at": 1.0, "text": f"the engine said {EVIL}"}]
    store.add(call)
    store.end(call, EVIL)
    store.stop()
    path = tmp_path / "asterisk_ai.yaml"
    path.write_text("store: {path: sessions.db}\nagents: {a: {}}\n", "utf-8")
    return path


@pytest.mark.parametrize("arguments", [[], [CALL], ["--json"], [CALL, "--json"]])
def test_what_a_caller_sent_drives_no_terminal(
    file: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calls", "--config", str(file), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines), lines
    assert len(lines) == (4 if arguments == [CALL] else 1)
    if "--json" in arguments:
        assert json.loads(lines[0])["caller"]["name"] == EVIL
    else:
        assert r"\x1b]0;mine\x07\x1b[2J\r\n\x9b31m\u202e\u2028Zoë" in lines[0]


@pytest.mark.parametrize(
    "mistake",
    [
        "agents: {a: {greting: hi}}",
        "agents: {a: {greeting: '${NOT_SET_ANYWHERE}'}}",
        "nonsense: 1",
        "pipeline: none",
        "agents:\n  a:\n    greeting: Hi: there\n",
        "agents: {a: {}\n",
        "agents:\n\ta: 1\n",
        "agents: &a {<<: *a}",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_records_are_read_while_other_parts_are_wrong(
    file: Path, mistake: str, first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    store = "store:\n  # where it is\n\n  path: sessions.db\n"
    file.write_text(f"{mistake}\n{store}" if first else f"{store}{mistake}\n", "utf-8")
    with pytest.raises(ConfigError):
        config.load(str(file))
    assert main(["calls", "--config", str(file)]) == 0
    assert CALL in capsys.readouterr().out


def test_a_mistake_in_the_part_itself_is_told_with_its_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, told in (
        ("agents: {\nstore: {pth: x}\n", ":2: store.pth: unknown key; did you mean 'path'?"),
        ("agents: {a: {}}\nstore: [\n", "not valid YAML"),
        ("store: {path: '${NOT_SET_ANYWHERE}'}\nx: 1", "NOT_SET_ANYWHERE is not set"),
    ):
        file.write_text(text, "utf-8")
        assert main(["calls", "--config", str(file)]) == 1
        assert told in capsys.readouterr().err


def test_only_the_wanted_part_is_there(file: Path) -> None:
    file.write_text("http: {port: 1234}\nfastagi: {port: 4321}\nwrong: [", "utf-8")
    part = config.load_part(str(file), "fastagi")
    assert (part.fastagi.port, part.http and part.http.port, part.source) == (4321, 9093, str(file))
