"""From an empty machine to calls that fetched models serve: by the commands that an administrator types, unedited."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from models_server import Server, document, entry, running, zipped
from ports import free_port
from sound import tone, voices

from asterisk_ai.simulator.asterisk import Caller, Line, Result, simulate

ROOT = Path(__file__).parents[2]
HOURS = 400
"""Hz of the tone that the recogniser takes for "hours", and in which the voice hums: it understands itself."""
CONFIG = """\
models: {{directory: models, registries: [own.json], mirror: "{mirror}"}}
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: {port}}}
server: {{max_lateness_ms: 0}}
store: {{path: sessions.db}}
providers: {{gpt4all: {{threads: 1}}}}  # the library's threads wait for one another busily: with other work, for long
agents:
  desk:
    greeting: Hello there
    rules: {{intents: {{hours: {{say: hours, answer: From nine to five.}}}}}}
    turn: {{endpoint_ms: 200, no_input_seconds: 60}}
"""
SPEECH = ["tones", "hum"]
LAYOUT = {"tones": [["am/final.mdl", "graph/HCLG.fst", "conf/model.conf"]]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """Three real models, by their ids: the files to be fetched."""
    for library in ("vosk", "piper", "onnx", "gpt4all", "gguf"):
        pytest.importorskip(library)
    folder = tmp_path_factory.mktemp("made")
    tones = tiny_models.kaldi_model(folder / "tones")
    parts = {str(one.relative_to(tones)): one.read_bytes() for one in sorted(tones.rglob("*")) if one.is_file()}
    voice = tiny_models.piper_voice(folder, hertz=HOURS)
    llm = tiny_models.gguf_model(folder)
    return {
        "tones": {"tones.zip": zipped(parts, "tones")},
        "hum": {"hum.onnx": voice.read_bytes(), "hum.onnx.json": Path(f"{voice}.json").read_bytes()},
        "babble": {"babble.gguf": llm.read_bytes()},
    }


class Machine:
    """A fresh configuration in a folder of its own, and the commands that are run in it."""

    def __init__(self, folder: Path, models: dict[str, dict[str, bytes]], base: str, mirror: str = "") -> None:
        self.folder, self.port = folder, free_port()
        archive = {"format": "zip", "top_level": "tones", "layout": "tones"}
        described = [
            entry("tones", models["tones"], base, kind="stt", engine="vosk", archive=archive),
            entry("hum", models["hum"], base, kind="tts", engine="piper"),
            entry("babble", models["babble"], base, kind="llm", engine="gpt4all", language=None),
        ]
        tiers = [  # in place of the packaged ones: any machine is "small"
            {
                "name": name, "about": "of the test", "needs": {"cores": cores, "memory_bytes": 0},
                "every": every, "languages": {"en": own},
            }
            for name, cores, every, own in (
                ("embedded", 0, [], []), ("small", 0, [], SPEECH), ("medium", 999, ["babble"], SPEECH),
                ("large", 999, [], []), ("xlarge", 999, [], []),
            )
        ]  # fmt: skip
        (folder / "own.json").write_text(json.dumps(document(*described, tiers=tiers) | {"layouts": LAYOUT}))
        (folder / "asterisk_ai.yaml").write_text(CONFIG.format(port=self.port, mirror=mirror))
        hidden = ("ASTERISK_AI_CONFIG", "STATE_DIRECTORY", "NOTIFY_SOCKET")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self._options: dict[str, Any] = {
            "cwd": folder,
            "env": environment | {"HOME": str(folder), "PYTHONPATH": str(ROOT)},
            "text": True,
        }

    def run(self, *words: str) -> tuple[int, str]:
        """``asterisk-ai WORDS``; its exit status and all that it said."""
        command = [sys.executable, "-m", "asterisk_ai", *words]
        done = subprocess.run(
            command, **self._options, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def serve(self) -> Iterator[Path]:
        """``asterisk-ai serve``, once it is ready; its log."""
        log = self.folder / "log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "asterisk_ai", "serve"], **self._options, stdout=stream, stderr=stream
            )
        try:
            _until(lambda: " is ready: " in log.read_text(), 60)
            yield log
        finally:
            process.terminate()
            assert process.wait(40) == 0

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                found = json.loads(error.read())
        return found

    def call(self, log: Path, lines: int = 1) -> Result:
        """A caller who hums the word so many times."""
        port = int(re.findall(r"FastAGI 127.0.0.1:(\d+)", log.read_text())[0])
        caller = Caller([Line("?", tone()) for _ in range(lines)], patience=6.0, linger=0.4)
        return asyncio.run(simulate(caller, host="127.0.0.1", fastagi_port=port))


def _until(what: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def server(made: dict[str, dict[str, bytes]]) -> Iterator[Server]:
    with running(Server()) as one:
        one.files |= {f"/{path}": data for files in made.values() for path, data in files.items()}
        yield one


def test_a_fetch_leaves_a_pipeline_that_works(
    made: dict[str, dict[str, bytes]], server: Server, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, made, server.url)
    status, said = machine.run("models", "fetch", "--yes")
    assert status == 0, said
    assert "tones: there" in said
    assert "then: asterisk-ai provider test local" in said
    assert "asterisk-ai provider switch local" in said
    asked = len(server.requests)
    status, said = machine.run("provider", "test", "local")
    assert status == 0, said
    assert re.search(r"ok +sample: 'hours', \d\.\d s of the pipeline's own voice", said)
    assert re.search(r"ok +stt: heard that, \d+ ms after its end", said)
    assert re.search(r"ok +llm: 'From nine to five.', begun after \d+ ms, whole after \d+ ms", said)
    assert re.search(r"ok +tts: first sound after \d+ ms, \d\.\d s of speech in \d+ ms", said)
    assert re.search(r"ok +a caller hears the answer \d+ ms after the turn is known to have ended", said)
    with machine.serve() as log:
        before = voices(machine.call(log))
        status, said = machine.run("provider", "switch", "local")
        assert status == 0, said
        assert "in use for new calls: local" in said
        result = machine.call(log, lines=2)
        assert machine.health()["providers"]["stt/vosk"] == {"ready": True, "reason": ""}
    assert before != {HOURS}  # espeak's voice is no tone
    assert voices(result) == {HOURS}
    assert all(response.seconds is not None for response in result.responses)
    status, said = machine.run("calls", result.call_id)
    assert [line.split(":", 1)[1].strip() for line in said.splitlines() if "caller:" in line] == ["hours", "hours"]
    assert said.count("From nine to five.") == 2
    assert len(server.requests) == asked


def test_a_language_model_too_from_a_mirror(made: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    """A machine without internet: files in a folder. The larger tier's language model has a pipeline of its own."""
    for name, files in made.items():
        (tmp_path / "copies" / name).mkdir(parents=True)
        for path, data in files.items():
            (tmp_path / "copies" / name / path).write_bytes(data)
    machine = Machine(tmp_path, made, "http://nowhere.invalid", f"file://{tmp_path}/copies")
    status, said = machine.run("models", "fetch", "--yes", "--tier", "medium")
    assert status == 0, said
    assert "local-llm instead of local" in said
    status, said = machine.run("provider", "test", "local-llm")
    assert "FAIL" not in said
    assert status == 0
    assert re.search(r"ok +llm/gpt4all: answered 'hello' with '.+'", said)
    assert re.search(r"ok +stt: heard|\? +stt: heard", said)
    status, said = machine.run("provider", "switch", "local-llm")
    assert "no server is running: the next start uses it" in said
    assert status == 0
    assert "pipeline: local-llm\n" in (tmp_path / "asterisk_ai.yaml").read_text()


