"""``asterisk-ai bench``: its arithmetic on made-up recordings, and short runs against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asterisk_ai.bench.figures import Spread, figures
from asterisk_ai.bench.load import PERIOD_NS, Arrived
from asterisk_ai.bench.process_use import ProcessUse
from asterisk_ai.cli.main import main

MS = 1_000_000
START = 1_700_000_000_000_000_000


def played(times: dict[int, list[int]], seconds: float = 1.0) -> Arrived:
    """What a generator hears of calls whose frames arrive at these ns after the window's beginning."""
    heard = Arrived(len(times), connected=len(times), window=(START, START + int(seconds * 1e9)))
    pairs = [(call, START + at) for call, arrivals in times.items() for at in arrivals]
    heard.call = np.array([call for call, _ in pairs], np.uint32)
    heard.at = np.array([at for _, at in pairs], np.int64)
    return heard


def grid(phase: int = 0, seconds: float = 1.0) -> list[int]:
    return list(range(phase, int(seconds * 1e9), PERIOD_NS))


def test_an_even_player_has_nothing_to_tell() -> None:
    told = figures("playing", 2, [played({0: grid(), 7: grid(9 * MS)})], ProcessUse())
    assert told.lateness_ms == Spread(0, 0, 0, 0)
    assert (told.gaps, told.bursts, told.lost, told.carried, told.frames) == (0, 0, 0, 2, 100)
    assert told.even(5)


def test_one_late_frame_is_late_by_its_distance_and_leaves_a_gap_and_a_burst() -> None:
    times = grid()
    times[20] += 21 * MS  # after the next one was due
    told = figures("playing", 1, [played({0: sorted(times)})], ProcessUse())
    assert told.lateness_ms.worst == pytest.approx(20, abs=1.5)
    assert (told.gaps, told.bursts, told.lost) == (0, 1, 0)
    times[20] += 15 * MS
    assert figures("playing", 1, [played({0: [*times[:20], *times[23:]]})], ProcessUse()).gaps == 1


def test_frames_that_never_came_are_lost() -> None:
    told = figures("playing", 1, [played({0: grid()[:40]})], ProcessUse())
    assert told.lost == 9  # the window's edges may cost one
    assert not told.even(5)


def test_an_echo_is_counted_by_what_was_sent_in_the_window() -> None:
    heard = Arrived(1, connected=1, sent=4, window=(START, START + 10 * MS))
    heard.stamped = np.array([START + MS, START + 2 * MS, START + 3 * MS, START + 11 * MS], np.int64)
    heard.at = heard.stamped + 2 * MS
    heard.call = np.zeros(4, np.uint32)
    told = figures("echo", 1, [heard], ProcessUse())
    assert (told.frames, told.lost, told.lateness_ms.p50) == (3, 1, 2.0)


def test_a_turn_lasts_from_the_callers_last_sound_to_the_agents_first() -> None:
    heard = played({0: grid(seconds=2), 1: grid(seconds=2)}, seconds=2)
    heard.loud = (heard.at - START >= 900 * MS) & (heard.call == 0)
    heard.speech_ended = [(0, START + 100 * MS), (1, START + 100 * MS)]
    told = figures("conversation", 2, [heard], ProcessUse())
    assert (told.turns, told.turn_seconds.p50) == (1, 0.8)


def test_the_generator_says_when_it_is_the_bottleneck() -> None:
    heard = played({0: grid()})
    heard.cpu_seconds, heard.wall_seconds = 0.95, 1.0
    heard.send_lag = np.full(100, 8 * MS)
    assert len(figures("playing", 1, [heard], ProcessUse()).warnings) == 2


