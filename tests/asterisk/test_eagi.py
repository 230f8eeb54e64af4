"""A whole conversation without AudioSocket: EAGI on the real Asterisk, the real server, human recordings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import EAGI
from rig import Asterisk, speech, until
from served import Served

WEASELS = "tt-weasels"
SAVED = "vm-msgsaved"


@pytest.fixture
def asterisk(tmp_path: Path, prompts: dict[str, str]) -> Iterator[tuple[Asterisk, Served]]:
    def say(prompt: str) -> list[str]:
        return [" ".join(re.sub(r"[^a-z' ]", " ", prompts[prompt].lower()).split())]

    desk = {
        "greeting": "Hello, how can I help you?",
        "closing": "Goodbye.",
        "turn": {"no_input_seconds": 30},
        "rules": {
            "intents": {
                "tell": {"say": say(WEASELS), "answer": "That is a pity."},
                "goodbye": {"say": say(SAVED), "do": "hangup"},
            }
        },
    }
    with (
        Served(tmp_path, {"desk": desk}) as served,
        Asterisk(server="127.0.0.1:1", dialplan=EAGI) as asterisk,
    ):
        for program in ("agi", "eagi"):
            asterisk.install_program(f"asterisk-ai-{program}", program, "--config", str(served.file))
        yield asterisk, served


def test_a_conversation_over_eagi(asterisk: tuple[Asterisk, Served]) -> None:
    pbx, served = asterisk
    with pbx.call("eagi,s,1") as caller:
        caller.hear()
        caller.say(WEASELS)
        caller.hear()
        caller.say(SAVED)
        until(lambda: any(step.data.startswith("AI_NEXT") for step in caller.steps()), 20, "the end")
        notes = [step.data for step in caller.steps() if step.application == "NoOp"]
        assert notes == ["AGISTATUS=SUCCESS AI_STATUS=OK", "AI_NEXT=hangup"]
    served.no_calls()
    assert len(speech(caller.heard())) >= 3  # greeting, answer, closing
    assert not list((served.folder / "spool").glob("*.wav"))
    assert "Traceback" not in served.log()


def test_a_hang_up_while_a_reply_plays_is_no_failure(asterisk: tuple[Asterisk, Served]) -> None:
    pbx, served = asterisk
    with pbx.call("eagi,s,1", record=False) as caller:
        caller.exec("WaitForNoise", "120,1,10")
    served.no_calls()
    assert "cannot play" not in served.log()
    assert "Traceback" not in served.log()


def test_replies_that_asterisk_cannot_play_lead_to_the_fallback(tmp_path: Path) -> None:
    """As where it may not read the spool of a server that root ran."""
    desk = {"greeting": "Hello.", "rules": {"intents": {"hi": {"say": ["hello"], "answer": "Hello."}}}}
    with Served(tmp_path, {"desk": desk}) as served, Asterisk("127.0.0.1:1", dialplan=EAGI) as pbx:
        pbx.rx("module unload format_wav.so")
        for program in ("agi", "eagi"):
            pbx.install_program(f"asterisk-ai-{program}", program, "--config", str(served.file))
        with pbx.call("eagi,s,1", record=False) as caller:
            until(lambda: "AI_NEXT=fallback" in [step.data for step in caller.steps()], 20, "the fallback")
        served.no_calls()
        assert f"Asterisk cannot play {tmp_path}/spool/" in served.log()
        assert "asterisk-ai check" in served.log()
        assert "Traceback" not in served.log()
