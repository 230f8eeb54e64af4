"""mypy proves that an engine fits its kind: what is renamed in one is found without running it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from asterisk_ai.providers import catalog

ROOT = Path(__file__).parents[2]
PROVIDERS = Path("asterisk_ai") / "providers"
RENAMED = {
    "a parameter of open": (
        PROVIDERS / "engines/vosk/__init__.py",
        "rate: int, hints: Hints",
        "rate: int, tips: Hints",
    ),
    "a stream's method": (PROVIDERS / "workers/pooled.py", "def finish(self)", "def ended(self)"),
    "a property": (PROVIDERS / "engines/piper/__init__.py", "def sample_rate(self)", "def rate(self)"),
    "a method": (PROVIDERS / "vendors/openai/transcription.py", "async def open(", "async def begin("),
}


def mypy(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "-p", "asterisk_ai.providers"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and the settings of mypy, checked once so that its cache serves the others."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "asterisk_ai", folder / "asterisk_ai")
    shutil.copy(ROOT / "pyproject.toml", folder)
    found = mypy(folder)
    assert found.returncode == 0, found.stdout
    return folder


@pytest.mark.parametrize("what", RENAMED)
def test_what_is_renamed_in_an_engine_is_found(copy: Path, what: str) -> None:
    path, before, after = copy / RENAMED[what][0], *RENAMED[what][1:]
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after), "utf-8")
    try:
        found = mypy(copy)
    finally:
        path.write_text(text, "utf-8")
    assert found.returncode == 1, found.stdout
    assert "catalog.py" in found.stdout


def test_every_engine_of_the_catalog_is_proved() -> None:
    text = Path(catalog.__file__).read_text("utf-8")
    proofs = text[text.index("if TYPE_CHECKING:") :]
    for kind in catalog.KINDS.values():
        line = proofs[proofs.index(f"_{kind.name}: tuple[") :].partition("\n    _")[0]
        for target in kind.engines.values():
            assert target.partition(":")[2] in line, (kind.name, target)
