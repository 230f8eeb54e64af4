"""The picture of a call: everything that was said is on it, where it was said, and as text."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asterisk_ai.cli.main import main
from asterisk_ai.session.backends.sqlite import SqliteBackend
from asterisk_ai.session.model import CallSession, Outcome, TurnRecord, new_call_id
from asterisk_ai.session.picture import Sound, call_picture

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '<script>alert("x")</script>\x1b[2J\x00]]>&'
TIMINGS = {"endpoint": 0.25, "words": 0.26, "first_token": 0.3, "first_audio": 0.5, "first_frame": 0.51}


def session() -> CallSession:
    one = CallSession(new_call_id(), "desk", started_at=1000.0, caller={"number": "+1555", "name": EVIL})
    one.history = [
        TurnRecord("agent", "Hello, how can I help you?", 1000.2),
        TurnRecord("caller", f"are you open {EVIL}", 1003.0),
        TurnRecord("agent", "We are open from nine to", 1004.5, interrupted=True, timings=TIMINGS),
        TurnRecord("caller", "", 1006.0, understood=False),
        TurnRecord("caller", "1", 1008.0, dialled=True),
    ]
    one.troubles = [{"at": 1005.0, "text": f"the voice failed {EVIL}"}]
    one.ended_at, one.seconds, one.outcome = 1012.0, 12.0, Outcome.TRANSFER
    return one


def sound() -> Sound:
    """The caller from 3 to 4 s, the agent from 4.5 to 6 s."""
    samples = np.zeros((12 * 8000, 2), np.int16)
    samples[3 * 8000 : 4 * 8000, 0] = 20_000
    samples[int(4.5 * 8000) : 6 * 8000, 1] = -20_000
    return Sound(samples, 8000)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def test_all_that_was_said_and_done_is_there_as_text() -> None:
    root = parsed(call_picture(session(), sound()))
    assert {element.tag for element in root.iter()} <= {
        SVG + name for name in ("svg", "title", "style", "rect", "text", "line", "path", "g")
    }, "nothing of it is code"
    texts = " ".join(" ".join(root.itertext()).split())
    hostile = r'<script>alert("x")</script>\x1b[2J\x00]]>&'
    whole = (
        "+1555",
        "desk",
        "transfer",
        "Hello, how can I help you?",
        "(no words) (not understood)",
        "[1]",
        "interrupted",
    )
    for said in (*whole, hostile, "end of turn: 250 ms", "510 ms"):
        assert said in texts, said


def test_each_thing_stands_at_its_time() -> None:
    root = parsed(call_picture(session(), sound()))
    width = float(root.attrib["width"])
    scale = (width - 100) / 12
    for css, side in (("wave", (3, 4)), ("wave agent", (4.5, 6))):
        (path,) = (one for one in root.iter(SVG + "path") if one.attrib["class"] == css)
        points = [tuple(map(float, point.strip("MZ ").split())) for point in path.attrib["d"].split("L")]
        middle = points[0][1]
        loud = [x for x, y in points if abs(y - middle) > 5]
        assert (min(loud) - 70) / scale == pytest.approx(side[0], abs=0.1)
        assert (max(loud) - 70) / scale == pytest.approx(side[1], abs=0.1)
    bars = {one.attrib["class"]: one for one in root.iter(SVG + "rect") if one.attrib.get("height") == "7"}
    assert (float(bars["bar-endpoint"].attrib["x"]) - 70) / scale == pytest.approx(4.0, abs=0.1), "the last sound"
    assert float(bars["bar-first_audio"].attrib["width"]) / scale == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 50_000.0])
def test_a_call_of_any_length_has_a_picture(seconds: float) -> None:
    one = CallSession(new_call_id(), "", seconds=seconds)
    root = parsed(call_picture(one, Sound(np.zeros((int(min(seconds, 100) * 8000), 2), np.int16), 8000)))
    assert 700 < float(root.attrib["width"]) < 20_000
    assert "no recording" in call_picture(one)


def test_the_command_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = session()
    backend = SqliteBackend(tmp_path / "sessions.db", keep_days=0)
    backend.start()
    backend.write(one)
    backend.stop()
    (tmp_path / "recordings").mkdir()
    soundfile.write(tmp_path / "recordings" / f"{one.call_id}.flac", sound().samples, 8000)
    file = tmp_path / "asterisk_ai.yaml"
    file.write_text("store: {path: sessions.db}\nagents: {a: {}}\n", "utf-8")
    target = tmp_path / "call.svg"
    assert main(["calls", "show", one.call_id[:8], "--picture", str(target), "--config", str(file)]) == 0
    assert target.read_text("utf-8") == call_picture(one, sound())
    assert f"recording: {tmp_path}/recordings/{one.call_id}.flac" in capsys.readouterr().out
