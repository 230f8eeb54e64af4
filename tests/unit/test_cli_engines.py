"""What engines can do and what they take, as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from asterisk_ai.cli.main import main

CONFIG = """\
pipeline: mine
pipelines:
  mine: {stt: [ears, deaf], llm: [mind, silent], tts: [voice, down]}
providers:
  ears: {engine: "faulty:FaultySpeechToText"}
  deaf: {engine: "faulty:FaultySpeechToText", fault: end-unavailable}
  mind: {engine: "faulty:FaultyLanguageModel"}
  silent: {engine: "faulty:FaultyLanguageModel", fault: empty}
  voice: {engine: "faulty:FaultyTextToSpeech"}
  down: {engine: "faulty:FaultyTextToSpeech", fault: start}
agents: {a: {greeting: Hello}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "asterisk_ai.yaml"
    path.write_text(CONFIG, "utf-8")
    return path


def test_engines_are_measured_side_by_side(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["provider", "bench", "--config", str(file), "--say", "one", "--tries", "2"]) == 1
    rows = {line.split()[1]: line.split(maxsplit=5) for line in capsys.readouterr().out.splitlines()[1:7]}
    assert [row[0] for row in rows.values()] == ["tts", "tts", "stt", "stt", "llm", "llm"]
    for engine in ("ears", "mind", "voice"):
        assert rows[engine][2].isdigit()
        assert rows[engine][3].isdigit()
    assert float(rows["voice"][4]) < 1
    assert rows["mind"][4] == "-"
    assert "its service is down" in rows["down"][5]
    assert "overloaded" in rows["deaf"][5]
    assert "gave no answer" in rows["silent"][5]


def test_one_engine_by_its_name(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["provider", "bench", "--config", str(file), "--tries", "1", "mind"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in told[1:2]] == ["mind"]
    assert told[2].startswith("first:")


def test_what_engines_can_do(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["provider", "list", "--engines", "--config", str(file)]) == 0
    rows = {tuple(line.split()[:2]): line for line in capsys.readouterr().out.splitlines()}
    assert "while the caller speaks" in rows["deepgram_flux", "stt"]
    assert rows["anthropic", "llm"].split()[-2:] == ["yes", "tokens"]
    assert rows["cartesia", "tts"].endswith("characters")
    assert rows["ollama", "llm"].endswith("yes"), "nothing is to be paid at home"
    assert " en" in rows["hibari", "tts"]
    assert ("mind", "llm") in rows
