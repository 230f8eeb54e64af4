"""What every recogniser that runs here has to do, with its real model in real worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from recognisers import HINTS, PHRASES, hear, recorded, wide, with_engine

from asterisk_ai.errors import ConfigError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.engines.moonshine import Moonshine, weights
from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx

ENGINES = [
    PocketSphinx,
    pytest.param(Moonshine, marks=pytest.mark.skipif(weights.packaged() is None, reason="moonshine-voice is missing")),
]
pytestmark = pytest.mark.parametrize("make", ENGINES)


def test_phrases_that_are_expected_are_understood(make: type[Any]) -> None:
    speech = {phrase: recorded(phrase) for phrase in PHRASES}

    async def case(engine: Any) -> None:
        results = [await hear(engine, pcm) for pcm in speech.values()]  # not at once: a busy machine takes its time
        assert [(one.text, one.accepted) for one in results] == [(phrase, True) for phrase in PHRASES]
        assert all(0.0 <= one.confidence <= 1.0 for one in results)
        assert all(one.free for one in results) == (make is Moonshine)

    with_engine(make, case, workers=2)


def test_wide_band_audio(make: type[Any]) -> None:
    async def case(engine: Any) -> None:
        result = await hear(engine, wide(recorded("leave a message")), rate=16_000)
        assert (result.text, result.accepted) == ("leave a message", True)

    with_engine(make, case)


def test_a_worker_killed_in_mid_utterance(make: type[Any]) -> None:
    async def case(engine: Any) -> None:
        async with engine.open(rate=8000, hints=HINTS) as stream:
            stream.feed(recorded("goodbye")[:3200])
            os.kill(engine.worker_pids[0], signal.SIGKILL)
            with pytest.raises(ProviderUnavailable):
                await stream.finish()
        while not engine.readiness().ready:
            await asyncio.sleep(0.02)
        assert (await hear(engine, recorded("goodbye"))).text == "goodbye"

    with_engine(make, case)


def test_what_it_does_not_take(make: type[Any]) -> None:
    async def case(engine: Any) -> None:
        with pytest.raises(ProviderRejected, match="English only, not de-DE"):
            await hear(engine, b"", Hints(HINTS.expected, "de-DE"))
        with pytest.raises(ProviderRejected, match="8000 or 16000 Hz, not 44100"):
            await hear(engine, b"", rate=44100)

    with_engine(make, case)


@pytest.mark.parametrize("settings", [{"worker": 1}, {"workers": 0}, {"workers": True}, {"workers": "2"}])
def test_settings_that_are_wrong(make: type[Any], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"providers\.\w+\.workers?: "):
        make(settings)
