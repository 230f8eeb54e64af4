"""The session store: what it keeps, what survives, and what it says when the disk does not take it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from asterisk_ai.dialog.dialplan import FALL_BACK, HANG_UP, ActionKind, DialplanAction
from asterisk_ai.errors import CallRefused, StoreError
from asterisk_ai.session import lock
from asterisk_ai.session.backends import sqlite
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.memory import MemoryBackend
from asterisk_ai.session.backends.sqlite import SqliteBackend, SqliteReader
from asterisk_ai.session.model import Away, CallSession, Outcome, TurnRecord, new_call_id
from asterisk_ai.session.store import Backend, SessionStore


def session(**fields: object) -> CallSession:
    return CallSession(new_call_id(), "reception", **fields)  # type: ignore[arg-type]


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """For what another thread or process does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return MemoryBackend() if request.param == "memory" else SqliteBackend(tmp_path / "state" / "sessions.db")


@pytest.fixture
def store(backend: Backend) -> Iterator[SessionStore]:
    made = SessionStore(backend)
    made.start()
    yield made
    made.stop()


def reopened(path: Path, **options: float) -> SessionStore:
    made = SessionStore(SqliteBackend(path, **options))
    made.start()
    return made


# ---- a call's life --------------------------------------------------------------------------


def test_a_call_from_registration_to_its_record(store: SessionStore) -> None:
    call = session(caller={"number": "5550100"})
    store.add(call)
    assert store.get(call.call_id) is call
    assert (store.count, store.talking, list(store.live)) == (1, 0, [call])
    assert store.claim(call.call_id) is call
    assert (call.connects, store.talking, store.is_claimed(call)) == (1, 1, True)
    assert call.connected_at > 0
    call.history.append(TurnRecord("caller", "hello", 1.0))
    store.save(call)
    call.gating.append("agent")
    store.release(call)
    assert (store.talking, store.is_claimed(call), call.gating) == (0, False, [])
    assert call.detached_at > 0
    store.end(call, "transfer")
    store.end(call, "hangup")
    assert (store.count, call.outcome, call.ended) == (0, "transfer", True), "the first outcome stands"
    assert store.get(call.call_id) is None
    found = store.find(call.call_id)
    assert found is not None
    assert (found.outcome, found.caller, found.history[0].text) == ("transfer", {"number": "5550100"}, "hello")
    assert [one.call_id for one in store.recent(5)] == [call.call_id] or store.problem() == ""


def test_who_may_not_have_the_audio(store: SessionStore) -> None:
    call = session()
    with pytest.raises(CallRefused, match="not registered") as unknown:
        store.claim(call.call_id)
    assert unknown.value.reason == "UNKNOWN"
    store.add(call)
    with pytest.raises(CallRefused) as twice:
        store.add(call)
    assert twice.value.reason == "DUPLICATE"
    store.claim(call.call_id)
    with pytest.raises(CallRefused) as busy:
        store.claim(call.call_id)
    assert busy.value.reason == "BUSY"
    store.release(call)
    assert store.claim(call.call_id).connects == 2


def test_waiting_for_the_audio_to_end(store: SessionStore) -> None:
    call = session()
    store.add(call)

    async def run() -> None:
        await store.wait_released(call)
        store.claim(call.call_id)
        waiting = asyncio.create_task(store.wait_released(call))
        await asyncio.sleep(0)
        assert not waiting.done()
        store.release(call)
        await asyncio.wait_for(waiting, 5)

    asyncio.run(run())


def test_a_call_that_was_given_up_may_come_back(store: SessionStore) -> None:
    call = session()
    store.add(call)
    store.end(call, "lost")
    found = store.find(call.call_id)
    assert found is not None
    store.reopen(found)
    assert (store.count, found.ended, found.outcome) == (1, False, "")
    assert store.get(call.call_id) is found


