"""One agent: what it says first and last, how it takes turns, what it can answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asterisk_ai.config.schema.types import Names
from asterisk_ai.dialog.staged.state import TurnParams

DIAGNOSTIC_AGENTS = ("echo", "milliwatt")
"""Agents that are there without being configured, see :mod:`asterisk_ai.call.diagnostic`."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One agent: what it says first and last, how it takes turns, what it can answer."""

    name: str = field(default="", metadata={"key": False})
    pipeline: str = ""
    """The pipeline that serves it; empty for the one of all agents."""
    language: str = "en-US"
    """The language that it speaks and understands, as in ``en-US``."""
    greeting: str = ""
    """What it says first; empty: it waits for the caller."""
    greeting_interruptible: bool = True
    """False for what callers have to hear."""
    closing: str = ""
    """What it says before it hangs up."""
    voice: str = ""
    """The engine's voice; empty for the engine's own choice."""
    turn: TurnParams = field(default_factory=TurnParams)
    """Who speaks when."""
    rules: Mapping[str, Any] = field(default_factory=dict)
    """What the ``rules`` language model understands and does."""
    knowledge: Names = field(default_factory=Names)
    """Files (.txt, .md, .csv) and folders from which questions are answered."""
    prompt: str = ""
    """What other language models are told they are."""
    tools: Mapping[str, Any] = field(default_factory=dict)
    """What other language models may do."""

    def as_mapping(self) -> dict[str, Any]:
        """Its fields by name, as the constructor of a language model takes them."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
