"""asterisk-ai models, end to end, and what the store tells engines, ``check`` and /health."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from models_server import V2, Fault, Server, content, entry, running, settings_file, zipped

from asterisk_ai.cli import check
from asterisk_ai.cli import main as cli
from asterisk_ai.cli.models_progress import Bars, size_text
from asterisk_ai.config import load
from asterisk_ai.errors import ModelError
from asterisk_ai.models.store import Store, store_of

VOICE = {"v.onnx": content(50_000), "v.onnx.json": b"{}"}
ARCHIVE = {"format": "zip", "top_level": "m", "layout": "vosk"}
TIERS = [  # in place of the packaged ones; this machine is "small"
    {
        "name": name, "about": "of the test", "needs": {"cores": cores, "memory_bytes": 0},
        "every": every, "languages": own,
    }
    for name, cores, every, own in (
        ("embedded", 0, [], {}), ("small", 0, [], {"en": ["stt", "voice"]}),
        ("medium", 9999, [], {}), ("large", 9999, [], {}), ("xlarge", 9999, ["stt"], {}),
    )
]  # fmt: skip
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a power cut loses what fsync promised is not to be seen here; it only makes the tests slow."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as made:
        made.files |= {f"/{path}": data for path, data in VOICE.items()} | {"/m.zip": zipped(V2)}
        yield made


@pytest.fixture
def settings(server: Server, tmp_path: Path) -> Path:
    forbidden = {"licence": {"name": "CC BY-NC", "commercial": "no", "flags": ["research only"]}}
    return settings_file(
        tmp_path,
        entry("voice", VOICE, server.url),
        entry("stt", {"m.zip": zipped(V2)}, server.url, kind="stt", engine="vosk", archive=ARCHIVE),
        entry("forbidden", {"v.onnx.json": b"{}"}, server.url, **forbidden),
        tiers=TIERS,
    )


@pytest.fixture
def run(settings: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        status = cli.main(["models", words[0], "--config", str(settings), *words[1:]])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


@pytest.fixture
def store(settings: Path) -> Store:
    return store_of(load(str(settings)))


def test_fetch_for_this_machine(run: Run, server: Server, store: Store) -> None:
    status, out, _ = run("fetch", "--dry-run")
    assert status == 0
    assert "cores" in out
    assert "tier small: of the test" in out
    assert "medium lacks 9999 cores" in out
    assert re.search(r"voice +tts +50 kB +memory: not published +CC0\n", out)
    assert server.requests == []
    assert not store.directory.exists()
    status, out, _ = run("fetch", "--yes")
    assert status == 0
    assert "stt: there" in out
    assert "voice: there" in out
    selection = store.selection()
    assert selection is not None
    assert selection.models == ("stt", "voice")
    before = len(server.requests)
    began = time.monotonic()
    status, out, _ = run("fetch")  # nothing to ask
    assert status == 0
    assert "all is there: stt, voice" in out
    assert "chosen for this machine before" in out
    assert len(server.requests) == before
    assert time.monotonic() - began < 5


def test_fetch_as_json(run: Run) -> None:
    status, out, err = run("fetch", "voice", "--yes", "--json")
    assert (status, json.loads(out)) == (0, {"present": [], "fetched": ["voice"], "failed": {}})
    assert "voice: there" in err
    assert json.loads(run("fetch", "voice", "--json")[1])["present"] == ["voice"]
    assert [row["id"] for row in json.loads(run("fetch", "stt", "--dry-run", "--json")[1])["fetch"]] == ["stt"]


def test_fetch_asks(run: Run, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    status, _, err = run("fetch", "voice")
    assert status == 1
    assert "say --yes" in err
    assert server.requests == []


def test_licence(run: Run, store: Store) -> None:
    status, out, err = run("fetch", "forbidden", "--yes")
    assert status == 1
    assert "CC BY-NC (NO COMMERCIAL USE)" in out
    assert "research only" in out
    assert "--accept-licence" in err
    assert store.missing("forbidden")
    assert run("fetch", "forbidden", "--yes", "--accept-licence")[0] == 0
    assert store.path("forbidden").read_bytes() == b"{}"
    assert run("fetch", "forbidden")[0] == 0  # it is there: nothing to accept


def test_failures_are_told_once_and_plainly(run: Run, server: Server) -> None:
    server.always["/v.onnx"] = Fault(status=404)
    status, out, err = run("fetch", "voice", "stt", "--yes")
    assert status == 1
    assert "stt: there" in out
    assert err.count("FAIL") == 1
    assert "answers 404 Not Found" in err
    assert "models.mirror" in err


def test_mirror_option(run: Run, tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "mirror" / "voice"
    folder.mkdir(parents=True)
    for name, data in VOICE.items():
        (folder / name).write_bytes(data)
    assert run("fetch", "voice", "--yes", "--mirror", str(folder.parent))[0] == 0
    assert server.requests == []


def test_mirror_of_the_configuration(settings: Path, run: Run, tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "near" / "voice"
    folder.mkdir(parents=True)
    for name, data in VOICE.items():
        (folder / name).write_bytes(data)
    settings.write_text(settings.read_text().replace("mirror: ''", "mirror: near"))
    assert run("fetch", "voice", "--yes")[0] == 0
    assert server.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ["fetch", "nix"],
        ["fetch", "--tier", "nix"],
        ["tier", "--tier", "nix"],
        ["remove", "nix"],
        ["verify", "nix"],
        ["path", "nix"],
    ],
)
def test_names_that_are_not_known(run: Run, words: list[str]) -> None:
    status, _, err = run(*words)
    assert status == 1
    assert "nix" in err


def test_tier(run: Run) -> None:
    status, out, _ = run("tier")
    assert status == 0
    assert "-> small" in out
    found = json.loads(run("tier", "--json", "--benchmark", "--tier", "xlarge")[1])
    assert found["tier"] == "xlarge"
    assert found["models"] == ["stt", *found["models"][1:]]
    assert found["measured"]["flops"] > 0
    assert found["machine"]["cores"] > 0


def test_list(run: Run) -> None:
    rows = {row["id"]: row for row in json.loads(run("list", "--json")[1])}
    assert rows["voice"]["state"] == ""
    assert rows["voice"]["files"][0]["mirror_path"] == "voice/v.onnx"
    assert len(rows) == 78  # the packaged ones and ours
    run("fetch", "voice", "--yes")
    assert run("list", "--here")[1].split()[0] == "voice"
    status, out, _ = run("list", "--kind", "tts", "--language", "de")
    assert status == 0
    assert "de_DE-thorsten-medium" in out
    assert "en_US" not in out


def test_verify_and_mend(run: Run, store: Store) -> None:
    assert run("verify")[1] == f"no models in {store.directory}\n"
    run("fetch", "voice", "stt", "--yes")
    assert run("verify")[:2] == (0, "ok    stt\nok    voice\n")
    place = store.path("voice")
    times = place.stat()
    damaged = bytearray(place.read_bytes())
    damaged[7] ^= 1
    place.write_bytes(damaged)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))  # bits that rot leave no trace in the time
    assert run("verify", "voice")[0] == 0
    status, out, _ = run("verify", "--deep")
    assert status == 1
    assert "FAIL  voice: v.onnx has other content than was fetched" in out
    assert "asterisk-ai models fetch voice --config" in out
    place.write_bytes(b"short")
    found = json.loads(run("verify", "--json")[1])["voice"]
    assert found == {"ok": False, "problem": "v.onnx has 5 bytes and not 50000"}
    assert run("fetch", "voice", "--yes")[0] == 0
    assert run("verify", "--deep")[0] == 0


def test_remove(run: Run, store: Store) -> None:
    run("fetch", "voice", "stt", "--yes")
    assert "voice: would be deleted, 5" in run("remove", "voice", "--dry-run")[1]
    assert json.loads(run("remove", "voice", "--dry-run", "--json")[1])["voice"] > 50_000
    assert not store.missing("voice")
    status, out, _ = run("remove", "voice", "--yes")
    assert status == 0
    assert "voice: deleted, 5" in out
    assert store.ids() == ["stt"]
    assert json.loads(run("remove", "stt", "--yes", "--json")[1])["stt"] > 0


def test_path(run: Run, store: Store, settings: Path) -> None:
    status, _, err = run("path", "voice")
    assert status == 1
    assert f"run: asterisk-ai models fetch voice --config {settings}\n" in err
    run("fetch", "voice", "stt", "--yes")
    out = run("path", "voice", "stt")[1]
    assert out.split() == [str(store.directory / "voice" / "v.onnx"), str(store.directory / "stt")]


def test_script_is_the_same_code(settings: Path) -> None:
    script = Path(cli.__file__).parent.parent.parent / "scripts" / "model_setup.py"
    done = subprocess.run(
        [sys.executable, str(script), "--config", str(settings), "--yes"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "voice: there" in done.stdout


# -- the store, as engines meet it


@pytest.fixture
def fetched(run: Run, store: Store) -> Store:
    run("fetch", "voice", "stt", "--yes")
    return store


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda folder: (folder / "v.onnx").unlink(), "v.onnx is not there"),
        (lambda folder: (folder / "v.onnx").write_bytes(b""), "has 0 bytes and not 50000"),
        (lambda folder: (folder / "v.onnx").write_bytes(bytes(50_000)), "other content"),
        (lambda folder: (folder / "asterisk-ai-manifest.json").unlink(), "it has no manifest"),
        (lambda folder: (folder / "asterisk-ai-manifest.json").write_text("{}"), "its manifest is damaged"),
        (lambda folder: (folder / "asterisk-ai-manifest.json").write_bytes(b"\xff"), "cannot be read"),
        (lambda folder: ((folder / "v.onnx").unlink(), (folder / "v.onnx").mkdir()), "is not a file"),
        (lambda folder: ((folder / "v.onnx").unlink(), (folder / "v.onnx").symlink_to("/etc/passwd")), "is not a file"),
        (shutil.rmtree, "is not there"),
    ],
)
def test_damage_names_the_command(fetched: Store, run: Run, harm: Callable[[Path], object], why: str) -> None:
    harm(fetched.folder("voice"))
    with pytest.raises(ModelError, match=why) as caught:
        fetched.path("voice")
    command = str(caught.value).rpartition("; run: asterisk-ai ")[2].split()
    assert cli.main([*command, "--yes"]) == 0  # exactly that command mends it
    assert fetched.path("voice").read_bytes() == VOICE["v.onnx"]


def test_manifest_that_points_elsewhere(fetched: Store) -> None:
    manifest = fetched.folder("voice") / "asterisk-ai-manifest.json"
    manifest.write_text(manifest.read_text().replace('"main": "v.onnx"', '"main": "../../x"'))
    with pytest.raises(ModelError, match="manifest is damaged"):
        fetched.path("voice")


def test_copied_to_another_disk_without_times(fetched: Store, run: Run) -> None:
    """Sound, though every time differs; a fetch writes the new times down and asks for nothing."""
    place = fetched.path("voice")
    os.utime(place, (1, 1))
    assert fetched.path("voice") == place
    run("fetch", "voice")
    assert fetched.manifest("voice").files[0].mtime_ns == 1_000_000_000


def test_newer_registry_is_noticed(fetched: Store, settings: Path, run: Run, server: Server) -> None:
    newer = {"v.onnx": content(40_000, seed=5), "v.onnx.json": b"{}"}
    server.files["/v.onnx"] = newer["v.onnx"]
    own = settings.parent / "own.json"
    made = json.loads(own.read_text())
    made["models"][0] = entry("voice", newer, server.url)
    own.write_text(json.dumps(made))
    assert "the registry names another version" in run("verify", "voice")[1]
    assert run("fetch", "voice", "--yes")[0] == 0
    assert fetched.path("voice").read_bytes() == newer["v.onnx"]


@pytest.mark.parametrize("name", ["../etc", "", ".lock", "a/b"])
def test_what_is_no_id(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="is no model's id"):
        Store(tmp_path).path(name)


def health(port: int, process: subprocess.Popen[str]) -> str:
    """What the server that is starting says, as soon as it says something."""
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return str(answer.read(), "utf-8")
        except urllib.error.HTTPError as error:
            with error:
                return str(error.read(), "utf-8")
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"no answer; {process.communicate()}")


def test_engine_without_its_model(
    settings: Path, run: Run, store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``check``, the log at start and /health name the command; once it has been run, all is well."""
    engine = "engines:NeedsModel"
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    settings.write_text(
        settings.read_text().replace("{language: en-US}", "{rules: {intents: {hi: {say: [hello], answer: Hello.}}}}")
        + f"pipelines: {{offline: {{stt: '{engine}', tts: '{engine}'}}}}\n"
        + f"providers: {{'{engine}': {{directory: {store.directory}}}}}\n"
        + f"audiosocket: {{port: 0}}\nfastagi: {{port: 0}}\nhttp: {{port: {port}}}\n"
        + f"store: {{path: {tmp_path}/sessions.db}}\n"
    )
    told = f"the model voice is not there (in {store.directory}); run: asterisk-ai models fetch voice"
    cli.main(["check", "--config", str(settings)])
    assert re.search(rf"FAIL +engine tts/{engine}: {re.escape(told)}", capsys.readouterr().out)
    server = subprocess.Popen(
        [sys.executable, "-m", "asterisk_ai", "serve", "--config", str(settings)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "fakes")}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert told in health(port, server)
    finally:
        server.terminate()
        assert told in server.communicate(timeout=20)[1]
    run("fetch", "voice", "--yes")
    cli.main(["check", "--config", str(settings)])
    assert re.search(rf"ok +engine tts/{engine}\n", capsys.readouterr().out)