def test_memory_keeps_the_newest_calls_only() -> None:
    store = SessionStore(MemoryBackend(keep=3))
    store.start()
    calls = [session() for _ in range(5)]
    for call in calls:
        store.add(call)
        store.end(call, "hangup")
    assert [call.call_id for call in store.recent(10)] == [call.call_id for call in calls[:1:-1]]
    assert [call.call_id for call in store.recent(1)] == [calls[-1].call_id]
    assert store.find(calls[0].call_id) is None


# ---- the record's form ------------------------------------------------------------------------


def test_a_record_is_read_back_as_it_was_written() -> None:
    call = session(rate=16000, caller={"name": "Zoë \u2028 \U0001f600"}, memory={"slots": {"a": [1, None]}})
    call.history = [TurnRecord("agent", "Hi.", 2.5, interrupted=True, timings={"endpoint": 0.6})]
    call.pending = DialplanAction(ActionKind.QUEUE, {"queue": "sales"})
    call.unheard, call.then, call.cut = "Bye.", HANG_UP, True
    assert CallSession.from_json(call.to_json()) == call


def test_an_action_of_another_version_goes_to_people() -> None:
    record = json.loads(session().to_json())
    record["pending"] = {"kind": "conference", "arguments": {}}
    assert CallSession.from_json(json.dumps(record)).pending == FALL_BACK
    record["pending"] = {"kind": "queue", "arguments": {"queue": "sales"}}
    assert CallSession.from_json(json.dumps(record)).pending == DialplanAction(ActionKind.QUEUE, {"queue": "sales"})


def test_what_earlier_servers_kept_elsewhere_is_found() -> None:
    record = json.loads(session(memory={"digits": 4}).to_json())
    del record["digits_wanted"], record["service_failed"]
    record["troubles"] = [{"stage": "realtime", "kind": "timeout"}]
    call = CallSession.from_json(json.dumps(record))
    assert (call.digits_wanted, call.service_failed) == (4, True)
    record |= {"memory": {}, "troubles": [{"stage": "realtime", "kind": "unready"}, {"stage": "tts", "kind": "error"}]}
    call = CallSession.from_json(json.dumps(record))
    assert (call.digits_wanted, call.service_failed) == (0, False)


def test_words_of_another_version_are_told_and_harm_nothing(caplog: pytest.LogCaptureFixture) -> None:
    record = json.loads(session().to_json()) | {"away": "moon", "outcome": "exploded", "ended_at": 5.0}
    call = CallSession.from_json(json.dumps(record))
    assert (call.away, call.outcome, call.ended) == (Away.NONE, Outcome.OTHER, True)
    assert "moon" in caplog.text
    record |= {"away": "played", "outcome": "agent_hangup"}
    call = CallSession.from_json(json.dumps(record))
    assert (call.away, call.outcome) == (Away.PLAYED, Outcome.AGENT_HANGUP)


def test_fields_of_another_version_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asterisk_ai")
    record = json.loads(session().to_json())
    record |= {"mood": {"now": "fine"}, "score": 3}
    record["history"] = [{"role": "agent", "text": "Hi.", "at": 1.0, "emotion": "joy"}]
    del record["connects"]
    call = CallSession.from_json(json.dumps(record))
    assert (call.extra, call.connects) == ({"mood": {"now": "fine"}, "score": 3}, 0)
    again = json.loads(call.to_json())
    assert (again["mood"], again["score"]) == ({"now": "fine"}, 3)
    assert "mood, score" in caplog.text


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "null",
        "[]",
        "17",
        '"text"',
        "{}",
        '{"call_id": 1, "agent": "a"}',
        '{"call_id": "a", "agent": "a", "history": null}',
        '{"call_id": "a", "agent": "a", "history": [1]}',
        '{"call_id": "a", "agent": "a", "history": [{}]}',
        '{"call_id": "a", "agent": "a", "memory": null}',
        '{"call_id": "a", "agent": "a", "started_at": "yesterday"}',
        '{"call_id": "a", "agent": "a", "detached_at": null}',
    ],
)
def test_a_damaged_record_is_a_store_error(record: str) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        CallSession.from_json(record)


