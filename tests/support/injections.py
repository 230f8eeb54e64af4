"""What callers may send so that it becomes something else: ``tests/data/injections.txt``."""

from __future__ import annotations

import json
from pathlib import Path

_FILE = Path(__file__).resolve().parents[1] / "data" / "injections.txt"


def injections() -> list[str]:
    """All of them: dialplan, AGI, line breaks, terminals, SQL, YAML, prompts, labels, and what is only odd."""
    lines = _FILE.read_text("utf-8").split("\n")
    return [json.loads(line.partition("\t")[2]) for line in lines if line and not line.startswith("#")]
