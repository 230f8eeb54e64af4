"""Are the sounds there that agents' texts name?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from asterisk_ai.agents.sounds import Sounds
from asterisk_ai.audio.ambience import looped
from asterisk_ai.cli.findings import Finding
from asterisk_ai.config import AgentConfig, Config
from asterisk_ai.dialog.spoken import sounds_in
from asterisk_ai.errors import ProviderRejected

_RATE = 8000


def sounds(config: Config) -> Iterator[Finding]:
    """One finding for each that is missing or no sound, and one where all are there; none where none is named."""
    found = bad = 0
    for agent in config.agents.values():
        files = Sounds(config.sounds_path(), agent.language)
        played = not config.pipeline_of(agent).realtime
        for key, name in _named(agent):
            found += 1
            try:
                pcm = files.read(name, _RATE)
                if key == "ambience":
                    looped(pcm, _RATE, agent.ambience_dbov)
                elif not played:
                    raise ValueError("services of speech to speech play no sounds")
            except (ProviderRejected, ValueError) as error:
                bad += 1
                cure = "record it there, or correct the name; playback.sounds names another folder than Asterisk's"
                yield Finding(False, f"agents.{agent.name}.{key}: sound:{name}: {error}", cure)
    if found and not bad:
        yield Finding(True, f"all {found} sounds that agents name are there")


def _named(agent: AgentConfig) -> Iterator[tuple[str, str]]:
    texts = [*agent.said(), *((f"rules.{key}", text) for key, text in _texts(agent.rules))]
    yield from ((key, name) for key, text in texts for name in sounds_in(text))
    if agent.ambience:
        yield "ambience", agent.ambience


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text below ``value``, with its key's path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _texts(below, f"{path}.{key}".strip("."))
    elif isinstance(value, (list, tuple)):
        for below in value:
            yield from _texts(below, path)
