"""What nobody wants anything by, through the recogniser and the rules of the sample reception: nothing may act on it.

    python tests/support/harmless.py [--each N]     all of it, every N-th

Greetings, thanks, agreement and the like by every voice that is installed, over mu-law; Asterisk's human prompts, as a
radio that somebody left on, some with music under them; clicks, coughs, noise, hum, music and silence at all levels.
Each goes to the recogniser as it is, without the detector of speech that keeps most noises from it in a call.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np
from heard import RATE, hear, on_the_line, voices
from interruptions import synthetic
from meaning import outcome, reception
from rig import SOUNDS, why_not, wording

from asterisk_ai.providers.engines.moonshine.engine import MoonshineEngine
from asterisk_ai.providers.engines.moonshine.expected import Heard
from asterisk_ai.simulator.caller_speech import speech_in

WORDS = (
    "hi|hello|hey|good morning|good afternoon|hello there|yes|yeah|yes please|no|no thanks|thanks|thank you|okay|"
    "all right|mm hmm|uh huh|hmm|what|pardon|sorry|excuse me|one moment|hold on|wait a second|well|right|great|"
    "is anybody there|can you hear me|who is this|never mind|let me see|never"
).split("|")
MEANT = (
    "goodbye|bye|operator|transfer|hang up|hangup|agent|representative|assistance|support|sales|connect|queue|"
    "voicemail|message|mailbox|speak|person"
).split("|")
"""Prompts with one of these words may be taken for a wish."""
LEVELS = (-50, -40, -30, -20)


def spoken() -> Iterator[tuple[str, bytes]]:
    for name, speak in voices().items():
        yield from ((f"{name}: {text}", speak(text)) for text in WORDS)


def radio() -> Iterator[tuple[str, bytes]]:
    """Asterisk's prompts, every third with music under it."""
    if why_not():
        return
    music = [sound for sound in synthetic() if sound.kind == "music"]
    said = {name: text for name, text in wording().items() if not any(word in text.lower() for word in MEANT)}
    for number, (name, text) in enumerate(said.items()):
        samples = np.frombuffer(speech_in(str(SOUNDS / f"{name}.wav")), "<i2").astype(np.float32) / 32768
        if number % 3 == 0:
            under = np.frombuffer(music[number % len(music)].pcm, "<i2").astype(np.float32) / 32768
            samples = samples + 0.3 * np.resize(under, len(samples))
        if 0.2 * RATE < len(samples) < 12 * RATE:
            yield f"radio: {text}", on_the_line(samples, RATE)


def noises() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(3)
    for sound in synthetic():
        yield sound.name, sound.pcm
    for level in LEVELS:
        for number, sound in enumerate(one for one in synthetic() if one.kind in ("cough", "music", "hum")):
            samples = np.frombuffer(sound.pcm, "<i2").astype(np.float32)
            scaled = samples / np.sqrt(np.mean(samples**2) + 1) * 32768 * 10 ** (level / 20)
            yield f"{sound.kind} {number} at {level} dBov", scaled.clip(-32768, 32767).astype("<i2").tobytes()
    for seconds in (0.5, 2.0, 6.0):
        yield f"silence of {seconds} s", rng.normal(0, 12, int(seconds * RATE)).astype("<i2").tobytes()
        yield f"nothing for {seconds} s", bytes(int(seconds * RATE) * 2)


def acted(engine: MoonshineEngine, pcm: bytes) -> tuple[bool, Heard]:
    """Whether the reception would transfer, hang up or record, and what was heard."""
    heard = hear(engine, pcm, reception().hints({}))
    return heard.accepted and outcome(heard.text, heard.confidence)[1], heard


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=1)
    each = parser.parse_args().each
    engine = MoonshineEngine({"model": "", "most_load": 100})
    for kind, trials in (("words", spoken()), ("radio", radio()), ("noises", noises())):
        done: Counter[str] = Counter()
        for number, (name, pcm) in enumerate(trials):
            if number % each:
                continue
            did, heard = acted(engine, pcm)
            done["acted" if did else "nothing" if not heard.accepted else "words"] += 1
            if did:
                print(f"acted: {name!r} was heard as {heard}", flush=True)
        print(f"{kind}: {sum(done.values())} trials, {dict(done)}", flush=True)


if __name__ == "__main__":
    main()
