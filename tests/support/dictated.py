"""Ten-digit numbers dictated to the message-taking agent in mixed ways by eight voices over mu-law.

    python tests/support/dictated.py [--each N]     N numbers a voice (default 10): right at the first and second try

What was read back wrongly is corrected in one sentence ("no, it is ..."), in single digits.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from typing import Any

from heard import hear, voices

from asterisk_ai import config
from asterisk_ai.providers.api import TurnRequest
from asterisk_ai.providers.engines.moonshine.engine import MoonshineEngine
from asterisk_ai.providers.engines.rules import Rules

_NAMES = "zero one two three four five six seven eight nine".split()
_TENS = " ten twenty thirty forty fifty sixty seventy eighty ninety".split(" ")
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
ASKED = {"slots": {"department": "sales"}, "pending": {"intent": "message", "slot": "number"}}


def spoken(digits: str, rng: random.Random, *, single: bool) -> str:
    """One way to say it; with a comma, which is a pause, after every third or fourth."""
    said: list[str] = []
    at, since = 0, 0
    while at < len(digits):
        pair = digits[at : at + 2]
        if not single and len(pair) == 2 and pair[0] == pair[1] and rng.random() < 0.5:
            said.append(f"double {_NAMES[int(pair[0])]}")
            at, since = at + 2, since + 2
        elif not single and len(pair) == 2 and pair[0] != "0" and rng.random() < 0.2:
            ten, unit = int(pair[0]), int(pair[1])
            word = _TEENS[unit] if ten == 1 else f"{_TENS[ten]} {_NAMES[unit]}" if unit else _TENS[ten]
            said.append(word)
            at, since = at + 2, since + 2
        else:
            name = "oh" if digits[at] == "0" and not single and rng.random() < 0.4 else _NAMES[int(digits[at])]
            said.append(name)
            at, since = at + 1, since + 1
        if since >= 3 and at < len(digits) - 1:
            said[-1] += ","
            since = 0
    return " ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=10)
    count = parser.parse_args().each
    engine = MoonshineEngine({"model": "", "most_load": 100})
    file = config.share_path("etc-asterisk") / "agents" / "message.yaml"
    model = Rules({}, config.load(str(file)).agent("message").as_mapping())
    whole: Counter[str] = Counter()
    for name, speak in voices().items():
        rng = random.Random(name)
        found: Counter[str] = Counter()
        for _ in range(count):
            digits = "0" + "".join(rng.choice("0123456789") for _ in range(9))
            memory: Any = ASKED
            verdict = "wrong"
            for attempt in ("first", "second"):
                text = spoken(digits, rng, single=attempt == "second")
                pcm = speak(text if attempt == "first" else f"no, it is {text}")
                words = hear(engine, pcm, model.hints(memory))
                remembered, *_ = model.answer(TurnRequest(words.text, confidence=words.confidence, memory=memory))
                memory = remembered.memory  # type: ignore[union-attr]
                if memory.get("slots", {}).get("number") == digits:
                    verdict = attempt
                    break
                print(name, attempt, text, words.text, memory.get("slots", {}).get("number"), sep="\t", flush=True)
            found[verdict] += 1
        print(name, dict(found), flush=True)
        whole += found
    print("all", dict(whole))


if __name__ == "__main__":
    main()
