"""Server-sent events as servers really send them, read from bytes.

Own code, because the libraries looked at lose what servers send: ``httpx-sse`` wants the right content type and drops a
last event that no blank line ends, and ``httpx`` itself cuts lines at U+2028 inside of JSON.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (interpreting an event stream).
"""

from __future__ import annotations

import codecs
import re

from asterisk_ai.errors import RemoteProtocolError

MAX_EVENT = 1 << 20
"""Characters of one event, and of one line."""
_LINE_END = re.compile(r"\r\n|\n|\r")


class EventReader:
    """Bytes in any pieces to the data of whole events. Comments, other fields and events without data are nothing."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._text = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[str]:
        """The data of the events that are whole with it.

        :raises RemoteProtocolError: an event is longer than MAX_EVENT.
        """
        self._text += self._decoder.decode(data)
        whole, events = len(self._text), []
        if self._text.endswith("\r"):
            whole -= 1  # its line feed may be on the way
        start = 0
        for end in _LINE_END.finditer(self._text, 0, whole):
            events += self._line(self._text[start : end.start()])
            start = end.end()
        self._text = self._text[start:]
        if len(self._text) + self._size > MAX_EVENT:
            raise RemoteProtocolError("an event that is too long")
        return events

    def end(self) -> list[str]:
        """The stream is over: a last event that no blank line ended counts, too."""
        text, self._text = self._text.rstrip("\r"), ""
        return (self._line(text) if text else []) + self._line("")

    def _line(self, line: str) -> list[str]:
        if line:
            field, _, value = line.partition(":")
            if field == "data":
                self._data.append(value.removeprefix(" "))
                self._size += len(value)
            return []
        data, self._data, self._size = "\n".join(self._data).strip(), [], 0
        return [data] if data else []
