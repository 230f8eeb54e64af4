"""What the AGI programs share: Asterisk on stdin and stdout (pyst2), the server's FastAGI port, and what runs between.

A program started by ``AGI()`` is a relay: it hands Asterisk's environment to
the running server, has Asterisk carry out the server's commands, and hands the
replies back as they came. So both ways into the server behave alike, and
nothing is decided here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from asterisk import agi as pyst2

from asterisk_ai.errors import CallHungUp, RemoteProtocolError
from asterisk_ai.protocol.agi import (
    MAX_ENVIRONMENT_LINES,
    AgiHangUp,
    AgiReader,
    AgiReply,
    LineBuffer,
    command_line,
    set_variable_line,
)

#: Asterisk's own limit for a FastAGI connection, seconds.
CONNECT_SECONDS = 2.0
#: Limit for one write to the server, and for the environment and the answers to the relay's own commands.
STEP_SECONDS = 5.0
#: How long the server may go on after a hang-up, to leave its variables for the h extension.
AFTER_HANG_UP_SECONDS = 5.0
_READ_BYTES = 65536


class ServerLost(Exception):
    """The server cannot be reached, or the connection to it broke. The message says why."""


class _Input:
    """Asterisk's side of stdin, read without a second buffer, so that nothing gets stuck between the layers."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lines = LineBuffer()
        self._line_count = 0

    def readline(self) -> str:
        """A line of the environment, for pyst2, which itself takes the end of the stream for the blank line and
        would read without a limit. What is no UTF-8 comes through as surrogates."""
        while (line := self.lines.next_line()) is None:
            data = self.read(STEP_SECONDS)
            if data is None:
                raise RemoteProtocolError("no whole environment in time")
            self.lines.feed(data)
        self._line_count += 1
        if self._line_count > MAX_ENVIRONMENT_LINES:
            raise RemoteProtocolError("an environment without an end")
        return line.decode("utf-8", "surrogateescape")

    def read(self, seconds: float) -> bytes | None:
        """Bytes from Asterisk, None where none come in time.

        :raises CallHungUp: Asterisk closed its side.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.fd, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        data = os.read(self.fd, _READ_BYTES)
        if not data:
            raise CallHungUp("Asterisk closed the connection")
        return data


class _Output:
    """stdout for pyst2: bytes go out as they came in, whatever the locale of Asterisk's service is."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(self._fd, data) :]

    def flush(self) -> None:
        """Nothing is held back."""


class _Silence:
    """stderr for pyst2, which writes the whole environment there, caller ID included, and every command."""

    def write(self, text: str) -> None:
        """Say nothing."""


class Agi(pyst2.AGI):  # type: ignore[misc]
    """pyst2's conversation with Asterisk, its faults fenced off. To be made on the main thread: the constructor
    installs a signal handler.

    :raises CallHungUp: in the constructor too, where Asterisk is gone.
    :raises RemoteProtocolError: for what is no AGI.
    """

    def __init__(self, stdin: int = 0, stdout: int = 1) -> None:
        self.input = _Input(stdin)
        self.hung_up = False
        self.owed = 0
        self._replies = AgiReader(environment=False)
        wake, self.wake_fd = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self.wake_fd, False)
        self.wake = wake
        signal.set_wakeup_fd(self.wake_fd, warn_on_full_buffer=False)
        super().__init__(self.input, _Output(stdout), _Silence())
        # What came behind the environment belongs to the replies
        self._replies.receive_data(self.input.lines.take_rest())

    def _handle_sighup(self, signum: int, frame: FrameType | None) -> None:
        """The caller hung up. The wakeup descriptor tells whoever waits."""
        self.hung_up = True

    def test_hangup(self) -> None:
        """Overrides pyst2's, which raises after SIGHUP, although Asterisk still sets variables then."""

    @property
    def between_replies(self) -> bool:
        """True where no reply of several lines is half read."""
        return self._replies.between_messages

    def send_command(self, command: str, *args: object) -> None:
        """Send a line that is quoted already. pyst2 quotes by putting ``"`` around, and escapes nothing."""
        try:
            super().send_command(command, *args)
        except OSError as error:
            raise CallHungUp(f"Asterisk is gone: {error}") from None
        self.owed += 1

    def take_replies(self, data: bytes) -> list[AgiReply | AgiHangUp]:
        """The events in bytes from Asterisk."""
        self._replies.receive_data(data)
        events: list[AgiReply | AgiHangUp] = []
        while (event := self._replies.next_event()) is not None:
            if isinstance(event, AgiReply):
                self.owed -= 1
            if isinstance(event, AgiReply | AgiHangUp):
                events.append(event)
        return events

    def get_result(self, stdin: object = None) -> AgiReply:
        """The reply to the last command. Overrides pyst2's, which raises ValueError on HANGUP and on the end of
        the stream, and an error on every ``result=-1``."""
        until = time.monotonic() + STEP_SECONDS
        while (seconds := until - time.monotonic()) > 0:
            data = self.input.read(seconds)
            replies = [event for event in self.take_replies(data or b"") if isinstance(event, AgiReply)]
            if replies:
                return replies[-1]
        raise CallHungUp("Asterisk does not answer")

    def in_step(self) -> None:
        """Stop a command that is in flight, such as a file that plays, and read up to where nothing is owed.

        STREAM FILE and its like have no reply when a further command stops them, others have: so the further command
        is one whose reply is known by its text. It must not come so soon that Asterisk reads both at once.
        """
        if not self.owed:
            return
        time.sleep(0.1)
        marker = f"in-step-{secrets.token_hex(8)}"
        self.send_command(command_line("GET FULL VARIABLE", marker).decode().removesuffix("\n"))
        until = time.monotonic() + STEP_SECONDS
        while (seconds := until - time.monotonic()) > 0:
            for event in self.take_replies(self.input.read(seconds) or b""):
                if isinstance(event, AgiReply) and event.data == marker:
                    self.owed = 0
                    return
        raise CallHungUp("Asterisk does not answer")

    def command(self, line: bytes) -> AgiReply:
        """Have Asterisk carry out a line of ``protocol.agi``."""
        reply: AgiReply = self.execute(line.decode().removesuffix("\n"))
        return reply


