"""Who calls, as far as the caller lets us know.

``CALLERID(pres)=prohib`` means that the number and the name are for the network and not for whoever answers. So they
are dropped here, where the call comes in, and reach neither the agent nor the record, models, tools or the log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_KEYS = {
    "number": "agi_callerid",
    "name": "agi_calleridname",
    "channel": "agi_channel",
    "uniqueid": "agi_uniqueid",
    "dialled": "agi_dnid",
    "context": "agi_context",
    "exten": "agi_extension",
    "language": "agi_language",
}
#: AST_PRES_RESTRICTION and AST_PRES_ALLOWED of agi_callingpres. Source: callerid.h.
_RESTRICTION, _ALLOWED = 0x60, 0x00
#: What networks and telephones write where there is no number or name, without all that is no letter.
_PLACEHOLDERS = frozenset(
    """unknown anonymous unavailable restricted private withheld blocked none null nocallerid nonumber unknowncaller
    unknownnumber unknownname anonymouscaller callerunknown privatecaller privatenumber privatename withheldnumber
    numberwithheld blockedcaller callerid notavailable outofarea payphone anonymousinvalid""".split()
)


def caller_of(environment: Mapping[str, str], called: str = "") -> dict[str, str]:
    """What is known about a caller, by the names that rules, models and records use.

    :param environment: of the AGI request.
    :param called: the number, where it was us who called; ``direction`` is ``out`` then.
    """
    if called:
        kept = {name: environment.get(_KEYS[name], "").strip() for name in ("channel", "uniqueid", "language")}
        return {"number": called, "direction": "out", **{name: value for name, value in kept.items() if value}}
    known = {name: environment.get(key, "").strip() for name, key in _KEYS.items()}
    number = known["number"]
    if _is_withheld(environment.get("agi_callingpres", "")):
        # Some channels are named after the number: DAHDI/i1/5551234-1
        if len(number) > 2 and number.strip("0"):
            known["channel"] = known["channel"].replace(number, "withheld")
        known["number"] = known["name"] = ""
    for name in ("number", "name", "dialled"):
        if re.sub(r"[^a-z]", "", known[name].lower()) in _PLACEHOLDERS and not re.search("[0-9]", known[name]):
            known[name] = ""
    return {name: value for name, value in known.items() if value and value != "unknown"}


def _is_withheld(presentation: str) -> bool:
    """Whether the caller, or the network, wants nobody to be told; what cannot be read is no such wish."""
    return presentation.isdecimal() and int(presentation) & _RESTRICTION != _ALLOWED
