"""How often callers are cut off in the pause of a sentence, and how soon whole sentences are answered.

    python tests/support/pauses.py [fit|judge] [--human]

Each sentence of tests/data/turn_taking/pauses.txt is said by each voice that is installed (flite, pico, festival,
espeak-ng, hibari), whole, and up to its pause, with the tone of a sentence that goes on; over mu-law, and at the end as
much silence as the detector needs to tell of it. The real recogniser, rules and smart-turn model (`pip install
--no-deps pipecat-ai`) say what they make of it, and the turn machine's own rule how long the pause may be then. A turn
is cut where that is shorter than the pause and what a new onset takes. With --human also Asterisk's prompts, up to a
pause in them: whole ones are none of the agent's business, so that only the cuts count.

"""

from __future__ import annotations

import audioop
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from echoed import _hibari, at_level

from asterisk_ai import config
from asterisk_ai.call.staged.recognition import completeness
from asterisk_ai.dialog.events import WordsPartial
from asterisk_ai.dialog.params import TurnParams
from asterisk_ai.dialog.staged.deadlines import _endpoint_ms
from asterisk_ai.dialog.staged.state import TurnState
from asterisk_ai.providers.api import Transcript, TurnRequest
from asterisk_ai.providers.engines.moonshine.engine import MoonshineEngine
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.engines.smart_turn import packaged
from asterisk_ai.providers.engines.smart_turn.engine import SmartTurnEngine
from asterisk_ai.simulator.caller_speech import speech_in

DATA = Path(__file__).parents[1] / "data" / "turn_taking" / "pauses.txt"
PAUSES = (0.3, 0.6, 1.0, 1.5)
ONSET_SECONDS = 0.06
HANGOVER_SECONDS = 0.16
PROGRAMS = {
    "fit": {
        "flite slt": ["flite", "-voice", "slt", "-t", "{text}", "-o", "{file}"],
        "pico en-US": ["pico2wave", "-l", "en-US", "-w", "{file}", "{text}"],
        "espeak": ["espeak-ng", "-s", "150", "-w", "{file}", "{text}"],
        "festival": ["text2wave", "-o", "{file}"],
    },
    "judge": {
        "flite rms": ["flite", "-voice", "rms", "-t", "{text}", "-o", "{file}"],
        "flite awb": ["flite", "-voice", "awb", "-t", "{text}", "-o", "{file}"],
        "pico en-GB": ["pico2wave", "-l", "en-GB", "-w", "{file}", "{text}"],
        "hibari": [],
    },
}
"""Voices that thresholds were fitted with, and those that they are judged by."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of one piece of speech."""

    whole: bool
    human: bool
    words: WordsPartial | None
    likelihood: float | None

    def endpoint(self, *, words: bool, sound: bool) -> float:
        """Seconds of silence that end it."""
        partial, likelihood = (self.words if words else None), (self.likelihood if sound else None)
        return _endpoint_ms(TurnState(partial=partial, likelihood=likelihood), TurnParams()) / 1000


def sentences(part: str) -> Iterator[tuple[str, str, str]]:
    """Agent, beginning and end of each sentence."""
    found = ""
    for line in DATA.read_text().splitlines():
        if line.startswith("["):
            found = line.strip("[]")
        elif line and not line.startswith("#") and found == part:
            agent, _, text = line.partition(": ")
            begins, _, ends = text.partition(" | ")
            yield agent, begins, ends


def spoken(command: list[str], text: str) -> bytes:
    if not command:
        return _hibari(text)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        filled = [word.format(file=file.name, text=text) for word in command]
        subprocess.run(filled, input=text.encode(), check=True, capture_output=True)
        return speech_in(file.name)


def on_the_line(pcm: bytes) -> bytes:
    """Without the silence around it, at a usual level, over mu-law, then silence up to the detector's word."""
    samples = at_level(pcm, -24)
    loud = np.flatnonzero(np.abs(samples) > 250)
    line = np.concatenate([samples[loud[0] : loud[-1]], np.zeros(int(HANGOVER_SECONDS * 8000))])
    line += np.random.default_rng(1).normal(0, 12, len(line))
    return audioop.ulaw2lin(audioop.lin2ulaw(line.clip(-32768, 32767).astype("<i2").tobytes(), 2), 2)


