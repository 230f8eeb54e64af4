"""The regression's findings, for people."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime

from asterisk_ai import __version__
from asterisk_ai.simulator.regression.trial import Verdict


def result(verdict: Verdict) -> str:
    """In a word."""
    return "not tested" if verdict.skipped else "passed" if verdict.ok else "FAILED"


def answered(verdict: Verdict) -> str:
    """Voice to voice."""
    return ", ".join(f"{seconds:.2f} s" for seconds in verdict.answered_after) or "-"


def markdown(verdicts: Sequence[Verdict], *, asterisk: str, engines: str, at: datetime) -> str:
    """The whole report."""
    lines = [
        f"# Calls over every transport, {at:%Y-%m-%d %H:%M}",
        "",
        f"asterisk-ai {__version__}, {asterisk}, Python {platform.python_version()} on {platform.platform()}.",
        f"Engines: {engines}.",
        "",
        "| transport | result | checks | voice to voice | took |",
        "| --- | --- | --- | --- | --- |",
    ]
    for verdict in verdicts:
        passed = sum(check.ok for check in verdict.checks)
        checks = "-" if verdict.skipped else f"{passed} of {len(verdict.checks)}"
        title, took = verdict.transport.title, f"{verdict.seconds:.0f} s"
        lines.append(f"| {title} | {result(verdict)} | {checks} | {answered(verdict)} | {took} |")
    lines += [
        "",
        "Voice to voice: from the caller's last sound to the agent's first, as callers hear it, for each spoken turn.",
        "Over each the caller speaks, dials and speaks again, and is transferred; in a second call the caller hangs up "
        "while the agent speaks.",
    ]
    for verdict in verdicts:
        lines += ["", f"## {verdict.transport.title} (`{verdict.transport.name}`): {result(verdict)}", ""]
        if verdict.skipped:
            lines.append(verdict.skipped)
            continue
        for check in verdict.checks:
            lines.append(f"- {'ok' if check.ok else '**FAILED**'}: {check.text}")
            lines += [f"  `{line}`" for line in check.evidence.splitlines() if line.strip()]
        lines.append(f"- recordings: {', '.join(verdict.recordings) or 'none'}")
    return "\n".join(lines) + "\n"
