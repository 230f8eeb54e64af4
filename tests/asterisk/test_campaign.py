"""A campaign on the real Asterisk: killed in the middle and begun again, each is called exactly once."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import signal
from collections import Counter
from pathlib import Path

import yaml
from callees import CALLEES, SECRET, ami, command
from rig import Asterisk, until
from served import Served

PATIENCE = 60.0
NUMBERS = ["101", "201", "301", "102", "202", "302", "103", "203", "303", "104", "998", "105"]
OUTCOMES = {"1": "answered", "2": "busy", "3": "no_answer", "9": "failed"}
AGENT = {
    "greeting": "Hello {known.customer}.",
    "variables": {"customer": "CUSTOMER_ID"},
    "rules": {"intents": {"bye": {"say": ["goodbye"], "do": "hangup"}}},
}


def rung(asterisk: Asterisk) -> Counter[str]:
    return Counter(re.findall(r'NoOp\("[^"]*", "rung (\d+)', asterisk.log()))


def status(config: Path, name: str) -> dict[str, dict[str, object]]:
    out, _ = command("campaign", "status", name, "--json", "--config", str(config)).communicate(timeout=60)
    people = [json.loads(line) for line in out.splitlines()]
    return {one["number"]: one for one in people}


def test_killed_in_the_middle_each_is_called_once(tmp_path: Path) -> None:
    file = tmp_path / "reminders.csv"
    with file.open("w", newline="") as lines:
        csv.writer(lines).writerows([("number", "customer"), *((number, f"C{number}") for number in NUMBERS)])
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(Served(tmp_path, {"reminder": AGENT}))
        asterisk = stack.enter_context(Asterisk(server=served.address, dialplan=CALLEES, ami_secret=SECRET))
        settings = yaml.safe_load(served.file.read_text())
        served.file.write_text(yaml.safe_dump({**settings, "ami": ami(asterisk.ami_port)}))
        options = ["--hours", "mon-sun 0:00-24:00", "--concurrency", "4", "--per-minute", "600", "--tries", "1"]
        words = ["campaign", "run", str(file), *options, "--config", str(served.file)]
        for so_many in (2, 5, 8):
            process = command(*words)
            until(lambda: len(rung(asterisk)) >= so_many, PATIENCE, f"{so_many} rung")  # noqa: B023
            process.send_signal(signal.SIGKILL)
            process.communicate()
        out, problem = command(*words).communicate(timeout=PATIENCE)
        assert problem == ""
        assert out.splitlines()[0] == "reminders: 12 people, 0 of them new"
        assert rung(asterisk) == Counter(number for number in NUMBERS if number != "998")
        people = status(served.file, "reminders")
        assert {number: one["outcome"] for number, one in people.items()} == {
            number: OUTCOMES[number[0]] for number in NUMBERS
        }
        assert {one["state"] for one in people.values()} == {"done"}
        assert not asterisk.channels()
        assert "asterisk-ai-out" not in asterisk.rx("database show")
