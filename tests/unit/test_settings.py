"""Settings of engines: read by dataclasses, with the key's path and what was probably meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from asterisk_ai import config
from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.config.schema import Range, Secret
from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Part:
    names: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Own:
    model: str = field(default="", metadata={"needed": "name a model"})
    workers: Annotated[int, Range(1, 64)] = 1
    rejection: Literal["normal", "off"] = "normal"
    part: Part = field(default_factory=Part)


def test_values_are_of_their_fields_types() -> None:
    own = read_settings(Own, {"model": "m", "rejection": False, "part": {"names": ["a"]}}, "providers.own")
    assert own == Own("m", 1, "off", Part(("a",)))
    assert read_settings(Own, {"model": "m", "workers": Secret("4")}, "providers.own").workers == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "providers.own.model: name a model"),
        ({"model": ""}, "providers.own.model: name a model"),
        ({"model": "m", "wrokers": 1}, "providers.own.wrokers: unknown key; did you mean 'workers'?"),
        ({"model": "m", "workers": 65}, "providers.own.workers: must be between 1 and 64, found 65"),
        ({"model": "m", "workers": True}, "providers.own.workers: expected a whole number, found true"),
        ({"model": "m", "part": {"names": "a"}}, "providers.own.part.names: expected a list"),
        ({"model": 5}, "providers.own.model: expected text, found the number 5"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(Own, settings, "providers.own")
    assert str(caught.value).startswith(message)


def test_the_file_s_line_and_the_administrator_s_own_name_are_told() -> None:
    text = """
agents: {desk: {rules: {intents: {hi: {say: hello, answer: Hi.}}}}}
pipelines: {offline: {stt: pocketsphinx, llm: rules, tts: voice}}
providers:
  voice:
    engine: piper
    model: x.onnx
    sped: 1.2
"""
    with pytest.raises(ConfigError) as caught:
        AgentSet(config.parse(text, "own.yaml", {}), Engines())
    assert str(caught.value) == "own.yaml:8: providers.voice.sped: unknown key; did you mean 'speed'?"


def test_what_engines_lose_is_counted_by_their_names() -> None:
    text = """
agents: {desk: {rules: {intents: {hi: {say: hello, answer: Hi.}}}}}
pipelines: {offline: {stt: pocketsphinx, llm: rules, tts: espeak}}
"""
    agent_set = AgentSet(config.parse(text, "own.yaml", {}), Engines())
    nothing = {"refused_requests": 0, "dropped_bytes": 0, "worker_deaths": 0}
    assert agent_set.counters() == {"stt/pocketsphinx": nothing}


def test_mappings_are_merged_and_all_else_is_replaced() -> None:
    ours = {"audio": {"input": {"format": "pcmu", "turn": [1]}, "output": {"voice": "a"}}, "tools": [1]}
    theirs = {"audio": {"input": {"turn": [2], "noise": {"type": "near"}}}, "tools": []}
    assert merged(ours, theirs) == {
        "audio": {"input": {"format": "pcmu", "turn": [2], "noise": {"type": "near"}}, "output": {"voice": "a"}},
        "tools": [],
    }
