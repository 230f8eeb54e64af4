"""Where an agent may send its callers, as far as the configuration alone tells it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from asterisk_ai.config import AgentConfig, Config
from asterisk_ai.dialog.dialplan import ACTIONS, DialplanAction
from asterisk_ai.providers.engines.rules import schema as rules
from asterisk_ai.providers.engines.rules.ruleset import Slot
from asterisk_ai.providers.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class Destination:
    """One of them."""

    agent: str
    action: DialplanAction


def destinations(config: Config) -> list[Destination]:
    """Of all agents, each once. What depends on what a caller says or dials is not among them.

    :raises ConfigError: where rules or tools cannot be read.
    """
    found: dict[tuple[str, str], Destination] = {}
    for agent in config.agents.values():
        pipeline = config.pipeline_of(agent)
        known = list(_of_rules(agent)) if "rules" in pipeline.llm else []
        if pipeline.realtime or set(pipeline.llm) - {"rules"}:
            known += _of_tools(agent)
        for action in known:
            key = (action.kind, str(sorted(action.arguments.items())))
            found.setdefault(key, Destination(agent.name, action))
    return list(found.values())


def _of_tools(agent: AgentConfig) -> Iterable[DialplanAction]:
    own = {name: value for name, value in agent.tools.items() if name in ACTIONS}
    return Toolbox(own, f"agents.{agent.name}.tools", tuple(agent.transfers)).destinations()


def _of_rules(agent: AgentConfig) -> Iterator[DialplanAction]:
    known = rules.load(agent.rules, f"agents.{agent.name}.rules", targets=tuple(agent.transfers))
    for intent in known.intents.values():
        for outcome in (intent.outcome, intent.if_open, intent.if_closed, intent.if_no):
            if outcome is not None and outcome.do is not None:
                for arguments in _filled(outcome.do.arguments, known.slots):
                    yield DialplanAction(outcome.do.kind, arguments)


def _filled(arguments: Mapping[str, str], slots: Mapping[str, Slot]) -> Iterator[Mapping[str, str]]:
    """The arguments with every value that their slots may have; none where there is no end of them."""
    used = {inner.partition(":")[0] for text in arguments.values() for inner in rules.REFERENCE.findall(text)}
    names = sorted({reference.partition(".")[0] for reference in used})
    if any(name not in slots or not slots[name].fields for name in names):
        return
    for values in itertools.product(*(slots[name].fields for name in names)):
        chosen = dict(zip(names, values, strict=True))

        def value(match: re.Match[str], chosen: dict[str, str] = chosen) -> str:
            name, _, attribute = match[1].partition(":")[0].partition(".")
            return slots[name].fields[chosen[name]][attribute] if attribute else chosen[name]

        yield {key: rules.REFERENCE.sub(value, text) for key, text in arguments.items()}
