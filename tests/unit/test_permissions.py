"""What others may read or change is told at the start, with the command that mends it."""

from __future__ import annotations

from pathlib import Path

from asterisk_ai import config
from asterisk_ai.server.permissions import exposed

TEXT = """
store: {{path: {0}/state/sessions.db}}
providers: {{openai: {{api_key: '{1}'}}}}
agents: {{a: {{record: true}}}}
"""


def told(folder: Path, key: str = "${KEY}") -> list[str]:
    file, keys = folder / "asterisk_ai.yaml", folder / "asterisk_ai.env"
    if not file.exists():
        file.touch()
        file.chmod(0o644)
    file.write_text(TEXT.format(folder, key))
    return [
        problem.rpartition(": ")[2]
        for problem in exposed(config.parse(file.read_text(), str(file), {"KEY": "k"}), keys)
    ]


def test_nothing_is_wrong_with_what_we_make_ourselves(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o750)
    (tmp_path / "state" / "sessions.db").touch(mode=0o640)
    (tmp_path / "asterisk_ai.env").touch(mode=0o600)
    assert told(tmp_path) == []


def test_a_key_in_a_file_that_everybody_may_read(tmp_path: Path) -> None:
    assert "chmod o-r" in told(tmp_path, "sk-1234567890")[0]
    (tmp_path / "asterisk_ai.yaml").chmod(0o640)
    assert told(tmp_path, "sk-1234567890") == []


def test_what_everybody_may_read_or_change(tmp_path: Path) -> None:
    for path in (tmp_path / "state", tmp_path / "state" / "recordings"):
        path.mkdir()
        path.chmod(0o777)
    for name, mode in {"state/sessions.db": 0o644, "asterisk_ai.env": 0o644, "asterisk_ai.yaml": 0o646}.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    state = tmp_path / "state"
    assert told(tmp_path) == [
        f"chmod o-w {tmp_path}/asterisk_ai.yaml",
        f"chmod o= {tmp_path}/asterisk_ai.env",
        f"chmod o= {state}/sessions.db",
        f"chmod o-w {state}",
        f"chmod o-w {state}/recordings",
    ]
