"""How many words of a human voice the free recogniser gets wrong, on the recordings of Asterisk's sound package."""

from __future__ import annotations

import asyncio
import hashlib
import re

import numpy as np
import pytest
import soundfile
from rig import SOUNDS, why_not, wording

from asterisk_ai.dialog.values import tokens
from asterisk_ai.providers.api import Hints, SpeechToText
from asterisk_ai.providers.engines.moonshine import Moonshine

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.slow, pytest.mark.timeout(400)]

DIGITS = "zero one two three four five six seven eight nine".split()
PROMPTS = 30


def prompts() -> list[tuple[list[str], bytes]]:
    """Prompts of 3 to 25 words, as words and as 8 kHz audio; the same ones each time, in no order of theirs."""
    found = []
    for name, text in wording().items():
        words = plain(text)
        if 3 <= len(words) <= 25 and not re.search(r"[<(*#]", text):
            found.append((hashlib.sha256(name.encode()).digest(), name, words))
    return [(words, sound(name)) for _, name, words in sorted(found)[:PROMPTS]]


def sound(name: str) -> bytes:
    samples, _ = soundfile.read(SOUNDS / f"{name}.wav", dtype="int16")
    return bytes(samples.tobytes())


def plain(text: str) -> list[str]:
    return tokens(re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text))


def errors(wanted: list[str], heard: list[str]) -> int:
    row = list(range(len(heard) + 1))
    for at, word in enumerate(wanted, 1):
        before, row = row, [at]
        for column, other in enumerate(heard):
            row.append(min(before[column] + (word != other), before[column + 1] + 1, row[column] + 1))
    return row[-1]


def word_errors(noise_db: float | None) -> float:
    async def heard(engine: SpeechToText, pcm: bytes) -> str:
        async with engine.open(rate=8000, hints=Hints()) as stream:
            stream.feed(noisy(pcm, noise_db))
            return (await stream.finish()).text

    async def main() -> float:
        engine = Moonshine({})
        await engine.start()
        try:
            pairs = [(words, plain(await heard(engine, pcm))) for words, pcm in prompts()]
        finally:
            await engine.stop()
        return sum(errors(*pair) for pair in pairs) / sum(len(words) for words, _ in pairs)

    return asyncio.run(main())


def noisy(pcm: bytes, noise_db: float | None) -> bytes:
    """With white noise so much below the speech."""
    if noise_db is None:
        return pcm
    samples = np.frombuffer(pcm, np.int16).astype(np.float64)
    level = float(np.sqrt(np.mean(samples[np.abs(samples) > 300] ** 2))) * 10 ** (-noise_db / 20)
    noise = np.random.default_rng(1).normal(0, level, len(samples))
    return bytes(np.clip(samples + noise, -32768, 32767).astype(np.int16).tobytes())


@pytest.mark.parametrize(("noise_db", "most"), [(None, 0.12), (20.0, 0.18)], ids=["clean", "20 dB of noise"])
def test_words_of_a_human_voice(noise_db: float | None, most: float) -> None:
    share = word_errors(noise_db)
    print(f"{share:.1%} of the words are wrong")
    assert share <= most
