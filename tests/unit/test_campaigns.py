"""Campaigns: who is called when, how often, and never; with a telephone network that is played and time that flies."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from virtual_time import VirtualClock, run

from asterisk_ai.cli import campaign as command
from asterisk_ai.cli.promises import Promises, agreed
from asterisk_ai.config import Config, parse
from asterisk_ai.errors import AsteriskAIError, ControlError
from asterisk_ai.pbx.ami import AmiRefused
from asterisk_ai.pbx.campaign import Campaign, Terms
from asterisk_ai.protocol.ami import Callee, Outcome, Progress, Stage
from asterisk_ai.providers.engines.rules.hours import parse_week
from asterisk_ai.session.backends.campaigns import Campaigns, Person
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession

ALWAYS = parse_week({"mon-sun": ["0:00-24:00"]})
START = datetime(2026, 11, 30, 7, 0, tzinfo=UTC).timestamp()  # a Monday


class Network:
    """Who answers what; each call takes ``seconds``."""

    def __init__(self, clock: Callable[[], float], seconds: float = 10.0) -> None:
        self.clock, self.seconds = clock, seconds
        self.answers: dict[str, list[Outcome | Exception]] = {}
        self.rung: list[tuple[str, float]] = []
        self.results: dict[str, str] = {}
        self.noted: dict[str, Outcome] = {}
        self.forgotten: list[str] = []
        self.up = self.most = 0

    async def call(self, callee: Callee) -> Progress:
        self.rung.append((callee.number, self.clock() - START))
        self.up += 1
        self.most = max(self.most, self.up)
        await asyncio.sleep(self.seconds)
        self.up -= 1
        answers = self.answers.get(callee.number, [Outcome.ANSWERED])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Progress(Stage.ENDED, answer, "1f", self.results.get(callee.number, ""), told=answer)

    async def follow(self, name: str) -> Progress | None:
        return Progress(Stage.ENDED, self.noted[name]) if name in self.noted else None

    async def outcome(self, name: str) -> Outcome | None:
        return self.noted.get(name)

    async def forget(self, name: str) -> None:
        self.forgotten.append(name)


class Case:
    def __init__(self, folder: Path) -> None:
        self.store = Campaigns(folder / "campaigns.db")
        self.virtual = VirtualClock()
        self.began = self.virtual.now
        self.network = Network(self.clock)
        self.told: list[tuple[str, str]] = []

    def clock(self) -> float:
        return START + self.virtual.now - self.began

    def run(self, *people: Person, week: tuple[tuple[tuple[int, int], ...], ...] = ALWAYS, **terms: object) -> None:
        self.store.enter("c", people)
        campaign = self.campaign(Terms(week, "UTC", **terms))  # type: ignore[arg-type]
        run(campaign(), self.virtual)

    def campaign(self, terms: Terms) -> Callable[[], object]:
        async def main() -> None:
            await Campaign(
                "c", self.store, self.network, terms, make=lambda one, name: Callee(name, one.number, "a", ""),
                told=lambda one, what: self.told.append((one.number, what)), clock=self.clock,
            ).run()  # fmt: skip

        return main

    def outcomes(self) -> dict[str, tuple[str, str]]:
        return {one.number: (one.state, one.outcome) for one in self.store.people("c")}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def people(*numbers: str) -> list[Person]:
    return [Person(number, row) for row, number in enumerate(numbers)]


def test_a_few_at_a_time_and_not_too_fast(case: Case) -> None:
    case.run(*people(*"12345678"), concurrency=2, per_minute=12)
    assert [number for number, _ in case.network.rung] == list("12345678")
    assert case.network.most == 2
    times = [at for _, at in case.network.rung]
    assert min(b - a for a, b in itertools.pairwise(times)) >= 5
    assert set(case.outcomes().values()) == {("done", "answered")}
    assert len(case.network.forgotten) == 8


def test_each_outcome_has_its_pause(case: Case) -> None:
    case.network.answers = {
        "1": [Outcome.BUSY, Outcome.NO_ANSWER, Outcome.ANSWERED],
        "2": [Outcome.NO_ANSWER],
        "3": [Outcome.FAILED],
        "4": [Outcome.UNKNOWN],
    }
    case.run(*people(*"1234"), concurrency=4, tries=3)
    ones = [at for number, at in case.network.rung if number == "1"]
    assert ones[1] - ones[0] == pytest.approx(610, abs=3)
    assert ones[2] - ones[1] == pytest.approx(7210, abs=3)
    assert [number for number, _ in case.network.rung].count("2") == 3
    assert case.outcomes()["2"] == ("done", "no_answer")
    assert case.outcomes()["3"] == ("done", "failed")
    assert case.outcomes()["4"] == ("done", "unknown")  # never again what nobody can tell


def test_in_the_hours_of_their_own_place(case: Case) -> None:
    """It is 7 UTC: 8 in Berlin, 2 in New York, 16 in Tokyo."""
    zones = {"1": "Europe/Berlin", "2": "America/New_York", "3": "Asia/Tokyo", "4": ""}
    case.run(*(Person(number, 0, zone) for number, zone in zones.items()), week=parse_week({"mon-fri": ["9:00-17:00"]}))
    hours = {number: at / 3600 for number, at in case.network.rung}
    assert hours == pytest.approx({"3": 0, "1": 1, "4": 2, "2": 7}, abs=0.01)


def test_who_is_not_to_be_called(case: Case) -> None:
    case.store.forbid(["001555", "2"])
    case.network.results["3"] = "outcome=hangup intent=do_not_call"
    case.run(*people("+1555", "2", "3"))
    assert [number for number, _ in case.network.rung] == ["3"]
    assert case.outcomes()["+1555"] == ("do not call", "")
    case.store.enter("d", people("3"))
    assert case.store.claim("d", "3") is None  # they said so


def test_the_stop_button(case: Case) -> None:
    case.store.enter("c", people(*"123456"))
    main = case.campaign(Terms(ALWAYS, "UTC", concurrency=2))

    async def stopped() -> None:
        task = asyncio.ensure_future(main())  # type: ignore[call-overload]
        await asyncio.sleep(4)
        assert case.store.stop("c")
        await task

    run(stopped(), case.virtual)
    assert [state for state, _ in case.outcomes().values()].count("done") == 2  # who were on the telephone
    case.run()  # and goes on
    assert sorted(number for number, _ in case.network.rung) == list("123456")


def test_what_a_lost_process_left(case: Case) -> None:
    """One was answered, one was never rung, and of one Asterisk does not know either."""
    case.store.enter("c", people(*"123"))
    names = {}
    for number in "123":
        claimed = case.store.claim("c", number)
        assert claimed is not None
        names[number] = case.store.name_of_call("c", claimed)
    case.network.noted = {names["1"]: Outcome.ANSWERED, names["3"]: Outcome.UNKNOWN}
    case.run()
    assert [number for number, _ in case.network.rung] == ["2"]
    assert case.outcomes() == {"1": ("done", "answered"), "2": ("done", "answered"), "3": ("done", "unknown")}
    assert names["2"] in case.network.forgotten  # by the same name as before


def test_a_connection_that_is_lost(case: Case) -> None:
    case.network.answers["1"] = [ControlError("lost"), Outcome.ANSWERED]
    case.run(*people("1"))
    assert len(case.network.rung) == 2  # Asterisk knew of no call
    assert case.outcomes() == {"1": ("done", "answered")}


def test_an_asterisk_that_refuses_ends_it(case: Case) -> None:
    case.network.answers["1"] = [AmiRefused("AMI Originate: Permission denied")]
    with pytest.raises(AmiRefused):
        case.run(*people("1"))
    assert case.outcomes() == {"1": ("waiting", "")}


def test_whoever_is_claimed_is_claimed_once(case: Case, tmp_path: Path) -> None:
    case.store.enter("c", people("1"))
    other = Campaigns(tmp_path / "campaigns.db")
    assert case.store.claim("c", "1") is not None
    assert other.claim("c", "1") is None
    other.close()


MONDAY = datetime(2026, 11, 30, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("tomorrow at nine", "2026-12-01T09:00"),
        ("on Friday at half past two", "2026-12-04T14:30"),
        ("tomorrow", "2026-12-01T09:00"),
        ("at four pm", "2026-11-30T16:00"),
        ("at ten in the morning", "2026-12-01T10:00"),  # it is 14:00
        ("whenever you like", "2026-11-30T14:05"),
    ],
)
def test_when_a_call_back_was_agreed(text: str, when: str) -> None:
    assert agreed(text, MONDAY, "en-US") == datetime.fromisoformat(when).replace(tzinfo=UTC)


def test_call_backs_that_were_promised(tmp_path: Path, case: Case) -> None:
    """Out of the records of calls, each once; who calls again before is called at the new time."""
    config = parse(YAML + f"store: {{path: {tmp_path}/sessions.db}}\n")
    backend = SqliteBackend(tmp_path / "sessions.db")
    backend.start()

    def called(call_id: str, number: str, when: str, *, at: float, done: str = "call_back") -> None:
        session = CallSession(call_id, "a", caller={"number": number}, started_at=START + at, ended_at=START + at + 60)
        session.memory = {"slots": {"call_back": when}, "done": [done]}
        backend.write(session)

    called("1", "5551", "in the afternoon at four", at=0)
    called("2", "5552", "at nine", at=0, done="other")
    called("3", "", "at nine", at=0)
    called("4", "5551", "at five pm", at=100)
    backend.stop()
    case.store.enter("call-backs", [])
    now = START + 300
    Promises(config, case.store, "UTC", clock=lambda: now).look()
    Promises(config, case.store, "UTC", clock=lambda: now).look()
    [person] = case.store.people("call-backs")
    assert (person.number, person.due_at) == ("5551", START + 10 * 3600)  # 17:00
    claimed = case.store.claim("call-backs", "5551")
    assert claimed is not None
    case.store.settle("call-backs", "5551", "answered", "", None)
    Promises(config, case.store, "UTC", clock=lambda: now).look()
    assert case.store.due("call-backs", now + 1e6) is None


def test_a_run_for_call_backs_goes_on(case: Case) -> None:
    def more() -> None:
        if case.clock() - START > 100:
            case.store.promise("c", "call", Person("7", due_at=START + 200))
        if len(case.network.rung) == 1:
            case.store.stop("c")

    case.store.enter("c", [])

    async def main() -> None:
        await Campaign(
            "c", case.store, case.network, Terms(ALWAYS, "UTC"), more=more, clock=case.clock,
            make=lambda one, name: Callee(name, one.number, "a", ""), told=lambda one, what: None,
        ).run()  # fmt: skip

    run(main(), case.virtual)
    [(number, at)] = case.network.rung
    assert number == "7"
    assert at == pytest.approx(200, abs=2)


YAML = """
agents:
  a: {greeting: Hello, variables: {customer: CUSTOMER}, rules: {intents: {bye: {say: [goodbye], do: hangup}}}}
