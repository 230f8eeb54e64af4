"""One AGI conversation as a route's handler sees it: panoramisk's request, its defects fenced off with our codec."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import Any

from panoramisk import fast_agi

from asterisk_ai.errors import AsteriskAIError, CallHungUp, LocalProtocolError, RemoteProtocolError
from asterisk_ai.protocol.agi import (
    AgiClosed,
    AgiHangUp,
    AgiReader,
    AgiReply,
    AgiRequest,
    command_line,
    set_variable_line,
    variable_name,
    works_on_dead_channel,
)

READ_BYTES = 65536
#: Asterisk reads through a buffer and waits on the socket: the second of two commands that it reads at once is stuck
#: until more comes (seen on 22.10.1). Nothing is sent sooner than this behind a command without its reply.
_APART_SECONDS = 0.1


class AgiSession(fast_agi.Request):  # type: ignore[misc]
    """One AGI conversation. Its commands may be called from one task at a time or several; they go one by one.

    Cancelling a command leaves a whole session, and stops what Asterisk stops for a further command: STREAM FILE, GET
    OPTION, WAIT FOR DIGIT and GET DATA end at once, EXEC and RECORD FILE go on and hold up the next command.
    """

    def __init__(
        self,
        application: fast_agi.Application,
        request: AgiRequest,
        *,
        incoming: AgiReader,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        command_seconds: float,
    ) -> None:
        super().__init__(application, request.environment, reader, writer)
        self.request = request
        self._incoming = incoming
        self._command_seconds = command_seconds
        self._one_command = asyncio.Lock()
        self._replies: deque[AgiReply] = deque()
        self._owed = 0
        self._sent_at = 0.0
        self._marker = ""
        self._stale = 0
        self._news = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._broken: AsteriskAIError | None = None

    @property
    def local_host(self) -> str:
        """The address of ours that Asterisk connected to, in brackets where it is IPv6; empty where it is unknown."""
        name = self.writer.get_extra_info("sockname")
        host = str(name[0]) if name else ""
        return f"[{host}]" if ":" in host else host

    @property
    def hung_up(self) -> bool:
        """True from the caller's hang-up on, whether a command was in flight or not."""
        return self._hung_up.is_set()

    async def wait_hung_up(self) -> None:
        """Wait for the caller's hang-up or the end of the connection."""
        await self._hung_up.wait()

    async def command(self, command: str, *arguments: str, seconds: float | None = -1) -> AgiReply:
        """Have Asterisk carry out a command; arguments are quoted here.

        :param command: its own words, such as ``STREAM FILE``.
        :param seconds: limit for the reply; negative: the server's ``command_seconds``, None: no limit.
        :returns: the reply, whatever its code but 511.
        :raises CallHungUp: where it cannot work any more. EXEC, GET and SET VARIABLE, NOOP, VERBOSE and DATABASE
            still work after a hang-up, as long as the connection stands.
        :raises LocalProtocolError: for what must not be sent; nothing was sent.
        :raises RemoteProtocolError: for a reply that is none, or none in time. The session is of no use then.
        """
        return await self._send(command, command_line(command, *arguments), seconds)

    async def set_variable(self, name: str, value: str) -> None:
        """Set a channel variable. The value is taken as it is and never interpreted.

        :raises LocalProtocolError: for a control character in the value or a bad name.
        """
        await self._send("SET VARIABLE", set_variable_line(name, value))

    async def get_variable(self, name: str) -> str:
        """The value of a channel variable, empty where it is not set. What is in the value is not evaluated."""
        # GET VARIABLE cuts values at 1,023 bytes (seen on 22.10.1)
        return (await self.command("GET FULL VARIABLE", f"${{{variable_name(name)}}}")).data

    async def stream_file(self, path: str, escape_digits: str = "", *, seconds: float | None = None) -> AgiReply:
        """Play a sound file, named without its extension, to its end or one of the digits.

        ``result`` is the digit's ASCII code, ``0`` at the end, ``-1`` for a hang-up or a file that is not there.
        """
        return await self.command("STREAM FILE", path, escape_digits, seconds=seconds)

    async def verbose(self, text: str, level: int = 1) -> None:
        """A line on Asterisk's console."""
        await self.command("VERBOSE", text, str(level))

    async def _send(self, command: str, line: bytes, seconds: float | None = -1) -> AgiReply:
        limit = self._command_seconds if seconds is not None and seconds < 0 else seconds
        async with self._one_command:
            self._check(command)
            try:
                async with asyncio.timeout(limit):
                    await self._in_step()
                    answer = await self.send_command(line.decode().removesuffix("\n"))
            except asyncio.CancelledError:
                self._abandon()
                raise
            except TimeoutError:
                waited = "in time" if limit is None else f"within {limit:g} s"
                raise self.fail(RemoteProtocolError(f"no reply to {command} {waited}")) from None
            except OSError as error:
                raise self.fail(CallHungUp(f"the connection broke: {error}")) from None
        reply: AgiReply = answer["reply"]
        if reply.code == 511:
            self._hung_up.set()
            raise CallHungUp(f"{command} on a dead channel")
        return reply

    def _check(self, command: str) -> None:
        if self._broken is not None:
            raise self._broken
        if self.hung_up and not works_on_dead_channel(command):
            raise CallHungUp(f"{command} after the hang-up")

    def _abandon(self) -> None:
        """Nobody waits for the command in flight any more: stop it, and find the place after its reply.

        A further command stops STREAM FILE and its like, which then have no reply at all; others have theirs, and it
        may be on its way now. So the further command is one whose reply is known by its text.
        """
        if not self._owed or self._replies or self._broken is not None:
            self._owed = 0
            self._replies.clear()
            return
        self._stale, self._owed = self._owed, 0
        self._marker = f"in-step-{secrets.token_hex(8)}"
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._sent_at + _APART_SECONDS), self._write_marker)

    def _write_marker(self) -> None:
        if self._broken is None and not self.writer.is_closing():
            self.writer.write(command_line("GET FULL VARIABLE", self._marker))

    async def _in_step(self) -> None:
        """Wait until nothing is left of a command that was cancelled."""
        while self._marker:
            await self._wait_for_news()

    async def _wait_for_news(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._news.clear()
        await self._news.wait()

    async def send_command(self, command: str) -> dict[str, Any]:
        """Send a line that is quoted already; :meth:`command` is what a handler wants.

        Overrides panoramisk's, which sends CR and LF in a command, so that one can be smuggled in.
        """
        if any(char in command for char in "\r\n\0"):
            raise LocalProtocolError("CR, LF or NUL in a command")
        self._owed = 1
        self._sent_at = asyncio.get_running_loop().time()
        answer: dict[str, Any] = await super().send_command(command)
        return answer

    async def _read_result(self) -> dict[str, Any]:
        """The reply to the last command, in panoramisk's shape, with ours beside it.

        Overrides panoramisk's, which takes ``HANGUP`` for the reply and is off by one from then on, reads two
        lines of a usage whatever its length, and raises ValueError at the end of the connection.
        """
        while not self._replies:
            await self._wait_for_news()
        reply = self._replies.popleft()
        self._owed = 0
        return {"status_code": reply.code, "result": (reply.result, reply.data), "reply": reply}

    async def listen(self) -> None:
        """Take in what Asterisk sends, until the connection's end. It runs beside the handler, so that a hang-up
        is known at once and not with the next command."""
        try:
            while self._broken is None:
                self._take_events()
                if self._broken is None:
                    data = await self.reader.read(READ_BYTES)
                    self._incoming.receive_data(data)
                    if not data:
                        self._incoming.receive_eof()
        except RemoteProtocolError as error:
            self.fail(error)
        except OSError as error:
            self.fail(CallHungUp(f"the connection broke: {error}"))

    def _take_events(self) -> None:
        while (event := self._incoming.next_event()) is not None:
            match event:
                case AgiReply():
                    self._take_reply(event)
                    self._news.set()
                case AgiHangUp():
                    self._hung_up.set()
                case AgiClosed():
                    self.fail(CallHungUp("Asterisk closed the connection"))
                case AgiRequest():
                    raise RemoteProtocolError("a second environment")

    def _take_reply(self, reply: AgiReply) -> None:
        if self._marker and reply.data == self._marker:
            self._marker, self._stale = "", 0
        elif self._stale:
            self._stale -= 1
        elif len(self._replies) < self._owed:
            self._replies.append(reply)
        else:
            raise RemoteProtocolError("a reply to no command")

    def fail(self, error: AsteriskAIError) -> AsteriskAIError:
        """No command works any more. Returns why: the first reason stays."""
        self._broken = self._broken or error
        self._hung_up.set()
        self._news.set()
        return self._broken
