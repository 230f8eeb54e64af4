"""The registry: it obeys its schema, it says what the fact sheet says, and mistakes in one's own are told plainly."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from models_server import document, entry

from asterisk_ai.config import share_path
from asterisk_ai.errors import ConfigError
from asterisk_ai.models import registry
from asterisk_ai.models.registry import File, Registry

SHARE = share_path("models")
DOCUMENT = json.loads((SHARE / "registry.json").read_text())
SCHEMA = json.loads((SHARE / "registry.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FACTS = {fact["id"]: fact for fact in json.loads((Path(__file__).parents[1] / "data" / "model_facts.json").read_text())}
LOADED = registry.load(SHARE / "registry.json")


def test_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert [error.message for error in VALIDATOR.iter_errors(DOCUMENT)] == []


def test_every_model_of_the_fact_sheet_is_there() -> None:
    fetched = {name for name, model in LOADED.models.items() if not model.files[0].urls[0].startswith("wheel:")}
    assert fetched == set(FACTS)
    engines = {model.engine for model in LOADED.models.values()}
    assert engines == {"vosk", "piper", "gpt4all", "llama.cpp", "silero", "smart-turn", "moonshine"}


@pytest.mark.parametrize("name", sorted(FACTS))
def test_equals_the_fact_sheet(name: str) -> None:
    model, fact = LOADED.models[name], FACTS[name]
    assert [file.path for file in model.files] == [file["path"] for file in fact["files"]]
    assert model.name == fact["fact_id"]
    for file, known in zip(model.files, fact["files"], strict=True):
        assert file.urls[0] == known["url"]
        assert set(file.urls) <= {known["url"], *fact["urls"]}
        assert file.size == known["size_bytes"]
        assert file.sha256 == known["sha256"].replace("unknown", "")
        assert file.md5 == known["md5"].replace("unknown", "")
        assert file.weak == (known["sha256"] == "unknown")
    rates = fact["sample_rate"] if isinstance(fact["sample_rate"], list) else [fact["sample_rate"]]
    assert list(model.sample_rates) == [rate for rate in rates if isinstance(rate, int)]
    if fact["memory_gb"]:
        assert model.memory_bytes == fact["memory_gb"] * 1e9
    if model.archive:
        assert model.archive.top_level == fact["files"][0]["top_level_dir"]
        expected = {"V1": "vosk-v1", "V2": "vosk-v2"}.get(fact["layout"][:2], "vosk")
        assert model.archive.layout == expected


@pytest.mark.parametrize("name", sorted(FACTS))
def test_licence_as_the_fact_sheet_says(name: str) -> None:
    licence, fact = LOADED.models[name].licence, FACTS[name]
    said = json.dumps(fact["licence"]) + " ".join(fact["licence_flags"])
    forbidden = "NON-COMMERCIAL" in said or "-NC-" in json.dumps(fact["licence"]) or "Cannot be used" in said
    assert (licence.commercial == "no") == forbidden
    if fact["licence_flags"] and not forbidden:
        assert licence.commercial == "unclear"  # fine-tuned from something else, or nobody says
        assert list(licence.flags) == fact["licence_flags"]


def test_nothing_of_a_tier_is_forbidden_and_memory_suffices() -> None:
    for tier in LOADED.tiers:
        for names in tier.languages.values() or [()]:
            models = [LOADED.models[name] for name in (*tier.every, *names)]
            assert not [model.id for model in models if model.licence.commercial == "no"]
            if tier.memory_bytes:
                assert sum(model.memory_bytes or model.size for model in models) < tier.memory_bytes
    needs = [(tier.cores, tier.memory_bytes) for tier in LOADED.tiers]
    assert needs == sorted(needs)


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good registry with one thing changed; ``...`` deletes it."""
    made = document(
        entry("m", {"a.zip": b"x"}, "http://h", archive={"format": "zip", "top_level": "m", "layout": "vosk"}),
        thresholds=copy.deepcopy(DOCUMENT["thresholds"]),
        tiers=[{"name": "t", "about": "x", "needs": {"cores": 1, "memory_bytes": 1}, "every": ["m"]}],
    )
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    at: Any = made
    for part in way:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 2, "schema: is 2, this version reads 1"),
        ("models", {}, "models: expected a list, found a mapping"),
        ("models", ..., "lacks 'models'"),
        ("layuots", {}, "layuots: unknown key; did you mean 'layouts'?"),
        ("layouts", [], "layouts: expected a mapping of keys, found a list"),
        ("models.0.id", "../etc", "models[0].id: '../etc' is not allowed here"),
        ("models.0.kind", "video", "models[0].kind: must be one of stt, llm, tts, vad, turn"),
        ("models.0.files", [], "models[0].files: is missing"),
        ("models.0.files.0.path", "../x", "models[0].files[0].path: '../x' is not allowed here"),
        ("models.0.files.0.path", "/x", "not allowed here"),
        ("models.0.files.0.urls", ["ftp://h/x"], "models[0].files[0].urls[0]: 'ftp://h/x' is not allowed here"),
        ("models.0.files.0.urls", [], "models[0].files[0].urls: is missing"),
        ("models.0.files.0.size", 0, "models[0].files[0].size: must be between 1 and"),
        ("models.0.files.0.size", True, "expected a whole number, found true"),
        ("models.0.files.0.sha256", "F" * 64, "models[0].files[0].sha256"),
        ("models.0.files.0.sha256", ..., "needs a sha256, or an md5 and weak_digest: true"),
        ("models.0.files.0.weak_digest", True, "its digest is not weak"),
        ("models.0.archive.format", "rar", "models[0].archive.format: must be one of zip, tar"),
        ("models.0.archive.top_level", "..", "models[0].archive.top_level"),
        ("models.0.licence.commercial", "maybe", "models[0].licence.commercial: must be one of"),
        ("models.0.licence", "MIT", "models[0].licence: expected a mapping of keys, found the text 'MIT'"),
        ("models.0.memory", {"bytes": 1}, "models[0].memory.source: is missing"),
        ("models.0.colour", "red", "models[0].colour: unknown key"),
        ("thresholds.prompt_tokens", 0, "thresholds.prompt_tokens: must be between 1 and"),
        ("tiers.0.needs.cores", "many", "tiers[0].needs.cores: expected a number"),
        ("tiers.0.needs", ..., "tiers[0].needs: is missing"),
    ],
)
def test_mistakes_are_told_by_us_and_by_the_schema(path: str, value: Any, message: str) -> None:
    wrong = changed(path, value)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        registry.merge([("own.json", wrong, json.dumps(wrong, indent=1))])
    assert str(caught.value).startswith("own.json:")
    assert list(VALIDATOR.iter_errors(wrong))


