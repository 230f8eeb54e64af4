"""From a text to what is said: the one way of everything that the caller hears.

Model text -> without reasoning, calls of tools and markup -> pieces that are spoken one after the other -> words.
All of it is pure and takes the text in any bits: the pieces are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from asterisk_ai.dialog.spoken.hidden import Forget, Visible
from asterisk_ai.dialog.spoken.markup import Plain
from asterisk_ai.dialog.spoken.normalise import normaliser
from asterisk_ai.dialog.spoken.segments import Segmenter
from asterisk_ai.dialog.spoken.tool_text import ToolText

__all__ = ["Piece", "ReplyText", "Sound", "ToolText", "pieces", "script", "sounds_in"]

LONG_SENTENCE = 60
"""A text that is whole is cut at its first clause only where its first sentence is longer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What is spoken in one go.

    :param written: as the text has it; this is what the conversation's history keeps.
    :param spoken: for the voice: words. It has at least one letter.
    :param counts: for each word of ``written``, how many words of ``spoken`` end with it. Both grow.
    """

    written: str
    spoken: str
    counts: tuple[int, ...] = ()

    def written_words(self, spoken: int) -> int:
        """How many words of ``written`` were said with so many words of ``spoken``."""
        return sum(count <= spoken for count in self.counts)


_SOUND = re.compile(r"(?:^|(?<=\s))sound:(\S*[^\s.,;:!?])[.,;:!?]*")


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound file, by the name that Asterisk knows it by or its path. Stands in a text as ``sound:NAME``."""

    name: str

    @property
    def written(self) -> str:
        """What the conversation's history keeps."""
        return f"sound:{self.name}"


def sounds_in(text: str) -> list[str]:
    """The names of the sounds in such a text."""
    return _SOUND.findall(text)


def script(text: str, language: str) -> list[Piece | Sound]:
    """A text of the administrator's, whole, with the sounds that it names: what is heard, in order."""
    found: list[Piece | Sound] = []
    for number, part in enumerate(_SOUND.split(text)):
        if number % 2:
            found.append(Sound(part))
        else:
            found += pieces(part, language) if part.strip() else []
    return found


def piece(written: str, language: str) -> Piece | None:
    """``written`` in words; None where there is nothing in it to be said."""
    chunks = normaliser(language).chunks(written)
    spoken = " ".join("".join(said for _, said in chunks).split())
    spoken = re.sub(r" ([,.;:!?])", r"\1", spoken)
    spoken = re.sub(r"(?<=\.m)\.\.$", ".", spoken)
    if not any(letter.isalnum() for letter in spoken):
        return None
    if written[-1] in ".!?" and spoken[-1].isalnum():
        spoken += written[-1]  # an abbreviation's full stop is the sentence's as well
    ends: list[int] = []
    before, words = "", 0
    for text, said in chunks:
        if text == said:  # word by word
            for part in re.findall(r"\S+|\s+", text):
                ends += [words] if part.isspace() and before and not before[-1].isspace() else []
                words += bool(part.strip() and re.search(r"\w", part))
                before = part
        else:
            words += len([word for word in said.split() if re.search(r"\w", word)])
            ends += [words] * (len(text.split()) - 1)
            before = text
    total = len(written.split())
    ends = [*ends, words][:total]
    return Piece(written, spoken, tuple(ends + [words] * (total - len(ends))))


class ReplyText:
    """The answer of a language model, as it comes.

    :param language: of the agent, such as ``de-DE``.
    :param thinking: the model's server opens the reasoning itself, so that only its end is marked in the text.
    """

    def __init__(self, language: str, *, thinking: bool = False) -> None:
        self._language = language
        self._visible = Visible(thinking=thinking)
        self._plain = Plain()
        self._segments = Segmenter(language)

    def push(self, text: str) -> list[str | ToolText]:
        """What is whole with ``text``: pieces to be said, as they are written, and tools to be called."""
        return self._through(self._visible.push(text))

    def flush(self) -> list[str | ToolText]:
        """What is left; the text is over."""
        return self._through(self._visible.flush()) + self._rest()

    def _rest(self) -> list[str | ToolText]:
        return [*self._sayable([*self._segments.push(self._plain.flush()), *self._segments.flush()])]

    def _through(self, parts: list[str | ToolText | Forget]) -> list[str | ToolText]:
        out: list[str | ToolText] = []
        for part in parts:
            match part:
                case str():
                    out += self._sayable(self._segments.push(self._plain.push(part)))
                case ToolText():
                    out += [*self._rest(), part]
                case Forget():
                    self._plain.forget()
                    self._segments.forget()
        return out

    def _sayable(self, segments: list[str]) -> list[str]:
        return [segment for segment in segments if piece(segment, self._language) is not None]


def pieces(text: str, language: str) -> list[Piece]:
    """A text that is whole, such as a prompt, as pieces to be spoken one after the other."""
    plain = Plain()
    segmenter = Segmenter(language, first_clause=LONG_SENTENCE)
    found = segmenter.push(plain.push(text) + plain.flush()) + segmenter.flush()
    return [said for segment in found if (said := piece(segment, language)) is not None]
