#!/usr/bin/env python3
"""Milliseconds that each adapter adds to its engine: the engine used directly, and through the adapter, by turns.

Recognisers: from the end of the speech to the words. Models: to the first sentence. Voices: to the first sound. The
judge of a turn's end: to its verdict, by a model with random weights of the real one's size. The other local engines
load the tests' tiny models; remote services are the tests' fakes, in a process of their own, asked over a kept
connection both ways. What is asked for is the median of the differences; at most 5 ms.

Not part of the tests: a busy machine has other figures. As root, ``chrt --rr 10 python scripts/measure_adapters.py``
keeps other programs out of them. Needs the extras ``local``, ``remote`` and ``test``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fakes")]

import numpy as np  # noqa: E402
import tiny_models  # noqa: E402
import turn_encoder  # noqa: E402
from openai_server import KEY  # noqa: E402

from asterisk_ai.audio.wav import wav  # noqa: E402
from asterisk_ai.providers.api import Hints, TurnRequest  # noqa: E402

SETTLE_SECONDS = 0.3
"""What was fed is decoded while the caller pauses."""
TEXT = "Hello there, how are you?"
LIMIT_MS = 5.0
Measured = Callable[[], Awaitable[float]]


async def compare(name: str, bare: Measured, ours: Measured, rounds: int) -> float:
    """By turns, so that what the machine does meanwhile befalls both. Tells and returns the median of what is added."""
    await bare()
    await ours()
    pairs = [(await bare(), await ours()) for _ in range(rounds)]
    directly, through, added = (
        1000 * statistics.median(values)
        for values in ([a for a, _ in pairs], [b for _, b in pairs], [b - a for a, b in pairs])
    )
    verdict = "" if added <= LIMIT_MS else f"   MORE THAN {LIMIT_MS:g} ms"
    figures = f"directly {directly:8.2f} ms   through the adapter {through:8.2f} ms   added {added:6.2f} ms"
    print(f"{name:24} {figures}{verdict}")
    return added


def speech(rate: int, seconds: float = 1.0) -> bytes:
    """A word of the tiny Kaldi model, and a pause."""
    times = np.arange(round(seconds * rate)) / rate
    tone = np.cos(2 * np.pi * tiny_models.KALDI_WORDS["hours"] * times) * 6000
    return tone.astype("<i2").tobytes() + bytes(rate // 2 * 2)


async def words(engine: Any, rate: int = 16_000, settle: float = SETTLE_SECONDS) -> float:
    pcm, frame = speech(rate), rate // 50 * 2
    async with engine.open(rate=rate, hints=Hints()) as stream:
        for start in range(0, len(pcm), frame):
            stream.feed(pcm[start : start + frame])
        await asyncio.sleep(settle)
        began = time.perf_counter()
        await stream.finish()
        return time.perf_counter() - began


async def first_part(engine: Any) -> float:
    began = time.perf_counter()
    async with engine.reply(TurnRequest("hello")) as parts:
        await anext(parts)
        took = time.perf_counter() - began
        async for _ in parts:
            pass
    return took


async def first_sound(engine: Any) -> float:
    began = time.perf_counter()
    async with engine.open(TEXT) as pieces:
        await anext(pieces)
        took = time.perf_counter() - began
        async for _ in pieces:
            pass
    return took


# ---- on this machine -------------------------------------------------------------------


async def vosk(folder: Path, rounds: int) -> float:
    import vosk as library

    from asterisk_ai.providers.engines.vosk import Vosk

    model_folder = tiny_models.kaldi_model(folder / "kaldi")
    library.SetLogLevel(-1)
    model = library.Model(str(model_folder))
    pcm = speech(16_000)

    async def bare() -> float:
        recogniser = library.KaldiRecognizer(model, 16_000)
        recogniser.SetWords(True)
        for start in range(0, len(pcm), 640):
            recogniser.AcceptWaveform(pcm[start : start + 640])
        await asyncio.sleep(SETTLE_SECONDS)
        began = time.perf_counter()
        recogniser.FinalResult()
        return time.perf_counter() - began

    engine = Vosk({"model": str(model_folder)})
    await engine.start()
    added = await compare("vosk", bare, lambda: words(engine), rounds)
    await engine.stop()
    return added


async def smart_turn(folder: Path, rounds: int) -> float:
    from asterisk_ai.audio.resample import Resampler
    from asterisk_ai.providers.engines.smart_turn import SmartTurn
    from asterisk_ai.providers.engines.smart_turn.engine import SmartTurnEngine

    settings = {"model": str(turn_encoder.turn_encoder(folder))}
    model, engine = SmartTurnEngine(settings), SmartTurn(settings)
    pcm = speech(8000, 7.0)

    async def bare() -> float:
        began = time.perf_counter()
        resampler = Resampler(8000, 16_000)
        model.likelihood(np.frombuffer(resampler.push(pcm) + resampler.flush(), "<i2") / 32768)
        return time.perf_counter() - began

    async def verdict() -> float:
        began = time.perf_counter()
        await engine.likelihood(pcm, 8000)
        return time.perf_counter() - began

    await engine.start()
    added = await compare("smart-turn", bare, verdict, rounds)
    (pid,) = engine._pool.pids
    began = cpu_seconds(pid)
    for _ in range(rounds):
        await verdict()
    print(f"{'':24} {1000 * (cpu_seconds(pid) - began) / rounds:.1f} ms of a core for each pause")
    await engine.stop()
    return added


def cpu_seconds(pid: int) -> float:
    """What a process has used of a core so far."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def gpt4all(folder: Path, rounds: int) -> float:
    from gpt4all import GPT4All

    from asterisk_ai.dialog.spoken.segments import Segmenter
    from asterisk_ai.providers.engines.gpt4all import Gpt4All

    file = tiny_models.gguf_model(folder)
    settings = {"model": str(file), "context": 512, "threads": 1, "max_tokens": 20, "temperature": 0.0}
    engine = Gpt4All(settings, {"name": "a"})
    prompt = engine._written(TurnRequest("hello"))
    library = GPT4All(file.name, model_path=folder, allow_download=False, n_ctx=512, n_threads=1, device="cpu")

    async def bare() -> float:
        """The same words are chosen each time; until as many have come as make the first sentence."""
        segments, took = Segmenter(), 0.0

        def made(_: int, text: str) -> bool:
            nonlocal took
            if segments.push(text):
                took = time.perf_counter() - began
            return not took

        began = time.perf_counter()
        library.model.prompt_model(prompt, "%1", made, n_predict=20, temp=0.0, reset_context=True, special=True)
        return took or time.perf_counter() - began

    await engine.start()
    added = await compare("gpt4all", bare, lambda: first_part(engine), rounds)
    await engine.stop()
    return added


