"""What an agent says and understands of itself follows its language: hours, yes and no, digits, its own few words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from test_providers_rules import Call

from asterisk_ai.agents.agent import Agent
from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.cli.check import _weaknesses
from asterisk_ai.config import parse
from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.providers.api import Wait
from asterisk_ai.providers.engines.rules import Rules
from asterisk_ai.providers.engines.rules.basics import basics
from asterisk_ai.providers.engines.rules.small_talk import language as known

SATURDAY = datetime(2026, 11, 28, 12, tzinfo=UTC)
AGENT = {
    "hours": {"timezone": "UTC", "open": {"mon-fri": "9:00-12:00, 13:00-17:00"}},
    "slots": {"account": {"digits": 4, "ask": "?", "confirm": "{account}?"}},
    "intents": {
        "next": {"say": "xxx", "answer": "{hours.next}, {hours.today}"},
        "account": {"say": "yyy", "ask": "account", "answer": "!", "do": {"transfer": "{account}@pin"}},
        "sure": {"say": "zzz", "confirm": "??", "answer": "done"},
    },
}
CASES = {
    "de": ("am Montag um 9:00, geschlossen", "ja", "nein", "vier sieben eins zwo"),
    "es": ("el lunes a las 9:00, cerrado", "sí", "no", "cuatro siete uno dos"),
    "fr": ("lundi à 9:00, fermé", "oui", "non", "quatre sept un deux"),
    "it": ("lunedì alle 9:00, chiuso", "sì", "no", "quattro sette uno due"),
    "nl": ("op maandag om 9:00, gesloten", "ja", "nee", "vier zeven een twee"),
    "pt": ("na segunda-feira às 9:00, fechado", "sim", "não", "quatro sete um dois"),
    "en": ("on Monday at 9 AM, closed", "yes", "no", "four seven one two"),
}


TALK = {
    "de": ("vielen Dank", "Einen Moment bitte", "auf Wiederhören", "haben Sie am Montag geöffnet", "das Wochenende"),
    "es": ("muchas gracias", "espere un momento", "gracias, adiós", "abren el lunes", "el fin de semana"),
    "fr": ("merci bien", "un instant s'il vous plaît", "merci, au revoir", "vous ouvrez lundi", "le week-end"),
    "it": ("grazie mille", "un attimo per favore", "grazie, arrivederci", "siete aperti lunedì", "il fine settimana"),
    "nl": ("hartelijk dank", "een ogenblik alstublieft", "bedankt, tot ziens", "bent u maandag open", "het weekend"),
    "pt": ("muito obrigado", "um momento por favor", "obrigado, adeus", "abrem na segunda-feira", "o fim de semana"),
}


def agent(code: str) -> Call:
    return Call(Rules({}, {"name": "a", "language": code, "rules": AGENT}, clock=lambda: SATURDAY))


@pytest.mark.parametrize("code", CASES)
def test_an_agent_speaks_and_understands_its_language(code: str) -> None:
    following, yes, no, number = CASES[code]
    assert agent(code).say("xxx") == following
    call = agent(code)
    assert call.say("zzz") == "??"
    assert call.say(yes) == "done"
    call = agent(code)
    call.say("zzz")
    assert call.say(no) == basics(code).declined
    call = agent(code)
    call.say("yyy")
    assert call.say(number) == "4 7 1 2?"
    assert call.action(yes) == DialplanAction("transfer", {"exten": "4712", "context": "pin"})
    if code != "en":
        assert agent(code).say("...").startswith(known(code).answers["foreign"].partition("{")[0])


@pytest.mark.parametrize("code", TALK)
def test_small_talk_and_the_day_of_opening_are_understood_in_its_language(code: str) -> None:
    thanks, moment, farewell, on_monday, weekend = TALK[code]
    assert agent(code).say(thanks) == known(code).answers["thanks"]
    assert isinstance(agent(code).turn(moment)[0], Wait)
    assert agent(code).action(farewell) == DialplanAction("hangup")
    monday = basics(code).on_days[0]
    assert agent(code).say(on_monday).startswith(monday[:1].upper() + monday[1:])
    assert agent(code).action(weekend) is None, "no farewell"


@pytest.mark.parametrize(
    ("code", "told"), [("en-GB", ""), ("de-DE", "words and letters, which is weaker"), ("pl", "without small talk")]
)
def test_check_tells_what_is_weak_in_a_language(code: str, told: str) -> None:
    text = f"agents: {{a: {{language: {code}, rules: {{intents: {{a: {{say: hm, answer: Hm.}}}}}}}}}}"
    agent = AgentSet(parse(text, environ={}), Engines()).agents["a"]
    assert isinstance(agent, Agent)
    found = list(_weaknesses(agent))
    assert len(found) == bool(told)
    assert all(told in one.text and one.ok is None for one in found)


def test_another_language_has_the_words_of_english() -> None:
    assert basics("xx-YY") == basics("en-GB")
    assert basics("de_AT").today == "heute"
