"""Fits what the likenesses of a sentence to an agent's meanings are worth together (rules/words/fitted.yaml).

    python tests/support/fit_meaning.py CLINC BANKING     prints the YAML, and figures of agents that had no part in it

CLINC is ``data_full.json`` of CLINC150 (Larson et al. 2019, CC BY 3.0), BANKING ``train.csv`` of BANKING77 (Casanueva
et al. 2020, CC BY 4.0): what people wrote when they were asked for things. Of them agents are made, each with 3 to 10
intents and 2 to 20 examples for each; the rest of the sentences is asked, beside small talk and sentences for other
agents. With them goes the sample reception with the lists of tests/data/meaning but the one that is held out.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from meaning import lists, reception

from asterisk_ai.providers.engines.rules.likeness import NAMES
from asterisk_ai.providers.engines.rules.meaning import Example, Kind, Meanings
from asterisk_ai.providers.engines.rules.small_talk import FOREIGN, TALK, language
from asterisk_ai.providers.knowledge.vectors import Vectors, vectors

Asked = tuple[npt.NDArray[np.float64], frozenset[int]]
"""A sentence: how like it is to each meaning, and which of them are right."""
TALKED = {"greeting": "greeting", "goodbye": "goodbye", "thank_you": "thanks", "repeat": "repeat",
          "are_you_a_bot": "robot", "what_can_i_ask_you": "help", "what_is_your_name": "robot", "yes": "yes",
          "no": "no", "cancel": "nothing"}  # fmt: skip
"""What CLINC150 has of small talk."""
CHAT = ("maybe change_speed user_name how_old_are_you where_are_you_from who_made_you who_do_you_work_for flip_coin "
        "what_are_your_hobbies do_you_have_pets tell_joke fun_fact meaning_of_life roll_dice").split()  # fmt: skip
_WITHOUT_VECTORS = frozenset("one letters shared known shared_lead shared_foreign length talk".split())
_PULL = 1.0
_WISHES = {"sales": ("transfer|department=sales",), "support": ("transfer|department=support",),
           "hours": ("hours", "open_now"), "open_now": ("hours", "open_now")}  # fmt: skip


class Sentences:
    """Of both collections. Every fifth intent is kept to judge by."""

    def __init__(self, clinc: Path, banking: Path) -> None:
        read = json.loads(clinc.read_text("utf-8"))
        self.talk: dict[str, list[str]] = defaultdict(list)
        self.intents: dict[str, list[str]] = defaultdict(list)
        for text, intent in (pair for part in ("train", "val", "test") for pair in read[part]):
            if intent in TALKED:
                self.talk[TALKED[intent]].append(text)
            elif intent not in CHAT:
                self.intents[intent].append(text)
        self.other = [text for part in ("oos_train", "oos_val", "oos_test") for text, _ in read[part]]
        held = set((Path(__file__).parents[1] / "data" / "meaning" / "heldout_other.txt").read_text().splitlines())
        self.other = [text for text in self.other if text not in held]
        self.banking: dict[str, list[str]] = defaultdict(list)
        for row in csv.DictReader(banking.read_text("utf-8").splitlines()):
            self.banking[row["category"].lower()].append(row["text"])


def asked_of(
    intents: dict[str, list[str]], among: Sequence[str], data: Sentences, found: Vectors | None, rng: random.Random
) -> Iterator[Asked]:
    """One agent with some of the intents."""
    own = rng.sample(among, rng.randint(3, 10))
    count = rng.choice((2, 4, 6, 8, 12, 20))
    english = language("en")
    assert english is not None
    examples, asked = [], []
    for name in own:
        texts = rng.sample(intents[name], min(count + 5, len(intents[name])))
        examples += [Example(name, text, Kind.OWN) for text in texts[:count]]
        asked += [(text, name) for text in texts[count:]]
    for name, said in english.talk.items():
        examples += [Example(TALK + name, text, Kind.TALK) for text in said]
    for name, (_, said) in english.common.items():
        examples += [Example(FOREIGN + name, text, Kind.FOREIGN) for text in said]
    examples += [Example(f"{FOREIGN}other", text, Kind.FOREIGN) for text in english.foreign["other"]]
    about = {name: name.replace("_", " ") for name in own}
    meanings = Meanings(examples, english.fillers, found, about=about)
    asked += [(text, TALK + name) for name, texts in data.talk.items() for text in rng.sample(texts, 2)]
    asked += [(text, "") for text in rng.sample(data.other, 30)]
    strange = [name for name in data.intents if name not in own]
    asked += [(rng.choice(data.intents[rng.choice(strange)]), "") for _ in range(10)]
    for text, right in asked:
        names, rows = meanings.rows(text)
        yield rows.astype(float), frozenset({names.index(right)} if right else ())


def reception_asked(found: Vectors | None) -> Iterator[Asked]:
    """The sample reception, with the sentences that it may be tuned on."""
    model = reception(vectors=found is not None)
    assert model.understanding.meanings is not None
    requests, other = lists()
    for right, text in [*requests, *(("", text) for text in other)]:
        names, rows = model.understanding.rows(text)
        wanted = _WISHES.get(right, (right,))
        if right in ("goodbye", "human", "help"):
            wanted = (right, TALK + right)
        yield rows.astype(float), frozenset(names.index(name) for name in wanted if name in names)


def fit(asked: Sequence[Asked], columns: Sequence[int]) -> npt.NDArray[np.float64]:
    """Logistic regression by Newton's method; returns the weights."""
    x = np.concatenate([rows for rows, _ in asked])[:, columns]
    y = np.concatenate([[number in right for number in range(len(rows))] for rows, right in asked]).astype(float)
    middle, spread = x.mean(0), x.std(0)
    middle[0], spread[0] = 0, 1  # the column of ones
    spread[spread == 0] = 1
    z = (x - middle) / spread
    pull = np.full(len(columns), _PULL)
    pull[0] = 0
    b = np.zeros(len(columns))
    for _ in range(30):
        p = 1 / (1 + np.exp(-z @ b))
        hessian = (z * (p * (1 - p))[:, None]).T @ z + np.diag(pull)
        b += np.linalg.solve(hessian, z.T @ (y - p) - pull * b)
    b[1:] /= spread[1:]
    b[0] -= b[1:] @ middle[1:]
    return b


