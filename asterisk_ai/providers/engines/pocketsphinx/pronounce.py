"""How a word outside of the dictionary is spoken, in the phones of the US English model.

espeak-ng, whose library comes with a wheel, turns the word into IPA; the table
below turns that into ARPAbet. So the names of an administrator's departments
and people can be understood.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from asterisk_ai.providers.engines.espeakng import Library, library

VOICE = "en-us"

IPA_TO_ARPABET: Mapping[str, str] = MappingProxyType(
    {
        # vowels, as espeak-ng writes them for en-us
        "iː": "IY", "i": "IY", "ɪ": "IH", "ᵻ": "IH", "eɪ": "EY", "e": "EH", "ɛ": "EH", "æ": "AE", "a": "AE",
        "aː": "AA", "ɑː": "AA", "ɑ": "AA", "ɒ": "AA", "ɔː": "AO", "ɔ": "AO", "oː": "AO", "oʊ": "OW", "o": "OW",
        "əʊ": "OW", "ʊ": "UH", "uː": "UW", "u": "UW", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɚ": "ER", "ɜː": "ER",
        "ɜ": "ER", "ɝ": "ER", "aɪ": "AY", "aʊ": "AW", "ɔɪ": "OY", "ɪɹ": "IH R", "eə": "EH R", "ɛɹ": "EH R",
        "yː": "UW", "y": "UW", "ø": "ER", "œ": "ER",
        # consonants
        "p": "P", "b": "B", "t": "T", "d": "D", "k": "K", "ɡ": "G", "g": "G", "f": "F", "v": "V", "θ": "TH",
        "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "tʃ": "CH", "dʒ": "JH", "h": "HH", "ç": "HH", "x": "K",
        "m": "M", "n": "N", "ŋ": "NG", "ɲ": "N Y", "l": "L", "ɬ": "L", "ɫ": "L", "ɹ": "R", "r": "R", "w": "W",
        "ʍ": "W", "j": "Y", "ɾ": "T", "ʔ": "T",
    }
)  # fmt: skip
IGNORED = "ˈˌ ‍̩͡ʲ-"
"""Stress, joiners, the mark of a syllabic consonant, palatalisation."""
LONGEST = max(map(len, IPA_TO_ARPABET))


def arpabet(ipa: str) -> str:
    """Phones separated by spaces; empty where a sound has no counterpart."""
    phones: list[str] = []
    ipa = "".join(letter for letter in ipa if letter not in IGNORED)
    start = 0
    while start < len(ipa):
        for length in range(LONGEST, 0, -1):
            phone = IPA_TO_ARPABET.get(ipa[start : start + length])
            if phone:
                phones.append(phone)
                start += length
                break
        else:
            return ""
    return " ".join(phones)


class Speller:
    """espeak-ng's rules for reading words."""

    def __init__(self) -> None:
        try:
            self._library: Library | None = library()
        except OSError:  # it cannot be loaded here
            self._library = None

    def phones(self, word: str) -> str:
        """The word's phones; empty where no pronunciation can be made."""
        if self._library is None or not _readable(word):
            return ""
        return arpabet(self._library.ipa(word, VOICE))


def _readable(word: str) -> bool:
    """Whether it is of Latin letters and digits: espeak-ng names the script of any other ("Chinese letter")."""
    letters = [letter for letter in word if letter.isalpha()]
    if not all(unicodedata.name(letter, "").startswith("LATIN") for letter in letters):
        return False
    return bool(letters) or any(letter in string.digits for letter in word)
