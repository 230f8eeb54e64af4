"""Figures of all calls: how many, how they ended, what was not understood, how quickly they were answered."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import anyio.to_thread
import yaml
from rapidfuzz import fuzz
from starlette.responses import Response

from asterisk_ai.config import AgentConfig, load_part
from asterisk_ai.errors import ConfigError
from asterisk_ai.server.web.site import Visit
from asterisk_ai.session.backends.call_figures import NotUnderstood, percentile
from asterisk_ai.session.model import STEPS

SPANS = {"day": "24 hours", "week": "7 days", "month": "30 days"}
MOST_GROUPS = 20
_ALIKE = 85
"""Of 100: two phrases so much alike are one."""


@dataclass(slots=True)
class Group:
    """Phrases that are nearly the same."""

    agent: str
    phrase: str
    count: int
    call_id: str
    """One of the calls in which it was said."""
    snippet: str = ""
    """What makes the agent understand it, as YAML."""


async def overview(visit: Visit) -> Response:
    span = visit.query("span") if visit.query("span") in SPANS else "day"
    edges, labels = _slots(span, datetime.fromtimestamp(time.time()))
    found = await visit.site.read(lambda reader: reader.figures(edges))
    groups: list[Group] = []
    if visit.may("words"):
        groups = await anyio.to_thread.run_sync(_groups, found.not_understood, visit.site.file)
    return visit.page(
        "overview.html", figures=found, labels=labels, span=span, spans=SPANS, steps=STEPS, groups=groups,
        median=percentile(found.answers, 0.5), slow=percentile(found.answers, 0.9), words=visit.may("words"),
        highest=max(found.per_slot, default=0),
    )  # fmt: skip


def _slots(span: str, now: datetime) -> tuple[list[float], list[str]]:
    """The slots' edges, and what each begins with: hours of a day, days of a week or a month. As clocks show them."""
    if span == "day":
        end = now.replace(minute=0, second=0, microsecond=0).timestamp() + 3600
        edges = [end - 3600 * back for back in range(24, -1, -1)]
        return edges, [time.strftime("%H:00", time.localtime(edge)) for edge in edges[:-1]]
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight + timedelta(days=1 - back) for back in range(7 if span == "week" else 30, -1, -1)]
    return [day.timestamp() for day in days], [f"{day:%a %d}" for day in days[:-1]]


def _groups(phrases: Sequence[NotUnderstood], file: str | None) -> list[Group]:
    """What was said most often first."""
    groups: list[Group] = []
    for one in phrases:
        text = phrase(one.text)
        alike = (g for g in groups if g.agent == one.agent and fuzz.ratio(g.phrase, text) >= _ALIKE)
        if (group := next(alike, None)) is not None:
            group.count += 1
        elif text:
            groups.append(Group(one.agent, text, 1, one.call_id))
    groups.sort(key=lambda group: -group.count)
    agents = _agents(file)
    for group in groups[:MOST_GROUPS]:
        group.snippet = snippet(group, agents.get(group.agent))
    return groups[:MOST_GROUPS]


def _agents(file: str | None) -> Mapping[str, AgentConfig]:
    try:
        return load_part(file, "agents").agents
    except ConfigError:
        return {}


def phrase(text: str) -> str:
    """As it can stand in an intent's ``say``, where brackets and bars mean something."""
    return " ".join(re.sub(r"[^\w'\s-]", " ", text.lower()).split())[:200]


def snippet(group: Group, agent: AgentConfig | None) -> str:
    """The phrase under the intent that is the nearest to it, or under one to be made."""
    intents: Any = agent.rules.get("intents") if agent is not None else None
    nearest, best = "", 50.0
    for name, intent in intents.items() if isinstance(intents, dict) else ():
        said = intent.get("say", "") if isinstance(intent, dict) else ""
        for line in said.splitlines() if isinstance(said, str) else said if isinstance(said, list) else ():
            likeness = fuzz.token_sort_ratio(phrase(str(line)), group.phrase)
            if likeness > best:
                nearest, best = name, likeness
    entry: dict[str, Any] = {"say": f"{group.phrase}\n"}
    if not nearest:
        entry["answer"] = "What your agent says to that."
    wrapped = {"agents": {group.agent: {"rules": {"intents": {nearest or "new_intent": entry}}}}}
    return yaml.dump(wrapped, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Texts of lines as people write them."""


def _lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _lines)
