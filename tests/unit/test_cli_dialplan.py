"""asterisk-ai dialplan: what is written where, and that nothing of the administrator's is lost."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.cli import dialplan
from asterisk_ai.cli.pbx_check import inspect
from asterisk_ai.config import share_path
from asterisk_ai.dialog.dialplan import ACTIONS, problem
from asterisk_ai.pbx.console import Console
from asterisk_ai.pbx.install import FILES, INCLUDE, PROGRAMS, State, compare, own_command, own_program, stamp


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    dialplan.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["dialplan", *words])
    return int(arguments.run(arguments))


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "asterisk"
    folder.mkdir()
    (folder / "extensions.conf").write_text("[general]\n\n[from-inside]\nexten => 100,1,Goto(asterisk-ai,s,1)")
    return folder


def installed(etc: Path) -> str:
    return (etc / INCLUDE).read_text()


@pytest.mark.parametrize("what", sorted(FILES))
def test_print(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("print", what) == 0
    assert capsys.readouterr().out == FILES[what].text


def test_print_is_the_dialplan(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("print") == 0
    assert "[asterisk-ai-fallback]" in capsys.readouterr().out


def test_unit_calls_this_installation() -> None:
    text = FILES["systemd"].text
    assert f"ExecStart={own_command()} serve" in text
    assert "Type=notify" in text


def test_install_into_a_fresh_folder(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (etc / "extensions.conf").read_text()
    assert run("install", "--etc", str(etc)) == 0
    assert installed(etc).endswith(FILES["plain"].text)
    assert (etc / "asterisk_ai.yaml").read_text() == FILES["config"].text
    assert (etc / "asterisk_ai.yaml").stat().st_mode & 0o007 == 0  # it may hold keys
    assert (etc / "extensions.conf").read_text() == before
    assert "#include" in capsys.readouterr().out
    assert compare(FILES["plain"], etc / INCLUDE) is State.CURRENT


def test_install_twice_changes_nothing(etc: Path) -> None:
    for _ in range(2):
        assert run("install", "--etc", str(etc), "--include") == 0
    main = (etc / "extensions.conf").read_text()
    assert main.endswith(f"Goto(asterisk-ai,s,1)\n\n#include {INCLUDE}\n")
    assert main.count("#include") == 1
    assert len(list(etc.glob("extensions.conf.bak-*"))) == 1
    assert len(list(etc.glob(f"{INCLUDE}*"))) == 1


def test_dry_run_writes_nothing(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", "--etc", str(etc), "--include", "--dry-run", "--systemd", str(etc)) == 0
    assert [file.name for file in etc.iterdir()] == ["extensions.conf"]
    assert "would write" in capsys.readouterr().out


def test_older_file_is_replaced(etc: Path) -> None:
    (etc / INCLUDE).write_text(stamp("; what an older release had\n"))
    assert compare(FILES["plain"], etc / INCLUDE) is State.OLDER
    assert run("install", "--etc", str(etc)) == 0
    assert compare(FILES["plain"], etc / INCLUDE) is State.CURRENT
    assert not list(etc.glob("*.bak-*"))


def test_changed_file_is_left_alone_and_said_so(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("install", "--etc", str(etc))
    changed = installed(etc).replace("AI_PATIENCE=20", "AI_PATIENCE=5")
    (etc / INCLUDE).write_text(changed)
    (etc / "asterisk_ai.yaml").write_text("agents: mine\n")
    capsys.readouterr()
    assert run("install", "--etc", str(etc)) == 1
    out = capsys.readouterr().out
    assert "changed by hand" in out
    assert "-; " not in out.splitlines()[2]  # the stamp is no difference
    assert re.search(r"^- .*AI_PATIENCE=5", out, re.MULTILINE)
    assert re.search(r"^\+ .*AI_PATIENCE=20", out, re.MULTILINE)
    assert installed(etc) == changed
    assert (etc / f"{INCLUDE}.new").read_text().endswith(FILES["plain"].text)
    assert (etc / "asterisk_ai.yaml").read_text() == "agents: mine\n"


def test_force_keeps_a_backup(etc: Path) -> None:
    (etc / INCLUDE).write_text("; mine\n")
    assert run("install", "--etc", str(etc), "--force") == 0
    assert compare(FILES["plain"], etc / INCLUDE) is State.CURRENT
    assert [file.read_text() for file in etc.glob(f"{INCLUDE}.bak-*")] == ["; mine\n"]


def test_printed_by_hand_counts_as_current(etc: Path) -> None:
    (etc / INCLUDE).write_text(FILES["plain"].text)
    assert compare(FILES["plain"], etc / INCLUDE) is State.CURRENT


def test_freepbx(etc: Path) -> None:
    (etc / "extensions_custom.conf").write_text("; FreePBX made this empty file\n")
    assert run("install", "--etc", str(etc), "--freepbx") == 0
    assert (etc / "extensions_custom.conf").read_text() == FILES["freepbx"].text
    assert "#include" not in (etc / "extensions.conf").read_text()


def test_freepbx_with_contexts_of_its_own(etc: Path) -> None:
    mine = "[from-internal-custom]\nexten => 1,1,NoOp()\n"
    (etc / "extensions_custom.conf").write_text(mine)
    assert run("install", "--etc", str(etc), "--freepbx") == 0
    assert (etc / "extensions_custom.conf").read_text() == mine
    assert run("install", "--etc", str(etc), "--freepbx", "--include") == 0
    assert (etc / "extensions_custom.conf").read_text() == f"{mine}\n#include {INCLUDE}\n"


def test_freepbx_is_recognised_and_its_links_are_kept(etc: Path, tmp_path: Path) -> None:
    """FreePBX's extensions.conf is a link into its modules, and is written by it."""
    (tmp_path / "module.conf").write_text("[general]\n")
    (etc / "extensions.conf").unlink()
    (etc / "extensions.conf").symlink_to(tmp_path / "module.conf")
    (etc / "extensions_additional.conf").touch()
    assert run("install", "--etc", str(etc), "--include") == 0
    assert (tmp_path / "module.conf").read_text() == "[general]\n"
    assert (etc / "extensions_custom.conf").read_text() == FILES["freepbx"].text


