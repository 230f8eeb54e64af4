"""Recordings: what stands where, what a lost server and a full disk leave, and what may no longer be kept."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asterisk_ai import config
from asterisk_ai.recording import folder
from asterisk_ai.recording.recordings import Recordings
from asterisk_ai.recording.writer import FLUSH_SECONDS, MAX_WAITING, RecordingWriter

RATE, FRAME = 8000, 160
CALL = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def frame(value: int) -> bytes:
    return np.full(FRAME, value, np.int16).tobytes()


def recordings(path: Path, clock: Clock | None = None, **settings: object) -> Recordings:
    text = f"recordings: {{directory: {path}, {', '.join(f'{key}: {value}' for key, value in settings.items())}}}"
    return Recordings(config.parse(f"{text}\nagents: {{a: {{}}}}\n"), clock or Clock())


def samples(path: Path) -> np.ndarray:
    file = folder.find(path, CALL)
    assert file is not None
    data, rate = soundfile.read(file, dtype="int16")
    assert rate == RATE
    return np.asarray(data)


@pytest.mark.parametrize("file_format", ["flac", "wav", "ogg"])
def test_each_side_stands_where_it_was_heard(tmp_path: Path, file_format: str) -> None:
    clock = Clock()
    made = recordings(tmp_path, clock, format=file_format)
    made.start(lambda call_id: True)
    call = made.begin(CALL, RATE, offset=0.5)
    for number in range(200):  # the caller all the time, the agent for a second in the middle
        clock.now += 0.02
        call.heard(frame(1000))
        if 50 <= number < 100:
            call.played(frame(-2000))
    call.close()
    made.end(CALL, keep=True)
    made.stop()
    assert [file.suffix for file in tmp_path.iterdir()] == [f".{file_format}"]
    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o640]
    if file_format == "ogg":
        return
    sound = samples(tmp_path)
    assert len(sound) == int(4.5 * RATE)
    left, right = (np.flatnonzero(side) for side in sound.T)
    assert (left[0], left[-1], len(left)) == (0.5 * RATE, 4.5 * RATE - 1, 4 * RATE)
    assert (right[0], right[-1], len(right)) == (1.5 * RATE, 2.5 * RATE - 1, RATE)
    assert set(sound[left, 0]) == {1000}
    assert set(sound[right, 1]) == {-2000}


def test_a_line_without_frames_is_silence_of_that_length(tmp_path: Path) -> None:
    clock = Clock()
    made = recordings(tmp_path, clock)
    made.start(lambda call_id: True)
    call = made.begin(CALL, RATE, offset=0)
    for until in (101.0, 105.0):
        for _ in range(50):
            clock.now += 0.02
            call.heard(frame(7))
        clock.now = until + 3
    call.close()
    made.end(CALL, keep=True)
    made.stop()
    left = samples(tmp_path)[:, 0]
    assert np.count_nonzero(left) == 2 * RATE
    again = np.flatnonzero(left)[RATE]
    assert abs(again - 4 * RATE) <= FRAME


def test_frames_that_come_late_and_all_at_once_leave_no_silence_between_them(tmp_path: Path) -> None:
    clock = Clock()
    made = recordings(tmp_path, clock)
    made.start(lambda call_id: True)
    call = made.begin(CALL, RATE, offset=0)
    for number in range(200):
        clock.now = 100.02 + number * 0.02 if not 70 <= number < 95 else 101.92  # half a second late
        call.heard(frame(number + 1))
    call.close()
    made.end(CALL, keep=True)
    made.stop()
    left = samples(tmp_path)[:, 0]
    assert left.tobytes() == b"".join(frame(number + 1) for number in range(200))


def test_what_a_lost_server_left_is_finished_unless_the_caller_may_come_back(tmp_path: Path) -> None:
    clock = Clock()
    lost = recordings(tmp_path, clock)
    lost.start(lambda call_id: True)
    call = lost.begin(CALL, RATE, offset=0)
    for _ in range(250):
        clock.now += 0.02
        call.heard(frame(5))
    lost.stop()  # killed: what it had not handed over is gone
    (raw,) = tmp_path.iterdir()
    raw.write_bytes(raw.read_bytes() + b"half")

    going_on = recordings(tmp_path, clock)
    going_on.start(lambda call_id: None)
    clock.now += 5
    more = going_on.begin(CALL, RATE, offset=10.0)
    clock.now += 0.02
    more.heard(frame(9))
    more.close()
    going_on.stop()
    assert folder.find(tmp_path, CALL) is None

    after = recordings(tmp_path, clock)
    after.start(lambda call_id: True)
    after.stop()
    left = samples(tmp_path)[:, 0]
    assert 5 * RATE - (2 * FLUSH_SECONDS + 0.2) * RATE <= np.count_nonzero(left == 5) <= 5 * RATE
    assert np.flatnonzero(left == 9)[0] == 10 * RATE


def test_of_who_had_declined_a_lost_server_leaves_nothing_either(tmp_path: Path) -> None:
    (tmp_path / f"{CALL}.8000.raw").write_bytes(bytes(1000))
    made = recordings(tmp_path)
    made.start(lambda call_id: False)
    made.stop()
    assert list(tmp_path.iterdir()) == []


def test_who_declines_leaves_nothing(tmp_path: Path) -> None:
    clock = Clock()
    made = recordings(tmp_path, clock)
    made.start(lambda call_id: True)
    call = made.begin(CALL, RATE, offset=0)
    for _ in range(200):
        clock.now += 0.02
        call.heard(frame(5))
    call.close()
    made.end(CALL, keep=False)
    made.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_costs_recordings_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "file"
    place.write_text("no folder can be made here")
    clock = Clock()
    made = recordings(place, clock)
    made.start(lambda call_id: True)
    for _ in range(2):
        call = made.begin(CALL, RATE, offset=0)
        for _ in range(200):
            clock.now += 0.02
            call.heard(frame(5))
        call.close()
        made.end(CALL, keep=True)
    made.stop()
    assert made.lost_pieces >= 8
    assert "recordings cannot be written" in made.problem()
    assert caplog.text.count("recordings cannot be written") == 1


def test_a_disk_that_stands_still_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(RecordingWriter, "_add", lambda self, piece: goes_on.wait())
    clock = Clock()
    made = recordings(tmp_path, clock)
    made.start(lambda call_id: True)
    call = made.begin(CALL, RATE, offset=0)
    for _ in range(60 * (MAX_WAITING + 10)):
        clock.now += 0.02
        call.heard(frame(5))
    assert made.lost_pieces > 0
    goes_on.set()
    made.stop()


def test_what_is_old_or_too_much_goes_and_what_lasts_stays(tmp_path: Path) -> None:
    now = time.time()
    for number in range(6):
        file = tmp_path / f"{number}.flac"
        file.write_bytes(bytes(1000))
        os.utime(file, (now - number * 86400, now - number * 86400))
    (tmp_path / f"{CALL}.8000.raw").write_bytes(bytes(10_000))
    assert folder.tidy(tmp_path, keep_days=4.5, max_gib=0) == 1
    assert folder.tidy(tmp_path, keep_days=0, max_gib=3500 / (1 << 30)) == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.flac", "1.flac", "2.flac", f"{CALL}.8000.raw"]
    assert folder.remove(tmp_path, ["0", CALL, "not there"]) == 2
    assert folder.tidy(tmp_path / "nowhere", keep_days=1, max_gib=1) == 0