def test_calls_that_the_server_closed_and_processes_that_ended_are_told_as_such() -> None:
    heard = played({0: grid(), 1: grid()[:10]})
    heard.closed_early = 1
    heard.use = (ProcessUse(5.0, 9000.0, 2.0), ProcessUse(1.0, 4000.0))
    told = figures("playing", 2, [heard], ProcessUse(5.0, 9000.0, 2.0))
    assert (told.carried, told.problems) == (1, ["1 calls were closed by the server before their end"])
    assert told.cpu_ms_per_call_second == told.engines_cpu_ms_per_call_second == told.memory_kb_per_call == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--calls", "many"], "expected a number from 1 to 5000, not 'many'"),
        (["--calls", "0"], "expected a number from 1 to 5000"),
        (["--cpu", "9999"], "there are CPUs"),
        (["--cpu", "a-b"], "expected numbers as in 0,2-3"),
        (["--seconds", "0"], "expected 1 to 7200 seconds"),
        (["--delay", "-1"], "expected 0 to 60 seconds"),
        (["--soak", "0"], "expected 0.1 to 10000 minutes"),
        (["--json", "/nowhere/bench.json"], "no folder for /nowhere/bench.json"),
        (["--wav", "/nowhere.wav"], "there is no file /nowhere.wav"),
    ],
)
def test_wrong_usage_is_told_in_words(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--serve", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_an_agent_that_is_not_there_is_no_row_of_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--serve", "--mode", "embedded", "--agent", "nobody", "--calls", "2"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "no agent 'nobody'; the configuration names" in told.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_it_tells_what_it_has_and_leaves_no_process(number: signal.Signals) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "asterisk_ai", "bench", "--serve", "--calls", "2,3", "--seconds", "2", "--limit", "60"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert bench.stdout is not None
    lines = [bench.stdout.readline() for _ in range(3)]  # two of the heading, and the first step
    assert lines[-1].split()[:2] == ["2", "2"]
    time.sleep(1)
    bench.send_signal(number)
    out, err = bench.communicate(timeout=30)
    assert bench.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert out.splitlines()[-1].startswith("most calls with p99 lateness")
    until, left = time.monotonic() + 20, ["unknown"]
    while left and time.monotonic() < until:  # a process that has been ended takes its time on a busy machine
        ps = subprocess.run(["ps", "-o", "stat=", "-s", str(bench.pid)], capture_output=True, text=True, check=False)
        left = [state for state in ps.stdout.split() if not state.startswith("Z")]
        time.sleep(0.05)
    assert left == []


def test_a_process_uses_memory_and_a_lost_one_nothing() -> None:
    import os

    assert ProcessUse.of(os.getpid()).memory_kb > 1000
    assert ProcessUse.of(2**22 + 1) == ProcessUse()


def test_a_recording_that_cannot_be_said_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent, text = tmp_path / "silent.wav", tmp_path / "notes.txt"
    soundfile.write(silent, np.zeros(8000, np.int16), 8000)
    text.write_text("no sound")
    for file, told in ((silent, f"'{silent}': there is no speech in it"), (text, f"{text}: ")):
        assert main(["bench", "--serve", "--mode", "conversation", "--wav", str(file)]) == 1
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["echo", "playing", "conversation"])
@pytest.mark.usefixtures("prompts")
def test_a_server_of_its_own_is_measured(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = "8" if mode == "conversation" else "1"
    said = f"{os.environ['ASTERISK_SOUNDS']}/vm-enter-num-to-call.wav"
    command = ["bench", "--serve", "--mode", mode, "--calls", "8", "--seconds", seconds, "--delay", "0.1"]
    status = main([*command, "--wav", said, "--json"])
    told = json.loads(capsys.readouterr().out)
    step = told["steps"][0]
    assert step["carried"] == 8
    assert step["lost"] == 0
    assert step["frames"] >= 8 * 49
    assert step["problems"] == []
    assert step["cpu_ms_per_call_second"] > 0
    if mode == "conversation":
        assert step["turns"] > 0
        assert step["turn_seconds"]["p50"] > 0.8  # endpoint_ms and three delays
    assert status in (0, 1)  # the machine may be busy


def test_a_soak_tells_what_it_used_and_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["bench", "--soak", "0.1", "--calls", "6"])
    told = json.loads(capsys.readouterr().out)
    assert told["totals"]["calls"] >= 6
    assert (told["totals"]["failed"], told["totals"]["early"]) == (0, 0)
    assert told["after"]["calls"] == 0
    assert status == bool(told["problems"])  # the machine may be busy


def test_the_table_and_the_search_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    command = "bench --serve --mode playing --most 4 --seconds 1 --processes 2 --limit 20"
    main([*command.split(), "--json", str(file)])
    assert json.loads(file.read_text())["steps"][0]["calls"] == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mode playing")
    assert lines[-1].startswith("most calls with p99 lateness under 5 ms")


def test_the_delay_engines_are_not_looked_for_in_a_running_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--mode", "conversation"]) == 1
    assert "--serve" in capsys.readouterr().err
    file = tmp_path / "a.yaml"
    file.write_text("http: {port: 1}\nagents: {a: {}}\n")
    assert main(["bench", "--config", str(file)]) == 1
    assert "no server answers" in capsys.readouterr().err