def test_a_link_stays_one(etc: Path, tmp_path: Path) -> None:
    (tmp_path / "real.conf").write_text("[general]\n")
    (etc / "extensions.conf").unlink()
    (etc / "extensions.conf").symlink_to("../real.conf")
    assert run("install", "--etc", str(etc), "--include") == 0
    assert (etc / "extensions.conf").is_symlink()
    assert f"#include {INCLUDE}" in (tmp_path / "real.conf").read_text()


def test_the_programs_are_linked_where_asterisk_looks(etc: Path, tmp_path: Path) -> None:
    folder = tmp_path / "agi-bin"
    folder.mkdir()
    (etc / "asterisk.conf").write_text(f"[directories]\nastagidir => {folder}\n")
    (folder / PROGRAMS[0]).symlink_to("/an/older/installation")
    for _ in range(2):
        assert run("install", "--etc", str(etc), "--agi") == 0
        assert [(folder / name).readlink() for name in PROGRAMS] == [own_program(name) for name in PROGRAMS]
    (folder / PROGRAMS[1]).unlink()
    (folder / PROGRAMS[1]).write_text("#!/bin/sh\n")
    assert run("install", "--etc", str(etc), "--agi", str(folder)) == 1
    assert not (folder / PROGRAMS[1]).is_symlink()


def test_no_agi_bin(etc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (etc / "asterisk.conf").write_text(f"[directories]\nastagidir => {tmp_path}/none\n")
    assert run("install", "--etc", str(etc), "--agi") == 1
    assert "name it, --agi DIR" in capsys.readouterr().out


def test_mode_and_place_are_kept(etc: Path) -> None:
    (etc / INCLUDE).write_text(stamp("; older\n"))
    (etc / INCLUDE).chmod(0o600)
    run("install", "--etc", str(etc))
    assert (etc / INCLUDE).stat().st_mode & 0o777 == 0o600


def test_no_etc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", "--etc", str(tmp_path / "none")) == 1
    assert "is not there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("#include asterisk_ai.conf", True),
        ('#include "asterisk_ai.conf" ; agent', True),
        ("#tryinclude /etc/asterisk/asterisk_ai.conf", True),
        (";#include asterisk_ai.conf", False),
        ("#include my_asterisk_ai.conf", False),
        ("#include asterisk_ai.conf.bak", False),
    ],
)
def test_include_is_found(etc: Path, line: str, counts: bool) -> None:
    (etc / "extensions.conf").write_text(f"[general]\n{line}\n")
    assert [f.ok for f in inspect(etc, Console(["/none"])) if "includes" in f.text] == [counts]


