"""Finding calls by who called, when, and what was said; and removing them so that nothing of them is left."""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asterisk_ai.cli.calls import moment
from asterisk_ai.cli.main import main
from asterisk_ai.session.backends import sqlite
from asterisk_ai.session.backends.call_index import CallFilter, same_caller
from asterisk_ai.session.backends.sqlite import SqliteBackend, SqliteReader
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord, new_call_id

NOON = time.mktime((2026, 3, 4, 12, 0, 0, 0, 0, -1))
ANNA, ZOE, SIP = "+49 30 1234567", "0211/998877", "alice"


def call(number: str, said: str, *, name: str = "", hours: float = 0, **more: Any) -> CallSession:
    """A call at so many hours after noon."""
    one = CallSession(new_call_id(), more.pop("agent", "desk"), started_at=NOON + hours * 3600, **more)
    one.caller = {"number": number, "name": name}
    one.history = [TurnRecord("agent", "How can I help?", NOON), TurnRecord("caller", said, NOON)]
    return one


CALLS = {
    "anna": call(ANNA, "are you open on Saturday", name="Anna Müller"),
    "anna2": call(ANNA, "four seven one one", name="Anna Müller", hours=2, agent="pin"),
    "zoe": call(ZOE, "connect me to Zoë in the workshop", hours=1),
    "sip": call(SIP, "=HYPERLINK(evil)", hours=3),
    "live": call("555", "are you open at all", hours=4),
}
for key, outcome in {"anna": "hangup", "anna2": "fallback", "zoe": "transfer", "sip": "hangup"}.items():
    CALLS[key].ended_at, CALLS[key].outcome = CALLS[key].started_at + 30, Outcome(outcome)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def keep(path: Path) -> None:
    """A store with these calls, as a server that has ended leaves it."""
    backend = SqliteBackend(path, keep_days=0)
    backend.start()
    for one in CALLS.values():
        backend.write(one)
    backend.stop()


def as_of_an_earlier_version(path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript("DROP TABLE ended; DROP TABLE spoken; PRAGMA user_version = 0")
    database.close()


@pytest.fixture(params=["entered", "of an earlier version", "entered later"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "sessions.db"
    keep(file)
    if request.param != "entered":
        as_of_an_earlier_version(file)
    if request.param == "entered later":
        monkeypatch.setattr(sqlite, "_ENTER_CALLS", 1)
        backend = SqliteBackend(file, keep_days=0)
        backend.start()
        until(lambda: found(file, "SELECT count(*) FROM ended") == 4 and found(file, "PRAGMA user_version") == 1)
        backend.stop()
    return file


@pytest.fixture
def config(path: Path) -> Path:
    file = path.parent / "asterisk_ai.yaml"
    file.write_text("store: {path: sessions.db}\nagents: {a: {}}\n", "utf-8")
    return file


def found(path: Path, query: str) -> int:
    database = sqlite3.connect(path)
    try:
        return int(database.execute(query).fetchone()[0])
    finally:
        database.close()


def search(path: Path, **wanted: Any) -> list[str]:
    reader = SqliteReader(path)
    try:
        names = {one.call_id: name for name, one in CALLS.items()}
        return [names[one.call_id] for one in reader.search(CallFilter(**wanted))]
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["live", "sip", "anna2", "zoe", "anna"]),
        ({"limit": 2}, ["live", "sip"]),
        ({"text": "open"}, ["live", "anna"]),
        ({"text": "open", "limit": 1}, ["live"]),
        ({"text": "OPEN satur"}, ["anna"]),
        ({"text": "open workshop"}, []),
        ({"text": '"workshop" OR NOT )('}, []),
        ({"text": "workshop"}, ["zoe"]),
        ({"caller": "1234567"}, ["anna2", "anna"]),
        ({"caller": "müller"}, ["anna2", "anna"]),
        ({"caller": "ali"}, ["sip"]),
        ({"caller": "030 1234567", "whole_number": True}, ["anna2", "anna"]),
        ({"caller": "1234567", "whole_number": True}, ["anna2", "anna"]),
        ({"caller": "34567", "whole_number": True}, []),
        ({"caller": "998877", "whole_number": True}, []),
        ({"caller": "alice", "whole_number": True}, ["sip"]),
        ({"caller": "ali", "whole_number": True}, []),
        ({"agent": "pin"}, ["anna2"]),
        ({"outcome": "transfer"}, ["zoe"]),
        ({"since": NOON + 3600, "until": NOON + 3 * 3600}, ["anna2", "zoe"]),
        ({"ids": (CALLS["zoe"].call_id, CALLS["live"].call_id[:13])}, ["live", "zoe"]),
        ({"ids": ("%",)}, []),
    ],
)
def test_calls_are_found(path: Path, wanted: dict[str, Any], names: list[str]) -> None:
    assert search(path, **wanted) == names


