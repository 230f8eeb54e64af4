"""Who calls, as far as the caller lets us know."""

from __future__ import annotations

import pytest

from asterisk_ai.pbx.caller import caller_of

ANN = {"agi_callerid": "5551234", "agi_calleridname": "Ann", "agi_channel": "PJSIP/ann-1", "agi_dnid": "200"}


def test_who_calls() -> None:
    known = {"number": "5551234", "name": "Ann", "channel": "PJSIP/ann-1", "dialled": "200"}
    assert caller_of({**ANN, "agi_callingpres": "0"}) == known
    assert caller_of(ANN) == known  # something that plays Asterisk's part


@pytest.mark.parametrize("presentation", ["32", "33", "34", "35", "67"])
def test_who_does_not_want_to_be_known_is_not(presentation: str) -> None:
    known = caller_of({**ANN, "agi_callingpres": presentation, "agi_channel": "DAHDI/i1/5551234-1"})
    assert known == {"channel": "DAHDI/i1/withheld-1", "dialled": "200"}


@pytest.mark.parametrize("presentation", ["0", "1", "2", "3", "", "unknown"])
def test_who_does_not_mind_is(presentation: str) -> None:
    assert caller_of({**ANN, "agi_callingpres": presentation})["number"] == "5551234"


@pytest.mark.parametrize(
    "placeholder", ["anonymous", "Anonymous", "unknown", "UNAVAILABLE", "Private Caller", "No Caller ID", "<none>", " "]
)
def test_a_placeholder_is_no_number_and_no_name(placeholder: str) -> None:
    known = caller_of({**ANN, "agi_callerid": placeholder, "agi_calleridname": placeholder})
    assert known == {"channel": "PJSIP/ann-1", "dialled": "200"}


@pytest.mark.parametrize("number", ["+49301234567", "200", "alice", "unknown-200"])
def test_a_number_is_one_all_the_same(number: str) -> None:
    assert caller_of({**ANN, "agi_callerid": number})["number"] == number