def prompts() -> Iterator[tuple[str, bytes, bytes]]:
    """Human prompts of one sentence that have a pause inside: the words, all of it, and up to the pause."""
    import rig

    for name, text in sorted(rig.wording().items()):
        if len(text.split()) < 5 or any(mark in text.rstrip(".") for mark in ".?!;"):
            continue
        pcm = speech_in(str(rig.SOUNDS / f"{name}.wav"))
        levels = [audioop.rms(pcm[at : at + 160], 2) for at in range(0, len(pcm) - 160, 160)]
        quiet = np.array(levels) < max(levels) / 18
        runs = np.flatnonzero(np.convolve(quiet, np.ones(4), "valid") >= 4)
        inside = [at for at in runs if 0.25 * len(levels) < at < 0.8 * len(levels)]
        if inside:
            yield text, pcm, pcm[: inside[0] * 160]


class Judges:
    """Recogniser, rules and smart-turn, in this process."""

    def __init__(self) -> None:
        self._ears = MoonshineEngine({"model": "", "most_load": 99})
        self._turns = SmartTurnEngine({"model": str(packaged())}) if packaged() else None
        folder = config.share_path("etc-asterisk")
        sample = config.parse((folder / "asterisk_ai.yaml").read_text())
        pin = config.parse((folder / "agents" / "pin.yaml").read_text()).agents["pin"]
        asked = Rules({}, pin.as_mapping())
        memory: Any = asked.answer(TurnRequest("i have a pin"))[0]
        self._agents = {"reception": (Rules({}, sample.agent().as_mapping()), {}), "pin": (asked, memory.memory)}

    def hear(self, pcm: bytes, agent: str, *, whole: bool, human: bool = False) -> Heard:
        rules, memory = self._agents[agent]
        hints = rules.hints(memory)
        stream = self._ears.open(
            {"rate": 8000, "phrases": hints.phrases, "digits": hints.digits, "examples": hints.examples}
        )
        for at in range(0, len(pcm), 320):
            stream.feed(pcm[at : at + 320])
        found = stream.finish()
        text, accepted, sure = str(found["text"]), bool(found["accepted"]), float(found["confidence"])
        words = Transcript(text, accepted, sure, free=str(found["free"]))
        complete, unfinished = completeness(words, "en-US", lambda said: rules.complete(said, memory))
        likelihood = None
        if self._turns is not None:
            turn = self._turns.open({"rate": 8000})
            turn.feed(pcm)
            likelihood = float(turn.finish()["probability"])
        partial = WordsPartial(1, text, accepted, complete, sure, unfinished) if text or not accepted else None
        return Heard(whole, human, partial, likelihood)


def main(part: str, *, human: bool) -> None:
    judges, heard = Judges(), list[Heard]()
    for name, command in PROGRAMS[part].items():
        if command and not shutil.which(command[0]):
            print(f"{name} is not installed")
            continue
        for agent, begins, ends in sentences(part):
            heard.append(judges.hear(on_the_line(spoken(command, f"{begins} {ends}")), agent, whole=True))
            heard.append(judges.hear(on_the_line(spoken(command, f"{begins},")), agent, whole=False))
    for number, (_, _, begun) in enumerate(prompts() if human else ()):
        if number % 2 == (part == "fit"):
            heard.append(judges.hear(on_the_line(begun), "reception", whole=False, human=True))
    ways: dict[str, Callable[[Heard], float]] = {
        "words alone": lambda one: one.endpoint(words=True, sound=False),
        "sound alone (0.5)": lambda one: 0.25 if (one.likelihood or 0) >= 0.5 else 1.6,
        "words and sound": lambda one: one.endpoint(words=True, sound=True),
    }
    for name, way in ways.items():
        begun = [way(one) for one in heard if not one.whole]
        whole = [way(one) for one in heard if one.whole]
        cuts = {pause: sum(end < pause + ONSET_SECONDS for end in begun) for pause in PAUSES}
        cut = {pause: round(100 * number / len(begun), 1) for pause, number in cuts.items()}
        waits = [float(np.percentile(whole, at)) for at in (50, 75, 95)]
        counts = f"{len(begun)} pauses, {len(whole)} whole"
        print(f"{name:20} {counts}; % cut {json.dumps(cut)}; s until the end is decided p50 p75 p95 {waits}")


if __name__ == "__main__":
    chosen = [word for word in sys.argv[1:] if word in PROGRAMS]
    for one in chosen or PROGRAMS:
        print(one)
        main(one, human="--human" in sys.argv)
