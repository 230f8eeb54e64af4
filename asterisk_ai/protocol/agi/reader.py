"""What Asterisk sends in AGI and FastAGI, without I/O: bytes in, one request and then replies and hang-ups out.

Any bytes give events or :class:`RemoteProtocolError`, nothing else, and any
split of the bytes gives the same events.

Source: ``res_agi.c`` (``setup_env``, ``run_agi``, ``agi_handle_command``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from asterisk_ai.errors import RemoteProtocolError
from asterisk_ai.protocol.agi.commands import MAX_LINE

#: An environment has some 25 lines and one for each argument.
MAX_ENVIRONMENT_LINES = 256
#: Bytes of a whole environment, or of a whole reply (the usage after a 520, a variable that holds newlines).
MAX_MESSAGE = 65536

_USAGE_END = "520 End of proper usage."
_KEY = re.compile(r"agi_[A-Za-z0-9_]{1,64}")
_STATUS = re.compile(r"([1-9][0-9]{2})(?:[ -](.*))?", re.DOTALL)
_RESULT = re.compile(r"result=(\S*)(?: (.*))?", re.DOTALL)
_DATA_AND_MORE = re.compile(r"\((.*)\) (endpos=.*)", re.DOTALL)
_ENDPOS = re.compile(r"(?:^| )endpos=([0-9]{1,18})(?: |$)")


@dataclass(frozen=True, slots=True)
class AgiRequest:
    """What Asterisk asks for.

    :param environment: every ``agi_...`` value by its name on the wire. Caller's data is in it, as the caller sent it.
    :param script: path without slashes at the ends, such as ``call/start``; empty where the URL has none.
    :param query: the URL's query.
    :param arguments: ``agi_arg_1`` and on.
    """

    environment: Mapping[str, str]
    script: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgiReply:
    """The answer to one command.

    :param code: 200, 510 (no such command), 511 (dead channel) or 520 (usage).
    :param result: what follows ``result=``: ``0``, ``-1``, digits; empty unless the code is 200.
    :param data: what stood in brackets (a variable's value, ``timeout``, ``hangup``); the text after other codes.
    :param endpos: position in samples where playback or recording stopped, None where none was told.
    :param raw: the reply as it was on the wire, to relay it.
    """

    code: int
    result: str = ""
    data: str = ""
    endpos: int | None = None
    raw: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class AgiHangUp:
    """The caller hung up. Not an answer: the command in flight still gets its own."""


@dataclass(frozen=True, slots=True)
class AgiClosed:
    """Asterisk closed the connection; nothing follows."""


AgiEvent = AgiRequest | AgiReply | AgiHangUp | AgiClosed


class LineBuffer:
    """Cuts bytes into lines with a bound on their length. Bytes that are still no line are at most ``max_line``."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._bytes = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def next_line(self) -> bytes | None:
        """The next line with its LF, or None where it is not whole yet.

        :raises RemoteProtocolError: for a line of more than ``max_line`` bytes, whole or not.
        """
        end = self._bytes.find(b"\n", self._searched) + 1
        if not end:
            self._searched = len(self._bytes)
        if (end or len(self._bytes)) > self._max_line:
            raise RemoteProtocolError(f"a line of more than {self._max_line} bytes")
        if not end:
            return None
        line = bytes(self._bytes[:end])
        del self._bytes[:end]
        self._searched = 0
        return line

    def take_rest(self) -> bytes:
        """Everything that is left, taken out."""
        rest = bytes(self._bytes)
        self._bytes.clear()
        self._searched = 0
        return rest


class AgiReader:
    """Reads what Asterisk sends: one :class:`AgiRequest`, then replies and hang-ups.

    Feed it with :meth:`receive_data` and call :meth:`next_event` until that gives None. An error is final: each
    later call raises it again.

    :param environment: False where somebody else has read the environment already.
    """

    def __init__(self, *, environment: bool = True, max_line: int = MAX_LINE) -> None:
        self._lines = LineBuffer(max_line)
        self._environment: dict[str, str] | None = {} if environment else None
        self._line_count = 0
        self._message = bytearray()
        self._usage: list[str] | None = None
        self._ended = False
        self._closed = False
        self._error: RemoteProtocolError | None = None

    @property
    def between_messages(self) -> bool:
        """True where no message is half read, apart from a line that is not whole."""
        return not self._message

    def receive_data(self, data: bytes) -> None:
        """Take bytes from Asterisk. Drain the events before the next call, so that the buffer stays bounded."""
        self._lines.feed(data)

    def receive_eof(self) -> None:
        """Asterisk closed its side. The events before it come first, then :class:`AgiClosed`."""
        self._ended = True

    def next_event(self) -> AgiEvent | None:
        """The next event, or None until there are more bytes.

        :raises RemoteProtocolError: for what Asterisk never sends, and for an end inside the environment.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next_event()
        except RemoteProtocolError as error:
            self._error = error
            raise

    def _next_event(self) -> AgiEvent | None:
        while not self._closed and (line := self._lines.next_line()) is not None:
            environment = self._environment
            event = self._reply_line(line) if environment is None else self._environment_line(line, environment)
            if event is not None:
                return event
        if self._ended and not self._closed:
            if self._environment is not None:
                raise RemoteProtocolError("closed before the end of the environment")
            self._closed = True
            return AgiClosed()
        return None

    def _text(self, line: bytes) -> str:
        """Add a line to the message that is being read, within its bound, and decode it."""
        self._message += line
        if len(self._message) > MAX_MESSAGE:
            raise RemoteProtocolError(f"a message of more than {MAX_MESSAGE} bytes")
        if b"\0" in line:
            raise RemoteProtocolError("a NUL byte")
        return _decode(line)

    def _environment_line(self, line: bytes, environment: dict[str, str]) -> AgiRequest | None:
        text = self._text(line)
        self._line_count += 1
        if not text:
            request = _request(environment)
            self._environment = None
            self._message.clear()
            return request
        if self._line_count > MAX_ENVIRONMENT_LINES:
            raise RemoteProtocolError(f"an environment of more than {MAX_ENVIRONMENT_LINES} lines")
        key, colon, value = text.partition(":")
        if not colon or not _KEY.fullmatch(key):
            if self._line_count == 1:
                raise RemoteProtocolError("not an AGI environment")
            return None  # the second line of a value that holds a newline, such as a caller's name
        if key in environment:
            # Asterisk names each once: the other one came out of a value with a newline in it. Which is the
            # caller's forgery cannot be known.
            raise RemoteProtocolError(f"{key} is there twice")
        environment[key] = value.removeprefix(" ")
        return None

    def _reply_line(self, line: bytes) -> AgiReply | AgiHangUp | None:
        text = _decode(line)
        if text == "HANGUP" and (self._usage is not None or not self._message):
            return AgiHangUp()
        text = self._text(line)
        if self._usage is not None:
            return self._usage_line(text, self._usage)
        if text.startswith("520-"):
            self._usage = []
            return None
        going_on = len(self._message) > len(line)
        if going_on and not text.endswith(")") and ") endpos=" not in text:
            return None  # a value's middle; parsing all of it again for each line would be quadratic
        reply = _reply(_decode(bytes(self._message)), bytes(self._message))
        if reply is None:
            return None
        self._message.clear()
        # "100 Trying" announces the answer and is none
        return reply if reply.code >= 200 else None

    def _usage_line(self, text: str, usage: list[str]) -> AgiReply | None:
        # Some releases put no LF between the usage and the line that ends it
        if not text.endswith(_USAGE_END):
            usage.append(text)
            return None
        if text != _USAGE_END:
            usage.append(text.removesuffix(_USAGE_END))
        reply = AgiReply(520, data="\n".join(usage), raw=bytes(self._message))
        self._usage = None
        self._message.clear()
        return reply


def _decode(data: bytes) -> str:
    """Text without its line end. What is no UTF-8 becomes U+FFFD, so that the text can be stored anywhere."""
    return data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")


def _request(environment: dict[str, str]) -> AgiRequest:
    if not environment:
        raise RemoteProtocolError("an empty environment")
    path, _, query = environment.get("agi_network_script", "").partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="replace", max_num_fields=64)
    except ValueError as error:
        raise RemoteProtocolError(f"the query: {error}") from None
    arguments: list[str] = []
    while (argument := environment.get(f"agi_arg_{len(arguments) + 1}")) is not None:
        arguments.append(argument)
    return AgiRequest(environment, unquote(path).strip("/"), dict(pairs), tuple(arguments))


def _reply(text: str, raw: bytes) -> AgiReply | None:
    """Parse a reply of one line, or of several where a variable's value holds newlines; None where it goes on.

    A value is sent as it is, so one that holds ``)`` and a newline looks like the end: what follows is then no
    reply, or one that nobody asked for, and the connection has to be given up.
    """
    status = _STATUS.fullmatch(text)
    if status is None:
        raise RemoteProtocolError("not an AGI reply")
    code, rest = int(status[1]), status[2] or ""
    if code != 200:
        return AgiReply(code, data=rest, raw=raw)
    result = _RESULT.fullmatch(rest)
    if result is None:
        raise RemoteProtocolError("a 200 reply without a result")
    data, more = "", result[2] or ""
    if more.startswith("("):
        if more.endswith(")"):
            data, more = more[1:-1], ""
        elif found := _DATA_AND_MORE.fullmatch(more):
            data, more = found[1], found[2]
        else:
            return None
    endpos = _ENDPOS.search(more)
    return AgiReply(200, result[1], data, int(endpos[1]) if endpos else None, raw)
