"""A telephone that sends nothing: muted, on hold, or one that suppresses silence. That no frame comes says nothing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rig import Asterisk, Caller, until
from served import Served

LONG = " ".join(["This goes on for longer than any line may be quiet, as it is read to the end."] * 3)
AGENTS = {
    "greets": {
        "greeting": LONG,
        "turn": {
            "no_input_seconds": 2,
            "no_input_prompts": ["Are you still there?"],
            "no_input_closing": "I cannot hear you. Goodbye.",
        },
        "rules": {"intents": {"tell": {"answer": LONG}}, "dtmf": {"1": "tell"}},
    }
}
AGENTS["tells"] = {**AGENTS["greets"], "greeting": "Hello."}


def silent_until_the_end(caller: Caller) -> float:
    """Seconds until the agent hangs up; the caller's side sends no frame all the while."""
    began = time.monotonic()
    until(lambda: caller.near not in caller.asterisk.channels(), 90, "the agent hangs up")
    return time.monotonic() - began


@pytest.mark.slow
def test_who_sends_nothing_is_asked_and_then_hung_up_on(tmp_path: Path) -> None:
    with Served(tmp_path, AGENTS) as served, Asterisk(server=served.address) as asterisk:

        def greeted() -> float:
            with asterisk.call(record=False, variables={"AI_AGENT": "greets"}) as caller:
                return silent_until_the_end(caller)

        def told() -> float:
            with asterisk.call(record=False, variables={"AI_AGENT": "tells"}) as caller:
                caller.hear()
                caller.dial("1")
                return silent_until_the_end(caller)

        with ThreadPoolExecutor(2) as pool:
            lasted = [call.result() for call in (pool.submit(greeted), pool.submit(told))]
        assert min(lasted) > 14, "the long text was not heard to its end"
        served.no_calls()
        log = served.log()
        for line in (LONG, "Are you still there?", "I cannot hear you. Goodbye."):
            assert log.count(f"playback finished transcript='{line}'") + log.count(f"transcript='{line}'") >= 2, line
        for wrong in ("nothing was received", "cut off", "interrupted"):
            assert wrong not in log
        assert asterisk.landed() == []
