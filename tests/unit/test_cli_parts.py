"""Commands that need a part of the configuration work while others are wrong, and tell the mistakes in theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from asterisk_ai.cli.main import main
from asterisk_ai.config import load
from asterisk_ai.errors import ConfigError

SOUND = """\
pipeline: mine
pipelines: {mine: {stt: vosk, llm: rules, tts: piper}}
providers: {vosk: {model: small}}
models: {directory: there}
http: {port: 0}
"""
AGENT = "agents: {reception: {language: de-DE, pipeline: mine, greting: Hello}}"
ELSEWHERE = [
    AGENT,
    f"{AGENT}\nfastagi: {{port: many}}",
    f"{AGENT}\nstore: {{path: '${{NOT_SET_ANYWHERE}}'}}",
    f"{AGENT}\nserver: [",
]
COMMANDS = {
    "models list --kind stt": "vosk",
    "models tier": "machine:",
    "models fetch --dry-run --language en --tier embedded": "",
    "models verify": "",
    "provider list": "* mine",
    "provider show": "model: 'small'",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "asterisk_ai.yaml"


@pytest.mark.parametrize("mistake", ELSEWHERE)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_in_another_part_does_not_matter(
    file: Path, command: str, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"{SOUND}{mistake}\n", "utf-8")
    with pytest.raises(ConfigError):
        load(str(file))
    assert main([*command.split(), "--config", str(file)]) == 0
    shown = capsys.readouterr()
    assert COMMANDS[command] in shown.out
    assert not shown.err


@pytest.mark.parametrize(
    ("command", "wrong", "told"),
    [
        ("models list", "models: {direktory: there}", "models.direktory: unknown key; did you mean 'directory'?"),
        ("models tier", "agents: {a: {language: [de]}}", "agents.a.language: expected text"),
        ("provider list", "pipelines: {a: {sst: vosk}}", "pipelines.a.sst: unknown key; did you mean 'stt'?"),
        ("provider list", "agents: {a: {pipeline: 5}}", "agents.a.pipeline: expected text"),
        ("provider show", "providers: [vosk]", "providers: expected a mapping"),
    ],
)
def test_a_mistake_in_the_part_itself_is_told(
    file: Path, command: str, wrong: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(wrong, "utf-8")
    assert main([*command.split(), "--config", str(file)]) == 1
    assert f"{file}:1: {told}" in capsys.readouterr().err


def test_models_for_a_named_language_need_no_agent(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("agents: {a: {language: [de]}}", "utf-8")
    assert main(["models", "tier", "--language", "de", "--config", str(file)]) == 0
    assert "machine:" in capsys.readouterr().out


def test_pipelines_are_listed_where_the_server_cannot_be_asked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(f"{SOUND.replace('port: 0', 'prt: 0')}{AGENT}", "utf-8")
    assert main(["provider", "list", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "(agents reception)" in shown
    assert "the running server cannot be asked" in shown
    assert "http.prt: unknown key; did you mean 'port'?" in shown
