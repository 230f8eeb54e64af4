"""What `asterisk-ai models` fetches for this machine, and why."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from asterisk_ai.cli.models_progress import size_text
from asterisk_ai.config import Config, load_part
from asterisk_ai.models import hardware, tiers
from asterisk_ai.models.choice import load_registry
from asterisk_ai.models.hardware import Machine
from asterisk_ai.models.measured import Measured
from asterisk_ai.models.registry import Model, Registry
from asterisk_ai.models.store import Selection, Store, store_of

_LICENCE = {
    "yes": "",
    "conditions": "commercial use with conditions",
    "unclear": "commercial use unclear: read the licence",
    "no": "NO COMMERCIAL USE",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What every action begins with."""

    config: Config
    registry: Registry
    store: Store


def context_of(arguments: argparse.Namespace, *, for_agents: bool = False) -> Context:
    """Raises ConfigError where the part of the configuration that is needed is wrong, and no other.

    :param for_agents: the models are chosen by the agents' languages, where the arguments name none.
    """
    named = getattr(arguments, "names", ()) or getattr(arguments, "language", ())
    config = load_part(arguments.config, "models", *(["agents.*.language"] if for_agents and not named else ()))
    return Context(config, load_registry(config), store_of(config))


@dataclass(frozen=True, slots=True)
class Choice:
    """What to fetch. ``selection`` is to be remembered; None where the models were named."""

    models: tuple[Model, ...]
    reasons: tuple[str, ...]
    missing: tuple[str, ...] = ()
    selection: Selection | None = None


def wanted_of(context: Context, languages: Sequence[str]) -> tiers.Preferences:
    """For whom tiers are judged here."""
    return tiers.Preferences(tuple(languages), frozenset(context.store.ids()))


def measured_of(arguments: argparse.Namespace, machine: Machine) -> Measured | None:
    """The benchmark's figures where they were asked for. Takes some seconds."""
    if not arguments.benchmark:
        return None
    from asterisk_ai.models import benchmark  # needs numpy, which nothing else here does

    return benchmark.measure(machine.cores, machine.memory_bytes)


def machine_lines(machine: Machine) -> list[str]:
    """The machine in words, and what limits it."""
    wanted = [name for name in ("avx", "avx2", "fma", "avx512f", "asimd") if name in machine.instructions]
    gpus = f"GPU: {', '.join(machine.gpus)}" if machine.gpus else "no GPU"
    lines = [
        f"machine: {machine.cores:g} cores, {size_text(machine.memory_bytes)} of memory free, "
        f"{size_text(machine.disk_bytes)} of disk free, {machine.architecture} {' '.join(wanted)}, {gpus}"
    ]
    return [*lines, *(f"         {limit}" for limit in machine.limits)]


def model_line(model: Model) -> str:
    """One model: size, memory, licence."""
    memory = f"needs {size_text(model.memory_bytes)} of memory" if model.memory_bytes else "memory: not published"
    return f"{model.id:34} {model.kind:4} {size_text(model.size):>7}  {memory:24} {terms(model)}"


def languages_of(arguments: argparse.Namespace, config: Config) -> list[str]:
    """As asked for, else the agents' own."""
    return list(dict.fromkeys(arguments.language or (agent.language for agent in config.agents.values())))


def choose(arguments: argparse.Namespace, context: Context) -> Choice:
    """Named models, a named tier, what was chosen before, or what the machine calls for."""
    registry = context.registry
    if arguments.names:
        return Choice(tuple(dict.fromkeys(registry.model(name) for name in arguments.names)), ())
    languages = languages_of(arguments, context.config)
    before = context.store.selection()
    names = {tier.name for tier in registry.tiers}
    if arguments.tier and arguments.tier != "auto":
        tier, reasons = registry.tier(arguments.tier), [f"tier {arguments.tier}: as you said"]
        verdicts = tiers.judge(registry, hardware.detect(context.store.directory), None, wanted_of(context, languages))
        reasons += [
            f"      this machine lacks {', '.join(one.lacks)}" for one in verdicts if one.tier is tier and one.lacks
        ]
    elif before and before.tier in names and not arguments.tier and not arguments.benchmark:
        tier = registry.tier(before.tier)
        reasons = [f"tier {tier.name} ({tier.about}): chosen for this machine before; --tier auto looks at it anew"]
    else:
        machine = hardware.detect(context.store.directory)
        measured = measured_of(arguments, machine)
        verdicts = tiers.judge(registry, machine, measured, wanted_of(context, languages))
        tier = tiers.best(verdicts).tier
        reasons = [*machine_lines(machine), f"tier {tier.name}: {tier.about}"]
        reasons += [f"      {one.tier.name} lacks {', '.join(one.lacks)}" for one in verdicts if one.lacks][:1]
    models, missing = tiers.models_of(registry, tier, languages)
    selection = Selection(tier.name, tuple(languages), tuple(model.id for model in models))
    return Choice(models, tuple(reasons), missing, selection)


def terms(model: Model) -> str:
    """The licence, and what it means for a business."""
    warning = _LICENCE[model.licence.commercial]
    return f"{model.licence.name}{f' ({warning})' if warning else ''}"
