"""Speech to speech on the real Asterisk, by AudioSocket and by EAGI: the service speaks the published protocol."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from aside import aside
from programs import EAGI
from realtime_server import KEY, FakeRealtime, Session
from rig import Asterisk, Caller, speech
from served import Served

WEASELS = "tt-weasels"
FULL = "conf-full"
GREETING = "Hello, how can I help?"
LONG = " ".join(["This answer is long, so that there is time to interrupt it."] * 3)
SHORT = "That is a pity."


@pytest.fixture(scope="module")
def service() -> Iterator[FakeRealtime]:
    """Hears everything as one tone, and says what is in ``answers`` at the time."""
    with aside(FakeRealtime().running()) as (fake,):
        yield fake


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory, service: FakeRealtime, prompts: dict[str, str]
) -> Iterator[tuple[Asterisk, Served]]:
    asterisk = Asterisk(server="127.0.0.1:1", dialplan=EAGI)
    desk = {"greeting": GREETING, "turn": {"no_input_seconds": 30}}
    settings = {
        "pipeline": "spoken",
        "pipelines": {"spoken": {"realtime": "openai_realtime"}},
        "providers": {"openai_realtime": {"base_url": service.base_url, "api_key": KEY}},
    }
    with Served(tmp_path_factory.mktemp("served"), {"desk": desk}, settings) as served:
        asterisk.globals["AI_SERVER"] = served.address
        with asterisk:
            for program in ("agi", "eagi"):
                asterisk.install_program(f"asterisk-ai-{program}", program, "--config", str(served.file))
            yield asterisk, served


def converse(caller: Caller, service: FakeRealtime) -> None:
    """Greeting, question, an answer that the caller interrupts, the answer to that."""
    service.answers = {400: (LONG, "", "")}
    caller.hear()
    caller.say(WEASELS)
    caller.exec("WaitForNoise", "120,1,10")
    caller.wait(1.5)
    service.answers = {400: (SHORT, "", "")}
    caller.say(FULL)
    caller.hear()
    caller.stop_recording()


def judge(caller: Caller, session: Session, *, slack: float) -> None:
    """By the recording of both sides, and by what the service was told.

    :param slack: seconds until the agent has to be silent once the caller interrupts.
    """
    agent, person = speech(caller.heard()), speech(caller.spoken())
    assert agent[0][1] < person[0][0], "the greeting was heard before the caller spoke"
    spectrum = np.abs(np.fft.rfft(caller.heard()[int(agent[0][0] * 8000) :][:8000]))
    assert np.argmax(spectrum) * 8000 / 8000 == pytest.approx(800, abs=20), "it is the service's sound"
    interruption = person[-1][0]
    talking = [end for begin, end in agent if begin < interruption]
    assert interruption < talking[-1] < interruption + slack, (agent, person)
    answer = [(begin, end) for begin, end in agent if begin > interruption + slack / 2]
    assert len(answer) == 1, (agent, person)
    assert answer[0][1] - answer[0][0] == pytest.approx(0.25 * len(SHORT.split()), abs=0.3), "the rest was dropped"
    assert not [error for error in session.errors if "no active response" not in error]
    cuts = [event["audio_end_ms"] for event in session.received if event["type"] == "conversation.item.truncate"]
    began = min(begin for begin, end in agent if begin > person[0][0])
    assert cuts == [pytest.approx(1000 * (talking[-1] - began), abs=600)], "the service knows what was heard"


@pytest.fixture(autouse=True)
def shown(request: pytest.FixtureRequest, rig: tuple[Asterisk, Served]) -> Iterator[None]:
    """Where a test fails, show the end of the server's log."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        print(rig[1].log()[-6000:])


@pytest.mark.parametrize("way", ["asterisk-ai,s,1", "eagi,s,1"])
def test_a_conversation(rig: tuple[Asterisk, Served], service: FakeRealtime, way: str) -> None:
    asterisk, served = rig
    waiting, barges = service.sessions[-1], served.health()["conversation"]["barge_in_total"]
    with asterisk.call(way) as caller:
        converse(caller, service)
    served.no_calls()
    assert service.conversations[-1] is waiting, "the connection was there before the call"
    # Over EAGI a file that plays is stopped by the next command: Asterisk finishes what it has in its buffers.
    judge(caller, waiting, slack=1.0)
    assert served.health()["conversation"]["barge_in_total"] == barges + 1
    assert served.health()["providers"]["realtime/openai_realtime/desk"]["ready"]
    if way.startswith("eagi"):
        assert not list((served.folder / "spool").iterdir())
    assert "Traceback" not in served.log()
