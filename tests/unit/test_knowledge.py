"""What the company knows: read from files, found by meaning, said in a few sentences."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from test_providers_rules import Call, rules

from asterisk_ai import config
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers import knowledge
from asterisk_ai.providers.api import Say, TurnRequest
from asterisk_ai.providers.engines.rules import Rules

FAQ = """# Parking
You can park behind the building for free. The gate closes at eight in the evening.

# Delivery
Orders placed before noon are shipped the same day. Delivery takes two to three working days and costs $4.90.

Q: Do you offer training?
A: Yes, we offer training courses every Tuesday.
"""
PEOPLE = "name;role;telephone\nMaria Lopez;managing director;4711\nTom Baker;head of sales;4712\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "faq.md").write_text(FAQ)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "notes.txt").write_text("We moved here in 1998.\n\nDogs are welcome in our shop.")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    return tmp_path


@pytest.mark.parametrize(
    ("question", "answer", "source"),
    [
        ("where can I park my car", "You can park behind the building for free.", "faq.md: Parking"),
        ("what does the delivery cost", "Delivery takes two to three working days and costs $4.90.",
         "faq.md: Delivery"),
        ("have you any training classes", "Yes, we offer training courses every Tuesday.",
         "faq.md: Do you offer training?"),
        ("who is the head of sales", "Tom Baker. Role: head of sales. Telephone: 4712.", "people.csv: row 3"),
        ("may I bring my dog to the shop", "Dogs are welcome in our shop.", "notes.txt"),
    ],
)  # fmt: skip
def test_questions_are_answered_by_the_best_passage(folder: Path, question: str, answer: str, source: str) -> None:
    (found,) = knowledge.read([str(folder)], "x").search(question)
    assert answer in found.text
    assert found.passage.source == source


@pytest.mark.parametrize(
    "question", ["who won the game last night", "my knee is swollen", "when does the next bus leave"]
)
def test_what_nobody_wrote_down_is_not_answered(folder: Path, question: str) -> None:
    assert knowledge.read([str(folder)], "x").search(question) == []


def test_no_more_is_said_than_one_listens_to(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("Our history is long. " + "It went on for years and years without an end. " * 40)
    (found,) = knowledge.read([str(tmp_path / "long.txt")], "x").search("tell me about your history")
    assert len(found.text) <= knowledge.SPOKEN_LETTERS


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("x" * (knowledge.MAX_BYTES + 1))
    (tmp_path / "strange.txt").write_bytes(b"\xff\xfe\x00")
    for name, message in (("none.md", "cannot be read"), ("a.pdf", "neither .txt"), ("big.txt", "bytes"),
                          ("strange.txt", "cannot be read")):  # fmt: skip
        with pytest.raises(ConfigError, match=message) as caught:
            knowledge.read([str(tmp_path / name)], "agents.a.knowledge")
        assert caught.value.path == "agents.a.knowledge"


def test_an_agent_answers_from_it_and_the_record_has_the_source(folder: Path) -> None:
    text = "agents: {a: {knowledge: [faq.md, people.csv], rules: {intents: {x: {say: opening hours, answer: Nine.}}}}}"
    file = folder / "asterisk_ai.yaml"
    file.write_text(text)
    model = Rules({}, config.load(str(file)).agent("a").as_mapping())
    _, said = model.answer(TurnRequest("could you tell me where to park"))
    assert isinstance(said, Say)
    assert said.text.startswith("You can park behind the building")
    assert said.source == "faq.md: Parking"
    assert model.answer(TurnRequest("opening hours"))[1:] == [Say("Nine.")]


# ---- opening hours, asked for freely -----------------------------------------------

HOURS = """
hours: {timezone: UTC, open: {mon-thu: "9:00-17:00", fri: "9:00-12:00, 13:00-16:00"}, closed: [12-25]}
intents: {x: {say: something else, answer: Else.}}
"""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("are you open on Friday", "On Friday we are open from 9 AM to noon and 1 PM to 4 PM."),
        ("until when are you open today", "Today we are open until 5 PM."),
        ("hi what time do you open tomorrow", "Tomorrow we open at 9 AM."),
        ("are you open on Saturdays", "On Saturday we are closed."),
        ("do you open at the weekend", "On Saturday we are closed. On Sunday we are closed."),
        ("are you closed at Christmas", "On Friday, December 25th, we are closed."),
        ("are you open right now", "Yes, we are open until 5 PM."),
        ("are you open on Monday", "Today we are open from 9 AM to 5 PM."),
        ("are you open next Monday", "On Monday, March 9th, we are open from 9 AM to 5 PM."),
        ("are you open on Friday at noon", "No, not then. On Friday we are open from 9 AM to noon and 1 PM to 4 PM."),
        (
            "are you open on Friday at two in the afternoon",
            "Yes. On Friday we are open from 9 AM to noon and 1 PM to 4 PM.",
        ),
        ("what time do you close on Friday", "On Friday we are open until 4 PM."),
    ],
)
def test_hours_are_data_that_is_asked_for_freely(text: str, answer: str) -> None:
    monday = datetime(2026, 3, 2, 11, tzinfo=ZoneInfo("UTC"))
    assert Call(rules(HOURS, monday)).say(text) == answer


def test_a_weekday_whose_hours_are_over_is_the_next_one() -> None:
    agent = rules(HOURS, datetime(2026, 3, 2, 18, tzinfo=ZoneInfo("UTC")))
    again = "We open again tomorrow at 9 AM."
    assert Call(agent).say("are you open on Monday").startswith("On Monday, March 9th,")
    assert Call(agent).say("until when are you open today") == f"We are closed now. {again}"
    assert Call(agent).say("when are you open again") == again


def test_lines_that_were_wrapped_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# Delivery\nIt costs five dollars. From fifty\non it is free.\n- by post\n- by truck\n"
    )
    (found,) = knowledge.read([str(tmp_path / "a.md")], "x").search("is delivery free from fifty on")
    assert found.text.startswith("From fifty on it is free.")