async def piper(folder: Path, rounds: int) -> float:
    import piper as library

    from asterisk_ai.providers.engines.piper import Piper

    file = tiny_models.piper_voice(folder)
    voice = library.PiperVoice.load(file)

    async def bare() -> float:
        began = time.perf_counter()
        _ = next(iter(voice.synthesize(TEXT))).audio_int16_bytes
        return time.perf_counter() - began

    engine = Piper({"model": str(file)})
    await engine.start()
    added = await compare("piper", bare, lambda: first_sound(engine), rounds)
    await engine.stop()
    return added


# ---- elsewhere -----------------------------------------------------------------------------


async def openai(base_url: str, rounds: int) -> list[float]:
    import httpx

    from asterisk_ai.providers.vendors.openai import OpenAIChat, OpenAISpeech, OpenAITranscription

    settings = {"base_url": base_url, "api_key": KEY}
    chat, ears, voice = OpenAIChat(settings, {"name": "a"}), OpenAITranscription(settings), OpenAISpeech(settings)
    async with httpx.AsyncClient(base_url=base_url + "/", headers={"Authorization": f"Bearer {KEY}"}) as http:

        async def completion() -> float:
            body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
            began, took, text = time.perf_counter(), 0.0, ""
            async with http.stream("POST", "chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line[6:])["choices"]
                        text += (choices[0]["delta"].get("content") or "") if choices else ""
                    if not took and "What" in text:  # the first sentence is known to be whole
                        took = time.perf_counter() - began
            return took

        async def transcription() -> float:
            pcm = speech(16_000)
            began = time.perf_counter()
            file = {"file": ("speech.wav", wav(pcm, 16_000), "audio/wav")}
            json.loads((await http.post("audio/transcriptions", data={"model": "m"}, files=file)).content)
            return time.perf_counter() - began

        async def sound() -> float:
            body = {"model": "m", "input": TEXT, "voice": "v", "response_format": "pcm"}
            began, took = time.perf_counter(), 0.0
            async with http.stream("POST", "audio/speech", json=body) as response:
                async for _ in response.aiter_bytes(9600):
                    took = took or time.perf_counter() - began
            return took

        for engine in (chat, ears, voice):
            await engine.start()
        added = [
            await compare("openai chat", completion, lambda: first_part(chat), rounds),
            await compare("openai transcription", transcription, lambda: words(ears, settle=0), rounds),
            await compare("openai speech", sound, lambda: first_sound(voice), rounds),
        ]
        for engine in (chat, ears, voice):
            await engine.stop()
    return added


async def deepgram(base_url: str, rounds: int) -> list[float]:
    import httpx
    from websockets.asyncio.client import connect

    from asterisk_ai.providers.vendors.deepgram import DeepgramSpeechToText, DeepgramTextToSpeech

    settings = {"base_url": base_url, "api_key": KEY}
    ears, voice = DeepgramSpeechToText(settings), DeepgramTextToSpeech(settings)
    headers = {"Authorization": f"Token {KEY}"}
    query = "model=m&encoding=linear16&sample_rate=16000&channels=1&interim_results=true"
    pcm = speech(16_000)

    async def transcript() -> float:
        url = f"ws{base_url.removeprefix('http')}/listen?{query}"
        async with connect(url, additional_headers=headers, compression=None) as socket:
            for start in range(0, len(pcm), 640):
                await socket.send(pcm[start : start + 640])
            await asyncio.sleep(SETTLE_SECONDS)
            began = time.perf_counter()
            await socket.send('{"type": "Finalize"}')
            await socket.send('{"type": "CloseStream"}')
            async for message in socket:
                if json.loads(message).get("from_finalize"):
                    break
            return time.perf_counter() - began

    async with httpx.AsyncClient(base_url=base_url, headers=headers) as http:

        async def sound() -> float:
            params = {"model": "m", "encoding": "linear16", "sample_rate": "8000", "container": "none"}
            began, took = time.perf_counter(), 0.0
            async with http.stream("POST", "speak", params=params, json={"text": TEXT}) as response:
                async for _ in response.aiter_bytes(3200):
                    took = took or time.perf_counter() - began
            return took

        await ears.start()
        await voice.start()
        added = [
            await compare("deepgram recognition", transcript, lambda: words(ears), rounds),
            await compare("deepgram speech", sound, lambda: first_sound(voice), rounds),
        ]
        await ears.stop()
        await voice.stop()
    return added


async def wyoming(port: int, rounds: int) -> list[float]:
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncTcpClient
    from wyoming.tts import Synthesize

    from asterisk_ai.providers.vendors.wyoming import WyomingSpeechToText, WyomingTextToSpeech

    ears, voice = WyomingSpeechToText({"port": port}), WyomingTextToSpeech({"port": port})
    pcm = speech(16_000)

    async def transcript() -> float:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Transcribe().event())
            await client.write_event(AudioStart(16_000, 2, 1).event())
            for start in range(0, len(pcm), 640):
                await client.write_event(AudioChunk(16_000, 2, 1, pcm[start : start + 640]).event())
            await asyncio.sleep(SETTLE_SECONDS)
            began = time.perf_counter()
            await client.write_event(AudioStop().event())
            while (event := await client.read_event()) and not Transcript.is_type(event.type):
                pass
            return time.perf_counter() - began

    async def sound() -> float:
        began = time.perf_counter()
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Synthesize(TEXT).event())
            while (event := await client.read_event()) and not AudioChunk.is_type(event.type):
                pass
            return time.perf_counter() - began

    await ears.start()
    await voice.start()
    added = [
        await compare("wyoming recognition", transcript, lambda: words(ears), rounds),
        await compare("wyoming speech", sound, lambda: first_sound(voice), rounds),
    ]
    await ears.stop()
    await voice.stop()
    return added


async def serve() -> None:
    """The fakes, until the end of the standard input; tells where they are."""
    from deepgram_server import FakeDeepgram
    from openai_server import FakeOpenAI
    from wyoming_server import serving

    async with FakeOpenAI().running() as one, FakeDeepgram().running() as two, serving([]) as port:
        print(json.dumps([one.base_url, two.base_url, port]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def measure(rounds: int) -> list[float]:
    command = [sys.executable, __file__, "--serve"]
    services = subprocess.Popen(  # noqa: ASYNC220 - before anything is measured
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert services.stdin is not None
    assert services.stdout is not None
    one, two, port = json.loads(services.stdout.readline())
    try:
        with tempfile.TemporaryDirectory() as folder:
            added = [await local(Path(folder), rounds) for local in (vosk, gpt4all, piper, smart_turn)]
        return [*added, *await openai(one, rounds), *await deepgram(two, rounds), *await wyoming(port, rounds)]
    finally:
        services.stdin.close()
        services.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
        return 0
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 1 if any(added > LIMIT_MS for added in asyncio.run(measure(arguments.rounds))) else 0


if __name__ == "__main__":
    sys.exit(main())
