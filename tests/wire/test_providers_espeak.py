"""espeak-ng, the real library; and the catalog that finds engines."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import ConfigError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import catalog
from asterisk_ai.providers.api import Hints, MarkedPcm, TextToSpeech
from asterisk_ai.providers.chain import Limits, Member, TextToSpeechChain
from asterisk_ai.providers.engines import espeakng
from asterisk_ai.providers.engines.espeak import MAX_TEXT, PIECE_BYTES, Espeak, speakable
from asterisk_ai.providers.engines.pocketsphinx.pronounce import Speller

HOURS = "We are open Monday to Thursday from 9 to 5, and Friday from 9 to 12. "


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Espeak]:
    engine = Espeak(settings)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def speak(engine: Espeak, text: str, voice: str = "", speed: float = 1.0) -> bytes:
    async with engine.open(text, voice=voice, speed=speed) as pieces:
        return b"".join([piece async for piece in pieces])


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / 22_050


def alike(one: bytes, other: bytes) -> bool:
    """The same words: espeak's noise differs each time, its envelope (20 ms) does not."""
    envelopes = []
    for pcm in (one, other):
        samples = np.frombuffer(pcm, "<i2").astype(float)
        envelopes.append(np.sqrt((samples[: len(samples) // 441 * 441].reshape(-1, 441) ** 2).mean(axis=1)))
    length = min(map(len, envelopes))
    close = abs(len(one) - len(other)) <= 0.03 * len(one)
    return close and float(np.corrcoef(envelopes[0][:length], envelopes[1][:length])[0, 1]) > 0.9


def test_it_speaks() -> None:
    async def main() -> None:
        async with running() as engine:
            assert engine.readiness().ready
            assert engine.sample_rate == 22_050
            pcm = await speak(engine, "Hello, this is the reception.")
            assert 1.0 < seconds(pcm) < 3.0
            samples = np.frombuffer(pcm, "<i2").astype(float)
            assert 500 < np.sqrt(np.mean(samples**2)) < 20_000
            assert alike(await speak(engine, "Hello, this is the reception."), pcm)
            assert not alike(await speak(engine, "Good evening, how are you?"), pcm)
            assert await speak(engine, "  \n\x00 ") == b""

    asyncio.run(main())


def test_speed_and_voice() -> None:
    async def main() -> None:
        async with running(words_per_minute=120) as slow, running() as engine:
            usual = seconds(await speak(engine, HOURS))
            assert seconds(await speak(engine, HOURS, speed=2.0)) < usual * 0.7
            assert seconds(await speak(slow, HOURS)) > usual * 1.15
            assert seconds(await speak(engine, HOURS)) == pytest.approx(usual, rel=0.03)
            assert not alike(await speak(engine, "Guten Tag", voice="de"), await speak(engine, "Guten Tag"))
            assert await speak(engine, HOURS, speed=1000)
            assert await speak(engine, HOURS, speed=0)
            with pytest.raises(ProviderRejected, match="no voice 'klingonese'"):
                await speak(engine, "x", voice="klingonese")

    asyncio.run(main())


def test_numbers_and_signs_are_read_and_markup_is_not() -> None:
    async def main() -> None:
        async with running() as engine:
            spoken = await speak(engine, "one two three four")
            assert abs(seconds(await speak(engine, "1 2 3 4")) - seconds(spoken)) < 0.2
            assert alike(await speak(engine, "<b>hello</b> [[h@l]]"), await speak(engine, "b hello /b h@l"))

    asyncio.run(main())


def test_the_first_piece_comes_at_once_and_pieces_are_small() -> None:
    async def main() -> None:
        async with running() as engine:
            await speak(engine, "warm")
            begun = time.monotonic()
            async with engine.open(HOURS * 50) as pieces:
                async for piece in pieces:
                    assert time.monotonic() - begun < 0.2
                    assert 0 < len(piece) <= PIECE_BYTES
                    break

    asyncio.run(main())


async def marks(engine: TextToSpeech, text: str) -> tuple[list[tuple[int, int]], int]:
    """Samples and words at each mark, and all samples."""
    found, samples = [], 0
    async with engine.open(text) as pieces:
        async for pcm in pieces:
            samples += len(pcm) // 2
            if isinstance(pcm, MarkedPcm):
                found.append((samples, pcm.words))
    return found, samples


def test_it_tells_where_words_end() -> None:
    text = "We are open from nine to five, Monday to Friday. It costs 3.50 euros, at 10:30."
    words = text.split()

    async def main() -> None:
        async with running() as engine:
            found, samples = await marks(engine, text)
            counts = [count for _, count in found]
            assert counts == sorted(counts)
            assert set(counts) >= set(range(1, 14)), "every word but the last ones, which numbers make of many"
            assert max(counts) == len(words) - 1, "the last word ends with the audio"
            # That of words spoken alone is a check by other means: "We are open" is as long as its mark says.
            alone = len(await speak(engine, " ".join(words[:7]))) // 2
            at = next(sample for sample, count in found if count == 7)
            assert at == pytest.approx(alone, rel=0.2)
            assert at < samples
            chain = TextToSpeechChain([Member("espeak", engine)], Limits(5))
            assert [count for _, count in (await marks(chain, text))[0]] == counts
            assert (await marks(engine, "under_scored words are not the words of the text"))[0] == []

    asyncio.run(main())


def test_leaving_the_stream_frees_espeak_for_the_next() -> None:
    async def main() -> None:
        async with running() as engine:
            expected = await speak(engine, "Hello.")
            for _ in range(20):
                async with engine.open(HOURS * 60) as pieces:
                    await anext(pieces)
            task = asyncio.create_task(speak(engine, HOURS * 60))
            await asyncio.sleep(0.01)
            task.cancel()
            assert alike(await asyncio.wait_for(speak(engine, "Hello."), 1.0), expected)

    asyncio.run(main())


def test_many_at_once_are_not_mixed_up() -> None:
    async def main() -> None:
        async with running() as engine, running() as other:
            texts = ["hello " * (n + 1) for n in range(30)]
            alone = [await speak(engine, text) for text in texts]
            engines = [engine, other] * 15
            together = await asyncio.gather(*map(speak, engines, texts))
            assert [len(pcm) for pcm in together] == pytest.approx(
                [len(pcm) for pcm in alone], abs=4000
            )  # a word is 13,600

    asyncio.run(main())


def test_stopping_fails_what_is_open_and_ends_the_thread() -> None:
    async def main() -> None:
        engine = Espeak({})
        assert not engine.readiness().ready
        with pytest.raises(ProviderUnavailable, match="not started"):
            await speak(engine, "x")
        await engine.start()
        await engine.start()
        tasks = [asyncio.create_task(speak(engine, HOURS * 60)) for _ in range(5)]
        await asyncio.sleep(0)
        await engine.stop()
        await engine.stop()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, ProviderUnavailable) for result in results)
        assert engine.readiness().reason == "stopped"
        assert not any(thread.name == "espeak" for thread in threading.enumerate())
        await engine.start()
        assert await speak(engine, "again")
        await engine.stop()

    asyncio.run(main())


def test_too_many_waiting_texts_are_refused() -> None:
    async def main() -> None:
        async with running() as engine:
            results = await asyncio.gather(*(speak(engine, HOURS) for _ in range(400)), return_exceptions=True)
            refused = [result for result in results if isinstance(result, ProviderUnavailable)]
            assert 0 < len(refused) < 200
            assert all(result in refused or isinstance(result, bytes) for result in results)

    asyncio.run(main())


def test_speaking_does_not_stall_other_threads() -> None:
    """What allows a thread and not a process; the figures are in the module."""
    lateness: list[float] = []

    def measure(done: threading.Event) -> None:
        while not done.is_set():
            begun = time.perf_counter()
            time.sleep(0.005)
            lateness.append(time.perf_counter() - begun)

    async def main() -> None:
        async with running() as engine:
            await speak(engine, "warm")
            done = threading.Event()
            thread = threading.Thread(target=measure, args=(done,))
            thread.start()
            await asyncio.gather(*(speak(engine, HOURS * 60) for _ in range(4)))
            done.set()
            thread.join()

    asyncio.run(main())
    lateness.sort()
    assert len(lateness) > 20
    assert lateness[len(lateness) // 2] < 0.007  # the tail is the machine's on a shared one


def test_settings_are_checked() -> None:
    for settings, path in (
        ({"voise": "x"}, "voise"),
        ({"voice": 3}, "voice"),
        ({"words_per_minute": 20}, "words_per_minute"),
        ({"words_per_minute": True}, "words_per_minute"),
    ):
        with pytest.raises(ConfigError) as caught:
            Espeak(settings)
        assert caught.value.path == f"providers.espeak.{path}"

    async def main() -> None:
        engine = Espeak({"voice": "klingonese"})
        with pytest.raises(ProviderRejected):
            await engine.start()
        assert "klingonese" in engine.readiness().reason

    asyncio.run(main())


def test_a_long_path_of_the_data_is_shortened(tmp_path: Path) -> None:
    """espeak-ng cuts it at 160 bytes, and an environment may well lie deeper than that."""
    deep = tmp_path / ("d" * 100) / ("e" * 60)
    deep.mkdir(parents=True)
    assert espeakng_loader.__file__ is not None
    package = Path(espeakng_loader.__file__).parent
    (deep / "espeakng_loader").mkdir()
    for item in package.iterdir():
        (deep / "espeakng_loader" / item.name).symlink_to(item)
    program = (
        "import asyncio, espeakng_loader, tempfile, os\n"
        f"assert espeakng_loader.get_data_path().startswith({str(deep)!r})\n"
        "from asterisk_ai.providers.engines.espeak import Espeak\n"
        "async def main():\n"
        "    engine = Espeak({}); await engine.start()\n"
        "    async with engine.open('hello') as pieces: print(sum([len(piece) async for piece in pieces]))\n"
        "    await engine.stop()\n"
        "asyncio.run(main())\n"
    )
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join([str(deep), *sys.path]), TMPDIR=str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    assert int(ran.stdout or 0) > 10_000, ran.stderr
    assert list(tmp_path.glob("espeak-*")) == []


@given(st.text())
def test_only_what_can_be_read_out_is_left(text: str) -> None:
    kept = speakable(text)
    kept.encode()
    assert kept.isprintable()
    assert len(kept) <= MAX_TEXT
    assert not set(kept) & set("[]<>|\n\x00")


def test_long_texts_are_cut() -> None:
    assert len(speakable("word " * 5000)) <= MAX_TEXT
    assert speakable("\ud800 caf\u00e9 \U0001f600") == "caf\u00e9 \U0001f600"


def test_the_catalog_imports_what_is_named() -> None:
    assert catalog.load("tts", "espeak") is Espeak
    assert catalog.load("llm", "rules").__name__ == "Rules"
    assert catalog.load("tts", "asterisk_ai.providers.engines.espeak:Espeak") is Espeak
    assert "rules" in catalog.names("llm")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("asr", "x", "no kind of engine 'asr'; known: realtime, stt, llm, tts, turn"),
        ("tts", "espaek", "did you mean 'espeak'"),
        ("tts", "zzz", "known: azure_speech, cartesia, deepgram, elevenlabs, espeak, hibari, kokoro, openai"),
        ("tts", "no_such_package.x:Y", "cannot be imported: No module named 'no_such_package'"),
        ("tts", "asterisk_ai.providers.engines.espeak:Nothing", "has no class Nothing"),
        ("tts", "asterisk_ai.providers.engines.espeak:NAME", "has no class NAME"),
        ("tts", ".relative:Y", "package.module:Class"),
        ("tts", "a b:Y", "package.module:Class"),
    ],
)
def test_the_catalog_says_what_is_wrong(kind: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        catalog.load(kind, name)
    assert message in str(caught.value)


OWN = """
from contextlib import asynccontextmanager
class Model:
    def __init__(self, settings, agent): pass
    @asynccontextmanager
    async def reply(self, request):
        yield None
    async def start(self): pass
    async def stop(self): pass
class Ears(Model):
    sample_rates = (8000,)
    @asynccontextmanager
    async def open(self, *, rate, hints):
        yield None
"""


def test_what_anybodys_engine_leaves_out_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left_out.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    engine = catalog.LLM.load("left_out:Model")({}, {})
    assert (engine.hints({}), engine.digits_wanted({}), engine.complete("x", {})) == (Hints(), 0, None)
    assert engine.readiness().ready
    assert not engine.uses_tools


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("stt", "left_out:Ears", "open() does not take 'partial'"),
        ("tts", "left_out:Model", "has no method open()"),
        ("turn", "left_out:Model", "has no method likelihood()"),
    ],
)
def test_an_engine_that_cannot_be_called_as_a_call_does_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, message: str
) -> None:
    (tmp_path / "left_out.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=re.escape(message)):
        catalog.load(kind, name)


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_engine.py").write_text("import vosk.absent\nclass Own: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "vosk", None)
    with pytest.raises(ConfigError, match=r"pip install 'asterisk-ai\[local\]'"):
        catalog.load("stt", "own_engine:Own")


