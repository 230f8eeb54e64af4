"""Which models suit a machine. The thresholds are the registry's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asterisk_ai.errors import ConfigError
from asterisk_ai.models.hardware import Machine
from asterisk_ai.models.measured import Measured
from asterisk_ai.models.registry import Model, Registry, Thresholds, Tier


@dataclass(frozen=True, slots=True)
class Verdict:
    """One tier on one machine: what it lacks, in words; nothing where it will do."""

    tier: Tier
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preferences:
    """For whom a tier is judged: the callers' languages, and the ids of models that are on the disk already."""

    languages: tuple[str, ...] = ()
    here: frozenset[str] = frozenset()


def judge(
    registry: Registry, machine: Machine, measured: Measured | None = None, wanted: Preferences = Preferences()
) -> list[Verdict]:  # fmt: skip
    """Every tier, from the least to the largest."""
    return [
        Verdict(tier, (*_lacks(registry, tier, machine, measured), *_no_room(registry, tier, machine, wanted)))
        for tier in registry.tiers
    ]


def best(verdicts: Sequence[Verdict]) -> Verdict:
    """The largest tier that the machine has enough for. Raises ConfigError where even the least asks for more."""
    fitting = [verdict for verdict in verdicts if not verdict.lacks]
    if not fitting:
        raise ConfigError("no tier of the registry fits this machine")
    return fitting[-1]


def models_of(registry: Registry, tier: Tier, languages: Sequence[str]) -> tuple[tuple[Model, ...], tuple[str, ...]]:
    """The models of a tier for callers' languages (en-US, de), and what is missing for them, in words."""
    names = dict.fromkeys(tier.every)
    missing = []
    for language in languages if tier.languages else ():
        own = _for_language(tier, language)
        names |= dict.fromkeys(own)
        kinds = {registry.models[name].kind for name in own}
        if not own:
            missing.append(f"no models for {language}")
        elif "tts" not in kinds:
            missing.append(f"no voice for {language}")
    return tuple(registry.models[name] for name in names), tuple(missing)


def _for_language(tier: Tier, language: str) -> tuple[str, ...]:
    """Exact, else the language without its region (``en-AU`` takes ``en``)."""
    wanted = language.replace("_", "-").lower()
    known = {tag.lower(): names for tag, names in tier.languages.items()}
    return known.get(wanted) or known.get(wanted.partition("-")[0], ())


def _lacks(registry: Registry, tier: Tier, machine: Machine, measured: Measured | None) -> list[str]:
    lacks = []
    needed = tier.cores_with_gpu if machine.gpus else tier.cores
    if machine.cores < needed:
        lacks.append(f"{needed:g} cores ({machine.cores:g} here)")
    if machine.memory_bytes < tier.memory_bytes:
        lacks.append(f"{tier.memory_bytes / 1e9:.1f} GB of free memory ({machine.memory_bytes / 1e9:.1f} here)")
    if tier.instructions:
        wanted = tier.instructions.get(machine.architecture)
        if wanted is None:
            lacks.append(f"a processor of the kind {' or '.join(tier.instructions)} ({machine.architecture} here)")
        else:
            absent = [name for name in wanted if name not in machine.instructions]
            if absent:
                lacks.append(f"the instructions {', '.join(absent)}")
    if measured is not None:
        lacks += _too_slow(registry, tier, measured)
    return lacks


def _no_room(registry: Registry, tier: Tier, machine: Machine, wanted: Preferences) -> list[str]:
    """Room for what is to be fetched, once more for what is unpacked, and what must stay free for the PBX."""
    lacking = [one for one in models_of(registry, tier, wanted.languages)[0] if one.id not in wanted.here]
    needed = sum(one.size * (2 if one.archive else 1) for one in lacking) + registry.thresholds.disk_reserve_bytes
    if not lacking or machine.disk_bytes >= needed:
        return []
    return [f"{needed / 1e9:.1f} GB of free disk ({machine.disk_bytes / 1e9:.1f} here)"]


def _too_slow(registry: Registry, tier: Tier, measured: Measured) -> list[str]:
    """What the measurement says about the tier's language models."""
    lacks = []
    for model in (registry.models[name] for name in tier.every):
        if model.kind != "llm":
            continue
        tokens, wait = speed(model, measured, registry.thresholds)
        if tokens < registry.thresholds.tokens_per_second:
            needed = registry.thresholds.tokens_per_second
            lacks.append(f"{needed:g} tokens a second from {model.id} (at most {tokens:.1f} measured)")
        if wait > registry.thresholds.prompt_seconds:
            lacks.append(f"an answer to begin in {registry.thresholds.prompt_seconds:g} s ({wait:.1f} measured)")
    return lacks


def speed(model: Model, measured: Measured, thresholds: Thresholds) -> tuple[float, float]:
    """What a language model can do at best: tokens a second, and about how many seconds reading a caller's turn takes.

    Each token reads all weights once, so memory bandwidth bounds it; reading
    a prompt takes two operations a parameter and token, so arithmetic does.
    """
    tokens = measured.bytes_per_second / model.size
    wait = 2.0 * model.parameters * thresholds.prompt_tokens / measured.flops
    return tokens, wait
