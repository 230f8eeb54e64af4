"""What the sample reception makes of a sentence, and the figures of whole lists of them.

    python tests/support/meaning.py              the lists for tuning: what went wrong, and the counts
    python tests/support/meaning.py --held-out   the lists that nothing was tuned on: the counts alone

Each line of ``requests.tsv`` and ``heldout.tsv`` is an intent (or a department) and a wish in free words; ``other.txt``
is talk that is none of its business. ``heldout_other.txt`` are 200 of CLINC150's out-of-scope sentences (Larson et al.
2019, CC BY 3.0), written by people who were asked for something that an assistant does not do.
"""

from __future__ import annotations

import functools
import re
import sys
from collections import Counter
from pathlib import Path

from asterisk_ai import config
from asterisk_ai.providers.api import DialplanAction, Say, TurnRequest
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.engines.rules.flow import EITHER
from asterisk_ai.providers.engines.rules.small_talk import language
from asterisk_ai.providers.engines.rules.understanding import Understanding
from asterisk_ai.providers.grammar import Grammar

DATA = Path(__file__).parents[1] / "data" / "meaning"
_SAME = ({"hours", "open_now"},)
_BY_EXTEN = {"200": "sales", "300": "support"}
_BY_KIND = {"queue": "human", "hangup": "goodbye", "voicemail": "message"}


@functools.cache
def reception(*, vectors: bool = True) -> Rules:
    sample = config.parse((config.share_path("etc-asterisk") / "asterisk_ai.yaml").read_text())
    model = Rules({}, sample.agent().as_mapping())
    if not vectors:
        slots = {name: slot.grammar for name, slot in model.rules.slots.items()}
        model.understanding = Understanding(model.rules, Grammar(slots), language("en"), None)
    return model


def outcome(text: str, confidence: float = 1.0) -> tuple[str, bool]:
    """The intent that was taken, ``asked``, ``either`` (department) or ``none``; and whether something was done."""
    model = reception()
    memory, *parts = model.answer(TurnRequest(text, confidence=confidence))
    action = next((part for part in parts if isinstance(part, DialplanAction)), None)
    if action is not None:
        return _BY_EXTEN.get(action.arguments.get("exten", "")) or _BY_KIND[action.kind], True
    pending = memory.memory.get("pending", {})  # type: ignore[union-attr]
    if pending.get("intent") == EITHER and {intent for intent, _ in pending["options"]} == {"transfer"}:
        return "either", False  # of the departments
    if pending:
        return ("asked" if pending["intent"].startswith("<") else pending["intent"]), False
    said = " ".join(part.text for part in parts if isinstance(part, Say))
    if re.search(r"\bwe are (?:open from|closed\.)", said):  # of the day that was asked for
        return "hours", False
    for name, intent in model.rules.intents.items():
        for case in (intent.outcome, intent.if_open, intent.if_closed):
            begins = case.answer.partition("{")[0][:20] if case else ""
            if begins and said.startswith(begins):
                return name, False
    return "none", False


def judged(wanted: str, text: str, confidence: float = 1.0) -> str:
    """right, asked, none, wrong, or acted (wrongly)."""
    got, acted = outcome(text, confidence)
    if got == wanted or any({got, wanted} <= same for same in _SAME):
        return "right"
    if got == "either" and wanted == "transfer":
        return "right"
    if got in ("asked", "either") or (wanted in ("sales", "support") and got == "transfer"):
        return "asked"
    return "acted" if acted else "none" if got == "none" else "wrong"


def lists(held_out: bool = False) -> tuple[list[tuple[str, str]], list[str]]:
    wanted, strange = ("heldout.tsv", "heldout_other.txt") if held_out else ("requests.tsv", "other.txt")
    requests = [line.split("\t") for line in (DATA / wanted).read_text("utf-8").splitlines()]
    return [(wanted, text) for wanted, text in requests], (DATA / strange).read_text("utf-8").splitlines()


def main() -> None:
    held_out = "--held-out" in sys.argv
    requests, other = lists(held_out)
    verdicts = [(judged(wanted, text), wanted, text) for wanted, text in requests]
    strangers = [(*outcome(text), text) for text in other]
    if not held_out:  # who tunes looks at the figures alone
        for one in (*(one for one in verdicts if one[0] != "right"), *(one for one in strangers if one[0] != "none")):
            print(*one, sep="\t")
    print("requests", dict(Counter(verdict for verdict, *_ in verdicts)))
    known = ("none", "asked", "either")
    done = Counter("acted" if acted else got if got in known else "answered" for got, acted, _ in strangers)
    print("other", dict(done))


if __name__ == "__main__":
    main()
