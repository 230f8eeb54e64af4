"""What the dialplan learns of a conversation: channel variables that begin with ``AI_RESULT``.

The values may come from the caller, and the dialplan may use them anywhere: only letters, digits and a few signs are
left of them, none of which means anything to Asterisk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from asterisk_ai.call.staged.answering import ANSWERED_BY
from asterisk_ai.dialog.secret import SecretDigits
from asterisk_ai.protocol.ami import value_of
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.report import intents

MAX_VARIABLES = 20
"""Slots of a call that the dialplan is told; the first ones."""
MAX_LINE = 250
"""Characters of AI_RESULT: what a CDR's userfield takes."""


def results(session: CallSession, outcome: str) -> dict[str, str]:
    """The variables, by their names.

    :param outcome: what becomes of the call now.
    """
    done = intents(session)
    told = {"OUTCOME": outcome, "INTENT": done[-1] if done else ""} | _slots(session)
    if answered_by := session.caller.get(ANSWERED_BY):
        told["ANSWERED_BY"] = answered_by
    # What is secret is in its own variable, and not in what may be written somewhere.
    line = " ".join(f"{name.lower()}={value_of(value)}" for name, value in told.items() if _may_be_written(value))
    return {f"AI_RESULT_{name}": value_of(value) for name, value in told.items()} | {"AI_RESULT": line[:MAX_LINE]}


def _slots(session: CallSession) -> dict[str, str]:
    slots = session.memory.get("slots")
    found = slots.items() if isinstance(slots, Mapping) else ()
    known = {str(name): value for name, value in found if not isinstance(value, SecretDigits) or value.result}
    names = [name for name in known if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name)][:MAX_VARIABLES]
    return {name.upper(): known[name] for name in names}


def _may_be_written(value: object) -> bool:
    return bool(value) and not isinstance(value, SecretDigits)
