"""What is to be told of calls: entered with the record, once, and gone with it."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from asterisk_ai.cli.main import main
from asterisk_ai.config import Config, WebhookConfig, parse
from asterisk_ai.errors import ConfigError
from asterisk_ai.server.after.after_calls import AfterCalls
from asterisk_ai.server.after.courier import MAX_WAITING, Courier, DeliveryFailed
from asterisk_ai.server.after.webhooks import signature
from asterisk_ai.server.worker import ALONE, WorkerPlace
from asterisk_ai.session.backends import deliveries
from asterisk_ai.session.backends.database import connect
from asterisk_ai.session.backends.deliveries import Delivery
from asterisk_ai.session.backends.sqlite import SqliteBackend, SqliteReader
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord, new_call_id
from asterisk_ai.session.report import event
from asterisk_ai.telemetry.metrics import Metrics

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AGENTS = "agents: {desk: {}, shop: {}}\ndefault_agent: desk\n"


def config(folder: Path, webhooks: str) -> Config:
    return parse(f"{AGENTS}store: {{path: {folder / 'sessions.db'}}}\nwebhooks: {webhooks}")


def after(folder: Path, webhooks: str = "{crm: {url: 'http://127.0.0.1:9/x', secret: 0123456789abcdef}}") -> AfterCalls:
    return AfterCalls(config(folder, webhooks), Metrics(), ALONE)


def ended(agent: str = "desk", outcome: Outcome = Outcome.HANGUP) -> CallSession:
    return CallSession(new_call_id(), agent, ended_at=time.time(), outcome=outcome)


def keep(folder: Path, *sessions: CallSession, webhooks: AfterCalls | None = None) -> Path:
    backend = SqliteBackend(folder / "sessions.db", keep_days=0, wanted=(webhooks or after(folder)).wanted)
    backend.start()
    for session in sessions:
        backend.write(session)
    backend.stop()
    return folder / "sessions.db"


def entered(path: Path) -> list[Delivery]:
    reader = SqliteReader(path)
    try:
        return reader.deliveries(every=True)
    finally:
        reader.close()


def test_the_published_example_of_a_signature() -> None:
    key = WebhookConfig("https://crm.example.com", SECRET).key()
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("webhooks", "told"),
    [
        ("{crm: {secret: 0123456789abcdef}}", "webhooks.crm.url: name the address"),
        ("{crm: {url: 'https://crm.example.com'}}", "webhooks.crm.secret: what is sent is signed"),
        ("{crm: {url: 'crm.example.com', secret: 0123456789abcdef}}", "webhooks.crm.url: must begin with https"),
        ("{crm: {url: 'https://a:b@c.example.com', secret: 0123456789abcdef}}", "does not belong into it: set headers"),
        ("{crm: {url: 'https://crm.example.com', secret: short}}", "webhooks.crm.secret: must have 16"),
        ("{crm: {url: 'https://c.example.com', secret: 0123456789abcdef, agents: [dsk]}}", "did you mean 'desk'"),
        ("{crm: {url: 'https://c.example.com', secret: 0123456789abcdef, events: [call.over]}}", "must be one of"),
    ],
)
def test_a_webhook_that_cannot_be_delivered_is_told_of_at_once(tmp_path: Path, webhooks: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        config(tmp_path, webhooks)
    assert told in str(error.value)


def test_a_store_in_memory_keeps_nothing_to_be_delivered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set store\.backend to sqlite"):
        parse(AGENTS + "store: {backend: memory}\nwebhooks: {a: {url: 'http://a', secret: 0123456789abcdef}}")


def test_which_calls_are_told_to_whom(tmp_path: Path) -> None:
    some = "{all: {url: 'http://a', secret: 0123456789abcdef}, shop: {url: 'http://b', secret: 0123456789abcdef,"
    webhooks = after(tmp_path, some + " agents: shop, events: [call.started, call.ended]}}")
    running, desk, shop = CallSession(new_call_id(), "shop"), ended(), ended("shop")
    found = keep(tmp_path, running, desk, shop, webhooks=webhooks)
    assert sorted((one.call_id, one.target, one.event) for one in entered(found)) == sorted(
        [
            (running.call_id, "shop", "call.started"),
            (desk.call_id, "all", "call.ended"),
            (shop.call_id, "all", "call.ended"),
            (shop.call_id, "shop", "call.started"),
            (shop.call_id, "shop", "call.ended"),
        ]
    )


def test_a_record_that_is_written_again_is_told_once_and_another_outcome_is_told_again(tmp_path: Path) -> None:
    call = ended(outcome=Outcome.TRANSFER)
    path = keep(tmp_path, call)
    (first,) = entered(path)
    assert [one.id for one in entered(keep(tmp_path, call))] == [first.id]
    with contextlib.closing(connect(path, writable=True)) as database:
        deliveries.settle(database, Delivery(first.id, call.call_id, "crm", "call.ended", 0, 0, 0, state="delivered"))
    call.outcome = Outcome.FALLBACK  # the transfer did not succeed
    both = entered(keep(tmp_path, call))
    assert sorted(one.state for one in both) == ["delivered", "waiting"]
    call.outcome = Outcome.HANGUP  # what was not delivered yet would be told wrongly
    assert next(one.id for one in both if one.state == "waiting") not in [
        one.id for one in entered(keep(tmp_path, call))
    ]


def test_what_the_disk_does_not_take_is_neither_recorded_nor_told(tmp_path: Path) -> None:
    path = keep(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TRIGGER full BEFORE INSERT ON deliveries BEGIN SELECT raise(ABORT, 'full'); END;"
        )
    keep(tmp_path, ended())
    assert entered(path) == []
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM calls").fetchone() == (0,), "one transaction"


@pytest.mark.parametrize("how", ["--caller", "keep_days"])
def test_what_is_purged_is_told_to_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    forgotten, other = ended(), ended()
    forgotten.caller, other.caller = {"number": "5550100"}, {"number": "5550199"}
    forgotten.started_at -= 10 * 86400
    path = keep(tmp_path, forgotten, other)
    if how == "--caller":
        file = tmp_path / "asterisk_ai.yaml"
        file.write_text(f"store: {{path: {path}}}\n")
        assert main(["calls", "purge", "--caller", "5550100", "--yes", "--config", str(file)]) == 0
    else:
        backend = SqliteBackend(path, keep_days=5)
        backend.start()
        backend.stop()
    assert [one.call_id for one in entered(path)] == [other.call_id]
    assert not any(forgotten.call_id.encode() in file.read_bytes() for file in tmp_path.glob("sessions.db*"))


def test_what_is_told_of_a_call() -> None:
    call = ended()
    call.caller, call.started_at, call.ended_at = {"number": "5550100", "name": "<b>"}, 1_772_622_000.0, 1_772_622_030.5
    call.memory = {"slots": {"number": "4711"}}
    call.history = [TurnRecord("caller", "four \ud800", 1_772_622_002.0, understood=False)]
    told = json.loads(json.dumps(event("call.ended", call)))
    assert (told["type"], told["timestamp"]) == ("call.ended", "2026-03-04T11:00:30.500Z")
    data = told["data"]
    assert (data["id"], data["outcome"], data["seconds"]) == (call.call_id, "hangup", 30.5)
    assert (data["caller"], data["slots"]) == (call.caller, {"number": "4711"})
    assert data["transcript"][0]["understood"] is False


class Target:
    """Takes what it is sent, but for the calls that it is to refuse."""

    def __init__(self, *refused: str) -> None:
        self.refused = set(refused)
        self.got: list[str] = []

    def send(self, one: Delivery, session: CallSession) -> None:
        if session.call_id in self.refused:
            raise DeliveryFailed("HTTP 500")
        self.got.append(session.call_id)


def deliver(path: Path, target: Target, metrics: Metrics, place: WorkerPlace = ALONE) -> None:
    """One look at what is due, as at a server's end."""
    courier = Courier(path, "crm", target.send, metrics, place)
    courier.stop()
    courier.start()
    courier.join(20)


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, {"target": "crm", **labels}) or 0.0


