"""Speech to text with the real moonshine model in real worker processes, on speech by espeak-ng."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recognisers
from recognisers import HINTS, PHRASES, Case, hear, recorded, wide

from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import Hints, Transcript
from asterisk_ai.providers.engines.moonshine import Moonshine, weights
from asterisk_ai.providers.engines.moonshine.engine import MoonshineEngine
from asterisk_ai.providers.engines.moonshine.expected import Wanted
from asterisk_ai.providers.grammar import Expected, SlotGrammar, parse

pytestmark = pytest.mark.skipif(weights.packaged() is None, reason="moonshine-voice is not installed")

NUMBER = Hints(Expected((parse("{number}"),), {"number": SlotGrammar({}, 4, 4)}))


def with_engine(case: Case, **settings: Any) -> None:
    recognisers.with_engine(Moonshine, case, **settings)


def test_it_keeps_what_engines_promise() -> None:
    testing.check_speech_to_text(lambda: Moonshine({}), hints=HINTS)


def test_what_is_not_expected_is_free_text_and_never_forced_into_a_phrase() -> None:
    others = ("the_weather_is_lovely_today", "my_grandmother_lives_in_a_yellow_submarine", "elephants")

    async def case(engine: Moonshine) -> None:
        for other in others:
            result = await hear(engine, recorded(other, "recognition"))
            assert result.text.lower() not in PHRASES, (other, result)
            assert result.text == result.free

    with_engine(case)


def test_digits_that_are_expected_are_read_as_many_as_there_are() -> None:
    whole = recorded("one two three four")
    half = whole[: len(whole) * 45 // 100]

    async def case(engine: Moonshine) -> None:
        assert (await hear(engine, whole, NUMBER)).text == "one two three four"
        assert (await hear(engine, half, NUMBER)).text.split() in (["one"], ["one", "two"])

    with_engine(case)


def test_sound_that_is_no_speech_is_no_phrase() -> None:
    random = np.random.default_rng(1)
    click = np.zeros(8000, np.int16)
    click[4000:4040] = 20000
    tone = (np.sin(np.arange(16000) * 2 * np.pi * 425 / 8000) * 6000).astype(np.int16)
    noise = random.normal(0, 1500, 8000).astype(np.int16)

    async def case(engine: Moonshine) -> None:
        for sound in (b"", b"\1", bytes(16000), click.tobytes(), tone.tobytes(), noise.tobytes()):
            result = await hear(engine, sound)
            assert result.text.lower() not in PHRASES, result

    with_engine(case)


def test_speech_of_eleven_seconds_without_a_pause_is_read() -> None:
    speech = np.resize(np.frombuffer(wide(recorded("elephants", "recognition")), np.int16), 11 * 16_000).tobytes()
    wanted = Wanted(("what are your opening hours",))
    *_, heard = MoonshineEngine({"model": "", "most_load": 100}).understand(speech, wanted)
    assert heard is not None


def test_words_are_told_in_the_pause_before_the_end() -> None:
    async def case(engine: Moonshine) -> None:
        told: asyncio.Queue[Transcript] = asyncio.Queue()
        async with engine.open(rate=8000, hints=HINTS, partial=told.put_nowait) as stream:
            stream.feed(recorded("leave a message") + bytes(6400))
            assert (await told.get()).text == "leave a message"
            assert (await stream.finish()).text == "leave a message"

    with_engine(case)


def test_a_machine_that_is_too_slow_says_so_and_leaves_the_callers_to_the_next_engine() -> None:
    async def main() -> None:
        with pytest.raises(ProviderRejected, match="name pocketsphinx alone: stt: pocketsphinx"):
            await Moonshine({"most_load": 0.01}).start()

    asyncio.run(main())

    async def case(engine: Moonshine) -> None:
        assert "ms of a core" in engine.readiness().reason

    with_engine(case)


def test_a_model_that_is_missing_is_told(tmp_path: Path) -> None:
    async def missing() -> None:
        with pytest.raises(ProviderRejected, match=r"pip install .*providers\.moonshine\.model"):
            await Moonshine({"model": str(tmp_path)}).start()

    asyncio.run(missing())
