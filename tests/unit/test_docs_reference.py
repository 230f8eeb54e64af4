"""The documentation's reference is made from the code, and nothing in it is without a description."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from asterisk_ai.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import reference

    yield reference
    sys.modules.pop("reference", None)


def test_every_key_says_what_it_means(reference: ModuleType) -> None:
    keys = list(reference.schema_keys())
    assert {"server.max_calls", "agents.NAME.turn.endpoint_ms", "pipelines.NAME.stt"} <= {key.path for key in keys}
    assert [key.path for key in keys if not key.text] == []


def test_a_key_tells_its_type_its_range_and_its_default(reference: ModuleType) -> None:
    keys = {key.path: key for key in reference.schema_keys()}
    assert keys["server.max_calls"].type == "whole number from 1 to 100,000"
    assert keys["server.max_calls"].default == "100"
    assert keys["store.backend"].type == "sqlite, memory"
    assert keys["agents.NAME.turn.barge_in"].default == "true"


def test_every_metric_says_what_it_counts() -> None:
    assert [metric.name for metric in Metrics().registry.collect() if not metric.documentation.strip()] == []


def test_every_channel_variable_is_explained() -> None:
    used = {
        name
        for folder, kind in ((ROOT / "dialplan", "*.conf"), (ROOT / "asterisk_ai", "*.py"))
        for path in folder.rglob(kind)
        for name in re.findall(r"\bAI_[A-Z_]+[A-Z]\b", path.read_text())
    }
    page = (ROOT / "docs" / "reference" / "variables.rst").read_text()
    assert used - set(re.findall(r"\bAI_[A-Z_]+[A-Z]\b", page)) == set()


def test_the_picture_of_the_architecture_shows_every_room() -> None:
    rooms = {path.parent.name for path in (ROOT / "asterisk_ai").glob("*/__init__.py")}
    picture = (ROOT / "docs" / "_static" / "rooms.svg").read_text()
    assert rooms - set(re.findall(r">(\w+)</text>", picture)) == set()
