"""``asterisk-ai dial`` on the real Asterisk: who is called, what is told of it, and what the agent knows of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest
import yaml
from callees import CALLEES, SECRET, ami, command
from rig import Asterisk, until
from served import Served

from asterisk_ai.config import AmiConfig
from asterisk_ai.pbx.calling import Calling
from asterisk_ai.protocol.ami import Callee, Outcome

PATIENCE = 30.0
AGENT = {
    "greeting": "Hello, this is a reminder for {known.customer}.",
    "variables": {"customer": "CUSTOMER_ID", "ticket": "PJSIP_HEADER(read,X)"},
    "machine_message": "Hello, your order {known.customer} is ready.",
    "turn": {"no_input_seconds": 60},
    "rules": {"intents": {"bye": {"say": ["goodbye"], "do": "hangup"}}},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served"), {"reminder": AGENT}) as server:
        yield server


@pytest.fixture(scope="module")
def asterisk(served: Served) -> Iterator[Asterisk]:
    with Asterisk(server=served.address, dialplan=CALLEES, ami_secret=SECRET) as running:
        settings = yaml.safe_load(served.file.read_text())
        served.file.write_text(yaml.safe_dump({**settings, "ami": ami(running.ami_port, caller_id="5550000")}))
        yield running


def dial(served: Served, *words: str) -> tuple[int, list[str], str]:
    process = command("dial", *words, "--config", str(served.file))
    out, problem = process.communicate(timeout=60)
    return process.returncode, out.splitlines(), problem


def record(served: Served, last: str) -> str:
    """Of a call, by the last line of what was told of it."""
    process = command("calls", "show", last.split()[4].strip(":"), "--json", "--config", str(served.file))
    return process.communicate(timeout=60)[0]


def test_somebody_answers(served: Served, asterisk: Asterisk) -> None:
    status, told, problem = dial(served, "1-01", "--var", "customer=4711, ${SHELL(id)}")
    assert (status, problem) == (0, "")
    assert told[:2] == ["calling 101 for the agent reminder", "ringing"]
    assert told[-1].startswith("answered, asterisk-ai calls show ")
    assert told[-1].endswith(": outcome=hangup")
    assert "talking" in told
    assert "rung 101 by 5550000" in asterisk.log()
    shown = record(served, told[-1])
    assert '"number": "101", "direction": "out"' in shown
    assert '"4711 SHELL id"' in shown
    until(lambda: not asterisk.channels(), PATIENCE, "no channel left")


@pytest.mark.parametrize(
    ("number", "status", "outcome"), [("200", 3, "busy"), ("300", 4, "no_answer"), ("999", 6, "failed")]
)
def test_nobody_answers(served: Served, asterisk: Asterisk, number: str, status: int, outcome: str) -> None:
    found, told, problem = dial(served, number)
    assert (found, told[-1], problem) == (status, outcome, "")
    until(lambda: not asterisk.channels(), PATIENCE, "no channel left")


def test_what_cannot_be_is_said(served: Served, asterisk: Asterisk) -> None:
    for words, why in {
        ("555;Action",): "is no telephone number",
        ("101", "--agent", "nobody"): "there is no agent 'nobody'",
        ("101", "--var", "AI_FALLBACK=x"): "has no variable 'AI_FALLBACK': customer, ticket",
        ("101", "--var", "ticket=x"): "has no variable 'ticket'",
    }.items():
        status, told, problem = dial(served, *words)
        assert (status, told) == (2, [])
        assert why in problem


def test_ctrl_c_hangs_up(served: Served, asterisk: Asterisk) -> None:
    process = command("dial", "151", "--config", str(served.file))
    assert process.stdout is not None
    while "talking" not in (line := process.stdout.readline()):
        assert line
    assert asterisk.channels()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    process.communicate()
    until(lambda: not asterisk.channels(), PATIENCE, "no channel left")


def test_nobody_is_rung_twice_for_one_order(served: Served, asterisk: Asterisk) -> None:
    """Whoever orders the same call once more, such as a campaign that was killed, is refused by the dialplan."""

    async def order() -> list[Outcome]:
        async with Calling(AmiConfig(port=asterisk.ami_port, secret=SECRET)) as calling:
            callee = Callee("c0ffee", "201", "reminder", "Local/{number}@callees")
            found = [(await calling.call(callee)).outcome for _ in range(2)]
            again = await calling.outcome("c0ffee")
            assert again is not None
            await calling.forget("c0ffee")
            assert await calling.outcome("c0ffee") is None
            return [*found, again]

    assert asyncio.run(order()) == [Outcome.BUSY, Outcome.FAILED, Outcome.BUSY]
    assert asterisk.log().count("rung 201") == 1


@pytest.mark.parametrize(
    ("number", "by"), [("401", "person"), ("402", "person"), ("403", "machine"), ("404", "machine")]
)
def test_a_machine_is_hung_up_on_and_nobody_else(served: Served, asterisk: Asterisk, number: str, by: str) -> None:
    status, told, problem = dial(served, number, "--machine", "hangup")
    assert problem == ""
    assert (status, told[-1].partition(",")[0]) == ((5, "machine") if by == "machine" else (0, "answered"))
    assert f"heard by {number}" in asterisk.log() or by == "machine"
    sure_of_a_person = '"amd": "human"' in record(served, told[-1])
    assert sure_of_a_person is (number == "401")  # else it is what was heard that decided


def test_a_message_after_the_beep(served: Served, asterisk: Asterisk) -> None:
    status, told, _ = dial(served, "403", "--machine", "message", "--var", "customer=4711")
    assert (status, told[-1].partition(",")[0]) == (5, "machine")
    assert "Hello, your order 4711 is ready." in record(served, told[-1])