def test_what_an_engine_remembers_never_keeps_a_record_from_being_written(caplog: pytest.LogCaptureFixture) -> None:
    odd = session(memory={"when": Path("/x"), "half": "\ud83d"})
    assert CallSession.from_json(odd.to_json()).memory == {"when": "/x", "half": "\ud83d"}
    circle: dict[str, object] = {}
    circle["me"] = circle
    for memory in (circle, {("a", "tuple"): 1}):
        call = session(memory=memory, outcome="hangup")
        again = CallSession.from_json(call.to_json())
        assert (again.memory, again.outcome) == ({}, "hangup")
    assert caplog.text.count("cannot be stored") == 2


# ---- SQLite -----------------------------------------------------------------------------------------


def test_calls_that_had_not_ended_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = reopened(path)
    alive, ended = session(memory={"asked": "name"}, unheard="Your name?"), session(unheard="Bye.", then=HANG_UP)
    for call in (alive, ended):
        store.add(call)
        store.claim(call.call_id)
    store.end(ended, "hangup")
    store.stop()
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {path.name, path.name + ".lock"}, "a clean end leaves no journal"
    store = reopened(path)
    assert [call.call_id for call in store.live] == [alive.call_id]
    taken = store.claim(alive.call_id)
    assert (taken.memory, taken.connects) == ({"asked": "name"}, 2)
    assert (taken.unheard, taken.cut) == ("Your name?", True)
    found = store.find(ended.call_id)
    assert found is not None
    assert (found.outcome, found.unheard, found.then) == ("hangup", "", None)
    assert [call.call_id for call in store.recent(5)] == [ended.call_id, alive.call_id]
    assert [call.call_id for call in store.recent(1)] == [ended.call_id]
    store.stop()
    with pytest.raises(StoreError, match="closed"):
        store.recent(1)


