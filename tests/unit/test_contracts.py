"""The import contracts see what they are there for: on a copy of the package with imports that must not be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "agents.agent_set": "server.server",
    "telemetry.logs": "server.worker",
    "call.diagnostic": "pbx.agi_routes",
    "agents.agent": "pbx.registry",
    "call.staged.recognition": "call.staged.conversation",  # a circle
    "server.worker": "server.supervisor",  # a circle
    "session.model": "transport.audiosocket.connection",
    "transport.listener": "providers.catalog",
    "pbx.registry": "server.web.app",
    "server.web.history": "call.account",
}


def lint(folder: Path) -> tuple[int, str]:
    """Status and words of ``lint-imports`` about the copy."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(folder)}, stdin=subprocess.DEVNULL, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "asterisk_ai", tmp_path / "asterisk_ai", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_each_forbidden_import_is_found(copy: Path) -> None:
    status, told = lint(copy)
    assert status == 0, told
    for importer, imported in FORBIDDEN.items():
        file = copy / "asterisk_ai" / f"{importer.replace('.', '/')}.py"
        with file.open("a", encoding="utf-8") as module:
            module.write(f"\nimport asterisk_ai.{imported}\n")
    status, told = lint(copy)
    assert status == 1
    for importer, imported in FORBIDDEN.items():
        chain = rf"asterisk_ai\.{re.escape(importer)} -> asterisk_ai\.{re.escape(imported)} \(l\.\d+\)"
        beside = re.escape(f"- .{importer.rpartition('.')[2]} -> .{imported.rpartition('.')[2]} (1 import)")
        assert re.search(f"{chain}|{beside}", told), f"{importer} -> {imported} is not in\n{told}"


def test_a_new_room_needs_a_place(copy: Path) -> None:
    (copy / "asterisk_ai" / "attic").mkdir()
    (copy / "asterisk_ai" / "attic" / "__init__.py").write_text("")
    status, told = lint(copy)
    assert status == 1
    assert "asterisk_ai.attic" in told


def test_no_two_test_files_have_one_name() -> None:
    """pytest would leave the second one out, and say so at the very end of a run."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
