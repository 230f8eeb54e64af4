"""A program that Asterisk starts is a relay: it decides nothing.

It hands Asterisk's environment to the running server, has Asterisk carry out
the server's commands, and hands the replies back as they came. So ``AGI()``
and ``AGI(agi://...)`` behave alike.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from asterisk_ai.agi.asterisk import READ_BYTES, STEP_SECONDS, Asterisk
from asterisk_ai.errors import CallHungUp, RemoteProtocolError
from asterisk_ai.protocol.agi.commands import command_line, set_variable_line
from asterisk_ai.protocol.agi.reader import AgiHangUp, AgiReply, LineBuffer

#: Asterisk's own limit for a FastAGI connection, seconds.
CONNECT_SECONDS = 2.0
#: How long the server may go on after a hang-up, to leave its variables for the h extension.
AFTER_HANG_UP_SECONDS = 5.0


class ServerLost(Exception):
    """The server cannot be reached, or the connection to it broke. The message says why."""


class Relay:
    """Between Asterisk and the server, on one thread, until either of them closes.

    :ivar relayed: commands of the server that Asterisk has got.
    """

    def __init__(self, asterisk: Asterisk, server: socket.socket) -> None:
        self.relayed = 0
        self.selector = selectors.DefaultSelector()
        self._asterisk = asterisk
        self._server = server
        self._commands = LineBuffer()
        self._hang_up_told = False
        self._until: float | None = None
        self._done = False

    def run(self) -> None:
        """Relay.

        :raises ServerLost: the connection to the server broke.
        :raises RemoteProtocolError: Asterisk or the server sent what is no AGI.
        :raises CallHungUp: Asterisk is gone.
        """
        self.watch(self._server, self._from_server)
        self.watch(self._asterisk.stdin, self._from_asterisk)
        self.watch(self._asterisk.wake, self._from_signal)
        self._relay(self._asterisk.events_read())
        while not self._done:
            seconds = None if self._until is None else max(0.0, self._until - time.monotonic())
            ready = self.selector.select(seconds)
            if not ready and self._until is not None:
                return
            for key, _ in ready:
                if not self._done:
                    key.data()

    def close(self) -> None:
        """Let go of everything but the two sides, which are the caller's."""
        self.selector.close()

    def watch(self, file: socket.socket | int, callback: Callable[[], None]) -> None:
        """Call back whenever there is something to read."""
        self.selector.register(file, selectors.EVENT_READ, callback)

    def on_command(self, text: str) -> None:
        """A command went to Asterisk; for those who want to look at it."""

    def _from_server(self) -> None:
        try:
            data = self._server.recv(READ_BYTES)
        except OSError as error:
            raise ServerLost(str(error)) from None
        self._done = not data
        self._commands.feed(data)
        while (line := self._commands.next_line()) is not None:
            text = line.decode("utf-8", "surrogateescape").removesuffix("\n")
            self._asterisk.send(text)
            self.relayed += 1
            self.on_command(text)

    def _from_asterisk(self) -> None:
        self._relay(self._asterisk.events())

    def _relay(self, events: Sequence[AgiReply | AgiHangUp]) -> None:
        for event in events:
            match event:
                case AgiReply():
                    self._to_server(event.raw)
                case AgiHangUp():
                    self._asterisk.hung_up = True
        self._tell_hang_up()

    def _from_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._asterisk.wake, READ_BYTES)
        self._tell_hang_up()

    def _tell_hang_up(self) -> None:
        # As Asterisk tells a FastAGI server, and never into the middle of a reply
        if self._asterisk.hung_up and not self._hang_up_told and self._asterisk.between_replies:
            self._hang_up_told = True
            self._until = time.monotonic() + AFTER_HANG_UP_SECONDS
            self._to_server(b"HANGUP\n")

    def _to_server(self, data: bytes) -> None:
        _send(self._server, data)


def _send(server: socket.socket, data: bytes) -> None:
    try:
        server.sendall(data)
    except OSError as error:
        raise ServerLost(str(error)) from None


MakeRelay = Callable[[Asterisk, socket.socket], Relay]


def relay_call(
    asterisk: Asterisk,
    address: tuple[str, int],
    script: str,
    arguments: Sequence[str],
    *,
    unavailable: Mapping[str, str],
    make: MakeRelay = Relay,
) -> None:
    """Run one route of the server on Asterisk's channel; whatever happens, the dialplan goes on.

    :param unavailable: variables to set where there is no server, or it closes without a single command.
    """
    try:
        with connect(*address) as server:
            _send(server, environment(asterisk, address, script, arguments))
            with contextlib.closing(make(asterisk, server)) as relay:
                relay.run()
        if relay.relayed or not unavailable:
            return
        lost = "the server closed the connection"
    except CallHungUp:
        return
    except ServerLost as error:
        lost = str(error)
    except RemoteProtocolError as error:
        lost = f"{script}: {error}"
    tell_dialplan(asterisk, f"no answer from the server: {lost}", unavailable)


def connect(host: str, port: int) -> socket.socket:
    """:raises ServerLost: where nobody answers."""
    try:
        server = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError as error:
        raise ServerLost(f"{host}:{port}: {error}") from None
    server.settimeout(STEP_SECONDS)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


def environment(asterisk: Asterisk, address: tuple[str, int], script: str, arguments: Sequence[str]) -> bytes:
    """Asterisk's environment as a FastAGI server gets it. The arguments are the program's own, not ``agi_arg_N``:
    those could come from a caller's name that holds a newline."""
    host, port = address
    ours = ("agi_network", "agi_network_script", "agi_request")
    values = {"agi_network": "yes", "agi_network_script": script, "agi_request": f"agi://{host}:{port}/{script}"}
    values |= {
        key: value
        for key, value in asterisk.environment.items()
        if key.startswith("agi_") and not key.startswith("agi_arg_") and key not in ours
    }
    values |= {f"agi_arg_{number}": argument for number, argument in enumerate(arguments, 1)}
    one_line = {key: " ".join(value.splitlines()) for key, value in values.items()}
    lines = "".join(f"{key}: {value}\n" for key, value in one_line.items())
    return lines.encode("utf-8", "surrogateescape") + b"\n"


def tell_dialplan(asterisk: Asterisk, text: str, variables: Mapping[str, str]) -> None:
    """A plain line on Asterisk's console, and variables for the dialplan. A channel that is gone wants neither."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    with contextlib.suppress(CallHungUp, RemoteProtocolError, OSError):
        asterisk.get_in_step()
        asterisk.command(command_line("VERBOSE", f"asterisk-ai: {plain}"[:500], "1"))
        for name, value in variables.items():
            asterisk.command(set_variable_line(name, value))