def test_missing_models_are_told_everywhere_and_taken_up_once_they_are_there(
    made: dict[str, dict[str, bytes]], server: Server, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, made, server.url)
    file = tmp_path / "asterisk_ai.yaml"
    file.write_text(file.read_text() + "pipeline: only\npipelines: {only: {stt: vosk, tts: [piper, espeak]}}\n")
    stt = f"the model tones is not there (in {tmp_path}/models); run: asterisk-ai models fetch tones"
    tts = f"the model hum is not there (in {tmp_path}/models); run: asterisk-ai models fetch hum"
    status, said = machine.run("check")
    assert status == 1
    assert re.search(rf"FAIL +engine stt/vosk: {re.escape(stt)}\n", said)
    assert re.search(rf"FAIL +engine tts/piper: {re.escape(tts)}\n", said)
    with machine.serve() as log:
        assert stt in log.read_text()
        state = machine.health()
        assert state["status"] == "unhealthy"
        assert state["providers"]["stt/vosk"]["reason"] == stt
        assert state["providers"]["tts/piper"]["reason"] == tts
        assert machine.run(*stt.rpartition("run: asterisk-ai ")[2].split(), "--yes")[0] == 0  # that very command
        _until(lambda: machine.health()["status"] == "healthy", 60)
        assert machine.health()["providers"]["tts/piper"]["reason"] == tts
        assert machine.call(log).responses[0].seconds is not None
        assert log.read_text().count(tts) == 1  # it is looked for again and again, and told once


def test_damaged_models_leave_the_others_to_serve(
    made: dict[str, dict[str, bytes]], server: Server, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, made, server.url)
    assert machine.run("models", "fetch", "--yes")[0] == 0
    voice = tmp_path / "models" / "hum" / "hum.onnx"
    voice.write_bytes(np.random.default_rng(1).bytes(voice.stat().st_size))
    told = "the model hum is damaged: hum.onnx has other content than was fetched"
    status, said = machine.run("provider", "switch", "local")
    assert status == 0
    assert f"not ready, so that the next in line serves: tts/piper: {told}" in said
    status, said = machine.run("check")
    assert status == 1
    assert f"{told} (in {tmp_path}/models); run: asterisk-ai models fetch hum\n" in said
    with machine.serve() as log:
        assert told in log.read_text()
        assert told in machine.health()["providers"]["tts/piper"]["reason"]
        _until(lambda: machine.health()["status"] == "healthy", 25)  # nothing that lasts: others serve
        assert voices(machine.call(log)) != {HOURS}  # espeak speaks
        assert machine.run("models", "fetch", "hum", "--yes")[0] == 0
        _until(lambda: machine.health()["providers"]["tts/piper"]["ready"], 60)
        assert voices(machine.call(log)) == {HOURS}


def test_each_language_has_its_own(made: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    machine = Machine(tmp_path, made, "http://nowhere.invalid")
    file = tmp_path / "asterisk_ai.yaml"
    rules = "rules: {intents: {yes: {say: hours, answer: Yes.}}}"
    agents = f"  zentrale: {{language: de, {rules}}}\n  klingon: {{language: tlh, {rules}}}\n"
    file.write_text(f"{file.read_text()}{agents}default_agent: desk\npipeline: local\n")
    _, said = machine.run("check")
    assert re.search(r"FAIL +engine stt/vosk: the model tones is not there", said)
    assert re.search(r"FAIL +engine stt/vosk/de: the model vosk-model-small-de-0.15 is not there", said)
    assert re.search(r"FAIL +engine tts/piper/de: the model de_DE-\S+ is not there", said)
    assert re.search(r"FAIL +engine stt/vosk/tlh: no model of vosk for tlh is known: name one in providers.vosk", said)
