"""Files out of wheels: by pip, from an index of the user's own, checked like any other file."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from models_server import entry, model_of

from asterisk_ai import config
from asterisk_ai.models.choice import Models, load_registry
from asterisk_ai.models.fetch import Fetcher, Settings
from asterisk_ai.models.registry import File
from asterisk_ai.models.sources import Web
from asterisk_ai.models.store import Store
from asterisk_ai.models.transfer import Policy
from asterisk_ai.models.wheels import Wheels
from asterisk_ai.providers.engines.moonshine import weights
from asterisk_ai.providers.engines.moonshine.engine import MoonshineEngine

MODEL = model_of(entry("m", {"data.bin": b"x"}, "http://nowhere"))
ROOT = Path(__file__).parents[2]
QUICK = Policy(backoff_seconds=0.005, backoff_most_seconds=0.02)


class Silent:
    """A listener that wants to know nothing."""

    def started(self, label: str, size: int, done: int) -> None: ...

    def moved(self, label: str, done: int) -> None: ...

    def setback(self, label: str, why: str, seconds: float) -> None: ...

    def finished(self, label: str, what: str) -> None: ...


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for its index; nothing else is asked."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A wheel with these files, for a system that this need not be."""
    package = name.replace("-", "_")
    about = f"{package}-0.0.73.dist-info"
    with zipfile.ZipFile(folder / f"{package}-0.0.73-py3-none-manylinux_2_34_x86_64.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.73\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def fetch(store: Store, data: bytes, url: str, sha256: str = "") -> dict[str, str]:
    file = File("data.bin", (url,), len(data), sha256 or hashlib.sha256(data).hexdigest())
    wheels = Wheels(Web())
    try:
        outcome = Fetcher(store, wheels, Silent(), Settings(policy=QUICK)).fetch([replace(MODEL, files=(file,))])
    finally:
        wheels.close()
    return outcome.failed


def test_a_file_comes_out_of_a_wheel_and_is_checked(tmp_path: Path, index: Path) -> None:
    data = os.urandom(100_000)
    wheel(index, "some-data", {"some_data/data.bin": data})
    store = Store(tmp_path / "store")
    assert fetch(store, data, "wheel:some-data==0.0.73/some_data/data.bin") == {}
    assert (store.folder("m") / "data.bin").read_bytes() == data
    wrong = fetch(Store(tmp_path / "other"), data, "wheel:some-data==0.0.73/some_data/data.bin", "0" * 64)
    assert "is not what the registry describes" in wrong["m"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("wheel:some-data==9/some_data/data.bin", "pip cannot fetch some-data==9"),
        ("wheel:some-data==0.0.73/some_data/none.bin", "has no file some_data/none.bin"),
        ("wheel:some-data/data.bin", "not written like wheel:"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, index: Path, url: str, why: str) -> None:
    wheel(index, "some-data", {"some_data/data.bin": b"x"})
    assert why in fetch(Store(tmp_path / "store"), b"x", url)["m"]


def test_the_recognisers_weights_come_so_where_its_wheel_cannot_be_installed(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = weights.packaged()
    assert folder is not None
    inside = {f"moonshine_voice/assets/tiny-en/{name}": (folder / name).read_bytes() for name in weights.FILES}
    wheel(index, "moonshine-voice", inside)
    file = tmp_path / "asterisk_ai.yaml"
    rules = "{intents: {a: {say: opening hours, answer: Nine.}}}"
    file.write_text(f"models: {{directory: {tmp_path / 'models'}}}\nagents: {{a: {{rules: {rules}}}}}\n")
    settings = config.load(str(file))
    command = [sys.executable, "-m", "asterisk_ai", "models", "fetch", "moonshine-tiny-en", "--yes"]
    done = subprocess.run([*command, "--config", str(file)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # the wheel is not installed
    found = Models(settings).find("moonshine", {}, "en-US")
    assert found.check is not None
    found.check()
    assert weights.packaged() is None
    assert MoonshineEngine({"model": found.settings["model"], "most_load": 100})
    assert load_registry(settings).models["moonshine-tiny-en"].digests == {
        name: f"sha256:{digest}" for name, digest in weights.FILES.items()
    }


@pytest.mark.parametrize(("system", "wanted"), [("any", False), ("manylinux_2_34_x86_64", True)])
def test_our_own_wheels_ask_for_the_recogniser_where_there_is_one(tmp_path: Path, system: str, wanted: bool) -> None:
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    environment = {**os.environ, "ASTERISK_AI_PLATFORM": system}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    (requires,) = tmp_path.glob("*.egg-info/requires.txt")
    assert ("moonshine-voice" in requires.read_text()) is wanted
