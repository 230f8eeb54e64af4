"""No server, and every way to name the fallback: the caller always gets somewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ports import free_port
from rig import Asterisk, Hangup, speech, until


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


SORRY = ("Playback", "vm-nobodyavail&please-try-call-later")


@pytest.mark.parametrize(
    ("fallback", "step"),
    [
        ("queue:support", ("TryExec", "Queue(support)")),
        ("voicemail:100@default", ("TryExec", "VoiceMail(100@default,u)")),
        ("message:demo-thanks", ("Playback", "demo-thanks")),
        ("extension:landed,601", ("NoOp", "landed 601")),
        ("extension:landed,601,1", ("NoOp", "landed 601")),
        ("", SORRY),
        ("nonsense", SORRY),
        ("message:none-such", SORRY),
        ("message:", SORRY),
        ("extension:nowhere,1,1", SORRY),
        ("extension:601", SORRY),
        ("extension:landed,601,7", SORRY),
        ("queue:none-such", SORRY),
        ("voicemail:999@default", SORRY),
    ],
)
def test_fallbacks(alone: Asterisk, fallback: str, step: tuple[str, str]) -> None:
    with alone.call(variables={"AI_FALLBACK": fallback}, record=False) as caller:
        until(lambda: step in [(s.application, s.data) for s in caller.steps()], 8, str(step))


def test_a_module_that_is_not_there_costs_no_call() -> None:
    """Without app_voicemail and app_queue there are words all the same."""
    with Asterisk(server=f"127.0.0.1:{free_port()}") as asterisk:
        for module in ("app_voicemail", "app_queue"):
            assert "Unloaded" in asterisk.rx(f"module unload {module}.so")
        for fallback in ("voicemail:100@default", "queue:support"):
            with asterisk.call(variables={"AI_FALLBACK": fallback}, record=False) as caller:
                until(lambda caller=caller: SORRY in [(s.application, s.data) for s in caller.steps()], 8, fallback)


def test_without_any_sound_there_is_a_tone() -> None:
    with Asterisk(server=f"127.0.0.1:{free_port()}", globals_={"AI_FALLBACK": ""}) as asterisk:
        (asterisk.folder / "data/sounds/en").unlink()
        with asterisk.call() as caller, pytest.raises(Hangup):
            caller.wait(20)
        assert sum(end - begin for begin, end in speech(caller.heard())) > 1


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
    with Asterisk(
        nowhere, globals_={"AI_FALLBACK": "queue:600"}, dialplan=freepbx, entry="extensions_custom.conf"
    ) as asterisk:
        with asterisk.call(record=False) as caller:
            until(caller.landed, 5, "landed")
            assert caller.landed() == ["600"]
        with asterisk.call(record=False, variables={"AI_FALLBACK": "queue:support"}) as caller:
            until(lambda: "Queue(support)" in [step.data for step in caller.steps()], 5, "Queue")
