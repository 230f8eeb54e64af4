"""The trial of transfers: its report, and what it reads from Asterisk's log."""

from __future__ import annotations

import yaml

from asterisk_ai.config.loader import parse
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.simulator.regression import transfers
from asterisk_ai.simulator.regression.transfers import DIALPLAN, KEYS, Transfer, table


def test_the_report_counts_what_was_right() -> None:
    found = [Transfer("busy", seconds=one / 10) for one in range(1, 4)]
    found += [Transfer("taken"), Transfer("taken", "talks with nobody"), Transfer("left behind", "SIP/1")]
    text = table(found)
    assert "| busy | 3 of 3 | 0.20 s | 0.30 s | 0.30 s |" in text
    assert "| taken | 1 of 2 | - | - | - |" in text
    assert "- **taken**: talks with nobody" in text
    assert "| left behind | 0 of 1 |" in text


def test_each_kind_has_a_key_and_somebody_who_is_rung() -> None:
    config = parse(yaml.safe_dump(transfers._config()))
    agent = config.agent()
    rules = Rules({}, agent.as_mapping())
    assert set(agent.transfers) == set(KEYS) == set(rules.rules.menu.values())
    people = {one.partition("@")[0] for target in agent.transfers.values() for one in target.to}
    assert not [one for one in people - {"none"} if f"[people-{one}]" not in DIALPLAN]