def test_check_says_what_to_do(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("check", "--etc", str(etc), "--asterisk", "/no/such/asterisk")
    assert run(*words) == 1
    out = capsys.readouterr().out
    assert "dialplan install" in out
    assert "there is no Asterisk on this machine" in out
    run("install", "--etc", str(etc), "--include")
    assert run(*words) == 0


def test_check_reads_the_console(etc: Path, tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        "*version) echo 'Asterisk 20.1.0 built by x';;\n"
        "'module show') echo 'app_exec.so   Executes   0   Running   core'\n"
        "    echo 'res_agi.so   AGI   0   Not Running   core';;\n"
        "*applications) echo '  AGI: x';;\n"
        "*fallback) echo 'There is no existence of that context';;\n"
        "*asterisk-ai) echo \"[ Context 'asterisk-ai' created by 'pbx_config' ]\";;\n"
        "*) echo ;;\n"
        "esac\n"
    )
    console.chmod(0o755)
    texts = {finding.text: finding.ok for finding in inspect(etc, Console([str(console)]))}
    assert texts["Asterisk 20.1.0 answers"] is True
    missing = next(text for text in texts if text.startswith("modules missing"))
    assert "res_agi" in missing
    assert "app_exec" not in missing
    assert texts["context [asterisk-ai] is loaded"] is True
    assert texts["context [asterisk-ai-fallback] is not loaded"] is False
    assert texts["the application VoiceMail is not there: no caller can leave a message"] is False
    assert next(ok for text, ok in texts.items() if text.startswith("AI_FALLBACK is not set")) is None


def test_samples_are_in_step() -> None:
    """What the FreePBX sample and the module list promise is what the dialplan has."""
    plain = FILES["plain"].text
    assert f"#include {INCLUDE}" in FILES["freepbx"].text
    assert "asterisk-ai,s,1" in FILES["freepbx"].text
    for variable in re.findall(r"^;   (AI_[A-Z]+)", plain, re.MULTILINE):
        assert f"${{{variable}}}" in plain or f"CUT({variable}," in plain
    assert sorted(file.name for file in share_path("dialplan").iterdir()) == [INCLUDE, "extensions_custom.conf"]


def test_nothing_a_caller_says_is_in_what_tryexec_reads_twice() -> None:
    code = "\n".join(line for line in FILES["plain"].text.splitlines() if not line.startswith(";"))
    assert "CALLERID" not in code
    read_twice = set(re.findall(r"\$\{(\w+)\}", "".join(re.findall(r"TryExec\(.*", code))))
    # The server's, AI_FALLBACK's, which is the administrator's, and the administrator's.
    ours = {"AI_CALL_ID", "AI_AUDIOSOCKET", "AI_TO", "AI_STASIS", "AI_WEBSOCKET", "AI_SLIN", "AI_BEFORE", "AI_HEAR"}
    ours |= {"AI_ANSWERED", "CHANNEL"}
    assert re.findall(r"Set\(AI_BEFORE=(.*)\)", code) == ["asterisk-ai-media^s^1(${AI_CALL_ID}^${AI_SERVER})"]
    [answered] = re.findall(r"Set\(AI_ANSWERED=(.*)\)", code)
    ours_and_filtered = r"asterisk-ai-brief\^\$\{AI_CALL_ID\}\^\$\{AI_SERVER\}\^\$\{FILTER\([^,]+,\$\{CHANNEL\}\)\}"
    assert re.fullmatch(ours_and_filtered, answered)
    assert re.findall(r"Set\(AI_HEAR=(.*)\)", code)[0].endswith("m(${FILTER(A-Za-z0-9_.\\-,${AI_MUSIC})}))}")
    for variable in read_twice - ours:
        assert re.search(rf"Set\({variable}=\$\{{FILTER\(|TryExec\(\w+\(\$\{{FILTER\([^,]*,\$\{{{variable}\}}", code)
    assert read_twice - ours == {"AI_QUEUE", "AI_MAILBOX", "AI_FILE", "AI_RING"}


def test_the_configuration_takes_what_the_dialplan_keeps() -> None:
    """FILTER() and the check of the configuration have the same characters, so that none is changed in silence."""
    found = re.findall(r"FILTER\(([^,]*),\$\{(AI_\w+)\}\)", FILES["plain"].text)
    kept = {variable: characters for characters, variable in found}
    for kind, arguments in ACTIONS.items():
        for name, argument in arguments.items():
            if argument.spoken:
                continue
            expected = kept[argument.variable].replace("@", "") if kind == "voicemail" else kept[argument.variable]
            assert argument.characters == expected, f"{kind}: {name}"


@given(st.sampled_from([(kind, name) for kind, arguments in ACTIONS.items() for name in arguments]), st.text())
def test_what_is_not_refused_is_not_changed(argument: tuple[str, str], value: str) -> None:
    kind, name = argument
    if ACTIONS[kind][name].spoken:
        return
    kept = re.sub(f"[^{ACTIONS[kind][name].characters}]", "", value)
    assert problem(kind, name, value) or kept == value
