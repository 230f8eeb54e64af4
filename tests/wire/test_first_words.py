"""A call gives its recogniser the first word: human speech through call and detector, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from engines import ScriptedSpeechToText, ScriptedStream
from immediate_run import ImmediateRun
from unconnected import unconnected_call

from asterisk_ai.audio.pauses import levels, loud
from asterisk_ai.call.call import Call
from asterisk_ai.call.staged.conversation import StagedConversation
from asterisk_ai.config import parse
from asterisk_ai.dialog.phase import Phase
from asterisk_ai.providers.api import Hints, Transcript, ignore
from asterisk_ai.providers.engines.pocketsphinx.engine import PocketSphinxEngine
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession, new_call_id
from asterisk_ai.vad.batch import BatchedModel
from asterisk_ai.vad.silero import SileroModel

RECORDINGS = Path(__file__).parents[1] / "data" / "speech"
SPEECH = {path.stem.replace("_", " "): path for path in sorted(RECORDINGS.glob("*_*.wav"))}
ENDS = sorted({" ".join(words[start:]) for words in map(str.split, SPEECH) for start in range(len(words))})
EXPECTED = Hints.of(*ENDS)
"""Each without its first words too, so that a word that was cut off is heard as that."""
CONFIG = """
http: false
store: {backend: memory}
default_agent: desk
pipelines: {offline: {stt: pocketsphinx, llm: rules, tts: espeak}}
agents: {desk: {turn: {endpoint_ms: 5000}, rules: {intents: {hi: {say: hello, answer: Hello.}}}}}
"""
FRAME_BYTES = 320
QUIET_SECONDS = 4


class KeptStream(ScriptedStream):
    """Keeps what it is given."""

    pcm = b""

    def feed(self, pcm: bytes) -> None:
        self.pcm += pcm


class Kept(ScriptedSpeechToText):
    """Keeps the audio of each utterance."""

    streams: tuple[KeptStream, ...] = ()

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[KeptStream]:
        stream = KeptStream("", 0.0)
        self.streams += (stream,)
        yield stream


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel()


@pytest.fixture(scope="module")
def recogniser() -> PocketSphinxEngine:
    return PocketSphinxEngine({"rejection": "normal"})


def line(path: Path, *, noisy: bool) -> bytes:
    """Four seconds, the words, and one second. Noise sets in after the first, 10 dB below the words."""
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 8000
    samples = np.concatenate([np.zeros(QUIET_SECONDS * rate), samples, np.zeros(rate)])
    noise = np.random.default_rng(1).normal(0, 1, len(samples))
    loud = samples[np.abs(samples) > 0].std() / np.sqrt(10) if noisy else 3
    noise[:rate] *= 3
    noise[rate:] *= loud
    return bytes((samples + noise).clip(-32768, 32767).astype("<i2").tobytes())


def first_sound(path: Path) -> int:
    """Bytes of a line before the first frame of the words that the recogniser would take for speech."""
    samples, _ = soundfile.read(path, dtype="int16")
    first = int(np.flatnonzero(loud(levels(samples.tobytes(), FRAME_BYTES // 2)))[0])
    return QUIET_SECONDS * 16000 + first * FRAME_BYTES


async def passed_on(model: SileroModel, pcm: bytes) -> list[bytes]:
    """What a call's recogniser is given of a line, utterance by utterance."""
    loop, now = asyncio.get_running_loop(), 0.0
    loop.time = lambda: now  # type: ignore[method-assign]  # timers go by the line's time
    server = Server(parse(CONFIG, environ={}))
    server.vad._model = BatchedModel(ImmediateRun(model))  # on no thread, which goes by another time
    call = unconnected_call(server, CallSession(new_call_id(), "desk"))
    assert isinstance(call, Call)
    call.clock = loop.time
    stt = Kept({})
    running = asyncio.create_task(call.run())
    call.on_begin(8000)
    conversation = call.conversation
    assert isinstance(conversation, StagedConversation)
    conversation.agent = replace(conversation.agent, stt=stt)
    for at in range(0, len(pcm), FRAME_BYTES):
        for _ in range(4):
            await asyncio.sleep(0)
        now += 0.02
        call.on_audio(pcm[at : at + FRAME_BYTES])
        server.vad.flush(now)
    assert conversation.phase is Phase.LISTENING
    call.on_closed("HANGUP")
    await running
    server.vad.close()
    return [stream.pcm for stream in stt.streams]


@pytest.mark.parametrize("noisy", [False, True], ids=["quiet", "noise"])
@pytest.mark.parametrize("words", SPEECH)
def test_the_recogniser_is_given_the_first_word(
    model: SileroModel, recogniser: PocketSphinxEngine, words: str, noisy: bool
) -> None:
    pcm = line(SPEECH[words], noisy=noisy)
    (utterance,) = asyncio.run(passed_on(model, pcm))
    assert pcm.endswith(utterance)
    before = first_sound(SPEECH[words]) - (len(pcm) - len(utterance))
    assert before / 16000 >= 0.1, "seconds; a consonant may be weaker than what is called the first sound here"
    if not noisy:  # in the noise not all of them are understood, however much of them there is
        stream = recogniser.open({"rate": 8000, "grammar": EXPECTED.grammar, "words": sorted(EXPECTED.words)})
        stream.feed(utterance)
        assert stream.finish()["text"] == words
        stream.close()