def test_a_number_is_the_same_with_and_without_its_country() -> None:
    assert same_caller("49301234567", "", "+49 30 1234567")
    assert same_caller("00493012345678", "", "030 12345678")
    assert not same_caller("", "alice ", "030 12345678")
    assert not same_caller("4930", "", "30")


def bytes_with(folder: Path, *words: str) -> list[str]:
    """The files that have one of these words anywhere."""
    return [file.name for file in folder.iterdir() if any(word.encode() in file.read_bytes() for word in words)]


@pytest.mark.parametrize("serving", [False, True])
def test_who_is_removed_is_in_no_file(config: Path, serving: bool, capsys: pytest.CaptureFixture[str]) -> None:
    words = "1234567", "Müller", "Saturday", "saturday", "satur"
    assert bytes_with(config.parent, *words)
    backend = SqliteBackend(config.parent / "sessions.db", keep_days=0)
    if serving:
        backend.start()
        until(lambda: found(backend.path, "PRAGMA user_version") == 1)
    assert main(["calls", "purge", "--config", str(config), "--caller", "030 1234567", "--yes"]) == 0
    assert "2 calls and all that was said in them are removed" in capsys.readouterr().out
    assert bytes_with(config.parent, *words) == []
    assert search(backend.path) == ["live", "sip", "zoe"]
    assert search(backend.path, text="workshop") == ["zoe"]
    if serving:
        late = call("777", "I came later")
        late.ended_at = NOON
        backend.write(late)
        until(lambda: backend.find(late.call_id) is not None and found(backend.path, "SELECT count(*) FROM calls") == 4)
        backend.stop()


def test_what_may_no_longer_be_kept_is_in_no_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    keep(path)
    backend = SqliteBackend(path, keep_days=1)  # all of them are older
    backend.start()
    backend.stop()
    assert bytes_with(tmp_path, "Saturday", "satur", "1234567") == []


def test_nothing_is_removed_that_was_not_named_or_agreed_to(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: Iterator[str] = iter(["", "n"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    for arguments, status in (
        ([], 2),
        (["--caller", ANNA], 1),
        (["--before", "2026-03-05"], 1),
        (["--text", "nobody said that"], 0),
        ([CALLS["live"].call_id], 0),
    ):
        assert main(["calls", "purge", "--config", str(config), *arguments]) == status
    assert "still runs: stays" in capsys.readouterr().out
    assert len(search(config.parent / "sessions.db")) == 5


def test_a_table_has_no_formulas(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calls", "--csv", "--config", str(config)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["id"] for row in rows] == [CALLS[name].call_id for name in ("live", "sip", "anna2", "zoe", "anna")]
    assert rows[-1]["number"] == f"'{ANNA}"
    assert rows[-1]["said"] == "agent: How can I help? | caller: are you open on Saturday"
    assert not any(str(cell).startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_times_are_read_as_administrators_write_them() -> None:
    assert moment("2026-03-04 12:00") == NOON == moment("2026-03-04T12:00")
    assert moment("2026-03-04") == NOON - 12 * 3600
    assert abs(time.time() - 7200 - moment("2h")) < 60
    assert moment("today") - moment("yesterday") in (23 * 3600, 24 * 3600, 25 * 3600)
    assert moment("0:00") == moment("today")
    for text in ("", "soon", "31.12.", "25:00"):
        with pytest.raises(ValueError, match=r"isoformat|must be in"):
            moment(text)


def test_each_step_of_an_answer_is_told_by_itself(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = call("1", "hi")
    timings = {"endpoint": 0.25, "words": 0.262, "first_token": 0.263, "first_audio": 0.3, "first_frame": 0.3}
    one.history.append(TurnRecord("agent", "Hello.", NOON, timings=timings))
    backend = SqliteBackend(config.parent / "sessions.db", keep_days=0)
    backend.start()
    backend.write(one)
    backend.stop()
    assert main(["calls", one.call_id[:8], "--config", str(config)]) == 0
    steps = (
        "end of turn 250 ms -> words known 12 ms -> first word 1 ms -> first sound made 37 ms -> first sound sent 0 ms"
    )
    assert f"agent: Hello.   (caller stopped -> {steps} (together 300 ms))" in capsys.readouterr().out
