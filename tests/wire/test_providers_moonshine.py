"""Speech to text with the real moonshine model in real worker processes, on speech by espeak-ng."""

from __future__ import annotations

import asyncio
import os
import signal
import wave
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from asterisk_ai.errors import ConfigError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import Hints, Transcript
from asterisk_ai.providers.engines.moonshine import Moonshine, weights
from asterisk_ai.providers.grammar import Expected, SlotGrammar, parse

pytestmark = pytest.mark.skipif(weights.packaged() is None, reason="moonshine-voice is not installed")

PHRASES = (
    "what are your opening hours",
    "connect me to sales",
    "i would like to speak to an operator",
    "leave a message",
    "goodbye",
    "yes",
    "no",
    "go home",
)
HINTS = Hints.of(*PHRASES)
NUMBER = Hints(Expected((parse("{number}"),), {"number": SlotGrammar({}, 4, 4)}))


def with_engine(case: Callable[[Moonshine], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def main() -> None:
        engine = Moonshine(settings)
        await engine.start()
        try:
            await case(engine)
        finally:
            await engine.stop()
        assert engine.worker_pids == ()

    asyncio.run(main())


async def hear(engine: Moonshine, pcm: bytes, hints: Hints = HINTS, rate: int = 8000) -> Transcript:
    async with engine.open(rate=rate, hints=hints) as stream:
        for start in range(0, len(pcm), rate // 25):
            stream.feed(pcm[start : start + rate // 25])
        return await stream.finish()


def recorded(phrase: str, folder: str = "speech") -> bytes:
    path = Path(__file__).parents[1] / "data" / folder / f"{phrase.replace(' ', '_')}.wav"
    with wave.open(str(path)) as file:
        return file.readframes(file.getnframes())


def test_it_keeps_what_engines_promise() -> None:
    testing.check_speech_to_text(lambda: Moonshine({}), hints=HINTS)


def test_expected_phrases_are_understood() -> None:
    speech = {phrase: recorded(phrase) for phrase in PHRASES if phrase != "go home"}

    async def case(engine: Moonshine) -> None:
        results = await asyncio.gather(*(hear(engine, pcm) for pcm in speech.values()))
        assert [(r.text, r.accepted) for r in results] == [(phrase, True) for phrase in speech]
        assert all(0.0 < r.confidence <= 1.0 and r.free for r in results)

    with_engine(case, workers=2)


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


def test_wide_band_audio() -> None:
    narrow = np.frombuffer(recorded("leave a message"), np.int16).astype(np.float32)
    pcm = soxr.resample(narrow, 8000, 16000).astype(np.int16).tobytes()

    async def case(engine: Moonshine) -> None:
        assert (await hear(engine, pcm, rate=16000)).text == "leave a message"

    with_engine(case)


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


def test_a_worker_that_dies_is_told_and_replaced() -> None:
    async def case(engine: Moonshine) -> None:
        async with engine.open(rate=8000, hints=HINTS) as stream:
            stream.feed(bytes(3200))
            os.kill(engine.worker_pids[0], signal.SIGKILL)
            with pytest.raises(ProviderUnavailable):
                await stream.finish()
        while not engine.readiness().ready:
            await asyncio.sleep(0.02)
        assert (await hear(engine, recorded("yes"))).text == "yes"

    with_engine(case)


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'workers'"):
        Moonshine({"worker": 1})
    with pytest.raises(ConfigError, match="64"):
        Moonshine({"workers": 0})

    async def missing() -> None:
        with pytest.raises(ProviderRejected, match=r"pip install .*providers\.moonshine\.model"):
            await Moonshine({"model": str(tmp_path)}).start()

    asyncio.run(missing())

    async def case(engine: Moonshine) -> None:
        with pytest.raises(ProviderRejected, match="English only"):
            async with engine.open(rate=8000, hints=Hints(language="de-DE")):
                pass
        with pytest.raises(ProviderRejected, match="8000 or 16000 Hz"):
            async with engine.open(rate=44100, hints=HINTS):
                pass

    with_engine(case)