def test_one_that_fails_is_tried_again_and_the_others_get_through(tmp_path: Path) -> None:
    calls = [ended() for _ in range(3)]
    path, metrics, target = keep(tmp_path, *calls), Metrics(), Target(calls[0].call_id)
    while len(target.got) < 2:
        deliver(path, target, metrics)
    assert set(target.got) == {one.call_id for one in calls[1:]}
    (failed,) = [one for one in entered(path) if one.state == "waiting"]
    assert (failed.tries, failed.problem) == (1, "HTTP 500")
    assert failed.due_at > time.time()
    assert value(metrics, "ai_agent_deliveries_waiting") == 1
    assert value(metrics, "ai_agent_deliveries_total", result="failed") == 1
    assert value(metrics, "ai_agent_deliveries_total", result="delivered") == 2


def change(path: Path, what: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE deliveries SET {what}", values)


def test_what_is_too_old_or_too_much_is_given_up_and_may_be_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [ended() for _ in range(4)]
    path, metrics = keep(tmp_path, *calls), Metrics()
    change(path, "made_at = made_at - 4 * 86400 WHERE call_id = ?", calls[0].call_id)
    assert MAX_WAITING >= 10_000
    monkeypatch.setattr("asterisk_ai.server.after.courier.MAX_WAITING", 2)
    nobody = Target(*(one.call_id for one in calls))
    deliver(path, nobody, metrics)
    assert sorted(one.state for one in entered(path)) == ["given up", "given up", "waiting", "waiting"]
    assert value(metrics, "ai_agent_deliveries_total", result="given_up") == 2

    file = tmp_path / "asterisk_ai.yaml"
    file.write_text(f"store: {{path: {path}}}\nwebhooks: {{a mistake}}")
    assert main(["webhooks", "--config", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert any("given up" in line for line in lines)
    assert any("tried 1 times" in line and "HTTP 500" in line for line in lines)
    assert main(["webhooks", "retry", "--config", str(file)]) == 0
    assert "4 deliveries are tried again" in capsys.readouterr().out
    monkeypatch.setattr("asterisk_ai.server.after.courier.MAX_WAITING", 10)
    deliver(path, taker := Target(), metrics)
    assert len(taker.got) == 4
    assert main(["webhooks", "--config", str(file)]) == 0
    assert capsys.readouterr().out == "nothing waits to be delivered\n"
    assert main(["calls", "show", calls[0].call_id, "--config", str(file)]) == 0
    assert "crm              call.ended" in capsys.readouterr().out


def test_a_try_that_the_disk_does_not_note_is_not_made_again(tmp_path: Path) -> None:
    path, target, metrics = keep(tmp_path, ended()), Target(), Metrics()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TRIGGER full BEFORE UPDATE ON deliveries BEGIN SELECT raise(ABORT, 'full'); END;"
        )
    courier = Courier(path, "crm", target.send, metrics, ALONE)
    assert [courier._look() for _ in range(3)] == [2.0, 2.0, 2.0]
    assert len(target.got) == 1
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("DROP TRIGGER full")
    courier._look()
    assert (len(target.got), [one.state for one in entered(path)]) == (1, ["delivered"])


def test_a_date_that_was_set_back_holds_nothing_up(tmp_path: Path) -> None:
    path, target = keep(tmp_path, ended()), Target()
    change(path, "due_at = due_at + 86400")
    deliver(path, target, Metrics())
    assert len(target.got) == 1


def test_each_worker_tells_of_its_own_calls(tmp_path: Path) -> None:
    calls = [ended() for _ in range(4)]
    for number, call in enumerate(calls):
        call.worker = number
    path = keep(tmp_path, *calls)
    deliver(path, second := Target(), Metrics(), WorkerPlace(1, 2))
    assert second.got == [calls[1].call_id, calls[3].call_id]


def test_a_store_of_an_earlier_version_has_nothing_to_deliver(tmp_path: Path) -> None:
    path = keep(tmp_path, ended())
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("DROP TABLE deliveries")
    assert entered(path) == []


def documented(kind: str) -> str:
    """The first such block of the documentation's page."""
    page = (Path(__file__).parents[2] / "docs" / "after-the-call.rst").read_text()
    block = page.partition(f".. code-block:: {kind}\n\n")[2]
    lines = itertools.takewhile(lambda line: not line or line.startswith("    "), block.splitlines())
    return textwrap.dedent("\n".join(lines))


def test_the_documented_way_to_check_a_signature() -> None:
    names: dict[str, Any] = {}
    exec(documented("python"), names)
    genuine, key, now = names["is_genuine"], b"0123456789abcdef", int(time.time())
    headers = {
        "webhook-id": "a",
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,older {signature(key, 'a', now, b'{}')}",
    }
    assert genuine(key, headers, b"{}")
    assert not genuine(key, headers, b"{ }")
    assert not genuine(key, {**headers, "webhook-id": "b"}, b"{}")
    assert not genuine(key, {}, b"{}")
    old = {**headers, "webhook-timestamp": str(now - 400), "webhook-signature": signature(key, "a", now - 400, b"{}")}
    assert not genuine(key, old, b"{}")


def test_the_documented_event_has_the_fields_that_are_sent() -> None:
    told, shown = event("call.ended", ended()), json.loads(documented("json"))
    assert set(shown["data"]) == set(told["data"])


def test_several_couriers_of_a_target_share_its_deliveries(tmp_path: Path) -> None:
    calls = [ended() for _ in range(40)]
    path, targets = keep(tmp_path, *calls), [Target() for _ in range(4)]
    couriers = [
        Courier(path, "crm", target.send, Metrics(), ALONE, part=part, parts=4) for part, target in enumerate(targets)
    ]
    for courier in couriers:
        courier.stop()
        courier.start()
    for courier in couriers:
        courier.join(20)
    assert sorted(one for target in targets for one in target.got) == sorted(one.call_id for one in calls)
    assert all(target.got for target in targets)
