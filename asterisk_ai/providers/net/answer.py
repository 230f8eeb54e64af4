"""An answer of a language model in the making: what a stream of events says, whoever sends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Usage
from asterisk_ai.providers.net.http import message
from asterisk_ai.providers.net.sse import EventReader
from asterisk_ai.providers.web import response_bytes

DRAIN_SECONDS = 0.2


@dataclass(slots=True)
class Call:
    """A function that the model calls. ``arguments`` is the text that it wrote: JSON where all went well."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    index: object = None

    def given(self) -> dict[str, Any]:
        """What a model is told again of its arguments: an object, whatever it wrote."""
        try:
            found = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class Answer(ABC):
    """One answer. A vendor's own is a subclass that says what its events stand for. Pure."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self._calls: list[Call] = []
        self.ended = False
        """The model has finished: what follows is of no matter, and nothing need follow."""
        self.over = False
        """Nothing follows."""
        self.reason = ""
        """Why it finished, in the API's word; empty where that was not told."""
        self.usage = Usage()
        """What it took, as far as that was told."""

    @property
    def calls(self) -> list[Call]:
        for number, call in enumerate(self._calls):
            call.id = call.id or f"call{number:05d}"  # Mistral wants nine letters and digits
        return self._calls

    def feed(self, data: str) -> str:
        """The data of one event to the text that it brings.

        :raises ProviderUnavailable: it makes no sense, or tells an error.
        """
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise ProviderUnavailable(self.provider, "sent an event that is not JSON") from None
        if not isinstance(event, Mapping):
            raise ProviderUnavailable(self.provider, "sent an event that is not an object")
        if event.get("error"):
            raise ProviderUnavailable(self.provider, f"broke off: {message(data.encode())}")
        try:
            return self._event(event)
        except (TypeError, LookupError, AttributeError):
            raise ProviderUnavailable(self.provider, "sent an event that makes no sense") from None

    @abstractmethod
    def _event(self, event: Mapping[str, Any]) -> str:
        """The text that an event brings; what it may raise beside ProviderError tells that it makes no sense."""

    def declined(self, reason: str) -> None:
        """The service will not answer this. Raises ProviderUnavailable: another engine may."""
        raise ProviderUnavailable(self.provider, f"declined to answer: {reason}"[:300])


def count(told: Mapping[str, Any], *path: str) -> int:
    """A number in what a service says that it took; 0 where there is none."""
    found: Any = told
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if type(found) is int and found > 0 else 0


async def texts(response: httpx.Response, answer: Answer) -> AsyncGenerator[str, None]:
    """The text of an answer as it comes, all else into ``answer``.

    :raises ProviderUnavailable: it breaks off, or is none.
    """
    kind = response.headers.get("content-type", "")
    if "json" in kind and "event-stream" not in kind:
        yield answer.feed((await response.aread()).decode("utf-8", "replace"))  # a server that does not stream
        return
    reader = EventReader()
    async with response_bytes(response) as data:
        async for piece in data:
            for event in reader.feed(piece):
                if text := answer.feed(event):
                    yield text
                if answer.over:
                    with contextlib.suppress(TimeoutError):  # read to the end, the connection can be used again
                        async with asyncio.timeout(DRAIN_SECONDS):
                            async for _ in data:
                                pass
                    return
    for event in reader.end():
        if text := answer.feed(event):
            yield text
    if not answer.ended:
        raise ProviderUnavailable(answer.provider, "closed the stream in the middle of the answer")
