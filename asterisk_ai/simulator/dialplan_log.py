"""What Asterisk's log tells of the dialplan's steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EXECUTING = re.compile(
    r"Executing \[(?P<exten>[^@\]]+)@(?P<context>[^:\]]+):(?P<priority>\d+)\] "
    r'(?P<application>\w+)\("(?P<channel>[^"]*)", "(?P<data>.*)"\)'
)


@dataclass(frozen=True)
class Executed:
    """One line ``Executing [exten@context:priority] App("channel", "data")``."""

    context: str
    exten: str
    priority: int
    application: str
    channel: str
    data: str


def executed(log: str, channel: str = "") -> list[Executed]:
    """The steps in their order; ``channel`` picks one by the beginning of its name."""
    return [
        Executed(m["context"], m["exten"], int(m["priority"]), m["application"], m["channel"], m["data"])
        for m in _EXECUTING.finditer(log)
        if m["channel"].startswith(channel)
    ]


def landed(log: str, channel: str = "") -> list[str]:
    """The extensions of context [landed] that calls came to."""
    return [step.exten for step in executed(log, channel) if step.context == "landed" and step.priority == 1]
