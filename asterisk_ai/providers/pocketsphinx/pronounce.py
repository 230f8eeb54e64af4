"""How a word outside of the dictionary is spoken, in the phones of the US English model.

espeak-ng, whose library comes with a wheel, turns the word into IPA; the table
below turns that into ARPAbet. So the names of an administrator's departments
and people can be understood.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from types import MappingProxyType

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

IPA_MODE = 0x02
UTF8 = 1
RETRIEVAL = 1
"""Of espeak-ng's speak_lib.h: espeak_TextToPhonemes's modes, espeakCHARS_UTF8, AUDIO_OUTPUT_RETRIEVAL."""


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
    """espeak-ng's rules for reading words. Not to be used by two threads."""

    def __init__(self) -> None:
        try:
            import espeakng_loader

            self._library: ctypes.CDLL | None = ctypes.CDLL(espeakng_loader.get_library_path())
            data = espeakng_loader.get_data_path()
        except (ImportError, OSError):
            self._library = None
            return
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rate = self._library.espeak_Initialize(RETRIEVAL, 0, str(data).encode(), 0)
        if rate < 0 or self._library.espeak_SetVoiceByName(b"en-us") != 0:
            self._library = None

    def phones(self, word: str) -> str:
        """The word's phones; empty where no pronunciation can be made."""
        if self._library is None or not any(letter.isalnum() for letter in word):
            return ""
        text = ctypes.c_char_p(word.encode())
        found = self._library.espeak_TextToPhonemes(ctypes.byref(text), UTF8, IPA_MODE)
        return arpabet(found.decode()) if found else ""
