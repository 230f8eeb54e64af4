"""What interrupts the agent and what does not, in virtual time: detector, recogniser and turn machine, no clock."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import pytest
from immediate_run import ImmediateRun
from interruptions import Sound, recording, synthetic

from asterisk_ai.audio.levels import dbov
from asterisk_ai.dialog.backchannel import phrases
from asterisk_ai.dialog.events import (
    Action,
    CloseUtterance,
    DropUtterance,
    Event,
    OpenUtterance,
    PauseReply,
    ResumeReply,
    SpeakingStarted,
    Started,
    StopReply,
    Timer,
    VoiceOffset,
    VoiceOnset,
    WordsFinal,
    WordsPartial,
)
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.staged import machine as turn
from asterisk_ai.dialog.staged.deadlines import deadline
from asterisk_ai.providers.engines.pocketsphinx.engine import PocketSphinxEngine
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.vad.batch import BatchedModel
from asterisk_ai.vad.energy import Offset, Onset
from asterisk_ai.vad.silero import SileroModel
from asterisk_ai.vad.speech import SpeechVad

DATA = Path(__file__).parents[1] / "data"
FRAME, FRAME_BYTES = 0.02, 320
INTENTS = {
    "hours": {"say": "what are your opening hours", "answer": "Nine to five."},
    "operator": {"say": "i would like to speak to an operator", "answer": "Yes."},
    "sales": {"say": "connect me to sales", "answer": "Yes."},
    "message": {"say": "leave a message", "answer": "Yes."},
}
CHOSEN = (
    "click 0",
    "click 5",
    "cough 0",
    "cough 5",
    "cough 10",
    "white noise -45 dBov",
    "white noise -25 dBov",
    "pink noise -35 dBov",
    "hum -25 dBov",
    "chords -30 dBov",
)
SOUNDS = [
    *(Sound(name, "long", recording(DATA / "speech" / f"{name}.wav")) for name in (
        "what_are_your_opening_hours", "i_would_like_to_speak_to_an_operator", "connect_me_to_sales"
    )),
    *(
        Sound(path.stem, path.stem.partition("_")[0], recording(path))
        for path in sorted((DATA / "interruptions").glob("*.wav"))
    ),
    *(sound for sound in synthetic() if sound.name in CHOSEN),
]  # fmt: skip


@pytest.fixture
def engines() -> tuple[SileroModel, PocketSphinxEngine]:
    """New ones for each sound: the recogniser learns the line from what it has heard."""
    return SileroModel(), PocketSphinxEngine({"rejection": "normal"})


class Rehearsal:
    """The agent speaks and is not answered; the caller's line brings silence, ``sound`` and silence."""

    def __init__(self, model: SileroModel, recogniser: PocketSphinxEngine) -> None:
        self.now = 0.0
        self.done: list[tuple[float, Action]] = []
        self._params = TurnParams()
        self._rules = Rules({}, {"name": "desk", "language": "en-US", "rules": {"intents": INTENTS}})
        expected = self._rules.hints({}).widened(phrases("en-US"))
        self._expected = {"grammar": expected.grammar, "words": sorted(expected.words)}
        self._recogniser = recogniser
        self._meter = BatchedModel(ImmediateRun(model))
        self._vad = SpeechVad(8000, self._meter, self._voice)
        self._state = turn.initial("A long greeting.")
        self._preroll: deque[bytes] = deque(maxlen=15)
        self._utterance: Any = None
        self._number = 0
        self._final: tuple[float, WordsFinal] | None = None

    def run(self, sound: bytes) -> Rehearsal:
        self._step(Started())
        self._step(SpeakingStarted(1))
        pcm = bytes(FRAME_BYTES * 100) + sound + bytes(FRAME_BYTES * 100)
        for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES):
            self.now += FRAME
            self._frame(pcm[at : at + FRAME_BYTES])
        return self

    def times(self, kind: type) -> list[float]:
        return [at for at, action in self.done if isinstance(action, kind)]

    def _frame(self, pcm: bytes) -> None:
        voice = self._vad.hear(pcm, dbov(pcm), self.now)
        if self._utterance is None:
            self._preroll.append(pcm)
        else:
            self._recognise(pcm)
        if voice is not None:
            self._voice(voice)
        self._meter.flush(self.now)
        if self._final is not None and self._final[0] <= self.now:
            final, self._final = self._final[1], None
            self._step(final)
        due = deadline(self._state, self._params)
        if due is not None and due <= self.now:
            self._step(Timer(self._vad.voiced_until))

    def _voice(self, voice: Onset | Offset) -> None:
        self._step(VoiceOnset(voice.at) if isinstance(voice, Onset) else VoiceOffset(voice.at))

    def _recognise(self, pcm: bytes) -> None:
        self._utterance.feed(pcm)
        while self._utterance.ahead():
            pass
        news = self._utterance.news()
        if news is not None:
            complete = news["accepted"] and self._rules.complete(news["text"], {})
            self._step(WordsPartial(self._number, news["text"], news["accepted"], complete, news["confidence"]))

    def _step(self, event: Event) -> None:
        self._state, actions = turn.step(self._state, event, self.now, self._params)
        for action in actions:
            self.done.append((self.now, action))
            match action:
                case OpenUtterance():
                    self._number = action.utterance
                    self._utterance = self._recogniser.open({"rate": 8000, **self._expected})
                    for before in self._preroll:
                        self._utterance.feed(before)
                    self._preroll.clear()
                case CloseUtterance():
                    result = self._utterance.finish()
                    words = WordsFinal(self._number, result["text"], result["accepted"], result["confidence"])
                    self._final = self.now + 0.05, words
                    self._end_utterance()
                case DropUtterance() if action.utterance == self._number:
                    self._end_utterance()
                    self._final = None

    def _end_utterance(self) -> None:
        if self._utterance is not None:
            self._utterance.close()
            self._utterance = None


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.name.replace(" ", "_"))
def test_the_agent_stops_for_true_interruptions_only(
    engines: tuple[SileroModel, PocketSphinxEngine], sound: Sound
) -> None:
    frames = [dbov(sound.pcm[at : at + FRAME_BYTES]) for at in range(0, len(sound.pcm), FRAME_BYTES)]
    began = 2.0 + next(number for number, level in enumerate(frames) if level > -45) * FRAME
    rehearsal = Rehearsal(*engines).run(sound.pcm)
    held, resumed = rehearsal.times(PauseReply), rehearsal.times(ResumeReply)
    assert bool(rehearsal.times(StopReply)) is sound.true, rehearsal.done
    if sound.true:
        assert held[0] - began <= 0.2
        assert not resumed
    else:
        assert len(held) == len(resumed)
        assert all(on - off <= 1.0 for off, on in zip(held, resumed, strict=True))
