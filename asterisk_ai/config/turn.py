"""Where the configuration finds the parameters of turn-taking."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnParams:
    endpoint_ms: int = 600
    barge_in: bool = True
    barge_in_ms: int = 250
    no_input_seconds: float = 6.0
    no_input_prompts: tuple[str, ...] = ("Are you still there?",)
    max_no_input: int = 3
    max_utterance_seconds: float = 20.0
    digit_timeout_ms: int = 2500


__all__ = ["TurnParams"]
