"""What a telephone line gives back of what the agent says: delayed, weaker, and bent by a hybrid.

    python tests/support/echoed.py [--fast]

prints how many of 1,000 sentences, by voices that are installed, would have interrupted themselves at delays of 20 to
300 ms and levels of -6 to -30 dB, and how many of the recorded interruptions still stopped the agent within 400 ms.
"""

from __future__ import annotations

import audioop
import base64
import itertools
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from immediate_run import ImmediateRun
from interruptions import recording

from asterisk_ai.audio.echo import EchoCanceller
from asterisk_ai.audio.levels import dbov
from asterisk_ai.dialog.events import (
    Event,
    PauseReply,
    SpeakingStarted,
    Started,
    Timer,
    VoiceOffset,
    VoiceOnset,
)
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.staged import machine as turn
from asterisk_ai.dialog.staged.deadlines import deadline
from asterisk_ai.providers.engines.hibari import HibariSettings
from asterisk_ai.providers.engines.hibari.engine import HibariEngine
from asterisk_ai.simulator.caller_speech import speech_in
from asterisk_ai.vad.batch import BatchedModel
from asterisk_ai.vad.energy import Offset, Onset
from asterisk_ai.vad.silero import SileroModel
from asterisk_ai.vad.speech import SpeechVad

RATE, FRAME_BYTES = 8000, 320
HYBRID = (0, 0, 0.9, -0.45, 0.25, 0, 0.1, -0.2, 0.1, 0, -0.05)
"""What a two-wire line answers to a click: some samples that ring."""

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Echo:
    """A line that gives back what it is played after ``delay`` seconds, ``level`` dB weaker."""

    delay: float
    level: float

    def of(self, played: bytes) -> Samples:
        """The whole of it, with the noise of a line, for as long as ``played`` and 0.4 s more."""
        samples = np.frombuffer(played, "<i2").astype(np.float64)
        bent = np.convolve(samples, HYBRID)[: len(samples)] / np.sqrt(np.sum(np.square(HYBRID)))
        line = np.random.default_rng(1).normal(0, 10, len(samples) + int(0.4 * RATE))
        at = round(self.delay * RATE) + 37  # no whole number of frames
        line[at : at + len(samples)] += bent[: len(line) - at] * 10 ** (self.level / 20)
        return line


def over_the_line(samples: Samples) -> bytes:
    """16-bit PCM that has been mu-law on its way."""
    pcm = samples.clip(-32768, 32767).astype("<i2").tobytes()
    return audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)


def at_level(pcm: bytes, dbov: float) -> Samples:
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    loud = samples[np.abs(samples) > 300]
    return samples / np.sqrt(np.mean(loud**2)) * 32768 * 10 ** (dbov / 20)


