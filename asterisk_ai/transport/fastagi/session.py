"""One AGI conversation as a route's handler sees it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from asterisk_ai.errors import AsteriskAIError, CallHungUp, RemoteProtocolError
from asterisk_ai.protocol.agi.commands import (
    command_line,
    set_variable_line,
    variable_name,
    works_on_dead_channel,
)
from asterisk_ai.protocol.agi.reader import AgiClosed, AgiHangUp, AgiReader, AgiReply, AgiRequest
from asterisk_ai.protocol.agi.sequence import CommandSequence

READ_BYTES = 65536


class AgiSession:
    """One AGI conversation. Its commands may be called from one task at a time or several; they go one by one.

    Cancelling a command leaves a whole session, and stops what Asterisk stops for a further command: STREAM FILE, GET
    OPTION, WAIT FOR DIGIT and GET DATA end at once, EXEC and RECORD FILE go on and hold up the next command.

    :ivar send: sends a line and returns when :meth:`reply_is_there` does; set by the application.
    """

    send: Callable[[str], Awaitable[object]]

    def __init__(
        self,
        request: AgiRequest,
        *,
        incoming: AgiReader,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        command_seconds: float,
    ) -> None:
        self.request = request
        self._incoming = incoming
        self._reader = reader
        self._writer = writer
        self._command_seconds = command_seconds
        self._one_command = asyncio.Lock()
        self._sequence = CommandSequence()
        self._reply: AgiReply | None = None
        self._news = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._broken: AsteriskAIError | None = None

    @property
    def local_host(self) -> str:
        """The address of ours that Asterisk connected to, in brackets where it is IPv6; empty where it is unknown."""
        name = self._writer.get_extra_info("sockname")
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
                    reply = await self._exchange(line)
            except asyncio.CancelledError:
                self._give_up()
                raise
            except TimeoutError:
                waited = "in time" if limit is None else f"within {limit:g} s"
                raise self.fail(RemoteProtocolError(f"no reply to {command} {waited}")) from None
            except OSError as error:
                raise self.fail(CallHungUp(f"the connection broke: {error}")) from None
        if reply.code == 511:
            self._hung_up.set()
            raise CallHungUp(f"{command} on a dead channel")
        return reply

    def _check(self, command: str) -> None:
        if self._broken is not None:
            raise self._broken
        if self.hung_up and not works_on_dead_channel(command):
            raise CallHungUp(f"{command} after the hang-up")

    async def _exchange(self, line: bytes) -> AgiReply:
        while not self._sequence.in_step:
            await self._wait_for_news()
        self._reply = None
        self._sequence.sent(asyncio.get_running_loop().time())
        await self.send(line.decode().removesuffix("\n"))
        return await self.reply_is_there()

    def _give_up(self) -> None:
        """Nobody waits for the command in flight any more: stop it, and find the place after its reply."""
        marker = self._sequence.give_up(secrets.token_hex(8))
        if marker is not None:
            line, at = marker
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), at), self._write_marker, line)

    def _write_marker(self, line: bytes) -> None:
        if self._broken is None and not self._writer.is_closing():
            self._writer.write(line)

    async def reply_is_there(self) -> AgiReply:
        """Wait for the reply to the command that was sent last."""
        while self._reply is None:
            await self._wait_for_news()
        return self._reply

    async def _wait_for_news(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._news.clear()
        await self._news.wait()

    async def listen(self) -> None:
        """Take in what Asterisk sends, until the connection's end. It runs beside the handler, so that a hang-up
        is known at once and not with the next command."""
        try:
            while self._broken is None:
                self._take_events()
                if self._broken is None:
                    data = await self._reader.read(READ_BYTES)
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
                    if self._sequence.received(event):
                        self._reply = event
                    self._news.set()
                case AgiHangUp():
                    self._hung_up.set()
                case AgiClosed():
                    self.fail(CallHungUp("Asterisk closed the connection"))
                case AgiRequest():
                    raise RemoteProtocolError("a second environment")

    def fail(self, error: AsteriskAIError) -> AsteriskAIError:
        """No command works any more. Returns why: the first reason stays."""
        self._broken = self._broken or error
        self._hung_up.set()
        self._news.set()
        return self._broken


Handler = Callable[[AgiSession], Awaitable[None]]
