"""The local engines with their real libraries, on tiny models that are made here."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from whole_calls import calls, records

from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.config import load, parse, share_path
from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import Hints, Message, ReplyPart, Say, Transcript, TurnRequest
from asterisk_ai.providers.engines.gpt4all import Gpt4All
from asterisk_ai.providers.engines.piper import Piper
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.engines.vosk import Vosk
from asterisk_ai.providers.engines.vosk.engine import VoskEngine

AGENT = {"name": "desk", "prompt": "You are brief.", "language": "en-US"}


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx")
    pytest.importorskip("piper")
    return tiny_models.piper_voice(tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf")
    pytest.importorskip("gpt4all")
    return tiny_models.gguf_model(tmp_path_factory.mktemp("model"))


# ---- piper --------------------------------------------------------------------------------------


async def speak(engine: Piper, text: str, **options: Any) -> np.ndarray[Any, Any]:
    async with engine.open(text, **options) as pieces:
        return np.frombuffer(b"".join([pcm async for pcm in pieces]), "<i2")


def pitch(samples: np.ndarray[Any, Any]) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples)))) * tiny_models.RATE / len(samples)


def test_piper_conforms(voice: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    testing.check_text_to_speech(
        lambda: Piper({"model": str(voice)}), broken=lambda: Piper({"model": str(tmp_path / "bad.onnx")})
    )


def test_piper_speaks_at_the_voices_rate_and_at_any_speed(voice: Path) -> None:
    async def main() -> None:
        engine = Piper({"model": str(voice), "speed": 2.0})
        await engine.start()
        assert engine.sample_rate == tiny_models.RATE
        fast = await speak(engine, "hello there")
        slow = await speak(engine, "hello there", speed=0.5)
        assert pitch(slow) == pytest.approx(tiny_models.HERTZ, rel=0.02)
        assert len(slow) / len(fast) == pytest.approx(2.0, rel=0.02)
        await engine.stop()

    asyncio.run(main())


def test_piper_has_speakers(voice: Path, tmp_path: Path) -> None:
    async def main() -> None:
        engine = Piper({"model": str(tiny_models.piper_voice(tmp_path, speakers=2)), "speaker": "voice1"})
        await engine.start()
        assert pitch(await speak(engine, "hello")) == pytest.approx(2 * tiny_models.HERTZ, rel=0.02)
        assert pitch(await speak(engine, "hello", voice="voice0")) == pytest.approx(tiny_models.HERTZ, rel=0.02)
        assert pitch(await speak(engine, "hello", voice="0")) == pytest.approx(tiny_models.HERTZ, rel=0.02)
        with pytest.raises(ProviderRejected, match="no speaker 'voice7'"):
            await speak(engine, "hello", voice="voice7")
        await engine.stop()

    asyncio.run(main())


def test_the_first_sentence_is_heard_before_the_last_is_made(voice: Path) -> None:
    async def main() -> None:
        engine = Piper({"model": str(voice)})
        await engine.start()
        began = time.monotonic()
        async with engine.open("This is a sentence. " * 200) as pieces:
            await anext(pieces)
            first = time.monotonic() - began
            count = 1
            async for _ in pieces:
                count += 1
        assert count >= 200
        assert first < (time.monotonic() - began) / 3
        await engine.stop()

    asyncio.run(main())


# ---- gpt4all ------------------------------------------------------------------------------------


def test_a_model_that_the_library_cannot_load_is_told_at_the_start(model: Path, tmp_path: Path) -> None:
    """It makes an object of a file without its weights, and only returns False where they are loaded."""
    broken = tmp_path / "half.gguf"
    broken.write_bytes(model.read_bytes()[:-50_000])

    async def main() -> None:
        engine = Gpt4All({"model": str(broken)}, {"name": "desk"})
        with pytest.raises(ProviderRejected, match="cannot be loaded"):
            await engine.start()
        assert not engine.readiness().ready

    asyncio.run(main())


async def answer(engine: Gpt4All, text: str, **more: Any) -> list[ReplyPart]:
    async with engine.reply(TurnRequest(text, **more)) as parts:
        return [part async for part in parts]


def test_gpt4all_conforms(model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"no model" * 100)
    testing.check_language_model(
        lambda: Gpt4All({"model": str(model), "max_tokens": 20, "context": 4096, "threads": 1}, AGENT),
        broken=lambda: Gpt4All({"model": str(tmp_path / "bad.gguf")}, AGENT),
    )


def test_gpt4all_answers_stops_and_can_be_left(model: Path) -> None:
    async def main() -> None:
        common = {"model": str(model), "context": 4096, "threads": 1, "temperature": 0.0}
        engine = Gpt4All({**common, "max_tokens": 40}, AGENT)
        await engine.start()
        said = await answer(engine, "hello", history=[Message("caller", "x" * 5000), Message("agent", "well")])
        assert said
        assert all(isinstance(part, Say) for part in said)
        whole = " ".join(part.text for part in said if isinstance(part, Say))
        word = whole.split()[len(whole.split()) // 2]
        await engine.stop()

        stopping = Gpt4All({**common, "max_tokens": 40, "stop": [word]}, AGENT)
        await stopping.start()
        try:
            parts = await answer(stopping, "hello")
            assert word not in " ".join(part.text for part in parts if isinstance(part, Say))
        except ProviderError:
            pass  # the very first word may be the one that stops it
        began = time.monotonic()
        leaving = [asyncio.ensure_future(answer(stopping, "hello")) for _ in range(5)]
        await asyncio.sleep(0.01)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert time.monotonic() - began < 1
        await stopping.stop()

    asyncio.run(main())


def test_agents_share_one_process_with_the_model(model: Path) -> None:
    config = parse(
        f"""
