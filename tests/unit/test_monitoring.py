"""What is offered to those who run monitoring speaks of what there is."""

from __future__ import annotations

import configparser
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from asterisk_ai.telemetry.logs import TextFormatter
from asterisk_ai.telemetry.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "etc-asterisk"
ALERTS, DASHBOARD = FOLDER / "prometheus-alerts.yml", FOLDER / "grafana-dashboard.json"


ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def expressions() -> list[str]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [rule["expr"] for rule in group["rules"]] + [one["expr"] for panel in panels for one in panel["targets"]]


def test_every_metric_that_is_named_exists() -> None:
    metrics = list(Metrics().registry.collect())
    series = {metric.name + end for metric in metrics for end in ENDINGS[metric.type]}
    for expression in expressions():
        used = set(re.findall(r"\bai_agent_\w+", expression))
        assert used - series == set(), expression
        assert used or "up{" in expression
    told = set(re.findall(r"\bai_agent_\w+", ALERTS.read_text()))
    assert told - series - {metric.name for metric in metrics} == set()


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "what_to_do"}, rule["alert"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])


def test_the_dashboard_has_a_place_for_every_panel() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["targets"], panel["title"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def banned() -> re.Pattern[str]:
    """The filter's expression as fail2ban reads it; what stands before a line in syslog is left out."""
    parser = configparser.ConfigParser()
    parser.read_string((FOLDER / "fail2ban-filter.conf").read_text())
    values = dict(parser.items("Definition", raw=True))
    expression = values["failregex"].replace("%(__prefix_line)s", "")
    for name in ("_time", "_who"):
        expression = expression.replace(f"%({name})s", values[name])
    return re.compile(expression.replace("<HOST>", r"(?P<host>\d+\.\d+\.\d+\.\d+|[0-9a-fA-F:]+)"))


def line(logger: str, message: str, call_id: str = "", level: int = logging.WARNING) -> str:
    record = logging.makeLogRecord(
        {"name": logger, "msg": message, "levelno": level, "levelname": logging.getLevelName(level)}
    )
    record.call_id = call_id
    return TextFormatter().format(record)


LINES = {
    "asterisk_ai.transport.audiosocket.handshake": "AudioSocket connection from %s refused: ",
    "asterisk_ai.transport.websocket.opening": "chan_websocket connection with %s refused: ",
    "asterisk_ai.transport.fastagi.server": "FastAGI connection from %s refused: ",
    "asterisk_ai.server.web.login": "login from %s refused: ",
}


@pytest.fixture
def messages() -> Iterator[dict[str, str]]:
    """The lines above; each stands in its module."""
    for module, message in LINES.items():
        source = (FOLDER.parent / (module.replace(".", "/") + ".py")).read_text()
        assert f'"{message}' in source, module
    return LINES


@pytest.mark.parametrize("address", ["203.0.113.7", "203.0.113.7:50122", "2001:db8::1", "[2001:db8::1]:50122"])
def test_fail2ban_finds_who_is_refused(messages: dict[str, str], address: str) -> None:
    for module, message in messages.items():
        for call_id in ("", "6ba7b810-9dad-41d1-80b4-00c04fd430c8"):
            found = banned().search(line(module, message % address + "no such call", call_id))
            assert found is not None, message
            assert found["host"] == address.removesuffix(":50122").strip("[]")


@pytest.mark.parametrize("number", range(len(LINES)))
def test_what_strangers_write_bans_nobody(messages: dict[str, str], number: int) -> None:
    module, message = list(messages.items())[number]
    forged = line(module, message % "192.0.2.1" + "x")
    for real in ("FastAGI: no route %r", "caller understood transcript=%r", "%s"):
        assert banned().search(line("asterisk_ai.transport.fastagi.server", real % forged)) is None
        assert banned().search(line("asterisk_ai.call.account", real % f"\n{forged}")) is None
