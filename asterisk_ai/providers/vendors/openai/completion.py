"""One chat completion in the making: the chunks of a stream, as the servers of this API really send them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Usage
from asterisk_ai.providers.net.answer import Answer, Call, count

MAX_TOOL_TEXT = 20_000
DONE = "[DONE]"


class Completion(Answer):
    """What the chunks say, whoever sends them.

    The text is in ``delta.content`` (a text, or a list of parts); reasoning stands beside it under several names and is
    not read. Calls come in pieces: by index (OpenAI), all with index 0 and an id each (Ollama), without an index, whole
    with the arguments as an object. A server may answer a request for a stream with a plain JSON answer.
    """

    def feed(self, data: str) -> str:
        if data == DONE:
            self.ended = self.over = True
            return ""
        return super().feed(data)

    def _event(self, event: Mapping[str, Any]) -> str:
        if told := event.get("usage"):  # with the last chunk, or with one behind it
            self.usage = Usage(
                count(told, "prompt_tokens"),
                count(told, "prompt_tokens_details", "cached_tokens"),
                count(told, "completion_tokens"),
            )
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        return self._choice(choice) if isinstance(choice, Mapping) else ""

    def _choice(self, choice: Mapping[str, Any]) -> str:
        reason = choice.get("finish_reason")
        if reason == "error":
            raise ProviderUnavailable(self.provider, "broke off in the middle of the answer")
        if reason:
            self.ended, self.reason = True, str(reason)
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, Mapping):
            return ""
        pieces = delta.get("tool_calls")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, Mapping):
                self._call(piece)
        if isinstance(delta.get("function_call"), Mapping):  # the API's older form, of one call
            self._call({"index": 0, "function": delta["function_call"]})
        return "".join(_texts(delta.get("content")))

    def _call(self, piece: Mapping[str, Any]) -> None:
        function = piece.get("function")
        function = function if isinstance(function, Mapping) else {}
        call = self._of(str(piece.get("id") or ""), piece.get("index"), named=bool(function.get("name")))
        call.name = call.name or str(function.get("name") or "")
        arguments = function.get("arguments")
        if isinstance(arguments, Mapping):
            call.arguments = json.dumps(arguments, ensure_ascii=False)
        elif arguments:
            call.arguments = (call.arguments + str(arguments))[:MAX_TOOL_TEXT]

    def _of(self, id_: str, index: object, *, named: bool) -> Call:
        """The call that a piece belongs to: a new id is a new one; else the index tells, or it is the last."""
        last = self._calls[-1] if self._calls else None
        if id_:
            found = next((call for call in self._calls if call.id == id_), None)
            if found is None and last is not None and not last.id and last.index == index:
                found, last.id = last, id_
        elif index is not None:
            found = next((call for call in reversed(self._calls) if call.index == index), None)
        else:
            found = None if last is None or (named and last.name) else last
        if found is None:
            found = Call(id_, index=index)
            self._calls.append(found)
        return found


def _texts(content: object) -> Iterator[str]:
    """A text, or a list of parts of which those with ``text`` are said (thinking and the like stand under others)."""
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
            yield part["text"]