class Relay:
    """Between Asterisk and the server, on one thread, until either of them closes.

    :ivar relayed: commands of the server that Asterisk has got.
    """

    def __init__(self, agi: Agi, server: socket.socket) -> None:
        self.relayed = 0
        self.selector = selectors.DefaultSelector()
        self._agi = agi
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
        self.watch(self._agi.input.fd, self._from_asterisk)
        self.watch(self._agi.wake, self._from_signal)
        self._replies(b"")
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
            data = self._server.recv(_READ_BYTES)
        except OSError as error:
            raise ServerLost(str(error)) from None
        self._done = not data
        self._commands.feed(data)
        while (line := self._commands.next_line()) is not None:
            text = line.decode("utf-8", "surrogateescape").removesuffix("\n")
            self._agi.send_command(text)
            self.relayed += 1
            self.on_command(text)

    def _from_asterisk(self) -> None:
        self._replies(self._agi.input.read(0) or b"")

    def _replies(self, data: bytes) -> None:
        for event in self._agi.take_replies(data):
            match event:
                case AgiReply():
                    self._to_server(event.raw)
                case AgiHangUp():
                    self._agi.hung_up = True
        self._tell_hang_up()

    def _from_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._agi.wake, _READ_BYTES)
        self._tell_hang_up()

    def _tell_hang_up(self) -> None:
        # As Asterisk tells a FastAGI server, and never into the middle of a reply
        if self._agi.hung_up and not self._hang_up_told and self._agi.between_replies:
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


MakeRelay = Callable[[Agi, socket.socket], Relay]


def relay_call(
    agi: Agi,
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
            _send(server, environment(agi, address, script, arguments))
            with contextlib.closing(make(agi, server)) as relay:
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
    tell_dialplan(agi, f"no answer from the server: {lost}", unavailable)


def connect(host: str, port: int) -> socket.socket:
    """:raises ServerLost: where nobody answers."""
    try:
        server = socket.create_connection((host, port), CONNECT_SECONDS)
    except OSError as error:
        raise ServerLost(f"{host}:{port}: {error}") from None
    server.settimeout(STEP_SECONDS)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


def environment(agi: Agi, address: tuple[str, int], script: str, arguments: Sequence[str]) -> bytes:
    """Asterisk's environment as a FastAGI server gets it. The arguments are the program's own, not ``agi_arg_N``:
    those could come from a caller's name that holds a newline."""
    host, port = address
    ours = ("agi_network", "agi_network_script", "agi_request")
    values = {"agi_network": "yes", "agi_network_script": script, "agi_request": f"agi://{host}:{port}/{script}"}
    values |= {
        key: value
        for key, value in agi.env.items()
        if key.startswith("agi_") and not key.startswith("agi_arg_") and key not in ours
    }
    values |= {f"agi_arg_{number}": argument for number, argument in enumerate(arguments, 1)}
    one_line = {key: " ".join(value.splitlines()) for key, value in values.items()}
    lines = "".join(f"{key}: {value}\n" for key, value in one_line.items())
    return lines.encode("utf-8", "surrogateescape") + b"\n"


def tell_dialplan(agi: Agi, text: str, variables: Mapping[str, str]) -> None:
    """A plain line on Asterisk's console, and variables for the dialplan. A channel that is gone wants neither."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    with contextlib.suppress(CallHungUp, RemoteProtocolError, OSError, pyst2.AGIException):
        agi.in_step()
        agi.command(command_line("VERBOSE", f"asterisk-ai: {plain}"[:500], "1"))
        for name, value in variables.items():
            agi.command(set_variable_line(name, value))
