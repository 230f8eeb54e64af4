"""Text to speech."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asterisk_ai.providers.api.common import Engine


class MarkedPcm(bytes):
    """Audio that ends where a word of the text does: ``words`` of them, parted by white space, are spoken with it.

    For synthesisers that know the times of their words; others yield plain ``bytes``. What a caller who
    interrupts has heard is then told by these times, not by the words' length.
    """

    words: int

    def __new__(cls, pcm: bytes, words: int) -> MarkedPcm:
        piece = super().__new__(cls, pcm)
        piece.words = words
        return piece


class TextToSpeech(Engine, Protocol):
    """A synthesiser, shared by all calls."""

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """The rate in Hz of what :meth:`open` yields; the caller resamples."""

    @abstractmethod
    def open(
        self, text: str, *, voice: str = "", speed: float = 1.0
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Speak ``text``: PCM in pieces as they are made, :class:`MarkedPcm` where words end if their times are known.

        Empty text yields nothing.
        """
