"""The ``rules`` language model: intents, slots, answers and actions from the YAML."""

from __future__ import annotations

from asterisk_ai.providers.engines.rules.engine import Rules

__all__ = ["Rules"]
