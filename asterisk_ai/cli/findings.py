"""What a check has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. ``remedy`` says how to mend it; ``ok`` None: it could not be checked."""

    ok: bool | None
    text: str
    remedy: str = ""


def print_findings(findings: Sequence[Finding]) -> None:
    """For people: a line each, and what to do below it."""
    for finding in findings:
        print(f"{ {True: 'ok', False: 'FAIL', None: '?'}[finding.ok]:4}  {finding.text}")
        if finding.remedy:
            print(f"      -> {finding.remedy}")