def test_check_tells_of_damage(fetched: Store, settings: Path) -> None:
    config = load(str(settings))
    well = (True, f"models in {fetched.directory}: stt, voice")
    assert [(one.ok, one.text) for one in check._models(config)] == [well]
    fetched.path("voice").write_bytes(b"")
    found = list(check._models(config))
    assert [one.ok for one in found] == [False]
    assert found[0].remedy == f"asterisk-ai models fetch voice --config {settings}"
    (settings.parent / "own.json").write_text("{")
    assert "own.json:1: is not JSON" in next(check._models(config)).text


# -- what is shown while it goes


class Terminal:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...


def test_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asterisk_ai.cli.models_progress._REDRAW_SECONDS", 0)
    terminal = Terminal()
    bars = Bars(terminal)  # type: ignore[arg-type]
    bars.started("a", 1000, 0)
    bars.started("b", 2000, 1000)
    bars.moved("a", 500)
    bars.setback("a", "the line is bad", 2.0)
    bars.finished("a", "checked")
    bars.finished("b", "there")
    bars.close()
    assert "####" in terminal.text
    assert "50 % of 1 kB" in terminal.text.replace("    1 kB", " 1 kB").replace("   1 kB", " 1 kB")
    assert "a: the line is bad; again in 2.0 s\n" in terminal.text
    assert terminal.text.endswith("b: there\n")


@pytest.mark.parametrize(
    ("size", "text"),
    [(5, "5 bytes"), (4882, "4.88 kB"), (41_205_931, "41.2 MB"), (1_913_365_522, "1.91 GB"), (16e9, "16 GB")],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text