def figures(
    asked: Sequence[Asked], columns: Sequence[int], weights: npt.NDArray[np.float64]
) -> dict[float, list[float]]:
    """By the part of foreign sentences that pass a threshold: the threshold, and the parts right and wrong above it."""
    best = [((rows[:, columns] @ weights), right) for rows, right in asked]
    certain = np.array([1 / (1 + np.exp(-values.max())) for values, _ in best])
    right = np.array([int(values.argmax()) in right for values, right in best])
    meant = np.array([bool(right) for _, right in best])
    found = {}
    for part in (0.005, 0.01, 0.02, 0.05, 0.1):
        least = float(np.quantile(certain[~meant], 1 - part))
        passed = certain > least
        found[part] = [round(float(one), 3) for one in
                       (least, (right & passed)[meant].mean(), (~right & passed)[meant].mean())]  # fmt: skip
    return found | {1.0: [0.0, round(float(right[meant].mean()), 3), round(float((~right)[meant].mean()), 3)]}


def main() -> None:
    data = Sentences(*map(Path, sys.argv[1:3]))
    for name, found in (("vectors", vectors()), ("letters", None)):
        rng = random.Random(7)
        kept = sorted(data.intents)[::5]
        learned = sorted(set(data.intents) - set(kept))
        banked = sorted(data.banking)
        asked = [one for _ in range(60) for one in asked_of(data.intents, learned, data, found, rng)]
        asked += [one for _ in range(15) for one in asked_of(data.banking, banked, data, found, rng)]
        ours = list(reception_asked(found))
        judges = [one for _ in range(25) for one in asked_of(data.intents, kept, data, found, rng)]
        columns = [at for at, one in enumerate(NAMES) if found or one in _WITHOUT_VECTORS]
        weights = fit(asked + ours * 6, columns)
        for which, judged in (("fitted", asked), ("others", judges), ("reception", ours)):
            print(f"# {name}, {which}: {figures(judged, columns, weights)}")
        pairs = ", ".join(f"{NAMES[at]}: {value:.3g}" for at, value in zip(columns, weights, strict=True))
        print(f"{name}:\n  weights: {{{pairs}}}", flush=True)


if __name__ == "__main__":
    main()
