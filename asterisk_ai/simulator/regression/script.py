"""What caller and agent say to each other in the regression's call, whatever the transport."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asterisk_ai.simulator.asterisk import RATE
from asterisk_ai.simulator.caller_speech import speech_of
from asterisk_ai.simulator.telephone import speech

AGENT = "regression"
EXTENSION = "602"
"""Where the caller is transferred at the end; in context [landed]."""
GREETING = "Hello, how can I help you?"
_LONG = " ".join(["This answer is long, so that a caller may hang up while it is given."] * 4)
_FORMATS = ("wav", "sln", "ulaw", "alaw", "gsm", "g722", "sln16")


@dataclass(frozen=True, slots=True)
class Line:
    """One turn of the caller's, spoken (a prompt of Asterisk's sound package, a human voice) or dialled."""

    words: str
    """As they are to be understood; the digit that is dialled."""
    answer: str
    prompt: str = ""


SPOKEN = Line("weasels have eaten our phone system", "That is a pity.", "tt-weasels")
DIALLED = Line("5", "You pressed five.")
TRANSFER = Line("please wait while i connect your call", "One moment.", "vm-dialout")
LONG = Line("that conference is full", _LONG, "conf-full")
LINES = (SPOKEN, DIALLED, TRANSFER)


def agent() -> dict[str, Any]:
    """The ``agents`` entry of asterisk_ai.yaml that answers as the script says."""
    return {
        "greeting": GREETING,
        "closing": "Goodbye.",
        "turn": {"no_input_seconds": 30},
        "rules": {
            "intents": {
                "spoken": {"say": [SPOKEN.words], "answer": SPOKEN.answer},
                "dialled": {"answer": DIALLED.answer},
                "long": {"say": [LONG.words], "answer": LONG.answer},
                "transfer": {
                    "say": [TRANSFER.words],
                    "answer": TRANSFER.answer,
                    "do": {"transfer": f"{EXTENSION}@landed"},
                },
            },
            "dtmf": {DIALLED.words: "dialled"},
        },
    }


def plain(text: str) -> str:
    """Words alone, as two recognisers would agree on them."""
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower()).split())


def expected() -> list[tuple[str, str]]:
    """Who says what, in order."""
    turns = [("agent", plain(GREETING))]
    for line in LINES:
        turns += [("caller", plain(line.words)), ("agent", plain(line.answer))]
    return turns


@dataclass(frozen=True, slots=True)
class Recording:
    """One prompt as it is played."""

    name: str
    """What ``Playback`` is given."""
    tail: float
    """Seconds of silence at its end."""


async def recordings(sounds: Path | None, folder: Path) -> Mapping[str, Recording]:
    """The human recording of each prompt, or where there is none espeak's voice in a file of ``folder``.

    :raises ProviderError: there is no recording, and espeak does not speak.
    """
    found = {}
    for line in (*LINES, LONG):
        if not line.prompt:
            continue
        name, file = line.prompt, folder / f"{line.prompt}.wav"
        if sounds is not None and any((sounds / f"{line.prompt}.{kind}").exists() for kind in _FORMATS):
            file = sounds / file.name
        else:
            pcm = await speech_of(line.words, "en-us")
            soundfile.write(file, np.frombuffer(pcm, "<i2"), RATE, subtype="PCM_16")
            name = str(file.with_suffix(""))
        found[line.prompt] = Recording(name, _tail(file))
    return found


def _tail(file: Path) -> float:
    if not file.exists():  # in another format, which only Asterisk reads
        return 0.0
    samples, rate = soundfile.read(file, dtype="int16")
    spoken = speech(np.asarray(samples, np.int16)) if rate == RATE else []
    return len(samples) / rate - spoken[-1][1] if spoken else 0.0
