"""What the moonshine engine makes of what its model writes, without the model."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.engines.moonshine import weights
from asterisk_ai.providers.engines.moonshine.biased import FOLLOWING, KNOWN, PHRASED, Expected, Path
from asterisk_ai.providers.engines.moonshine.expected import (
    DOUBTFUL,
    FREE_CONFIDENCE,
    Expectations,
    Heard,
    Phrase,
    Wanted,
    decide,
    joined,
    plain,
    tidy,
    weigh_numbers,
    with_readings,
)
from asterisk_ai.providers.engines.moonshine.tokens import Tokens
from asterisk_ai.providers.engines.moonshine.utterance import CUT_SECONDS, LONGEST_SECONDS, Utterance

RATE = 8000
SPACE = "\N{LOWER ONE EIGHTH BLOCK}".encode()
PIECES = [b"<unk>", b"<s>", b"</s>", *(bytes((byte,)) for byte in range(256)), b"ye", b"yes", SPACE + b"yes", SPACE,
          b"y", b"e", b"s", b"n", b"o", SPACE + b"n", SPACE + b"no", SPACE + b"Y"]  # fmt: skip
TOKENS = Tokens(PIECES)
PHRASES = [(Phrase("bye", (1,)), -1.0), (Phrase("hi", (2,), small=True), -9.0)]


def test_tokens_are_joined_by_the_lowest_number_and_read_back() -> None:
    assert TOKENS.encode("yes no") == [PIECES.index(SPACE + b"yes"), PIECES.index(SPACE + b"no")]
    assert TOKENS.decode([1, *TOKENS.encode("yes no"), 2, 10**6]) == "yes no"


@given(st.text(max_size=20))
def test_any_text_becomes_tokens_and_comes_back(text: str) -> None:
    assert TOKENS.decode(TOKENS.encode(text)) == text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").strip()


def test_spellings_of_long_ago_and_inventions() -> None:
    assert plain("Good-bye, some one. O.K. To-morrow!") == "goodbye someone okay tomorrow"
    assert tidy("Call me To-morrow,") == "Call me Tomorrow"
    for invented in ("You", "You.", "Thank you for watching.", "No no no no no no", "", "..."):
        assert tidy(invented) == ""
    assert tidy("You are closed?") == "You are closed?"


def test_a_phrase_that_explains_the_sound_as_well_as_the_free_text_is_taken() -> None:
    found = decide("By.", -0.8, 0.9, PHRASES)
    assert (found.text, found.accepted, found.phrase, found.free) == ("bye", True, True, "By.")
    assert found.confidence > 0.3


def test_a_small_word_keeps_a_phrase_that_sounds_like_it_away() -> None:
    found = decide("I.", -1.2, 0.9, [(PHRASES[0][0], -4.0), (PHRASES[1][0], -1.2)])
    assert (found.text, found.accepted, found.phrase) == ("hi", True, False)


def test_what_may_have_been_a_greeting_is_a_farewell_in_doubt_only() -> None:
    hi, bye = (PHRASES[1][0], -3.0), (PHRASES[0][0], -0.8)
    assert decide("Bye.", -0.8, 0.9, [bye, hi]).confidence <= DOUBTFUL
    assert decide("Bye.", -0.8, 0.9, [bye, (hi[0], -9.0)]).confidence > 0.5
    other = [(Phrase("hang up", (1,)), -1.0)]
    assert decide("Hmm then", -1.0, 0.9, other).confidence <= DOUBTFUL, "it does not look like what was heard"


def test_a_phrase_whose_words_are_not_what_was_heard_freely_is_less_sure() -> None:
    farewell = [(Phrase("that's all", (1,)), -1.0)]
    assert decide("That's all.", -1.0, 0.9, farewell).confidence > 0.55
    assert decide("That's fine.", -1.0, 0.9, farewell).confidence == 0.5


@pytest.mark.parametrize(
    ("free", "phrase"),
    [
        ("How late are you open?", "hang up"),
        ("What's your location?", "what"),
        ("Can I talk to someone that's in support?", "can i speak to someone"),
        ("The oars are so loud", "that's all"),
    ],
)
def test_a_whole_sentence_is_no_short_phrase(free: str, phrase: str) -> None:
    found = decide(free, -1.0, 1.8, [(Phrase(phrase, (1,)), -0.5), (Phrase("no", (1,)), -12.0)])
    assert (found.text, found.phrase) == (free, False)


def test_a_phrase_that_was_misheard_in_two_words_is_still_the_phrase() -> None:
    operator = Phrase("i would like to speak to an operator", (1,))
    found = decide("I would like to speak to her for a minute.", -2.6, 2.4, [(operator, -5.6)])
    assert (found.text, found.phrase) == (operator.text, True)


def test_what_was_invented_is_no_small_word_and_no_sure_phrase() -> None:
    assert decide("You", -1.0, 0.9, [(Phrase("thank you", (1,), small=True), -1.0)]) == Heard()
    assert decide("Thank you for watching.", -1.0, 0.9, [(Phrase("yes", (1,)), -1.0)]).confidence <= DOUBTFUL


def test_a_phrase_that_leaves_words_out_is_not_taken() -> None:
    thanks = [(Phrase("thank you", (1,), small=True), -1.0)]
    assert decide("Thank you, goodbye.", -1.0, 1.4, thanks).text == "Thank you, goodbye."
    assert decide("Thank you, thank you.", -1.0, 1.4, thanks).text == "thank you"


def test_a_doubt_between_two_is_no_phrase() -> None:
    found = decide("Thy.", -1.0, 0.9, [(PHRASES[0][0], -3.4), (PHRASES[1][0], -3.3)])
    assert (found.text, found.phrase, found.confidence) == ("Thy.", False, 0.6)


def test_other_words_and_a_short_word_for_a_long_sound_are_free_text() -> None:
    assert decide("The weather is lovely.", -1.0, 2.2, [(PHRASES[0][0], -15.0)]).text == "The weather is lovely."
    assert not decide("What", -1.0, 3.0, [(Phrase("what", (1,)), -1.0)]).phrase


def test_nothing_expected_and_an_invention_is_nothing() -> None:
    assert decide("You", 0.0, 1.0, ()) == Heard()
    assert decide("You can call me", 0.0, 1.0, ()).accepted


def test_a_number_is_what_was_read_or_not_at_all() -> None:
    free = decide("Five, five,", -1.0, 1.0, ())
    assert weigh_numbers(free, -1.0, "Five five", -1.5).text == "five five"
    assert weigh_numbers(free, -1.0, "Nine", -9.0) == free
    assert weigh_numbers(free, -1.0, "", 0.0) == free


def test_the_phrases_that_are_judged_are_those_that_begin_and_look_like_it() -> None:
    expectations = Expectations(TOKENS)
    first = np.full(len(PIECES), -9.0, np.float32)
    first[TOKENS.encode("Yes")[0]] = -1.0
    many = [f"no {number}" for number in range(100)]
    worth = expectations.worth([*many, "yes"], "Yes,", first)
    assert worth[0].text == "yes"
    assert len(worth) < 4
    first[:] = -9.0
    assert len(expectations.worth([*many, "yes"], "", first)) == 12
    assert expectations.worth([], "Yes,", first) == []


def test_hi_is_judged_wherever_bye_is() -> None:
    first = np.full(len(PIECES), -9.0, np.float32)
    first[TOKENS.encode("Bye")[0]] = 0.0
    worth = Expectations(Tokens([*PIECES, SPACE + b"B"])).worth(["bye"], "Bye.", np.append(first, np.float32(0.0)))
    assert {"bye", "hi"} <= {one.text for one in worth}


class FakeModel:
    """Hears how long the piece is; work takes three steps."""

    def __init__(self) -> None:
        self.pieces: list[float] = []
        self.wanted: list[Wanted] = []

    def understand(self, pcm: bytes, wanted: Wanted) -> Iterator[Heard | None]:
        self.pieces.append(round(len(pcm) / 2 / 16000, 1))
        self.wanted.append(wanted)
        yield None
        yield None
        yield Heard(f"{len(self.pieces)}", True, 0.9, True, f"{len(self.pieces)}")


def sound(seconds: float) -> bytes:
    return (np.sin(np.arange(int(seconds * RATE)) / 3) * 8000).astype(np.int16).tobytes()


def silence(seconds: float) -> bytes:
    return bytes(int(seconds * RATE) * 2)


def fed(utterance: Utterance, *parts: bytes) -> list[str]:
    told = []
    for part in parts:
        for start in range(0, len(part), 320):
            utterance.feed(part[start : start + 320])
            while utterance.ahead():
                news = utterance.news()
                if news is not None:
                    told.append(str(news["text"]))
    return told


def test_words_are_there_in_the_pause_and_at_the_end_without_more_work() -> None:
    model = FakeModel()
    utterance = Utterance(model, RATE, Wanted(("yes",)))
    assert fed(utterance, silence(0.3), sound(1), silence(0.3)) == ["1"]
    assert utterance.finish()["text"] == "1"
    assert model.pieces == [1.3] or model.pieces == [1.4]


def test_who_goes_on_is_heard_as_a_whole_again() -> None:
    model = FakeModel()
    utterance = Utterance(model, RATE, Wanted(("yes",)))
    assert fed(utterance, sound(1), silence(0.3), sound(1), silence(0.3)) == ["1", "2"]
    assert model.pieces[1] > 2.2
    assert model.wanted == [Wanted(("yes",))] * 2


def test_long_speech_is_cut_in_its_pauses_and_joined() -> None:
    model = FakeModel()
    utterance = Utterance(model, RATE, Wanted(("yes",)))
    assert fed(utterance, sound(CUT_SECONDS + 1), silence(0.3), sound(1), silence(0.3)) == ["1", "1 2"]
    assert model.pieces[1] < 1.6
    assert model.wanted[1].phrases == ()
    result = utterance.finish()
    assert (result["text"], result["phrase"]) == ("1 2", False)


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    model = FakeModel()
    utterance = Utterance(model, RATE, Wanted())
    quiet = (np.frombuffer(sound(0.2), np.int16) // 10).astype(np.int16).tobytes()
    fed(utterance, sound(LONGEST_SECONDS - 3), quiet, sound(6))
    assert utterance.finish()["text"] == "1 2"
    assert abs(model.pieces[0] - (LONGEST_SECONDS - 3)) < 0.4


@pytest.mark.parametrize("pcm", [b"", b"\1", bytes(16000)])
def test_nothing_has_no_words(pcm: bytes) -> None:
    utterance = Utterance(FakeModel(), RATE, Wanted(("yes",)))
    utterance.feed(pcm)
    assert not utterance.ahead()
    assert (utterance.finish()["text"], utterance.finish()["accepted"]) == ("", False)


def test_pieces_that_are_nothing_are_left_out() -> None:
    assert joined([Heard(), Heard("b", True, 0.9, True, "B")]).text == "B"
    assert joined([]) == Heard()


def test_another_file_than_the_right_one_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ProviderRejected, match=r"cannot be read.*moonshine-voice==0\.0\.73"):
        weights.checked(str(tmp_path))
    for name in weights.FILES:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ProviderRejected, match="is not the file that it should be"):
        weights.checked(str(tmp_path))


def test_a_correction_without_a_digit_is_no_number() -> None:
    heard = Heard("No, it is zero to six.", True, 0.6, False, "No, it is zero to six.")
    assert weigh_numbers(heard, -5.0, "no it is", -4.0) == heard
    assert weigh_numbers(heard, -5.0, "no it is zero two six", -6.0).text == "no it is zero two six"


def test_a_doubtful_phrase_gives_way_to_the_sentence_that_has_more() -> None:
    support = [(Phrase("please transfer me to support", (1,)), -9.5), (Phrase("transfer me", (2,)), -9.9)]
    free = "Please transfer me to the support team."
    assert decide(free, -1.0, 2.5, support) == Heard(free, True, FREE_CONFIDENCE, False, free)


def _written(expected: Expected, tokens: list[int]) -> Path:
    path = Path()
    for token in [*tokens, 2]:
        path = expected.step(path, token, -1.0)
    return path


def test_expected_words_are_worth_more_where_they_follow_each_other_as_expected() -> None:
    words = Expected(TOKENS, ["nonono"], ["yesyes nonono"])
    followed = _written(words, TOKENS.encode("yesyes nonono"))
    alone = _written(words, TOKENS.encode("yesno nonono"))
    unfinished = _written(words, TOKENS.encode("yesyes nono"))
    known, spoken = (len(TOKENS.encode(word)) for word in ("yesyes", "nonono"))
    assert alone.kept == PHRASED * spoken
    assert followed.kept == KNOWN * known + (PHRASED + FOLLOWING) * spoken
    assert unfinished.kept == KNOWN * known, "what was given in advance is taken back"


def test_short_words_are_worth_nothing_but_for_what_they_follow() -> None:
    words = Expected(TOKENS, ["yes no"])
    assert _written(words, TOKENS.encode("no")).kept == 0
    assert _written(words, TOKENS.encode("yes no")).kept == FOLLOWING * len(TOKENS.encode("no"))


def test_free_text_comes_with_what_else_it_may_have_been() -> None:
    free = decide("Tell me your prizes.", -1.0, 1.8, ())
    found = with_readings(free, [("Tell me your prizes.", -0.5), ("Tell me your prizes", -0.7), ("You", -0.8),
                                 ("Tell me your prices.", -1.2)])  # fmt: skip
    assert found.readings == (("Tell me your prizes.", -0.5), ("Tell me your prices.", -1.2))
    phrase = decide("By.", -0.8, 0.9, PHRASES)
    assert with_readings(phrase, [("By.", -0.5)]) == phrase
