"""Changing one line of the configuration: everything else stays, byte for byte, or nothing is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from asterisk_ai.config import edit, parse, share_path
from asterisk_ai.errors import ConfigError

SAMPLE = (share_path("etc-asterisk") / "asterisk_ai.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pipeline: offline  # now\n", "pipeline: local  # now\n"),
        ("pipeline:    'offline'\n", "pipeline:    'local'\n"),
        ('"pipeline": "offline"\n', '"pipeline": "local"\n'),
        ("{pipeline: offline, a: 1}", "{pipeline: local, a: 1}"),
        ("\ufeffpipeline: offline\na: ä # ö\n", "\ufeffpipeline: local\na: ä # ö\n"),
        ("# c\r\npipeline: offline # d\r\nb: 2\r\n", "# c\r\npipeline: local # d\r\nb: 2\r\n"),
        ("---\npipeline: &p offline\n", "---\npipeline: &p local\n"),
        ("# c\na: 1\n", "# c\npipeline: local\na: 1\n"),
        ("{a: 1}", "{pipeline: local, a: 1}"),
        ("a: 1\r\n", "pipeline: local\r\na: 1\r\n"),
    ],
)
def test_one_value_changes(old: str, new: str) -> None:
    assert edit.set_value(old, ["pipeline"], "local") == new


def test_the_sample_keeps_every_other_line() -> None:
    for path, value in ((["pipeline"], "new"), (["agents", "reception", "pipeline"], "new")):
        new = edit.set_value(SAMPLE, path, value).splitlines()
        assert len(set(new) ^ set(SAMPLE.splitlines())) <= 2
    new_text = edit.set_value(SAMPLE, ["pipelines", "offline", "tts"], ["m:C", "espeak"])
    assert '  offline: {stt: [moonshine, pocketsphinx], llm: rules, tts: ["m:C", espeak]}' in new_text
    assert parse(new_text).pipelines["offline"].tts == ("m:C", "espeak")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a: &x one\npipeline: *x\n", ["pipeline"]),  # would change a as well
        ("pipeline: >\n  of\n  fline\n", ["pipeline"]),
        ("agents: 1\n", ["agents", "a", "pipeline"]),
        ("agents: {}\n", ["agents", "pipeline"]),
        ("b: &b {c: 1}\nagents: {a: *b}\n", ["agents", "a", "pipeline"]),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(text: str, path: list[str]) -> None:
    with pytest.raises(ConfigError):
        edit.set_value(text, path, "local")


@pytest.mark.parametrize("value", ["yes", "7", "a: b", "a#b", "x y", "null", "a,b", "m:C", "ä"])
def test_what_is_no_plain_word_is_quoted(value: str) -> None:
    assert value in edit.set_value("pipeline: offline\nb: 1\n", ["pipeline"], value)


def test_the_write_is_whole_keeps_the_mode_and_a_backup(tmp_path: Path) -> None:
    file, link = tmp_path / "real.yaml", tmp_path / "asterisk_ai.yaml"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    backup = edit.replace(link, "old", "new")
    assert (file.read_text(), backup.read_text()) == ("new", "old")
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["asterisk_ai.yaml", "real.yaml", "real.yaml.bak"]


def test_somebody_else_was_faster(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("theirs")
    with pytest.raises(ConfigError, match="changed by somebody else"):
        edit.replace(file, "old", "new")
    assert file.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a.yaml"]
