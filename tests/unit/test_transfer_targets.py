"""Transfers: whom the configuration may name, what is said of them, and who is rung after whom."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from asterisk_ai.agents.agent import RealtimeAgentSetup
from asterisk_ai.agents.transfers import Target, targets_of
from asterisk_ai.call.speech_to_speech.service import Services
from asterisk_ai.config import Config
from asterisk_ai.config.loader import parse
from asterisk_ai.dialog.transfer import Why, briefing, regret, to_dial, why
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.session.model import CallSession


def config(transfers: dict[str, Any], do: object = "hangup") -> Config:
    rules = {"intents": {"sales": {"say": "sales", "do": do}, "other": {"say": "something else", "answer": "Yes."}}}
    return parse(yaml.safe_dump({"agents": {"a": {"transfers": transfers, "rules": rules}}}))


@pytest.mark.parametrize(
    ("transfers", "message"),
    [
        ({"sales": {}}, "agents.a.transfers.sales.to: whom to ring"),
        ({"sales": {"to": "200"}}, "'200' is none"),
        ({"sales": {"to": "PJSIP/200,30,U(x)"}}, "is none: expected a device"),
        ({"sales": {"to": "200@${SHELL(x)}"}}, "is none"),
        ({"sales": {"to": ["PJSIP/1"] * 9}}, "more than 8 destinations"),
        ({"the sales": {"to": "PJSIP/200"}}, "a name is made of letters"),
        ({"sales": {"to": "PJSIP/200", "music": "a)U(x"}}, "music: .* is not allowed"),
        ({"sales": {"to": "PJSIP/200", "seconds": 3}}, "seconds"),
    ],
)
def test_a_transfer_that_cannot_be_is_refused(transfers: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(transfers)


def test_rules_ring_only_whom_the_agent_names() -> None:
    with pytest.raises(ConfigError, match=r"there is no 'boss' in the agent's transfers \(sales\)"):
        Rules({}, config({"sales": {"to": "PJSIP/200"}}, {"connect": "boss"}).agents["a"].as_mapping())
    with pytest.raises(ConfigError, match=r"transfers.sales.otherwise: there is no intent 'mesage'"):
        Rules({}, config({"sales": {"to": "PJSIP/200", "otherwise": "mesage"}}).agents["a"].as_mapping())
    known = Rules({}, config({"sales": {"to": "PJSIP/2"}}, {"connect": "sales"}).agents["a"].as_mapping())
    assert known.offered({"slots": {}}, "other")["pending"] == {"intent": "other", "slot": "", "confirm": True}


def test_what_is_dialled() -> None:
    assert to_dial("PJSIP/200") == ("PJSIP/200", "")
    assert to_dial("PJSIP/+15551234@trunk") == ("PJSIP/+15551234@trunk", "")
    assert to_dial("200@from-internal") == ("Local/200@from-internal/n", "200@from-internal")


def test_the_order_and_the_hours() -> None:
    agent = config({"sales": {"to": ["PJSIP/1", "PJSIP/2"], "hours": {"open": {"mon": "9:00-17:00"}}}}).agents["a"]
    target: Target = targets_of(agent)["sales"]
    assert [target.dial(tried) for tried in range(3)] == [("PJSIP/1", ""), ("PJSIP/2", ""), None]
    assert target.is_open(datetime(2026, 11, 30, 10, tzinfo=UTC).astimezone())
    assert not target.is_open(datetime(2026, 12, 1, 10, tzinfo=UTC))
    with pytest.raises(ConfigError, match=r"agents.a.transfers.sales.hours.open"):
        targets_of(config({"sales": {"to": "PJSIP/1", "hours": {"open": {"someday": "9:00-17:00"}}}}).agents["a"])


@pytest.mark.parametrize("language", ["en-US", "de-DE", "es", "fr", "it", "nl", "pt-BR", "sv"])
def test_every_language_has_all_its_words(language: str) -> None:
    for reason in Why:
        assert "{" not in regret(reason, "", language) != ""
    texts = briefing({"name": "Ann"}, "", "I want to buy a car.", language)
    assert len(texts) == 3
    assert "Ann" in texts[0]
    assert "buy a car" in texts[1]
    assert len(briefing({}, "", "", language)) == 2


def test_a_briefing() -> None:
    caller = {"name": "sound:boo Ann", "number": "555"}
    assert briefing(caller, "An order.", "a car", "en")[:2] == ("A call from sound boo Ann.", "An order.")
    assert briefing({"number": "555"}, "", "a car", "en")[:2] == ("A call from 5 5 5.", "They said: a car.")
    own = briefing(caller, "", "a car", "en", text="{caller.name}, {caller.number}: {about}")
    assert own[0] == "sound boo Ann, 5 5 5: a car"


def test_what_became_of_it() -> None:
    words = [why(status) for status in ("BUSY", "NOANSWER", "ANSWER", "CANCEL", "CHANUNAVAIL", "CONGESTION", "x")]
    assert words == ["busy", "no_answer", "declined", "cancelled", "unreachable", "unreachable", "unreachable"]


def test_what_a_caller_is_told_who_is_back() -> None:
    sales = {"to": "PJSIP/1", "label": "the sales team", "offer": "Shall I take a message?", "otherwise": "other"}
    agent = config({"sales": sales}).agents["a"]
    told = agent.back_from({"to": "sales", "why": "busy"})
    assert told == "I am sorry, the sales team is on the telephone. Shall I take a message?"
    assert agent.back_from({}) == agent.back_from({"to": "gone", "why": "busy"}) == ""
    assert agent.back_from({"to": "sales", "why": "a word of another version"}).startswith("I am sorry, I cannot reach")


def test_a_service_of_speech_to_speech_says_it_too() -> None:
    agent = config({"sales": {"to": "PJSIP/1", "label": "the sales team"}}).agents["a"]
    session = CallSession("id", "a", connects=2, came_back={"to": "sales", "why": "no_answer"})
    call: Any = SimpleNamespace(session=session, store=SimpleNamespace(save=print), rate=8000, clock=lambda: 0.0)
    chain: Any = None
    services = Services(call, RealtimeAgentSetup(agent, chain, 5.0), listener=call)
    assert services._request(8000).greeting == "I am sorry, the sales team does not answer."
