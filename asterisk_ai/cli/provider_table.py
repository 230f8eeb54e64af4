"""What engines can do, as a table: for who has to choose."""

from __future__ import annotations

from typing import Any

from asterisk_ai.cli.provider_bench import table
from asterisk_ai.config import STAGES, Config
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers import catalog

HEAD = ("engine", "stage", "streams", "languages", "tools", "priced by")
PRICED = {"stt": "minutes", "llm": "tokens", "tts": "characters", "realtime": "minutes or tokens"}
"""What vendors charge by; of services at home there is nothing to pay."""


def engines_table(config: Config) -> str:
    """Every engine that there is, and those that the configuration names otherwise."""
    own = {
        (stage, name): str(config.settings(name).get("engine") or name)
        for pipeline in config.pipelines.values()
        for stage in STAGES
        for name in getattr(pipeline, stage)
    }
    known = {(stage, name): name for stage in STAGES for name in catalog.names(stage)}
    rows = [_row(stage, name, target) for (stage, name), target in sorted((known | own).items())]
    return table([HEAD, *rows])


def _row(stage: str, name: str, target: str) -> tuple[str, ...]:
    try:
        engine: Any = catalog.load(stage, target)
    except ConfigError as error:
        return name, stage, f"not here: {error.message}", "", "", ""
    languages = ", ".join(getattr(engine, "languages", ())) or "the model's"
    tools = "yes" if stage == "realtime" or getattr(engine, "uses_tools", False) is True else ""
    preset = getattr(engine, "preset", None)
    at_home = getattr(engine, "at_home", False) or (preset is not None and "//127.0.0.1" in preset.base_url)
    priced = engine.__module__.startswith("asterisk_ai.providers.vendors") and not at_home
    streams = str(getattr(engine, "streams", ""))
    return name, stage, streams, languages, tools, PRICED.get(stage, "") if priced else ""
