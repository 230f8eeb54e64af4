"""Speech to text with the real pocketsphinx in real worker processes, on speech by espeak-ng and by a human."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recognisers
from recognisers import HINTS, PHRASES, Case, hear, recorded

from asterisk_ai.audio.pauses import Pauses
from asterisk_ai.errors import ConfigError, ProviderRejected
from asterisk_ai.providers.api import Hints, Transcript
from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx
from asterisk_ai.providers.engines.pocketsphinx.decoders import MOST_PAIRS
from asterisk_ai.providers.engines.pocketsphinx.pronounce import Speller, arpabet
from asterisk_ai.providers.engines.pocketsphinx.scores import distance


def grammar(*phrases: str) -> Hints:
    return Hints.of(*phrases)


def with_engine(case: Case, **settings: Any) -> None:
    recognisers.with_engine(PocketSphinx, case, **settings)


def test_what_is_outside_of_the_grammar_is_refused() -> None:
    others = (
        "the weather is lovely today",
        "my grandmother lives in a yellow submarine",
        "please bring me seven bottles of lemonade",
        "elephants",
    )
    # Recorded: of 60 times that espeak-ng says "elephants", two sound like a sure "yes".
    speech = [recorded(other, "recognition") for other in others]

    async def case(engine: PocketSphinx) -> None:
        for pcm, other in zip(speech, others, strict=True):
            result = await hear(engine, pcm)
            assert not result.accepted, (other, result)

    with_engine(case)


def test_silence_and_no_audio_have_no_words() -> None:
    async def case(engine: PocketSphinx) -> None:
        noise = np.random.default_rng(1).normal(0, 4, 16000).astype(np.int16).tobytes()
        for pcm in (b"", bytes(16000), noise, b"\1"):
            result = await hear(engine, pcm)
            assert (result.text, result.accepted) == ("", False)

    with_engine(case)


def test_optional_words_and_digits() -> None:
    digit = "(one|two|three|four)"
    hints = Hints.of(f"[please] (call {digit} {digit} [{digit}] | go home)")
    speech = [recorded("please call one two three", "recognition"), recorded("go home", "recognition")]

    async def case(engine: PocketSphinx) -> None:
        assert [(await hear(engine, pcm, hints)).text for pcm in speech] == ["please call one two three", "go home"]

    with_engine(case)


def test_names_that_no_dictionary_has() -> None:
    hints = grammar("connect me to szczepanski", "connect me to thermomix", "goodbye")
    pcm = recorded("connect me to thermomix", "recognition")

    async def case(engine: PocketSphinx) -> None:
        await engine.check_grammar(hints)
        result = await hear(engine, pcm, hints)
        assert (result.text, result.accepted) == ("connect me to thermomix", True)

    with_engine(case)


def test_a_word_that_cannot_be_pronounced() -> None:
    strange = grammar("hello 你好")

    async def case(engine: PocketSphinx) -> None:
        pids = engine.worker_pids
        with pytest.raises(ProviderRejected, match="'你好' cannot be pronounced"):
            await engine.check_grammar(strange)
        with pytest.raises(ProviderRejected, match="'你好' cannot be pronounced"):
            await hear(engine, bytes(3200), strange)
        await engine.check_grammar(HINTS)
        assert engine.worker_pids == pids

    with_engine(case)


def test_more_grammars_than_are_kept() -> None:
    pcm = recorded("goodbye")

    async def case(engine: PocketSphinx) -> None:
        for number in range(70):
            await engine.check_grammar(grammar("goodbye", "hello " * (number + 1)))
        result = await hear(engine, pcm, grammar("goodbye", "hello"))
        assert (result.text, result.accepted) == ("goodbye", True)

    with_engine(case)


def test_a_pause_is_decoded_ahead() -> None:
    """After the pause that an endpointer waits for, the words are there at once."""
    pcm = recorded("what are your opening hours") + bytes(12800)

    async def case(engine: PocketSphinx) -> None:
        await engine.check_grammar(HINTS)
        async with engine.open(rate=8000, hints=HINTS) as stream:
            for start in range(0, len(pcm), 320):
                stream.feed(pcm[start : start + 320])
                await asyncio.sleep(0.02)
            began = time.perf_counter()
            result = await stream.finish()
            assert time.perf_counter() - began < 0.1
        assert (result.text, result.accepted) == ("what are your opening hours", True)

    with_engine(case)


def test_words_are_told_while_the_caller_speaks_and_in_each_pause() -> None:
    """What is told in a pause is told soon, and again where the caller goes on and pauses again."""
    parts = [recorded("connect me to sales"), recorded("one two three four")]
    pcm = b"".join(part + bytes(8000) for part in parts)
    hints = grammar("connect me to sales [one two three four]", "leave a message")
    whole = "connect me to sales one two three four"
    told: list[Transcript] = []

    async def case(engine: PocketSphinx) -> None:
        await engine.check_grammar(hints)
        async with engine.open(rate=8000, hints=hints, partial=told.append) as stream:
            for start in range(0, len(pcm), 320):
                stream.feed(pcm[start : start + 320])
                await asyncio.sleep(0.02)
            result = await stream.finish()
        assert (result.text, result.accepted) == ("connect me to sales one two three four", True)

    with_engine(case)
    texts = [words.text for words in told if words.accepted]
    assert "connect me to sales" in texts
    assert texts[-1] == whole
    assert len(texts) < 12


def test_more_utterances_at_once_than_there_are_decoders() -> None:
    """Those for which there are none are decoded at their end; none is lost, and all decoders are free again."""
    speech = {phrase: recorded(phrase) for phrase in PHRASES}
    callers = [phrase for phrase in PHRASES for _ in range(2)]
    assert len(callers) > MOST_PAIRS

    async def case(engine: PocketSphinx) -> None:
        for _ in range(2):
            async with contextlib.AsyncExitStack() as stack:
                streams = [await stack.enter_async_context(engine.open(rate=8000, hints=HINTS)) for _ in callers]
                for stream, phrase in zip(streams, callers, strict=True):
                    stream.feed(speech[phrase])
                results = [await stream.finish() for stream in streams]
            assert [(r.text, r.accepted) for r in results] == [(phrase, True) for phrase in callers]
            abandoned = contextlib.AsyncExitStack()
            async with abandoned:
                for phrase in callers:
                    stream = await abandoned.enter_async_context(engine.open(rate=8000, hints=HINTS))
                    stream.feed(speech[phrase])
                await asyncio.sleep(0.5)

    with_engine(case)


def test_an_endless_utterance_is_bounded() -> None:
    pcm = recorded("goodbye")

    async def case(engine: PocketSphinx) -> None:
        async with engine.open(rate=8000, hints=HINTS) as stream:
            for _ in range(60):
                stream.feed(bytes(16000))
                await asyncio.sleep(0.001)
            stream.feed(pcm)
            assert (await stream.finish()).text == "goodbye"

    with_engine(case)


def test_a_rejection_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"providers\.pocketsphinx\.rejection"):
        PocketSphinx({"rejection": "loose"})


def test_rejection_switched_off() -> None:
    pcm = recorded("elephants", "recognition")

    async def case(engine: PocketSphinx) -> None:
        result = await hear(engine, pcm, grammar("yes", "no", "elegance"))
        assert result.accepted

    with_engine(case, rejection=False)


def test_without_a_grammar_the_free_language_model_listens() -> None:
    pcm = recorded("what are your opening hours")

    async def case(engine: PocketSphinx) -> None:
        result = await hear(engine, pcm, Hints())
        assert result.accepted
        assert result.text.startswith("what are")

    with_engine(case)


def human(name: str) -> bytes:
    with wave.open(str(Path(os.environ["ASTERISK_SOUNDS"]) / f"{name}.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
        return file.readframes(file.getnframes())


@pytest.mark.slow
def test_human_speech(prompts: dict[str, str]) -> None:
    """Some of the prompts that are a plain sentence are in the grammar, the others are not."""
    plain = {
        name: words
        for name, text in sorted(prompts.items())
        if 3 <= len((words := text.lower().strip(" .!").replace(",", "")).split()) <= 9
        and words.replace(" ", "").replace("'", "").isalpha()
        and "silence" not in words
    }
    texts = sorted(set(plain.values()))
    rng = random.Random(3)
    chosen = set(rng.sample(texts, 60))
    inside = rng.sample([name for name, words in plain.items() if words in chosen], 20)
    outside = rng.sample([name for name, words in plain.items() if words not in chosen], 20)
    hints = grammar(*sorted(chosen))

    async def case(engine: PocketSphinx) -> None:
        right = wrong = 0
        for name in inside:
            result = await hear(engine, human(name), hints)
            right += result.accepted and result.text == plain[name]
        for name in outside:
            wrong += (await hear(engine, human(name), hints)).accepted
        assert right >= 0.92 * len(inside)
        assert wrong <= 0.15 * len(outside)

    with_engine(case)


def test_pronunciations() -> None:
    speller = Speller()
    assert speller.phones("reception") == "R IH S EH P SH AH N"
    assert speller.phones("thermomix") == "TH ER M AH M IH K S"
    assert speller.phones("...") == ""
    assert arpabet("tʃˈaɪld") == "CH AY L D"
    assert arpabet("ǃ") == ""


def test_phonetic_distance() -> None:
    assert distance("Y EH S".split(), "Y EH S".split()) == 0
    assert distance("Y EH S".split(), "Y EH Z".split()) < distance("Y EH S".split(), "Y EH M".split())
    assert distance([], ["N", "OW"]) == 1
    assert distance(["N", "OW"], []) == pytest.approx(0.8)


def test_pauses() -> None:
    pauses = Pauses(8000)
    loud = (3000 * np.sin(np.arange(3200))).astype(np.int16).tobytes()
    pauses.feed(bytes(4000))
    assert not pauses.pausing()
    pauses.feed(loud)
    assert not pauses.pausing()
    pauses.feed(bytes(4800))
    assert pauses.pausing()
    mark = pauses.frames
    first, last = pauses.speech()
    assert first <= 2000 < 5200 <= last <= pauses.samples
    pauses.feed(bytes(4800))
    assert not pauses.loud_since(mark)
    pauses.feed(loud)
    assert pauses.loud_since(mark)
