"""No server, and every way to name the fallback: the caller always gets somewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig import Asterisk, Hangup, free_port, speech, until


@pytest.fixture(scope="module")
def alone() -> Iterator[Asterisk]:
    """An Asterisk whose asterisk_ai server does not exist."""
    with Asterisk(server=f"127.0.0.1:{free_port()}") as asterisk:
        yield asterisk


def test_caller_reaches_the_fallback(alone: Asterisk) -> None:
    with alone.call() as caller:
        until(caller.landed, 5, "landed")
        assert caller.landed() == ["fallback"]
    applications = [step.application for step in caller.steps()]
    assert "TryExec" not in applications
    # Not answered by us: only the fallback decides that.
    assert applications.index("Answer") > applications.index("AGI")


@pytest.mark.parametrize(
    ("fallback", "application", "data"),
    [
        ("queue:support", "Queue", "support"),
        ("voicemail:100@default", "VoiceMail", "100@default,u"),
        ("message:demo-thanks", "Playback", "demo-thanks"),
        ("", "Playback", "vm-nobodyavail&pls-try-call-later"),
        ("extension:nowhere,1,1", "Playback", "vm-nobodyavail&pls-try-call-later"),
        ("nonsense", "Playback", "vm-nobodyavail&pls-try-call-later"),
        ("queue:none-such", "Playback", "vm-nobodyavail&pls-try-call-later"),
        ("voicemail:999@default", "Playback", "vm-nobodyavail&pls-try-call-later"),
    ],
)
def test_fallbacks(alone: Asterisk, fallback: str, application: str, data: str) -> None:
    with alone.call(variables={"AI_FALLBACK": fallback}, record=False) as caller:
        until(lambda: (application, data) in [(s.application, s.data) for s in caller.steps()], 8, application)


def test_message_is_heard(alone: Asterisk) -> None:
    with alone.call(variables={"AI_FALLBACK": ""}) as caller, pytest.raises(Hangup):
        caller.wait(20)
    assert sum(end - begin for begin, end in speech(caller.heard())) > 2


def test_no_module_is_missing_and_nothing_is_complained_about(alone: Asterisk) -> None:
    with alone.call(record=False):
        pass
    complaints = [line for line in alone.log().splitlines() if " ERROR[" in line or "No application" in line]
    assert complaints == []


def test_on_freepbx_its_own_queues_are_used() -> None:
    """extensions_custom.conf as it is shipped, in a dialplan with FreePBX's contexts."""
    freepbx = """
[ext-queues]
exten => 600,1,Goto(landed,600,1)
"""
    nowhere = f"127.0.0.1:{free_port()}"
    with Asterisk(nowhere, {"AI_FALLBACK": "queue:600"}, freepbx, entry="extensions_custom.conf") as asterisk:
        with asterisk.call(record=False) as caller:
            until(caller.landed, 5, "landed")
            assert caller.landed() == ["600"]
        with asterisk.call(record=False, variables={"AI_FALLBACK": "queue:support"}) as caller:
            until(lambda: "Queue" in [step.application for step in caller.steps()], 5, "Queue")