ami: {secret: x}
"""


def read(tmp_path: Path, text: str) -> list[Person]:
    config: Config = parse(YAML)
    file = tmp_path / "people.csv"
    file.write_text(text)
    return command.read_people(config, file, "", "talk")


def test_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, "\ufeffNumber,Timezone,customer\n+1 555 123,Europe/Berlin,Ann\n001555123,,Bob\n\n5552,,\n")
    assert [(one.number, one.timezone, one.variables) for one in found] == [
        ("+1555123", "Europe/Berlin", {"customer": "Ann"}),
        ("5552", "", {"customer": ""}),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name\nAnn\n", "has to name its columns"),
        ("number\n12\nAnn\n", "people.csv:3: 'Ann' is no telephone number"),
        ("number,timezone\n12,Mars\n", "people.csv:2: there is no time zone 'Mars'"),
        ("number,AI_SERVER\n12,x\n", "has no variable 'ai_server'"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(AsteriskAIError) as caught:
        read(tmp_path, text)
    assert why in str(caught.value)


def test_a_dry_run_calls_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "asterisk_ai.yaml"
    config.write_text(YAML + f"store: {{path: {tmp_path}/sessions.db}}\n")
    file = tmp_path / "people.csv"
    file.write_text("number,customer\n5551,Ann\n5552,Bob\n")
    forbidden = tmp_path / "no.txt"
    forbidden.write_text("5552\n")
    from asterisk_ai.cli.main import main

    words = ["campaign", "run", str(file), "--config", str(config), "--dry-run", "--hours", "mon-sun 0:00-24:00"]
    assert main([*words, "--do-not-call", str(forbidden)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "5551  now  customer=Ann",
        "5552  not: on the list of those who are not to be called  customer=Bob",
    ]
    assert not (tmp_path / "campaigns.db").exists()
