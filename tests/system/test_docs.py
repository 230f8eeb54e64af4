"""The examples in the documentation work as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "writing-a-provider.rst"
_BLOCK = re.compile(r"\.\. code-block:: python\n   :name: (\S+)\n\n((?:(?:    .*)?\n)+)")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    for name, code in _BLOCK.findall(DOC.read_text()):
        (tmp_path / name).write_text(textwrap.dedent(code))
    return tmp_path


def test_the_example_provider_conforms(example: Path) -> None:
    assert {path.name for path in example.iterdir()} == {"command_voice.py", "test_command_voice.py"}
    program = "import test_command_voice as t; t.test_it_conforms()"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(example)])}
    subprocess.run([sys.executable, "-c", program], cwd=example, env=env, check=True, timeout=60)


def test_the_example_is_typed(example: Path) -> None:
    program = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "command_voice.py"]
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(program, cwd=example, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
