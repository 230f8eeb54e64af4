"""Voices that are asked over HTTP: what those of all vendors have in common. Needs the ``remote`` extra."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from asterisk_ai.audio.wav import Samples
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import ServedEngine, TextToSpeech
from asterisk_ai.providers.net.http import HttpService
from asterisk_ai.providers.web import response_bytes

PIECE_SECONDS = 0.2


class HttpVoice(ServedEngine, TextToSpeech, ABC):
    """A voice that answers one request with the audio of one text, as it is made.

    :param rate: Hz of what comes out; a service that sends WAV with another one is taken at its word for that.
    :param longest: text of a request, in characters.
    """

    streams = "sound as it is made"

    def __init__(self, name: str, service: HttpService, rate: int, longest: int) -> None:
        super().__init__(service)
        self._name, self._http, self._rate, self._longest = name, service, rate, longest

    @property
    def sample_rate(self) -> int:
        return self._rate

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``. Raises ProviderUnavailable, ProviderRejected."""
        async with aclosing(self._pieces(" ".join(text.split())[: self._longest], voice, speed)) as pieces:
            yield pieces

    @abstractmethod
    def _request(self, text: str, voice: str, speed: float) -> tuple[str, dict[str, Any]]:
        """The path, and what :meth:`HttpService.post` takes beside it."""

    async def _pieces(self, text: str, voice: str, speed: float) -> AsyncGenerator[bytes, None]:
        if not text:
            return
        path, body = self._request(text, voice, speed)
        async with self._http.post(path, **body) as response:
            if "json" in response.headers.get("content-type", ""):
                raise ProviderUnavailable(self._name, "sent no audio")
            stream = Samples(self._rate)
            async with response_bytes(response, 2 * int(PIECE_SECONDS * self._rate)) as pieces:
                async for data in pieces:
                    if pcm := stream.push(data):
                        yield pcm
            if pcm := stream.flush():
                yield pcm
