"""How often people and answering machines are told apart where we call: a table of who is taken for whom.

    python tests/support/answered.py [COUNT]

People say one of Asterisk's prompts, short or long, and wait. Machines say up to three and then words of a greeting
("is not available", "leave your message after the tone"), some with a beep. Every one over mu-law with the noise
of a line. The detector of voices, the beep's, the embedded recogniser and the rule of `asterisk_ai.dialog.answered`
decide. AMD() is not asked, so that this is the worse half of what is met.
"""

from __future__ import annotations

import asyncio
import audioop
import random
import sys
from collections import Counter

import numpy as np
import rig
import soundfile

from asterisk_ai.audio.beep import BeepDetector
from asterisk_ai.audio.levels import dbov
from asterisk_ai.dialog import answered
from asterisk_ai.dialog.answered import Who
from asterisk_ai.dialog.turn_words import turn_words
from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.engines.moonshine import Moonshine
from asterisk_ai.vad.energy import EnergyVad, Offset, Onset

RATE, FRAME = 8000, 320
LANGUAGE = "en-US"
ENDINGS = ("vm-intro", "vm-isunavail", "vm-isonphone", "vm-nobodyavail")
BEGINNINGS = ("vm-theperson", "queue-thankyou", "hello-world", "vm-dialout")


def samples(name: str) -> np.ndarray:
    return np.asarray(soundfile.read(rig.SOUNDS / f"{name}.wav", dtype="int16")[0])


def call(kind: Who, chance: random.Random, people: list[str]) -> bytes:
    """What is heard of one, 12 s long."""
    if kind is Who.PERSON:
        says = [chance.choice(people)]
    else:
        says = [one for one in (chance.choice(BEGINNINGS),) if (rig.SOUNDS / f"{one}.wav").exists()]
        says += [chance.choice(ENDINGS), *(["beep"] if chance.random() < 0.6 else [])]
    pause = np.zeros(int(chance.uniform(0.2, 0.9) * RATE), np.int16)
    sound = np.concatenate([pause, *(samples(one) for one in says), np.zeros(12 * RATE, np.int16)])[: 12 * RATE]
    noisy = sound + np.random.default_rng(chance.randrange(1 << 30)).normal(0, 25, len(sound))
    pcm = np.clip(noisy, -32768, 32767).astype(np.int16).tobytes()
    return audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2)


async def decide(pcm: bytes, engine: Moonshine) -> tuple[Who | None, float]:
    """Who it is, and seconds after their last sound, or after the beginning of a machine's."""
    heard, vad, beep = answered.begun(0.0), EnergyVad(RATE), BeepDetector(RATE)
    hints = Hints(language=LANGUAGE, free=True, examples=turn_words(LANGUAGE).machine)
    said, begin = "", 0
    for at in range(0, len(pcm), FRAME):
        frame, now = pcm[at : at + FRAME], (at + FRAME) / 2 / RATE
        beep.push(frame)
        heard = answered.beep(heard) if beep.heard else heard
        voice = vad.hear(frame, dbov(frame), now)
        if isinstance(voice, Onset):
            heard, begin = answered.onset(heard, voice.at), max(0, at - 8000)
        elif isinstance(voice, Offset):
            heard = answered.offset(heard, voice.at)
            async with engine.open(rate=RATE, hints=hints) as stream:
                stream.feed(pcm[begin:at])
                words = await stream.finish()
            said = f"{said} {words.text} {words.free}"
            heard = answered.heard_words(heard, said)
        if (who := answered.who(heard, now, LANGUAGE)) is not None:
            return who, now - (heard.quiet_since if who is Who.PERSON else 0.0)
    return None, 0.0


async def main(count: int) -> None:
    chance = random.Random(23)
    people = [name for name, words in sorted(rig.wording().items()) if len(words.split()) <= 9]
    people = [one for one in people if not answered.says_machine(rig.wording()[one], LANGUAGE)]
    table: Counter[tuple[Who, Who | None]] = Counter()
    waited = []
    engine = Moonshine()
    await engine.start()
    for number in range(count):
        kind = Who.PERSON if number % 2 else Who.MACHINE
        found, seconds = await decide(call(kind, chance, people), engine)
        table[kind, found] += 1
        waited += [seconds] if kind is Who.PERSON else []
    await engine.stop()
    for (kind, found), number in sorted(table.items(), key=str):
        print(f"{kind} taken for {found or 'nobody'}: {number}")
    print(f"people wait after their last sound: median {np.median(waited):.2f} s, p90 {np.quantile(waited, 0.9):.2f} s")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