class Listening:
    """The agent says ``played``, the line brings ``heard``: detector and turn machine, in virtual time."""

    def __init__(self, model: SileroModel) -> None:
        self._meter = BatchedModel(ImmediateRun(model))
        self._vad = SpeechVad(RATE, self._meter, self._voice)
        self._params = TurnParams()
        self._state = turn.initial("A long greeting.")
        self.now = 0.0
        self.holds: list[float] = []
        """Seconds at which the agent fell silent."""

    def run(self, played: bytes, heard: bytes, *, cancel: bool = True) -> list[float]:
        echo = EchoCanceller(RATE, lambda: self.now)
        self._step(Started())
        self._step(SpeakingStarted(1))
        for at in range(0, len(heard) - FRAME_BYTES + 1, FRAME_BYTES):
            if at < len(played):
                echo.played(played[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
            self.now = (at // FRAME_BYTES + 1) * 0.02
            pcm, level = heard[at : at + FRAME_BYTES], dbov(heard[at : at + FRAME_BYTES])
            if cancel:
                pcm, level = echo.cancel(pcm, level, self.now)
            voice = self._vad.hear(pcm, level, self.now)
            if voice is not None:
                self._voice(voice)
            self._meter.flush(self.now)
            due = deadline(self._state, self._params)
            if due is not None and due <= self.now:
                self._step(Timer(self._vad.voiced_until))
        return self.holds

    def _voice(self, voice: Onset | Offset) -> None:
        self._step(VoiceOnset(voice.at) if isinstance(voice, Onset) else VoiceOffset(voice.at))

    def _step(self, event: Event) -> None:
        self._state, actions = turn.step(self._state, event, self.now, self._params)
        self.holds += [self.now for action in actions if isinstance(action, PauseReply)]


TEXTS = (
    "Hello, this is the reception of Example Company. How can I help you?",
    "We are open from nine to five, Monday to Friday.",
    "One moment please, I am connecting you to sales.",
    "I heard five five one two. Is that right?",
    "You can find us in Main Street, next to the station.",
    "I am sorry, I did not understand that. Please say it again.",
    "There is nobody here now. Shall I take a message?",
    "The number of your order is four seven one one.",
)


def _by_program(command: list[str], text: str) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run([word.format(file=file.name, text=text) for word in command], check=True, capture_output=True)
        return speech_in(file.name)


def _hibari(text: str) -> bytes:
    engine = HibariEngine({"voice": HibariSettings().voice, "rate": RATE})
    parts = engine._speak({"text": text, "voice": HibariSettings().voice, "speed": 1.0})
    return b"".join(base64.b64decode(part["pcm"]) for part in parts)


def main() -> None:
    programs = {
        "flite": ["flite", "-voice", "slt", "-t", "{text}", "-o", "{file}"],
        "pico": ["pico2wave", "-w", "{file}", "{text}"],
        "espeak": ["espeak-ng", "-s", "150", "-w", "{file}", "{text}"],
    }
    spoken = {"hibari": [_hibari(text) for text in TEXTS]}
    for name, command in programs.items():
        if shutil.which(command[0]):
            spoken[name] = [_by_program(command, text) for text in TEXTS]
    model, few = SileroModel(), "--fast" in sys.argv
    for name, speech in spoken.items():
        wrong = before = count = late = stopped = 0
        for number, pcm in enumerate(speech[:2] if few else speech):
            played = over_the_line(at_level(pcm, -20))
            for delay, level in itertools.product((0.02, 0.06, 0.12, 0.2, 0.3), (-6, -10, -14, -18, -24, -30)):
                heard = over_the_line(Echo(delay, level).of(played))
                count += 1
                wrong += bool(Listening(model).run(played, heard))
                before += bool(Listening(model).run(played, heard, cancel=False)) if number == 0 else 0
        for caller in interrupting():
            for delay, level, loud in itertools.product((0.02, 0.12, 0.3), (-6, -18), (-20, -26)):
                played = over_the_line(at_level(speech[0], -20))
                line = Echo(delay, level).of(played)
                samples = at_level(caller, loud)[: len(line) - RATE]
                line[RATE : RATE + len(samples)] += samples
                began = 1.0 + np.flatnonzero(np.abs(samples) > 700)[0] / RATE
                holds = Listening(model).run(played, over_the_line(line))
                stopped += 1
                late += not any(began <= hold <= began + 0.4 for hold in holds)
        print(
            f"{name:8} of {count} sentences {wrong} interrupted themselves (of the first's 30 without this {before});",
            f"of {stopped} interruptions {late} did not stop it within 400 ms",
            flush=True,
        )


def interrupting() -> list[bytes]:
    """Human speech of callers who interrupt."""
    data = Path(__file__).parents[1] / "data"
    names = ("what_are_your_opening_hours", "i_would_like_to_speak_to_an_operator", "connect_me_to_sales")
    paths = [data / "speech" / f"{name}.wav" for name in names]
    return [recording(path) for path in (*paths, *sorted((data / "interruptions").glob("short_*.wav")))]


if __name__ == "__main__":
    main()
