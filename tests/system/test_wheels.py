"""The default install finds a wheel of everything, on each Python and processor that the project promises."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-manylinux_2_36", "aarch64-manylinux_2_36")  # glibc of Debian 12


def index() -> list[str]:
    """The package index that pip is told to use, if it is told of another one."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    url = os.environ.get("PIP_INDEX_URL") or done.stdout.strip()
    return ["--index-url", url] if url else []


def compile_for(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What pip would choose, with wheels alone."""
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    certificates = {"SSL_CERT_FILE": os.environ["PIP_CERT"]} if "PIP_CERT" in os.environ else {}
    return subprocess.run(
        [uv, "pip", "compile", file, *index(), "--only-binary", ":all:", "--no-annotate", "--no-header", *options],
        env={**os.environ, **certificates}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def test_every_dependency_has_a_wheel_for_each_python_and_processor(tmp_path: Path) -> None:
    wanted = [line for line in importlib.metadata.requires("asterisk-ai") or () if "extra ==" not in line]
    assert any(line.startswith("numpy") for line in wanted)
    file = tmp_path / "requirements.in"
    file.write_text("\n".join(wanted), "utf-8")
    known = tmp_path / "known.in"
    known.write_text("numpy", "utf-8")
    if "Failed to fetch" in (told := compile_for(known).stderr):
        pytest.skip(f"there is no package index to look into: {told.splitlines()[0]}")

    def resolve(target: tuple[str, str]) -> str:
        python, platform = target
        done = compile_for(file, "--python-version", python, "--python-platform", platform)
        found = done.stdout.lower()
        missing = [name for name in ("numpy==", "onnxruntime==", "hibari-tts==") if name not in found]
        return f"{target}: {done.stderr or missing}" if done.returncode or missing else ""

    with ThreadPoolExecutor(8) as pool:
        assert [told for told in pool.map(resolve, itertools.product(PYTHONS, PLATFORMS)) if told] == []
