"""``asterisk-ai regress``: the same conversation over every transport of the real Asterisk."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from rig import TREE, speech

from asterisk_ai.simulator import installation as installation_module
from asterisk_ai.simulator.installation import installed, unpacked
from asterisk_ai.simulator.private_asterisk import PrivateAsterisk
from asterisk_ai.simulator.regression.transports import TRANSPORTS


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "ways", [("audiosocket", "eagi"), ("audiosocket-file",), ("rtp",), ("websocket",)], ids=" and ".join
)
def test_the_same_conversation_over_every_transport(ways: tuple[str, ...], tmp_path: Path) -> None:
    """The command goes more ways than these, which have whole calls in tests of their own."""
    installation = unpacked(TREE)
    assert installation is not None
    wanted = [transport for transport in TRANSPORTS if transport.name in ways]
    assert [transport.lacks(installation) for transport in wanted] == [""] * len(ways)
    chosen = ["--calls", "4"]
    chosen += [word for name in ways for word in ("--transport", name)]
    command = [sys.executable, "-m", "asterisk_ai", "regress", "--light", "--asterisk", str(TREE), "--output", "found"]
    done = subprocess.run(
        [*command, *chosen],
        cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    report = (tmp_path / "found/report.md").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + report
    assert report.count(": passed\n") == len(wanted)
    for transport in wanted:
        # Voice to voice of each spoken turn is told; how long it takes here says how busy the machine is.
        row = rf"\| {re.escape(transport.title)} \| passed \| (\d+) of \1 \| \d+\.\d\d s, \d+\.\d\d s \|"
        assert re.search(row, report)
        for side in ("caller", "agent"):
            samples, rate = soundfile.read(tmp_path / f"found/{transport.name}-{side}.wav", dtype="int16")
            assert rate == 8000
            assert len(speech(samples)) >= 2, (transport.name, side)
    for name in ("server.log", "asterisk.log"):
        assert (tmp_path / "found" / name).stat().st_size


def test_an_installed_asterisk_is_run_with_a_configuration_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where asterisk.conf says that things are; the program itself may be anywhere."""
    tree = unpacked(TREE)
    assert tree is not None
    program, settings = tmp_path / "asterisk", tmp_path / "asterisk.conf"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(tree.program)} "$@"\n')
    program.chmod(0o755)
    settings.write_text(f"[directories](!)\nastmoddir => {tree.modules}\nastdatadir => {tree.data}\n")
    monkeypatch.setattr(installation_module, "_ETC", settings)
    found = installed(str(program))
    assert found is not None
    assert (found.modules, found.data, found.sounds) == (tree.modules, tree.data, tree.sounds)
    with PrivateAsterisk(found, "127.0.0.1:1") as asterisk:
        assert asterisk.channels() == []
        assert str(asterisk.folder / "etc") in asterisk.rx("core show settings")
    assert not asterisk.folder.exists()
