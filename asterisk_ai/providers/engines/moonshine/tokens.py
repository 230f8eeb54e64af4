"""The tokens of the model: byte pairs, as its ``tokenizer.bin`` has them.

The file holds each token's bytes in the order of their numbers, a length in
front: one byte, or two where it is 128 or more (the low seven bits first). A
word begins with U+2581. Numbers 3 to 258 are the single bytes, for what no other token has.
Source: moonshine's ``core/bin-tokenizer``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

BEGIN, END = 1, 2
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_FIRST_BYTE = 3


class Tokens:
    """Text to numbers and back."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)
        self._numbers = {piece: number for number, piece in enumerate(self._pieces)}  # "a" is the letter, not the byte

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """:raises OSError: it cannot be read; :raises ValueError: it is cut off."""
        return cls(_pieces(path.read_bytes()))

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        """The tokens of ``text`` without begin and end: neighbours are joined, the lowest number first."""
        parts = [self._one(character) for character in _SPACE + text.replace(" ", _SPACE)]
        pieces = [piece for part in parts for piece in part]
        while True:
            best = min(
                (
                    (number, at)
                    for at in range(len(pieces) - 1)
                    if (number := self._numbers.get(pieces[at] + pieces[at + 1])) is not None
                ),
                default=None,
            )
            if best is None:
                return [self._numbers[piece] for piece in pieces]
            pieces[best[1] : best[1] + 2] = [pieces[best[1]] + pieces[best[1] + 1]]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of tokens; those that are no text are left out."""
        known = (self._pieces[number] for number in numbers if 0 <= number < len(self._pieces))
        text = b"".join(piece for piece in known if not (piece.startswith(b"<") and piece.endswith(b">")))
        return text.decode("utf-8", "replace").replace(_SPACE, " ").strip()

    def begins_word(self, number: int) -> bool:
        """Whether the token does not go on with a word's letters: a blank, a mark, the end."""
        piece = self._pieces[number].decode("utf-8", "replace")
        return number <= END or not (piece[:1].isalpha() or piece[:1] == "'")

    def _one(self, character: str) -> list[bytes]:
        encoded = character.encode()
        return [encoded] if encoded in self._numbers else [bytes((byte,)) for byte in encoded]


def _pieces(data: bytes) -> Iterable[bytes]:
    at = 0
    while at < len(data):
        length, at = data[at], at + 1
        if length >= 128:
            if at >= len(data):
                raise ValueError("the list of tokens is cut off")
            length, at = (data[at] << 7) + (length & 127), at + 1
        if at + length > len(data):
            raise ValueError("the list of tokens is cut off")
        yield data[at : at + length]
        at += length