def test_nobody_else_may_read_what_callers_said(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state" / "sessions.db"
    mask = os.umask(0o022)
    try:
        store = reopened(path)
        store.add(session())
        until(lambda: len(list(path.parent.iterdir())) == 4)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
        for file in path.parent.iterdir():  # the database, its journal, the journal's index and the lock
            assert stat.S_IMODE(file.stat().st_mode) == 0o640, file
        store.stop()
    finally:
        os.umask(mask)


def test_old_records_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = reopened(path, keep_days=0)
    old, new = session(started_at=time.time() - 3 * 86400), session()
    for call in (old, new):
        store.add(call)
        store.end(call, "hangup")
    store.stop()
    store = reopened(path, keep_days=0)
    assert len(store.recent(5)) == 2, "0 keeps everything"
    store.stop()
    store = reopened(path, keep_days=2)
    assert [call.call_id for call in store.recent(5)] == [new.call_id]
    store.stop()


def test_old_records_are_removed_while_the_server_runs(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "sessions.db", keep_days=2)
    store = SessionStore(backend)
    store.start()
    old = session(started_at=time.time() - 3 * 86400)
    store.add(old)
    store.end(old, "hangup")
    until(lambda: len(store.recent(5)) == 1)
    backend._purge_at = 0.0  # an hour has passed
    new = session()
    store.add(new)
    until(lambda: [call.call_id for call in store.recent(5)] == [new.call_id])
    store.stop()


def test_a_record_is_found_while_it_is_being_written(tmp_path: Path) -> None:
    """A disk that takes its time must not bring an older state of the call back."""
    path = tmp_path / "sessions.db"
    store = reopened(path)
    call = session()
    store.add(call)
    until(lambda: len(store.recent(1)) == 1)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    store.end(call, "transfer")
    for _ in range(20):
        found = store.find(call.call_id)
        assert found is not None
        assert found.outcome == "transfer"
        time.sleep(0.01)
    assert not store.recent(1)[0].ended, "it is not in the file yet"
    lock.execute("ROLLBACK")
    lock.close()
    until(lambda: store.recent(1)[0].ended)
    store.stop()


def test_another_process_reads_along(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with pytest.raises(StoreError, match="no server"):
        SqliteReader(path)
    store = reopened(path)
    reader = SqliteReader(path)
    call = session()
    store.add(call)
    until(lambda: reader.find(call.call_id) is not None)
    for number in range(50):
        call.history.append(TurnRecord("caller", f"turn {number}", float(number)))
        store.save(call)
        assert len(reader.search(CallFilter(limit=5))) == 1
    until(lambda: len(reader.search(CallFilter(limit=5))[0].history) == 50)
    assert reader.find("nobody") is None
    store.stop()
    assert len(reader.search(CallFilter(limit=5))) == 1, "also after the server has gone"
    reader.close()


_WRITER = """
import sys, time
from pathlib import Path
from asterisk_ai.session.model import CallSession, TurnRecord
from asterisk_ai.session.backends import sqlite
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.store import SessionStore

store = SessionStore(SqliteBackend(Path(sys.argv[1])))
store.start()
calls = [CallSession(f"call-{number}", "reception") for number in range(20)]
for call in calls:
    store.add(call)
while True:
    for call in calls:
        call.history.append(TurnRecord("caller", "x" * 200, time.time()))
        store.save(call)
    print(len(calls[0].history), flush=True)
    time.sleep(0.001)
"""


def test_a_server_killed_in_mid_write_loses_next_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    for turns in (5, 30):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= turns:
                    break
            process.send_signal(signal.SIGKILL)
        store = reopened(path)
        assert sorted(call.call_id for call in store.live) == sorted(f"call-{number}" for number in range(20))
        assert store.problem() == ""
        store.stop()
        with sqlite3.connect(path) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


_FULL_DISK = """
import resource, sys, time
from pathlib import Path
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.backends import sqlite
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.store import SessionStore

path = Path(sys.argv[1])
store = SessionStore(SqliteBackend(path))
store.start()
call = CallSession("the-call", "reception")
store.add(call)
while not store.recent(1):
    time.sleep(0.01)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file may grow: the disk is full
call.memory = {"size": "x" * 100_000}
began = time.monotonic()
store.save(call)
assert time.monotonic() - began < 0.5, "the call waits for no disk"
until = time.monotonic() + 20
while not store.problem():
    assert time.monotonic() < until
    time.sleep(0.01)
print(store.problem())
assert store.find("the-call").memory, "the newest state is known all the same"
store.end(call, "hangup")
time.sleep(1.5)  # tried again, in vain
assert store.problem()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while store.problem():
    assert time.monotonic() < until
    time.sleep(0.01)
assert store.recent(1)[0].outcome == "hangup" and store.recent(1)[0].memory
store.stop()
"""


def test_a_full_disk_is_told_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout
    assert str(path) in done.stdout
    assert done.stderr.count("will be tried again") <= 1, "said once, not every second"


def test_a_server_that_stops_with_a_full_disk_stops(tmp_path: Path) -> None:
    store = reopened(tmp_path / "sessions.db")
    lock = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    store.add(session())
    began = time.monotonic()
    store.stop()
    assert time.monotonic() - began < 10
    lock.close()


_FULL_FROM_THE_START = """
import resource, sys, time
from pathlib import Path
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.backends import sqlite
from asterisk_ai.session.backends.call_index import CallFilter
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.store import SessionStore

path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file may grow: the disk is full
store = SessionStore(SqliteBackend(path))
store.start()
call = CallSession("the-call", "reception")
store.add(call)
assert store.claim("the-call") is call
assert store.find("nobody") is None, "the dialplan is answered"
print(store.problem())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
until = time.monotonic() + 20
while store.problem():
    assert time.monotonic() < until
    time.sleep(0.01)
assert store.recent(1)[0].call_id == "the-call"
store.end(call, "hangup")
store.stop()
"""


def test_a_disk_that_is_full_at_the_start_costs_records_and_no_calls(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_FROM_THE_START, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"call records cannot be written to {path}" in done.stdout
    store = reopened(path)
    assert store.recent(1)[0].outcome == "hangup"
    store.stop()


def test_a_store_that_somebody_holds_at_the_start_is_opened_later(tmp_path: Path) -> None:
    store = reopened(tmp_path / "sessions.db")
    lost = session()
    store.add(lost)
    store.stop()
    holder = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    store = reopened(tmp_path / "sessions.db")
    assert "locked" in store.problem()
    call = session()
    store.add(call)
    holder.execute("ROLLBACK")
    holder.close()
    until(lambda: not store.problem())
    found = store.find(lost.call_id)
    assert found is not None, "the dialplan may still bring it back"
    store.stop()


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_store_that_is_taken_away_is_made_anew(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite would write on into a file without a name, and say nothing."""
    path = tmp_path / "sessions.db"
    store = reopened(path)
    before, after = session(), session()
    store.add(before)
    until(lambda: len(store.recent(5)) == 1)
    if how == "removed":
        path.unlink()
    else:
        path.rename(tmp_path / "old.db")
    if how == "replaced":
        path.touch()
    store.add(after)

    def is_there() -> bool:
        with contextlib.suppress(StoreError):  # closed for a moment
            return [one.call_id for one in store.recent(5)] == [after.call_id]
        return False

    until(is_there)
    store.save(before)
    store.stop()
    reader = SqliteReader(path)
    assert {one.call_id for one in reader.search(CallFilter(limit=5))} == {before.call_id, after.call_id}
    reader.close()
    assert caplog.text.count("was moved or removed") == 1
    assert store.problem() == ""


def test_a_second_server_may_not_have_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.1)
    first = reopened(tmp_path / "sessions.db")
    call = session()
    first.add(call)
    with pytest.raises(StoreError, match=rf"in use by another server \(process {os.getpid()}.*store.path of its own"):
        reopened(tmp_path / "sessions.db")
    first.stop()
    second = reopened(tmp_path / "sessions.db")
    assert [one.call_id for one in second.live] == [call.call_id]
    second.stop()


def test_whoever_inherits_the_lock_holds_it(tmp_path: Path) -> None:
    first = lock.StoreLock(tmp_path / "sessions.db")
    first.acquire()
    left = subprocess.Popen(["sleep", "60"], pass_fds=(first.descriptor,))
    first.release()
    second = lock.StoreLock(tmp_path / "sessions.db")
    with pytest.raises(StoreError, match="left behind"):
        second.acquire(0.1)
    left.kill()
    left.wait()
    second.acquire(5.0)
    second.release()


def test_the_date_may_be_set_while_calls_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = 1000.0
    path = tmp_path / "sessions.db"
    store = SessionStore(SqliteBackend(path), clock=lambda: now)
    store.start()
    call, lost = session(), session()
    for one in (call, lost):
        store.add(one)
    date = time.time() + 86_400
    monkeypatch.setattr("asterisk_ai.session.store.time.time", lambda: date)
    now += 20
    assert store.idle_seconds(call) == 20
    store.claim(call.call_id)
    store.release(call)
    assert store.idle_seconds(call) == 0
    now += 43.5
    store.save(lost)
    store.end(call, "hangup")
    assert call.lasted == 63.5
    store.stop()
    store = SessionStore(SqliteBackend(path), clock=lambda: now)
    store.start()
    (back,) = store.live
    now += 1
    store.end(back, "lost")
    assert back.lasted == 64.5, "nor does a server that was started after it make days of them"
    store.stop()


def test_records_of_earlier_versions_know_how_long_they_lasted() -> None:
    old = json.loads(session(started_at=100.0, ended_at=163.5).to_json())
    del old["seconds"]
    assert CallSession.from_json(json.dumps(old)).lasted == 63.5
    assert CallSession.from_json(json.dumps(old | {"ended_at": 50.0})).lasted == 0.0


def test_a_damaged_file_is_told_with_its_name_and_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"this was never a database, whatever its name says" * 100)
    with pytest.raises(StoreError, match="move it away") as damaged:
        reopened(path)
    assert str(path) in str(damaged.value)
    with contextlib.closing(SqliteReader(path)) as reader, pytest.raises(StoreError):
        reader.search(CallFilter(limit=1))


def test_a_file_damaged_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = reopened(path)
    for _ in range(200):
        store.add(session(memory={"size": "x" * 300}))
    store.stop()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="move it away"):
        reopened(path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "sessions.db", tmp_path, Path("/proc/none/sessions.db")):
        with pytest.raises(StoreError, match=r"set store\.path") as wrong:
            reopened(path)
        assert str(path) in str(wrong.value)


def test_one_damaged_record_does_not_keep_the_server_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sessions.db"
    store = reopened(path)
    good = session()
    store.add(good)
    store.stop()
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO calls VALUES ('bad', ?, 0, '{\"call_id\"')", (time.time(),))
    database.close()
    store = reopened(path)
    assert [call.call_id for call in store.live] == [good.call_id]
    assert "cannot be read" in caplog.text
    store.stop()


def test_no_thread_and_no_descriptor_is_left(tmp_path: Path) -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        store = reopened(tmp_path / "sessions.db")
        store.add(session())
        store.stop()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files


# ---- stores of earlier versions, and those that somebody holds ------------------------------------


DUMPS = sorted((Path(__file__).parents[1] / "data" / "stores").glob("*.sql"))


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        return sorted(database.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL").fetchall())


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
def test_the_store_of_an_earlier_version_is_taken_over(tmp_path: Path, dump: Path) -> None:
    """The dumps were made by that version's own code: a call that lasts, and one that has ended."""
    path, fresh = tmp_path / "sessions.db", tmp_path / "fresh.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(dump.read_text("utf-8"))
    store = reopened(path, keep_days=0)
    [live] = store.live
    assert [turn.text for turn in live.history] == ["Hi.", "account"]
    assert (live.caller["name"], live.memory) == ("Ann \"x\" 'y'", {"slots": {"account": ""}})
    store.claim(live.call_id)
    live.history.append(TurnRecord("caller", "something new", 3.0))
    store.end(live, Outcome.HANGUP)
    store.stop()
    reopened(fresh).stop()
    assert schema(path) == schema(fresh)
    reader = SqliteReader(path)
    assert [call.outcome for call in reader.search(CallFilter(text="opening hours"))] == ["queue"]
    assert [call.call_id for call in reader.search(CallFilter(text="something new"))] == [live.call_id]
    assert len(reader.search(CallFilter())) == 2
    reader.close()


def test_there_is_a_dump_of_each_earlier_schema() -> None:
    assert len(DUMPS) >= 4


def test_while_somebody_holds_the_store_calls_go_on_and_their_records_wait(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = reopened(path)
    call = session()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        store.add(call)
        store.end(call, Outcome.HANGUP)
        assert time.monotonic() - began < 1, "nobody waits for the disk"
        until(lambda: "locked" in store.problem())
        found = store.find(call.call_id)
        assert found is not None
        assert found.outcome is Outcome.HANGUP
        other.execute("ROLLBACK")
    until(lambda: not store.problem())
    store.stop()
    assert store.lost == 0
    reader = SqliteReader(path)
    assert reader.find(call.call_id) is not None
    reader.close()


def test_what_waits_for_a_disk_that_takes_nothing_is_bounded_and_the_loss_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_WAITING", 10)
    path = tmp_path / "sessions.db"
    store = reopened(path)
    talking = session()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store.add(talking)
        calls = [session() for _ in range(30)]
        for call in calls:
            store.add(call)
            store.end(call, Outcome.HANGUP)
        until(lambda: store.lost > 15)
        other.execute("ROLLBACK")
    until(lambda: not store.problem())
    store.stop()
    reader = SqliteReader(path)
    kept = [call.call_id for call in reader.search(CallFilter())]
    reader.close()
    assert len(kept) + store.lost == 31
    assert talking.call_id in kept, "what lasts is not given up"
    assert calls[-1].call_id in kept
