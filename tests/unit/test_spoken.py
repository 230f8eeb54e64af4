"""From a text to what is said: nothing that is not meant for the ear, and everything that is, in words."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.dialog.spoken import ReplyText, ToolText, hidden, pieces
from asterisk_ai.dialog.spoken.segments import sentences

CALL = ToolText("f", '{"a": 2}')


def answer(text: str, sizes: list[int] | None = None, language: str = "en-US") -> list[str | ToolText]:
    """The whole of an answer that comes in bits of these sizes, the rest at once."""
    reply, out, at = ReplyText(language), [], 0
    for size in sizes or ():
        out += reply.push(text[at : at + size])
        at += size
    return [*out, *reply.push(text[at:]), *reply.flush()]


def said(text: str, language: str = "en-US") -> str:
    return " ".join(piece.spoken for piece in pieces(text, language))


@pytest.mark.parametrize(
    "text",
    [
        "<think>secret</think>Hello there.",
        "<THINKING>\nsecret, 3 < 4 </b>\n</thinking>\n\nHello there.",
        "<reasoning>secret</reasoning>Hello there.",
        "secret</think>Hello there.",
        "[THINK]secret[/THINK]Hello there.",
        "◁think▷secret◁/think▷Hello there.",
        "<|START_THINKING|>secret<|END_THINKING|>Hello there.",
        "<|channel|>analysis<|message|>secret<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Hello there.<|return|>",
        "<|channel>thought\nsecret<channel|>Hello there.",
        "Hello there.<think>secret",
        "Hello there.<|im_end|>",
    ],
)
def test_reasoning_is_never_heard(text: str) -> None:
    assert answer(text) == answer(text, [1] * len(text)) == ["Hello there."]


def test_reasoning_that_the_server_has_opened() -> None:
    reply = ReplyText("en", thinking=True)
    assert reply.push("It is a caller. They want ") + reply.push("help.</think>Hello there.") == []
    assert reply.flush() == ["Hello there."]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "f", "arguments": {"a": 2}}\n</tool_call>',
        "<tool_call>\n<function=f>\n<parameter=a>\n2\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
        '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 2}}]',
        '[TOOL_CALLS]f[ARGS]{"a": 2}',
        '<|python_tag|>{"name": "f", "parameters": {"a": 2}}<|eom_id|>',
        "<|python_tag|>f(a=2)",
        '{"name": "f", "parameters": {"a": 2}}',
        ' [{"name": "f", "arguments": "{\\"a\\": 2}"}]',
        '{"type": "function", "function": {"name": "f", "arguments": {"a": 2}}}',
        '```json\n{"name": "f", "arguments": {"a": 2}}\n```',
        "```tool_code\nprint(f(a=2))\n```",
        '<function=f>{"a": 2}</function>',
        '<function_calls><invoke name="f"><parameter name="a">2</parameter></invoke></function_calls>',
        '<|tool_call|>[{"name": "f", "arguments": {"a": 2}}]',
        '[TOOL_REQUEST]{"name": "f", "arguments": {"a": 2}}[END_TOOL_REQUEST]',
        '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 2}<|call|>',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n"
        '{"a": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
        '{"a": 2}<|tool_call_end|><|tool_calls_section_end|>',
    ],
)
def test_calls_of_tools_that_come_as_text_are_calls(text: str) -> None:
    assert answer(text) == answer(text, [1] * len(text)) == [CALL]


def test_what_is_said_before_a_tool_is_said_before_it() -> None:
    text = f"One moment. <tool_call>{json.dumps({'name': 'f', 'arguments': {'a': 2}})}</tool_call> There."
    assert answer(text) == ["One moment.", CALL, "There."]


@pytest.mark.parametrize(
    "text", ["", "  \n", "...", "😀", "👍🏽 ✅", "---", '{"state": 1}', "<think>x", "```py\nx=1\n```"]
)
def test_nothing_to_be_said_is_no_answer(text: str) -> None:
    assert answer(text) == []
    assert all(piece.spoken for piece in pieces(text, "en"))


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("**Yes**, we are *very* glad; `ok` __so__ ~~not~~ _be_.", "Yes, we are very glad; ok so not be."),
        ("Press * to hear it again, or #.", "Press star to hear it again, or pound."),
        ("Press *1, or *97#.", "Press star one, or star ninety-seven pound."),
        ("Write to john_smith@example.com.", "Write to john underscore smith at example dot com."),
        ("C# and C++, 2*3.", "C sharp and C plus plus, two times three."),
        ("It&#39;s 5 &gt; 3 &amp; 4 < 5.", "It's five greater than three and four less than five."),
        ("[Our site](https://example.com/a_(b)?x=1), ![logo](x.png) see https://www.example.com/x.",
         "Our site, logo see example dot com slash x."),
        ("<speak>Hello <break time='1s'/>there <b>you</b></speak>", "Hello there you"),
        ("So it is.[1] And this too【4†source】.", "So it is. And this too."),
        ("Great! 😀 See you 👍🏽.", "Great! See you."),
    ],
)  # fmt: skip
def test_markup_goes_and_signs_are_said(text: str, heard: str) -> None:
    assert said(text) == heard
    assert said(" ".join(piece.written for piece in pieces(text, "en-US"))) == heard, (
        "and a second look changes nothing"
    )


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1. Sales\n2. Support", ["1. Sales", "2. Support"]),
        ("- Sales\n- **Support**\n\nWhich one?", ["Sales", "Support", "Which one?"]),
        ("## Hours\nWe are open.", ["Hours", "We are open."]),
        ("| Day | Open |\n|---|:-:|\n| Mon | 9-17 |\n", ["Day, Open", "Mon, 9-17"]),
        ("> quoted\n\nNot quoted.", ["quoted", "Not quoted."]),
        ("One thing\n***\nAnother.", ["One thing", "Another."]),
    ],
)
def test_what_is_set_out_in_lines_is_said_piece_by_piece(text: str, written: list[str]) -> None:
    assert answer(text) == [piece.written for piece in pieces(text, "en")] == written


def test_items_keep_their_numbers() -> None:
    assert said("1. Sales\n2. Support") == "one, Sales two, Support"


@pytest.mark.parametrize(
    ("language", "text", "cut"),
    [
        ("en", "Dr. Smith comes on Jan. 5. No. 5 is free at 5 p.m. today. Bye.",
         ["Dr. Smith comes on Jan. 5.", "No. 5 is free at 5 p.m. today.", "Bye."]),
        ("en", "I said no. Then I left.", ["I said no.", "Then I left."]),
        ("de", "Wir sehen uns am 24. Dezember. Das ist z. B. gut.",
         ["Wir sehen uns am 24. Dezember.", "Das ist z. B. gut."]),
        ("fr", "M. Dupont est là. Merci.", ["M. Dupont est là.", "Merci."]),
        ("es", "El Sr. López no está. Gracias.", ["El Sr. López no está.", "Gracias."]),
        ("ja", "こんにちは。元気ですか？はい！", ["こんにちは。", "元気ですか？", "はい！"]),
        ("ar", "مرحبا؟ نعم.", ["مرحبا؟", "نعم."]),
        ("hi", "नमस्ते। हाँ।", ["नमस्ते।", "हाँ।"]),
    ],
)  # fmt: skip
def test_sentences_end_where_the_language_ends_them(language: str, text: str, cut: list[str]) -> None:
    assert sentences(text, language) == cut


@pytest.mark.parametrize(
    ("language", "text", "heard"),
    [
        ("en-US", "Call 555-0199 or +49 30 123.",
         "Call five five five, zero one nine nine or plus four nine, three zero, one two three."),
        ("en-US", "Your code is 4711.", "Your code is four seven one one."),
        ("en-US", "Ext. 4711, room 12, 4711.", "extension four seven one one, room twelve, four seven one one."),
        ("en-US", "We are open 9:00-17:00, Mon-Fri.", "We are open nine a.m. to five p.m., Monday to Friday."),
        ("en-US", "At 9:05, 12:30 p.m. and 5 PM.", "At nine oh five, twelve thirty p.m. and five p.m."),
        ("en-US", "It is $5.50, £1.01 or 1,000 €.",
         "It is five dollars and fifty cents, one pound and one pence or one thousand euros."),
        ("en-US", "We are here 24/7, all 1,500 of us; 3.5 %.",
         "We are here twenty-four seven, all one thousand five hundred of us; three point five percent."),
        ("en-US", "On Dec. 24, 2026-12-25 and 12/26/2026.",
         "On December twenty-fourth, December twenty-fifth twenty twenty-six and December twenty-sixth twenty"
         " twenty-six."),
        ("en-GB", "On 26/12/2026.", "On December twenty-sixth twenty twenty-six."),
        ("en-US", "Ms. Lee, A320, 2FA, 5-7 days, 21st.",
         "Miz Lee, A. three two zero, two F A., five to seven days, twenty-first."),
        ("de-DE", "Am 24.12. um 9:30 Uhr, Mo-Fr, z. B. 5,50 € oder 1.500 €.",
         "Am vierundzwanzigsten Dezember um neun Uhr dreißig, Montag bis Freitag, zum Beispiel fünf Euro fünfzig oder"
         " eintausendfünfhundert Euro."),
        ("de-DE", "Drücken Sie * oder #.", "Drücken Sie Stern oder Raute."),
        ("fr-FR", "Le 1 janvier à 9h30, 20 %.", "Le premier janvier à neuf heures trente, vingt pour cent."),
        ("es-ES", "A las 13:30 del 24 de diciembre.", "A las trece y treinta del veinticuatro de diciembre."),
        ("it-IT", "Alle 9:30, 5,50 €.", "Alle nove e trenta, cinque euro e cinquanta."),
        ("nl-NL", "Om 9:30 uur, € 5,50.", "Om negen uur dertig, vijf euro vijftig."),
        ("pt-BR", "Às 9:30, R$ 5,50.", "Às nove e trinta, cinco reais e cinquenta."),
        ("xx", "Press 12 or *.", "Press 12 or."),
    ],
)  # fmt: skip
def test_numbers_are_words_in_the_language(language: str, text: str, heard: str) -> None:
    assert said(text, language) == heard


def test_what_was_heard_is_told_in_the_words_that_were_written() -> None:
    (piece,) = pieces("Code 4711, please.", "en")
    assert piece.spoken == "Code four seven one one, please."
    assert [piece.written_words(count) for count in range(7)] == [0, 1, 1, 1, 1, 2, 3]


def test_no_mark_is_inside_another() -> None:
    """Else which of them is meant would depend on how the text is cut."""
    assert not [(a, b) for a, b in itertools.permutations(hidden.MARKS, 2) if a in b]


FRAGMENTS = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "```", "```json\n", '{"name": "f", "arguments": {}}'),
    *(
        "**",
        "*",
        "_",
        "__",
        "`",
        "~~",
        "[a",
        "](b)",
        "](http://x.y/(z))",
        "![",
        "[1]",
        "<b>",
        "</b>",
        "<",
        ">",
        "&amp;",
    ),
    *("&#39;", "\n", "\n\n", "- ", "1. ", "# ", "> ", "| a | b |\n", "---\n", "|---|\n", "😀", "→", "\\*", "【4†s】"),
    *("Hello", " there", ". ", "Dr. ", "9:00-17:00", "$5.50", "a_b@c.de", "5", "! ", ", and", "。", "…", "<|im_end|>"),
    *("<|channel|>analysis", "<|end|>", "<|channel|>final<|message|>", "[TOOL_CALLS]", "  ", ">", "x" * 30),
]
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=8)), max_size=14).map("".join)


@given(TEXTS, st.lists(st.integers(0, 9), max_size=80))
def test_the_bits_in_which_a_text_comes_make_no_difference(text: str, sizes: list[int]) -> None:
    assert answer(text, sizes) == answer(text)


@given(TEXTS, st.sampled_from(["en-US", "de-DE", "fr-FR", "ja", "xx"]))
def test_every_piece_can_be_said(text: str, language: str) -> None:
    for piece in pieces(text, language):
        assert any(letter.isalnum() for letter in piece.spoken)
        assert len(piece.counts) == len(piece.written.split())
        assert list(piece.counts) == sorted(piece.counts)
        assert "\n" not in piece.spoken


@given(st.lists(st.sampled_from(["yes", "we", "are open.", "Really?", "No,", "a-b", "it's"]), min_size=1, max_size=20))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    text = " ".join(words)
    assert " ".join(piece.written for piece in pieces(text, "en")) == text
    assert said(text, "en") == text
