"""Greetings, small words and noises, recognised and answered by the rules: nothing is done (support/harmless.py)."""

from __future__ import annotations

import pytest
from harmless import WORDS, acted, noises
from heard import by_hibari

from asterisk_ai.providers.engines.moonshine import weights
from asterisk_ai.providers.engines.moonshine.engine import MoonshineEngine

pytestmark = pytest.mark.skipif(weights.packaged() is None, reason="moonshine-voice is missing")


@pytest.fixture(scope="module")
def engine() -> MoonshineEngine:
    return MoonshineEngine({"model": "", "most_load": 100})


@pytest.mark.parametrize("text", WORDS[::2])
def test_small_words_do_nothing(engine: MoonshineEngine, text: str) -> None:
    did, heard = acted(engine, by_hibari(text))
    assert not did, heard


def test_noises_do_nothing(engine: MoonshineEngine) -> None:
    for name, pcm in list(noises())[::5]:
        did, heard = acted(engine, pcm)
        assert not did, (name, heard)
