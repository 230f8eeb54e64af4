"""``asterisk-ai bench``: its arithmetic on made-up recordings, and short runs against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from asterisk_ai.cli.bench_figures import Spread, figures
from asterisk_ai.cli.bench_load import PERIOD_NS, Heard
from asterisk_ai.cli.main import main
from asterisk_ai.cli.process_use import ProcessUse

MS = 1_000_000
START = 1_700_000_000_000_000_000


def played(times: dict[int, list[int]], seconds: float = 1.0) -> Heard:
    """What a generator hears of calls whose frames arrive at these ns after the window's beginning."""
    heard = Heard(len(times), connected=len(times), window=(START, START + int(seconds * 1e9)))
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
    heard = Heard(1, connected=1, sent=4, window=(START, START + 10 * MS))
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


def test_a_process_uses_memory_and_a_lost_one_nothing() -> None:
    import os

    assert ProcessUse.of(os.getpid()).memory_kb > 1000
    assert ProcessUse.of(2**22 + 1) == ProcessUse()


@pytest.mark.parametrize("mode", ["echo", "playing", "conversation"])
def test_a_server_of_its_own_is_measured(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = "8" if mode == "conversation" else "1"
    status = main(
        ["bench", "--serve", "--mode", mode, "--calls", "8", "--seconds", seconds, "--delay", "0.1", "--json"]
    )
    told = json.loads(capsys.readouterr().out)
    step = told["steps"][0]
    assert step["carried"] == 8
    assert step["lost"] == 0
    assert step["frames"] >= 8 * 49
    assert step["problems"] == []
    assert step["cpu_ms_per_call_second"] > 0
    if mode == "conversation":
        assert step["turns"] > 0
        assert 0.8 < step["turn_seconds"]["p50"] < 1.5  # endpoint_ms and three delays
    assert status in (0, 1)  # the machine may be busy


def test_the_table_and_the_search_end(capsys: pytest.CaptureFixture[str]) -> None:
    main(
        ["bench", "--serve", "--mode", "playing", "--most", "4", "--seconds", "1", "--processes", "2", "--limit", "20"]
    )
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