def test_engines_that_start_at_once_share_the_one_library(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Slow:
        def __init__(self) -> None:
            made.append(self)
            time.sleep(0.05)

    monkeypatch.setattr(espeakng, "_loaded", functools.cache(Slow))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: espeakng.library(), range(4)))
    assert len(made) == 1
    assert all(one is made[0] for one in found)


def test_it_still_speaks_after_a_recogniser_of_this_process_has_read_out_a_word() -> None:
    async def main() -> None:
        async with running() as engine:
            before = seconds(await speak(engine, HOURS))
            assert Speller().phones("thermomix")
            assert seconds(await speak(engine, HOURS)) == pytest.approx(before, rel=0.03)

    asyncio.run(main())


def test_data_that_is_not_there_is_told_by_the_voice_and_by_the_speller(tmp_path: Path) -> None:
    script = (
        "import asyncio, espeakng_loader\n"
        f"espeakng_loader.get_data_path = lambda: {str(tmp_path / 'none')!r}\n"
        "from asterisk_ai.errors import ProviderUnavailable\n"
        "from asterisk_ai.providers.engines.espeak import Espeak\n"
        "from asterisk_ai.providers.engines.pocketsphinx.pronounce import Speller\n"
        "assert Speller().phones('thermomix') == ''\n"
        "try:\n"
        "    asyncio.run(Espeak({}).start())\n"
        "except ProviderUnavailable as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert f"its data cannot be read at {tmp_path / 'none'}" in done.stdout, (done.returncode, done.stderr)