pipelines: {{offline: {{llm: gpt4all}}}}
providers: {{gpt4all: {{model: "{model}", context: 256, threads: 1}}}}
default_agent: a
agents: {{a: {{prompt: One.}}, b: {{prompt: Two.}}}}
"""
    )

    async def main() -> None:
        agent_set = AgentSet(config, Engines())
        await agent_set.start()
        pids = {agent_set.agents[name].llm.first().engine.worker_pids for name in ("a", "b")}  # type: ignore[attr-defined]
        assert len(pids) == 1
        await agent_set.close()
        (pid,) = pids.pop()
        assert not Path(f"/proc/{pid}").exists()

    asyncio.run(main())


@pytest.mark.parametrize(
    "wrong", [{}, {"model": "x", "n": 1}, {"model": "x", "context": 1}, {"model": "x", "template": {"user": "x"}}]
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="providers"):
        Gpt4All(wrong, AGENT)


# ---- vosk ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kaldi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("vosk")
    return tiny_models.kaldi_model(tmp_path_factory.mktemp("kaldi") / "model")


def said(*words: str, rate: int = 8000) -> bytes:
    """Tones for words, with pauses."""
    pause = bytes(rate // 2)
    pcm = pause
    for word in words:
        times = np.arange(rate * 2 // 5) / rate
        soft = np.minimum(1.0, np.minimum(times, times[::-1]) / 0.03)  # a sudden beginning is a click of all tones
        wave = np.sin(2 * np.pi * tiny_models.KALDI_WORDS[word] * times) * soft
        pcm += (wave * 6000).astype("<i2").tobytes() + pause
    return pcm


def test_vosk_conforms(kaldi: Path, tmp_path: Path) -> None:
    testing.check_speech_to_text(
        lambda: Vosk({"model": str(kaldi)}),
        speech=said("hours", "sales"),
        text="hours sales",
        broken=lambda: Vosk({"model": str(tmp_path)}),
    )


def test_vosk_tells_the_words_while_they_are_spoken(kaldi: Path) -> None:
    async def main() -> None:
        engine = Vosk({"model": str(kaldi)})
        await engine.start()
        for rate in (8000, 16_000):
            partials: list[Transcript] = []
            async with engine.open(rate=rate, hints=Hints(), partial=partials.append) as stream:
                pcm = said("hours", "sales", rate=rate)
                for start in range(0, len(pcm), rate // 25):
                    stream.feed(pcm[start : start + rate // 25])
                    await asyncio.sleep(0.005)
                words = await stream.finish()
            assert (words.text, words.accepted) == ("hours sales", True)
            assert [word.text for word in words.words] == ["hours", "sales"]
            # The library takes each frame for 30 ms, as real models have them; the tiny one's are of 10 ms.
            ends = [word.end / 3 for word in words.words]
            assert 0.65 <= ends[0] <= 0.9, "after the first word, before the second one"
            assert 1.3 <= ends[1] <= 1.55
            heard = [item.text for item in partials]
            assert "hours" in heard, "told before the second word was said"
            assert heard[-1] == "hours sales"
        async with engine.open(rate=8000, hints=Hints()) as stream:
            stream.feed(said("hours", "[unk]"))
            words = await stream.finish()
        assert (words.text, words.accepted) == ("hours", False), "what is no word of the grammar is not acted on"
        await engine.stop()

    asyncio.run(main())


def test_vosk_is_given_words_of_every_language_and_the_models_own_unknown_word(tmp_path: Path) -> None:
    pytest.importorskip("vosk")
    names = ("öffnungszeiten", "Привет", "<UNK>")
    engine = VoskEngine({"model": str(tiny_models.kaldi_model(tmp_path / "model", names))})
    given: list[str] = []
    made = engine._recogniser
    engine._recogniser = lambda *arguments: given.append(arguments[-1]) or made(*arguments)  # type: ignore[func-returns-value]
    engine.open({"rate": 8000, "words": ["öffnungszeiten", "Привет", "nowhere"]})
    assert given == ['["öffnungszeiten", "Привет", "<UNK>"]']
    assert engine.ask({"words": ["öffnungszeiten", "nowhere"]}) == {"unknown": ["nowhere"]}
    utterance = engine.open({"rate": 8000, "words": []})
    utterance.feed(said("hours", "[unk]"))
    assert utterance.finish()["accepted"] is False, "<UNK> is no word"


def test_the_words_of_a_grammar() -> None:
    agent = load(str(share_path("etc-asterisk") / "asterisk_ai.yaml")).agent()
    words = Rules({}, agent.as_mapping()).hints({}).words
    assert {"opening", "hours", "what's", "sales"} <= words


# ---- a whole call ---------------------------------------------------------------------------------


def test_a_whole_call(kaldi: Path, voice: Path, model: Path, tmp_path: Path) -> None:
    config = f"""
pipeline: local
pipelines:
  local: {{stt: vosk, llm: gpt4all, tts: piper, llm_seconds: 10}}
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {tmp_path}/sessions.db}}
providers:
  vosk: {{model: "{kaldi}"}}
  gpt4all: {{model: "{model}", context: 4096, threads: 1, max_tokens: 5}}
  piper: {{model: "{voice}", speed: 2.5}}
agents:
  desk: {{greeting: Hello, turn: {{endpoint_ms: 200, no_input_seconds: 60}}}}
"""
    results, _ = asyncio.run(calls(config, ["desk"]))
    assert results["desk"].next == "caller hung up"
    assert all(response.seconds is not None for response in results["desk"].responses)
    record = records(tmp_path)["desk"]
    assert [turn.role for turn in record.history] == ["agent", "caller", "agent", "caller", "agent"]
    assert [turn.text for turn in record.history if turn.role == "caller"] == ["hours", "hours"]
    assert record.troubles == []
