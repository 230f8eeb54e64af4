"""What nobody said is nothing; what callers say stays."""

from __future__ import annotations

import pytest

from asterisk_ai.providers.inventions import without_inventions


@pytest.mark.parametrize(
    "text",
    [
        "[BLANK_AUDIO]",
        " (coughing)",
        "*sighs*",
        "♪ la la la ♪",
        "<|nospeech|>",
        "[Music] (applause)",
        "Thank you for watching!",
        "Thanks for watching.",
        "you",
        "Subtitles by the Amara.org community",
        "Untertitelung des ZDF für funk, 2017",
        "Untertitel im Auftrag des ZDF, 2021",
        "Vielen Dank fürs Zuschauen!",
        "Sous-titrage Société Radio-Canada",
        "¡Gracias por ver el video!",
        "Продолжение следует...",
        "ご視聴ありがとうございました。",
        "so so so so so so so so so",
        "I do not know. " * 8,
        "",
        "...",
    ],
)
def test_inventions(text: str) -> None:
    assert without_inventions(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Thank you.", "Thank you."),
        ("no no no", "no no no"),
        ("(coughs) Sales, please.", "Sales, please."),
        ("My number is 5 5 5 5 5 5 5 5 5 5", "My number is 5 5 5 5 5 5 5 5 5 5"),
        ("I was watching the subtitles", "I was watching the subtitles"),
        ("Die Untertitel fehlen", "Die Untertitel fehlen"),
        ("  opening   hours ", "opening hours"),
    ],
)
def test_words_of_callers(text: str, words: str) -> None:
    assert without_inventions(text) == words
