"""What the administrator's own systems know about a caller."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from asterisk_ai.config.schema.after import NONE_NAMED, url_problem
from asterisk_ai.config.schema.types import Names, Range

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")


@dataclass(frozen=True, slots=True)
class LookupConfig:
    """A question to a system of yours, by HTTP, before a call's first word; see :doc:`/recipes`."""

    url: str = field(default="", metadata={"needed": "name the address that is asked"})
    """With ``{caller.number}`` and ``{caller.dialled}`` filled in. It answers with a JSON object."""
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Sent with it, as ``Authorization``; keys best as ``${NAME}`` from the environment."""
    timeout_seconds: Annotated[float, Range(0.1, 10)] = 1.0
    """So long a call waits for the answer, and goes on without it."""
    variables: Names = field(default=NONE_NAMED, metadata={"needed": "name what is taken from the answer"})
    """The fields of the answer that the agent is given: ``{known.NAME}`` in its texts, data for a language model."""

    def __post_init__(self) -> None:
        """:raises ValueError: nothing can be asked there, or a name cannot be referred to."""
        if self.url and (problem := url_problem(self.url)):
            raise ValueError(f"url: {problem}")
        for name in self.variables:
            if not _NAME.fullmatch(name):
                raise ValueError(f"variables: {name!r} is no name: letters, digits and '_'")
