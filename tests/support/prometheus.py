"""A real Prometheus that watches a server, with the packaged alert rules."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ports import free_port
from rig import CACHE, die_with_parent, until

RULES = Path(__file__).parents[2] / "etc-asterisk" / "prometheus-alerts.yml"


def program(name: str) -> str:
    """Where it is, by scripts/get_prometheus.sh; the test is skipped where it is not, and fails under CI=true."""
    unpacked = CACHE / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else "")
    if not found:
        why = f"no {name}: run scripts/get_prometheus.sh"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    return found


class Prometheus:
    """Asks once a second; what has to last for a while has to last for a moment."""

    def __init__(self, folder: Path, target: int) -> None:
        """:param target: the port of the server's metrics."""
        self.port = free_port()
        self._folder = folder
        rules = yaml.safe_load(RULES.read_text())
        for rule in rules["groups"][0]["rules"]:
            rule["expr"] = rule["expr"].replace("[1m]", "[3s]")
            rule["for"] = "1s" if "for" in rule else "0s"
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        job = {"job_name": "asterisk-ai", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        every = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
        config = {"global": every, "rule_files": [str(folder / "rules.yml")], "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    @contextlib.contextmanager
    def running(self) -> Iterator[Prometheus]:
        with (self._folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program("prometheus"), f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,  # noqa: PLW1509
            )  # fmt: skip
        try:
            until(lambda: self.query('up{job="asterisk-ai"} == 1'), 40, "the server watched")
            yield self
        finally:
            process.kill()
            process.wait()

    def _ask(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError:
            return {}

    def query(self, expression: str) -> list[Any]:
        return list(self._ask(f"query?query={urllib.parse.quote(expression)}").get("result", []))

    def understands(self, expression: str) -> bool:
        """Whether it can be asked that."""
        return "result" in self._ask(f"query?query={urllib.parse.quote(expression)}")

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self._ask("alerts").get("alerts", [])
        return {str(alert["labels"]["alertname"]) for alert in alerts if alert["state"] == "firing"}
