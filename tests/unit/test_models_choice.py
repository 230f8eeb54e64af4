"""Which model an engine gets: by its id, by a path, or by the language of the agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from models_server import document, entry

from asterisk_ai.config import parse
from asterisk_ai.errors import ConfigError, ModelError
from asterisk_ai.models.choice import Found, Models
from asterisk_ai.models.store import Selection, Store
from asterisk_ai.providers.engines.gpt4all import CHATML, FAMILIES, Gpt4All

KNOWN = {"stt": "vosk", "tts": "piper", "llm": "gpt4all"}


class Rig:
    """Models of a registry of its own, put into the store at will."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "models")
        packaged = [
            entry(name, {f"{name}.bin": b"x"}, "http://h", kind=kind, engine=KNOWN[kind], language=language)
            for name, kind, language in (
                ("us", "tts", "en-US"), ("gb", "tts", "en-GB"), ("swiss", "tts", "de-CH"), ("mind", "llm", None),
            )
        ]  # fmt: skip
        forbidden = {"licence": {"name": "CC BY-NC", "commercial": "no"}}
        packaged.append(entry("nc", {"nc.bin": b"x"}, "http://h", language="eo", **forbidden))
        (folder / "own.json").write_text(json.dumps(document(*packaged)))

    def find(self, engine: str, language: str = "en-US", **settings: Any) -> Found:
        text = f"models: {{directory: models, registries: [own.json]}}\nagents: {{a: {{language: {language}}}}}\n"
        return Models(parse(text, str(self.folder / "asterisk_ai.yaml"))).find(engine, settings, language)

    def put(self, name: str) -> None:
        made = self.store.staging(name) / "model"
        made.mkdir(parents=True)
        (made / f"{name}.bin").write_bytes(b"x")
        self.store.install(name, made, f"{name}.bin", {f"{name}.bin": "sha256:0"}, {f"{name}.bin": "0"})

    def place(self, name: str) -> str:
        return str(self.folder / "models" / name / f"{name}.bin")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def command(found: Found) -> str:
    assert found.check is not None
    with pytest.raises(ModelError) as caught:
        found.check()
    return str(caught.value).rpartition("run: ")[2]


def test_by_id_whether_it_is_there_or_not(rig: Rig) -> None:
    found = rig.find("piper", model="gb")
    assert found.settings["model"] == rig.place("gb")
    assert command(found) == f"asterisk-ai models fetch gb --config {rig.folder}/asterisk_ai.yaml"
    rig.put("gb")
    again = rig.find("somebody:Theirs", model="gb")
    assert again.check is not None
    again.check()


def test_paths_and_what_is_no_model_of_ours_stay_as_they_are(rig: Rig) -> None:
    for engine, model in (("piper", "/a/voice.onnx"), ("piper", "voice.onnx"), ("openai", "gb"), ("piper", 5)):
        assert rig.find(engine, model=model) == Found({"model": model})
    assert rig.find("espeak") == Found({})
    assert rig.find("somebody:Theirs") == Found({})


def test_by_language(rig: Rig) -> None:
    for name in ("gb", "us", "swiss"):
        rig.put(name)
    for language, name in (("en-US", "us"), ("en-gb", "gb"), ("en_GB", "gb"), ("de-DE", "swiss"), ("en", "us")):
        found = rig.find("piper", language)
        assert (found.settings["model"], found.by_language) == (rig.place(name), True)
    rig.store.select(Selection("small", ("en",), ("gb",)))
    assert rig.find("piper", "en-AU").settings["model"] == rig.place("gb")  # what the fetch chose
    assert rig.find("piper", "en-AU", model="").by_language


def test_a_language_model_speaks_any(rig: Rig) -> None:
    rig.put("mind")
    found = rig.find("gpt4all", "de")
    assert (found.settings["model"], found.by_language) == (rig.place("mind"), False)


def test_what_a_fetch_would_choose_where_none_is_there(rig: Rig) -> None:
    assert "fetch en_US-kristin-medium" in command(rig.find("piper", "en-US"))
    assert "fetch vosk-model-small-de-0.15" in command(rig.find("vosk", "de-AT"))
    assert "fetch qwen2-1_5b-instruct-q4_0" in command(rig.find("gpt4all", "de"))
    rig.store.directory.mkdir()
    rig.store.select(Selection("large", ("en-US",), ()))
    assert "fetch en_US-ljspeech-high" in command(rig.find("piper", "en-US"))
    told = "no model of piper for eo is known: name one in providers.piper.model"
    assert command(rig.find("piper", "eo")).startswith(told)  # the only one forbids commercial use


def test_damage_is_read_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server asks again and again; a model of gigabytes must not be read each time."""
    rig.put("gb")
    Path(rig.place("gb")).write_bytes(b"xx")
    found = rig.find("piper", model="gb")
    assert "models fetch gb" in command(found)
    monkeypatch.setattr(Store, "path", None)
    assert "models fetch gb" in command(found)
    monkeypatch.undo()
    rig.store.remove("gb")
    rig.put("gb")
    assert found.check is not None
    found.check()


def test_a_registry_that_cannot_be_read(rig: Rig) -> None:
    (rig.folder / "own.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        rig.find("piper")
    assert rig.find("espeak") == Found({})


def test_templates_of_families() -> None:
    def template(model: str) -> dict[str, str]:
        return Gpt4All({"model": model}, {})._template

    assert template("/m/Phi-3-mini-4k-instruct.Q4_0.gguf") == FAMILIES["phi-3"]
    assert template("/m/Meta-Llama-3-8B-Instruct.Q4_0.gguf") == FAMILIES["llama-3"]
    assert template("/phi-3/qwen2-1_5b-instruct-q4_0.gguf") == CHATML