def test_a_mistake_is_told_with_its_line() -> None:
    text = json.dumps(changed("models.0.files.0.size", 0), indent=1)
    line = next(number for number, one in enumerate(text.splitlines(), 1) if '"size": 0' in one)
    with pytest.raises(ConfigError, match=rf"own.json:{line}: models\[0\]\.files\[0\]\.size"):
        registry.merge([("own.json", json.loads(text), text)])


def test_names_that_lead_nowhere() -> None:
    with pytest.raises(ConfigError, match=r"tiers\[0\]: there is no model 'nix'"):
        registry.merge([("x", changed("tiers.0.every", ["nix"]), "")])
    with pytest.raises(ConfigError, match="there is no layout 'nix'"):
        registry.merge([("x", changed("models.0.archive.layout", "nix"), "")])
    with pytest.raises(ConfigError, match="did you mean en_US-lessac-low"):
        LOADED.model("en_US-lesac-low")
    with pytest.raises(ConfigError, match="there is no tier 'huge'; known: embedded, small"):
        LOADED.tier("huge")


def test_names_of_publishers_are_known() -> None:
    assert LOADED.model("Qwen2-1.5B-Instruct").id == "qwen2-1_5b-instruct-q4_0"


def test_own_registry_is_added_and_wins(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    mine = entry("mine", {"x.onnx": b"x"}, "file:///srv")
    better = entry("silero-vad-6.2.1", {"silero_vad.onnx": b"y"}, "http://inside", kind="vad")
    tier = {"name": "small", "about": "ours", "needs": {"cores": 1, "memory_bytes": 1}, "every": ["mine"]}
    own.write_text(json.dumps({"schema": 1, "models": [mine, better], "tiers": [tier]}))
    assert not list(VALIDATOR.iter_errors(json.loads(own.read_text())))
    found: Registry = registry.load(SHARE / "registry.json", [own])
    assert found.models["silero-vad-6.2.1"].files[0].urls == ("http://inside/silero_vad.onnx",)
    assert found.tier("small").every == ("mine",)
    assert [one.name for one in found.tiers] == [one.name for one in LOADED.tiers]
    assert found.tier("small").languages["en"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not JSON"), (b"\xff", "is not UTF-8"), (b"[" * 100_000, "nested too"), (None, "no such registry file")],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    own = tmp_path / "own.json"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        registry.load(SHARE / "registry.json", [own])
    assert str(own) in str(caught.value)


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("", "https://h/a/x.onnx"),
        ("https://mirror/models/", "https://mirror/models/m/a/x.onnx"),
        ("file:///srv/m", "file:///srv/m/m/a/x.onnx"),
        ("/srv/my models", "file:///srv/my%20models/m/a/x.onnx"),
    ],
)
def test_mirrors(mirror: str, url: str) -> None:
    model = registry.merge([("x", document(entry("m", {"a/x.onnx": b"x"}, "https://h")), "")]).models["m"]
    assert registry.urls(model, model.files[0], mirror) == (url,)


def test_digest_of_a_file() -> None:
    assert File("p", ("u",), 1, md5="m").digest == "md5:m"
    assert File("p", ("u",), 1, sha256="s", md5="m").digest == "sha256:s"
